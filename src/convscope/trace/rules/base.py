"""What a rule says of an operator: what it costs, what its output sees, what one value is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from convscope.trace.fields import Fields, FieldState
from convscope.trace.record import Record, Ref, TensorFacts

__all__ = [
    "Call",
    "Cost",
    "Factor",
    "Rule",
    "Sum",
    "Term",
    "ValueCall",
    "makes_constants",
    "register",
    "rule_of",
    "winner",
]


@dataclass(slots=True)
class Cost:
    """MACs of convolutions and matrix products; element operations of everything else."""

    macs: int = 0
    element_ops: int = 0


@dataclass(slots=True)
class Call:
    """A recorded call as a rule reads it: `call["stride"]`, `call.facts("input")`."""

    record: Record
    tensors: list[TensorFacts]

    def __getitem__(self, name: str) -> Any:
        return self.record.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument, or the default where this operator has none of that name."""
        return self.record.arguments.get(name, default)

    def facts(self, name: str) -> TensorFacts:
        """Return the tensor that was given as this argument."""
        return self.tensors[self.record.arguments[name].value]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the tensor that was given as this argument."""
        return self.facts(name).shape

    @property
    def output(self) -> TensorFacts:
        """Return the first output."""
        return self.tensors[self.record.outputs[0]]


@dataclass(frozen=True, slots=True)
class Factor:
    """A named number that enters a term: a pixel, a weight, a scale."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Term:
    """One named part of a value.

    Attributes:
        value: what it adds, in float64.
        factors: the numbers whose product it is.
        source: number of the tensor that its varying factor was read from, and the place there; None for
            constants and parameters, which come from nowhere further down.
        group: terms of one group are summed on one line: a channel of a convolution.
    """

    name: str
    value: float
    factors: tuple[Factor, ...] = ()
    source: tuple[int, tuple[int, ...]] | None = None
    group: str = ""


@dataclass(frozen=True, slots=True)
class Sum:
    """A value taken apart.

    Attributes:
        terms: what adds up to `total`, or the candidates of a maximum.
        total: the value recomputed in float64.
        formula: the rule in words and symbols, with the numbers in it where they are few.
        facts: further named numbers, such as the variance of a normalisation.
        taken: of a maximum or minimum the term that it takes.
        window: for each spatial axis of the input the positions read, outside it padding; () if there is none.
    """

    terms: tuple[Term, ...]
    total: float
    formula: str
    facts: tuple[Factor, ...] = ()
    window: tuple[tuple[int, ...], ...] = ()
    taken: Term | None = None


def winner(terms: Sequence[Term], *, largest: bool = True) -> Term:
    """Return the term that a maximum or minimum takes; as in torch, NaN goes before every number."""
    for term in terms:
        if math.isnan(term.value):
            return term
    return (max if largest else min)(terms, key=lambda term: term.value)


@dataclass(frozen=True, slots=True)
class ValueCall:
    """A recorded call with the values it worked on, and the place in its output that is asked for."""

    call: Call
    values: dict[int, Tensor]
    at: tuple[int, ...]

    def __getitem__(self, name: str) -> Any:
        return self.call[name]

    def value(self, name: str) -> Tensor | None:
        """Return the values of a tensor argument, or None where none was given."""
        given = self.call.get(name)
        return self.values[given.value] if isinstance(given, Ref) else None

    def tensor(self, name: str) -> Tensor:
        """Return the values of a tensor argument that is always given."""
        return self.values[self.call[name].value]

    def source(self, name: str, place: Iterable[int]) -> tuple[int, tuple[int, ...]]:
        """Name a place in a tensor argument."""
        return self.call[name].value, tuple(place)


@dataclass(frozen=True, slots=True)
class Rule:
    """What is known of one operator.

    Attributes:
        family: `convolution`, `pointwise`, ...: what readers group by.
        cost: MACs and element operations; None for none of either.
        field: what the outputs see, one state for the first or a list of all; None where it is not known.
        explain: the terms of one value; None where nothing is computed (views) or it is not known.
        hidden: tables leave it out: it only renames elements.
    """

    family: str
    cost: Callable[[Call], Cost] | None = None
    field: Callable[[Call, Fields], FieldState | list[FieldState]] | None = None
    explain: Callable[[ValueCall], Sum] | None = None
    hidden: bool = False


def makes_constants(record: Record) -> bool:
    """Tell whether an operator takes no value from its inputs, only shape or type: `zeros_like`, `new_empty`."""
    rule = rule_of(record.operator)
    return rule is not None and rule.family == "constant"


_RULES: dict[str, Rule] = {}


def register(rule: Rule, *operators: str) -> None:
    """Make a rule known for operators, named without namespace `aten.` and overload."""
    for operator in operators:
        name = operator if "." in operator else f"aten.{operator}"
        if name in _RULES:
            raise AssertionError(f"two rules for {name}")
        _RULES[name] = rule


def rule_of(operator: str) -> Rule | None:
    """Return the rule of an operator; one in place has that of its twin without the underscore.

    Example:
        >>> rule_of("aten.relu_") is rule_of("aten.relu")
        True
    """
    rule = _RULES.get(operator)
    return rule if rule is not None or not operator.endswith("_") else _RULES.get(operator[:-1])
