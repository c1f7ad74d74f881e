"""Sums, means, extremes over axes; softmax."""

from __future__ import annotations

import itertools
import math
from math import prod

import torch

from convscope.trace.fields import Fields, FieldState
from convscope.trace.rules.base import Call, Cost, Factor, Rule, Sum, Term, ValueCall, register, winner

__all__: list[str] = []


def _axes(call: Call) -> list[int]:
    ndim = len(call.shape("self"))
    given = call.get("dim")
    if given is None or given == []:
        return list(range(ndim))
    return [axis % max(ndim, 1) for axis in (given if isinstance(given, (list, tuple)) else (given,))]


def _cost(call: Call) -> Cost:
    return Cost(element_ops=call.facts("self").numel)


def _field(call: Call, fields: Fields) -> FieldState:
    return fields.reduced(fields.of(call["self"].value), _axes(call), keepdim=bool(call.get("keepdim")))


def _places(asked: ValueCall) -> list[tuple[int, ...]]:
    shape, gone = asked.tensor("self").shape, _axes(asked.call)
    kept = iter(
        index for axis, index in enumerate(asked.at) if not (asked.call.get("keepdim") and axis in gone)
    )
    ranges = [range(size) if axis in gone else (next(kept),) for axis, size in enumerate(shape)]
    return list(itertools.product(*ranges))


def _explain_sum(asked: ValueCall) -> Sum:
    values = asked.tensor("self")
    places = _places(asked)
    mean = asked.call.record.short_operator.startswith("mean")
    share = 1.0 / len(places) if mean else 1.0
    terms = tuple(
        Term(
            f"position {', '.join(map(str, place))}",
            float(values[place]) * share,
            (Factor("input", float(values[place])),) + ((Factor("share", share),) if mean else ()),
            asked.source("self", place),
        )
        for place in places
    )
    formula = f"sum of {len(places)} values" + (f" / {len(places)}" if mean else "")
    return Sum(terms, sum(term.value for term in terms), formula)


def _explain_extreme(asked: ValueCall) -> Sum:
    values = asked.tensor("self")
    largest = "max" in asked.call.record.operator
    terms = tuple(
        Term(f"position {', '.join(map(str, place))}", float(values[place]), (), asked.source("self", place))
        for place in _places(asked)
    )
    taken = winner(terms, largest=largest)
    word = "largest" if largest else "smallest"
    return Sum(terms, taken.value, f"the {word}, at {taken.name}", taken=taken)


register(Rule("reduction", _cost, _field, _explain_sum), "mean", "sum")
register(Rule("reduction", _cost, _field, _explain_extreme), "amax", "amin")
register(Rule("reduction", _cost, _field, _explain_extreme), "max", "min")
register(
    Rule("reduction", _cost, _field),
    *("prod", "argmax", "argmin", "any", "all", "logsumexp", "median", "norm", "linalg_vector_norm"),
)


def _spread_cost(call: Call) -> Cost:
    return Cost(element_ops=3 * call.facts("self").numel)


register(Rule("reduction", _spread_cost, _field), "var", "std", "var_mean", "std_mean")


def _softmax_cost(call: Call) -> Cost:
    # Largest, difference, exponential, sum, quotient.
    return Cost(element_ops=5 * prod(call.output.shape))


def _softmax_field(call: Call, fields: Fields) -> FieldState:
    return fields.spread(fields.of(call["self"].value), _axes(call))


def _explain_softmax(asked: ValueCall) -> Sum:
    values = asked.tensor("self").double()
    axis = _axes(asked.call)[0]
    place = asked.at
    row = values[tuple(slice(None) if a == axis else index for a, index in enumerate(place))]
    largest = float(row.max())
    total = float((row - largest).exp().sum())
    own = float(row[place[axis]])
    facts = [Factor("largest", largest), Factor("sum of exp(input - largest)", total)]
    facts += [
        Factor(f"exp(input {index} - largest)", math.exp(float(row[index]) - largest))
        for index in torch.topk(row, min(5, len(row))).indices.tolist()
    ]
    source = asked.source("self", place)
    if "log_softmax" in asked.call.record.operator:
        terms = (
            Term("input", own, (Factor("input", own),), source),
            Term("-largest", -largest, (Factor("-largest", -largest),)),
            Term("-log(sum)", -math.log(total), (Factor("sum", total),)),
        )
        formula = "input - largest - log(sum over the axis of exp(input - largest))"
        return Sum(terms, sum(term.value for term in terms), formula, tuple(facts))
    top = math.exp(own - largest)
    share = top / total
    term = Term(
        "exp(input - largest) / sum",
        share,
        (Factor("exp(input - largest)", top), Factor("1/sum", 1 / total)),
        source,
    )
    return Sum(
        (term,), share, "exp(input - largest) / sum over the axis of exp(input - largest)", tuple(facts)
    )


register(
    Rule("softmax", _softmax_cost, _softmax_field, _explain_softmax),
    "_softmax",
    "_log_softmax",
    "_safe_softmax",
    "softmax",
    "log_softmax",
)
register(
    Rule("reduction", _cost, lambda call, fields: fields.spread(fields.of(call["self"].value), _axes(call))),
    *("cumsum", "cumprod", "sort", "topk"),
)
