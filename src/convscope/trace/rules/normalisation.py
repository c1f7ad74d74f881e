"""Normalisation: by stored statistics, by the batch's, by those of a sample, a group or a position."""

from __future__ import annotations

from math import prod, sqrt

from torch import Tensor

from convscope.trace.fields import Fields, FieldState
from convscope.trace.rules.base import Call, Cost, Factor, Rule, Sum, Term, ValueCall, register

__all__: list[str] = []


def _uses_batch(call: Call) -> bool:
    return bool(call.get("training", call.get("train", False))) or call.get("running_mean") is None


def _batch_norm_cost(call: Call) -> Cost:
    # Scale and shift each element; in training also mean, deviation and square of each.
    return Cost(element_ops=(5 if _uses_batch(call) else 2) * call.output.numel)


def _batch_norm_field(call: Call, fields: Fields) -> FieldState:
    state = fields.of(call["input"].value)
    if not _uses_batch(call):
        return state
    return fields.spread(state, (0, *range(2, len(state.dims))))


def _normalised(
    asked: ValueCall,
    mean: float,
    variance: float,
    eps: float,
    weight: Tensor | None,
    bias: Tensor | None,
    parameter: tuple[int, ...],
    where: str,
) -> Sum:
    """Return (x - mean) / sqrt(variance + eps) * weight + bias as a sum."""
    pixel = float(asked.tensor("input")[asked.at])
    gain = 1.0 if weight is None else float(weight[parameter])
    scale = gain / sqrt(variance + eps)
    terms = [
        Term(
            "input * scale",
            pixel * scale,
            (Factor("input", pixel), Factor("scale", scale)),
            asked.source("input", asked.at),
        ),
        Term("-mean * scale", -mean * scale, (Factor("-mean", -mean), Factor("scale", scale))),
    ]
    if bias is not None:
        terms.append(Term("bias", float(bias[parameter]), (Factor("bias", float(bias[parameter])),)))
    facts = (
        Factor("mean", mean),
        Factor("variance", variance),
        Factor("eps", eps),
        Factor("weight", gain),
        Factor("scale", scale),
    )
    formula = f"(input - mean) * scale + bias, scale = weight / sqrt(variance + eps); statistics of {where}"
    return Sum(tuple(terms), sum(term.value for term in terms), formula, facts)


def _explain_batch_norm(asked: ValueCall) -> Sum:
    channel = asked.at[1]
    if _uses_batch(asked.call):
        values = asked.tensor("input")[:, channel].double()
        mean, variance = float(values.mean()), float(values.var(correction=0))
        where = f"this batch, {values.numel()} values of channel {channel}"
    else:
        stored, spread = asked.tensor("running_mean"), asked.tensor("running_var")
        mean, variance = float(stored[channel]), float(spread[channel])
        where = "training, as stored"
    return _normalised(
        asked, mean, variance, asked["eps"], asked.value("weight"), asked.value("bias"), (channel,), where
    )


register(
    Rule("normalisation", _batch_norm_cost, _batch_norm_field, _explain_batch_norm),
    "native_batch_norm",
    "batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "_batch_norm_with_update",
    "cudnn_batch_norm",
)


def _layer_norm_cost(call: Call) -> Cost:
    return Cost(element_ops=5 * call.output.numel)


def _layer_norm_field(call: Call, fields: Fields) -> FieldState:
    state = fields.of(call["input"].value)
    axes = len(call["normalized_shape"])
    return fields.spread(state, range(len(state.dims) - axes, len(state.dims)))


def _explain_layer_norm(asked: ValueCall) -> Sum:
    axes = len(asked["normalized_shape"])
    values = asked.tensor("input")[asked.at[:-axes]].double()
    mean, variance = float(values.mean()), float(values.var(correction=0))
    weight, bias = asked.value("weight"), asked.value("bias")
    where = f"this position, {values.numel()} values"
    return _normalised(asked, mean, variance, asked["eps"], weight, bias, asked.at[-axes:], where)


register(
    Rule("normalisation", _layer_norm_cost, _layer_norm_field, _explain_layer_norm),
    "native_layer_norm",
    "layer_norm",
)


def _group_norm_field(call: Call, fields: Fields) -> FieldState:
    state = fields.of(call["input"].value)
    return fields.spread(state, range(2, len(state.dims)))


def _explain_group_norm(asked: ValueCall) -> Sum:
    input, groups = asked.tensor("input"), asked["group"]
    width = input.shape[1] // groups
    group = asked.at[1] // width
    values = input[asked.at[0], group * width : (group + 1) * width].double()
    mean, variance = float(values.mean()), float(values.var(correction=0))
    where = f"group {group} of this sample, {values.numel()} values"
    weight, bias = asked.value("weight"), asked.value("bias")
    return _normalised(asked, mean, variance, asked["eps"], weight, bias, (asked.at[1],), where)


register(Rule("normalisation", _layer_norm_cost, _group_norm_field, _explain_group_norm), "native_group_norm")


# A weight of its own making: it sees no input.
register(
    Rule(
        "normalisation",
        lambda call: Cost(element_ops=3 * call.facts("v").numel),
        lambda call, fields: fields.blank(call.output.shape),
    ),
    "_weight_norm_interface",
)


def _rms_norm_cost(call: Call) -> Cost:
    return Cost(element_ops=4 * prod(call.output.shape))


register(
    Rule(
        "normalisation",
        _rms_norm_cost,
        lambda call, fields: fields.spread(
            fields.of(call["input"].value),
            range(len(call.output.shape) - len(call["normalized_shape"]), len(call.output.shape)),
        ),
    ),
    "_fused_rms_norm",
)
