"""Elementwise operators: activations, arithmetic, comparisons, random draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from convscope.geometry import Reads
from convscope.trace.fields import Fields, FieldState
from convscope.trace.record import Ref
from convscope.trace.rules.base import Call, Cost, Factor, Rule, Sum, Term, ValueCall, register

__all__: list[str] = []


def _field(call: Call, fields: Fields) -> FieldState:
    return fields.pointwise([fields.of(index) for index in call.record.inputs], call.output.shape)


def _cost(operations: int) -> Callable[[Call], Cost]:
    return lambda call: Cost(element_ops=operations * call.output.numel)


def _operands(asked: ValueCall) -> list[tuple[str, float, tuple[int, tuple[int, ...]] | None]]:
    """Return name, value and place of each operand at the place asked for, after broadcasting."""
    found: list[tuple[str, float, tuple[int, tuple[int, ...]] | None]] = []
    for name, given in asked.call.record.arguments.items():
        if isinstance(given, Ref):
            shape = asked.values[given.value].shape
            place = tuple(
                0 if size == 1 else index
                for size, index in zip(shape, asked.at[len(asked.at) - len(shape) :], strict=True)
            )
            label = "input" if name == "self" else name
            found.append((label, float(asked.values[given.value][place]), (given.value, place)))
        elif name in ("other", "exponent") and isinstance(given, (int, float)):
            found.append((name, float(given), None))
    return found


def _recomputed(asked: ValueCall) -> float:
    """Return the operator's own result at that place, computed in float64 from scalars."""
    operator = asked.call.record.function()
    arguments: dict[str, Any] = {}
    operands = {place[0]: value for _, value, place in _operands(asked) if place is not None}
    for name, given in asked.call.record.arguments.items():
        if name in ("generator", "out", "inplace"):
            continue
        if isinstance(given, Ref):
            dtype = asked.values[given.value].dtype
            kept = dtype if dtype == torch.bool else torch.float64
            given = torch.tensor(operands[given.value], dtype=kept)
        arguments[name] = given
    result = operator(**arguments)
    return float(result[0] if isinstance(result, tuple) else result)


def _explain_sum(asked: ValueCall) -> Sum:
    operands = _operands(asked)
    sign = -1.0 if asked.call.record.short_operator.startswith(("sub", "rsub")) else 1.0
    given = asked.call.get("alpha")
    alpha = sign * (1.0 if given is None else float(given))
    if asked.call.record.short_operator.startswith("rsub"):
        operands.reverse()
    terms = tuple(
        Term(name, value * (alpha if position else 1.0), (Factor(name, value),), place)
        for position, (name, value, place) in enumerate(operands)
    )
    return Sum(terms, sum(term.value for term in terms), "input - other" if sign < 0 else "input + other")


def _explain_product(asked: ValueCall) -> Sum:
    operands = _operands(asked)
    total = _recomputed(asked)
    named = tuple(Factor(name, value) for name, value, _ in operands)
    # Followed further down along its first operand, a map; the other is mostly a scale.
    maps = [place for _, _, place in operands if place is not None]
    symbol = " / " if asked.call.record.short_operator.startswith("div") else " * "
    return Sum(
        (Term(symbol.join(f.name for f in named), total, named, maps[0] if maps else None),),
        total,
        symbol.join(f.name for f in named),
    )


def _explain_function(formula: str) -> Callable[[ValueCall], Sum]:
    def explain(asked: ValueCall) -> Sum:
        operands = _operands(asked)
        total = _recomputed(asked)
        place = operands[0][2] if operands else None
        factors = tuple(Factor(name, value) for name, value, _ in operands)
        return Sum((Term(formula, total, factors, place),), total, formula)

    return explain


register(Rule("pointwise", _cost(1), _field, _explain_sum), "add", "sub", "rsub")
register(Rule("pointwise", _cost(1), _field, _explain_product), "mul", "div")

# operator: (element operations, formula)
_FUNCTIONS: dict[str, tuple[int, str]] = {
    "relu": (1, "max(0, input)"),
    "relu6": (2, "min(max(0, input), 6)"),
    "hardtanh": (2, "min(max(min_val, input), max_val)"),
    "leaky_relu": (1, "input if input > 0, else negative_slope * input"),
    "prelu": (1, "input if input > 0, else weight * input"),
    "_prelu_kernel": (1, "input if input > 0, else weight * input"),
    "elu": (2, "input if input > 0, else alpha * (exp(input) - 1)"),
    "celu": (3, "max(0, input) + min(0, alpha * (exp(input/alpha) - 1))"),
    "selu": (3, "scale * (input if input > 0, else alpha * (exp(input) - 1))"),
    "gelu": (2, "input * Phi(input), Phi the normal distribution function"),
    "silu": (2, "input * sigmoid(input)"),
    "mish": (3, "input * tanh(softplus(input))"),
    "sigmoid": (1, "1 / (1 + exp(-input))"),
    "hardsigmoid": (3, "min(max(0, input + 3), 6) / 6"),
    "hardswish": (4, "input * min(max(0, input + 3), 6) / 6"),
    "log_sigmoid_forward": (2, "log(sigmoid(input))"),
    "tanh": (1, "tanh(input)"),
    "softplus": (2, "log(1 + exp(beta * input)) / beta"),
    "threshold": (1, "input if input > threshold, else value"),
    "softshrink": (2, "input moved towards 0 by lambda"),
    "hardshrink": (1, "input if |input| > lambda, else 0"),
    "clamp": (2, "min(max(min, input), max)"),
    "clamp_min": (1, "max(min, input)"),
    "clamp_max": (1, "min(max, input)"),
    "exp": (1, "exp(input)"),
    "expm1": (1, "exp(input) - 1"),
    "log": (1, "log(input)"),
    "log1p": (1, "log(1 + input)"),
    "log2": (1, "log2(input)"),
    "log10": (1, "log10(input)"),
    "sqrt": (1, "sqrt(input)"),
    "rsqrt": (1, "1 / sqrt(input)"),
    "square": (1, "input^2"),
    "pow": (1, "input^exponent"),
    "abs": (1, "|input|"),
    "neg": (1, "-input"),
    "sign": (1, "sign(input)"),
    "sgn": (1, "sign(input)"),
    "reciprocal": (1, "1 / input"),
    "sin": (1, "sin(input)"),
    "cos": (1, "cos(input)"),
    "tan": (1, "tan(input)"),
    "atan": (1, "atan(input)"),
    "atan2": (1, "atan2(input, other)"),
    "erf": (1, "erf(input)"),
    "floor": (1, "floor(input)"),
    "ceil": (1, "ceil(input)"),
    "round": (1, "round(input)"),
    "trunc": (1, "trunc(input)"),
    "maximum": (1, "max(input, other)"),
    "minimum": (1, "min(input, other)"),
    "fmod": (1, "input modulo other"),
    "remainder": (1, "input modulo other"),
    "floor_divide": (1, "floor(input / other)"),
    "where": (1, "self where condition, else other"),
    "masked_fill": (1, "value where mask, else input"),
    "addcmul": (2, "input + value * tensor1 * tensor2"),
    "addcdiv": (2, "input + value * tensor1 / tensor2"),
    "lerp": (3, "input + weight * (end - input)"),
    "nan_to_num": (1, "input, NaN and infinities replaced"),
    **dict.fromkeys(
        ("eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "logical_not", "logical_and", "logical_or",
         "logical_xor", "bitwise_and", "bitwise_or", "bitwise_not", "bitwise_xor"),
        (1, "a comparison"),
    ),
}  # fmt: skip
for _name, (_operations, _formula) in _FUNCTIONS.items():
    register(Rule("pointwise", _cost(_operations), _field, _explain_function(_formula)), _name)

register(Rule("pointwise", _cost(1), _field), "tril", "triu")


def _gated_field(call: Call, fields: Fields) -> FieldState:
    """Two halves of one axis, multiplied: elsewhere the output sees what the input sees."""
    state = fields.of(call["self"].value)
    axis = call["dim"] % len(state.dims)
    size = call.output.shape[axis]
    read = fields.read(state.dims[axis], Reads(1, 1, ((0, size),)), size)
    return replace(state, dims=(*state.dims[:axis], read, *state.dims[axis + 1 :]))


def _explain_gated(asked: ValueCall) -> Sum:
    values = asked.tensor("self")
    axis = asked["dim"] % values.dim()
    half = asked.call.output.shape[axis]
    gate_at = tuple(index + half if a == axis else index for a, index in enumerate(asked.at))
    pixel, gate = float(values[asked.at]), float(values[gate_at])
    share = 1 / (1 + math.exp(-gate))
    factors = (Factor("input", pixel), Factor("sigmoid(gate)", share))
    term = Term("input * sigmoid(gate)", pixel * share, factors, asked.source("self", asked.at))
    return Sum(
        (term,), pixel * share, "input * sigmoid(gate), the second half of the axis", (Factor("gate", gate),)
    )


register(Rule("pointwise", _cost(2), _gated_field, _explain_gated), "glu")
register(Rule("pointwise", _cost(1), _field), "rrelu_with_noise")  # its noise is drawn inside

# Draws and constants: they see nothing of the input, whatever they overwrite.
register(
    Rule("random", _cost(1), lambda call, fields: fields.blank(call.output.shape)),
    *("bernoulli", "uniform", "normal", "rand", "randn", "rand_like", "randn_like", "randint", "randperm"),
    *("native_dropout", "multinomial", "exponential", "random"),
)
register(
    Rule("constant", None, lambda call, fields: fields.blank(call.output.shape), None, hidden=True),
    *(
        "empty",
        "empty_like",
        "empty_strided",
        "new_empty",
        "new_empty_strided",
        "zeros",
        "zeros_like",
        "new_zeros",
    ),
    *(
        "ones",
        "ones_like",
        "new_ones",
        "full",
        "full_like",
        "new_full",
        "arange",
        "linspace",
        "eye",
        "fill",
        "zero",
    ),
    *(
        "scalar_tensor",
        "tril_indices",
        "triu_indices",
        "lift_fresh_copy",
        "lift_fresh",
        "_local_scalar_dense",
    ),
    "is_same_size",
)
