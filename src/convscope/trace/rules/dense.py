"""Matrix products: fully connected layers, batched products, attention."""

from __future__ import annotations

from math import prod

import torch

from convscope.geometry import matmul_macs
from convscope.trace.fields import Fields, FieldState
from convscope.trace.rules.base import Call, Cost, Factor, Rule, Sum, Term, ValueCall, register

__all__: list[str] = []


def _operands(call: Call) -> tuple[str, str]:
    names = [name for name in ("mat1", "batch1", "self") if name in call.record.arguments]
    return names[0], {"mat1": "mat2", "batch1": "batch2", "self": "mat2"}[names[0]]


def _cost(call: Call) -> Cost:
    left, right = _operands(call)
    rows, columns = call.shape(left), call.shape(right)
    added = call.output.numel if left != "self" else 0
    return Cost(matmul_macs(rows[-2], rows[-1], columns[-1], prod(rows[:-2])), added)


def _field(call: Call, fields: Fields) -> FieldState:
    """Rows keep what they see; what the summed axis sees, every output sees."""
    left, right = (fields.of(call[name].value) for name in _operands(call))
    states = [fields.reduced(left, (len(left.dims) - 1,)), fields.reduced(right, (len(right.dims) - 2,))]
    if (
        call.get("self") is not None and "mat1" in call.record.arguments
    ) or "batch1" in call.record.arguments:
        states.append(fields.of(call["self"].value))
    return fields.pointwise(states, call.output.shape)


def _explain(asked: ValueCall) -> Sum:
    left, right = _operands(asked.call)
    first, second = asked.tensor(left), asked.tensor(right)
    *batch, row, column = asked.at
    pixels, weights = first[(*batch, row)].double(), second[(*batch, slice(None), column)].double()
    products = (pixels * weights).tolist()
    beta, alpha = float(asked.call.get("beta", 1) or 0), float(asked.call.get("alpha", 1) or 0)
    terms = [
        Term(
            f"feature {index}",
            alpha * product,
            (Factor("input", pixel), Factor("weight", weight)),
            asked.source(left, (*batch, row, index)),
        )
        for index, (pixel, weight, product) in enumerate(
            zip(pixels.tolist(), weights.tolist(), products, strict=True)
        )
    ]
    formula = "sum over features of input * weight"
    if left != "self":
        shift = beta * float(asked.tensor("self").expand(_output_shape(first, second))[asked.at])
        terms.append(Term("bias", shift, (Factor("bias", shift),), None, "bias"))
        formula += " + bias"
    return Sum(tuple(terms), sum(term.value for term in terms), formula)


def _output_shape(first: torch.Tensor, second: torch.Tensor) -> tuple[int, ...]:
    return (*first.shape[:-1], second.shape[-1])


register(Rule("dense", _cost, _field, _explain), "mm", "addmm", "bmm", "baddbmm")


def _vector_cost(call: Call) -> Cost:
    first = call.shape("self") if "mat" not in call.record.arguments else call.shape("mat")
    rows = first[0] if len(first) == 2 else 1
    return Cost(matmul_macs(rows, first[-1], 1))


def _vector_field(call: Call, fields: Fields) -> FieldState:
    states = [fields.of(index) for index in call.record.inputs]
    whole = [fields.reduced(state, (len(state.dims) - 1,), keepdim=False) for state in states]
    return fields.pointwise(whole, call.output.shape)


register(Rule("dense", _vector_cost, _vector_field), "mv", "dot", "addmv")


def _recurrent_cost(call: Call) -> Cost:
    """Count both matrices of all gates once for each step and image."""
    steps, images = call.shape("input")[:2]
    macs = sum(
        matmul_macs(images, call.shape(name)[1], call.shape(name)[0], steps)
        for name in ("weight0", "weight1")
    )
    return Cost(macs, 6 * steps * images * call.shape("weight0")[0])


def _recurrent_field(call: Call, fields: Fields) -> list[FieldState]:
    """Say that every step may see all steps: through the state, and in both directions."""
    states = [fields.of(index) for index in call.record.inputs]
    whole = [fields.reduced(state, range(len(state.dims))) for state in states]
    return [fields.like(whole, fields.blank(call.tensors[index].shape).dims) for index in call.record.outputs]


register(Rule("dense", _recurrent_cost, _recurrent_field), "mkldnn_rnn_layer")


def _attention_cost(call: Call) -> Cost:
    query, key, value = (call.shape(name) for name in ("query", "key", "value"))
    batch = prod(query[:-2])
    scores = matmul_macs(query[-2], query[-1], key[-2], batch)
    sums = matmul_macs(query[-2], key[-2], value[-1], batch)
    # softmax: subtract the largest, exponential, sum, divide; and the scaling
    return Cost(scores + sums, 5 * batch * query[-2] * key[-2])


def _attention_field(call: Call, fields: Fields) -> FieldState:
    query, key, value = (fields.of(call[name].value) for name in ("query", "key", "value"))
    key, value = (fields.reduced(state, (len(state.dims) - 2, len(state.dims) - 1)) for state in (key, value))
    query = fields.reduced(query, (len(query.dims) - 1,))
    return fields.pointwise([query, key, value], call.output.shape)


def _explain_attention(asked: ValueCall) -> Sum:
    query, key, value = (asked.tensor(name).double() for name in ("query", "key", "value"))
    *batch, row, column = asked.at
    heads = tuple(batch)
    given = asked.call.get("scale")
    scale = query.shape[-1] ** -0.5 if given is None else float(given)
    if key.dim() > 2 and key.shape[-3] != query.shape[-3]:  # several queries share one key and value
        key, value = (t.repeat_interleave(query.shape[-3] // t.shape[-3], -3) for t in (key, value))
    scores = key[heads] @ query[heads][row] * scale
    if asked.call.get("is_causal"):
        scores[row + 1 :] = -torch.inf
    mask = asked.value("attn_mask")
    if mask is not None:
        row_mask = mask.expand((*query.shape[:-1], key.shape[-2]))[heads][row]
        scores = scores.masked_fill(~row_mask, -torch.inf) if mask.dtype == torch.bool else scores + row_mask
    weights = scores.softmax(0)
    column_values = value[heads][:, column]
    terms = tuple(
        Term(
            f"key {index}",
            share * content,
            (Factor("attention", share), Factor("value", content)),
            asked.source("value", (*batch, index, column)),
        )
        for index, (share, content) in enumerate(zip(weights.tolist(), column_values.tolist(), strict=True))
    )
    return Sum(
        terms,
        sum(term.value for term in terms),
        "sum over keys of softmax(query . key * scale) * value",
        (Factor("scale", scale),),
    )


register(
    Rule("attention", _attention_cost, _attention_field, _explain_attention),
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_attention_math",
    "scaled_dot_product_attention",
)
