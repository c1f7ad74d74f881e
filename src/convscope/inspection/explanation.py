"""One value of any layer as a sum of named terms, and what its largest terms are made of in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from convscope.display import Shown
from convscope.errors import UsageError
from convscope.trace import Record, Trace
from convscope.trace.origins import moves_only, origin_of
from convscope.trace.rules import Call, Factor, Sum, Term, ValueCall, makes_constants, rule_of
from convscope.trace.tracing import check_place

__all__ = ["Explanation", "explain"]

_TERMS_SHOWN = 12


@dataclass(frozen=True, eq=False)
class Explanation(Shown):
    """One value taken apart.

    Attributes:
        layer: the name that was asked for, or the record's.
        operator, path: what computed the value; "input" for a pixel.
        at: the place in the tensor that this operator made; views in between were followed back to it.
        terms: what adds up to `total`; of a maximum the candidates.
        total: the value recomputed in float64.
        engine_value: what torch computed, in the network's own precision.
        formula: the rule.
        facts: further numbers, such as mean and variance.
        window: positions read along each spatial axis; () where there is no window.
        support: the input pixels behind the value: (input, axis) to (first, last).
        tolerance: how far total and engine may differ by the engine's own rounding.
        taken: of a maximum the term that it takes.
        down: the same for the largest terms, where asked.
    """

    layer: str
    operator: str
    path: str
    at: tuple[int, ...]
    shape: tuple[int, ...]
    terms: tuple[Term, ...]
    total: float
    engine_value: float
    formula: str
    facts: tuple[Factor, ...]
    window: tuple[tuple[int, ...], ...]
    support: dict[tuple[int, int], tuple[int, int] | None]
    tolerance: float = 1e-5
    taken: Term | None = None
    down: tuple[Explanation, ...] = ()

    @property
    def difference(self) -> float:
        """Return how far total and engine are apart, relative to the largest of the numbers that were added."""
        scale = max((abs(term.value) for term in self.terms), default=0.0)
        scale = max(scale, abs(self.total), 1e-30)
        return abs(self.total - self.engine_value) / scale

    @property
    def agrees(self) -> bool:
        """Tell whether the terms make what the engine computed; NaN agrees with NaN."""
        return self.difference <= self.tolerance or (
            self.total != self.total and self.engine_value != self.engine_value
        )

    @property
    def groups(self) -> dict[str, float]:
        """Return the sums of the terms that belong together, such as one channel's, in order."""
        sums: dict[str, float] = {}
        for term in self.terms:
            name = term.group or term.name
            sums[name] = sums.get(name, 0.0) + term.value
        return sums

    def largest(self, count: int | None = None) -> list[Term]:
        """Return the terms by magnitude, the largest first."""
        return sorted(self.terms, key=lambda term: -abs(term.value))[:count]

    @property
    def path_down(self) -> list[Explanation]:
        """Return this value and, level by level, the first of the terms followed."""
        found: list[Explanation] = [self]
        while found[-1].down:
            found.append(found[-1].down[0])
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return every number as plain values for JSON."""
        return {
            "layer": self.layer,
            "operator": self.operator,
            "path": self.path,
            "at": list(self.at),
            "shape": list(self.shape),
            "formula": self.formula,
            "terms": [
                {
                    "name": term.name,
                    "value": term.value,
                    "group": term.group,
                    "factors": {factor.name: factor.value for factor in term.factors},
                    "source": None
                    if term.source is None
                    else {"tensor": term.source[0], "at": list(term.source[1])},
                }
                for term in self.terms
            ],
            "facts": {factor.name: factor.value for factor in self.facts},
            "window": [list(axis) for axis in self.window],
            "support": [
                {"input": number, "axis": axis, "first": span[0], "last": span[1]}
                for (number, axis), span in self.support.items()
                if span is not None
            ],
            "total": self.total,
            "engine_value": self.engine_value,
            "difference": self.difference,
            "agrees": self.agrees,
            "down": [entry.to_dict() for entry in self.down],
        }

    def __str__(self) -> str:
        return "\n".join(self._lines(""))

    def _lines(self, indent: str) -> list[str]:
        place = ", ".join(map(str, self.at))
        if self.operator == "input":
            return [f"{indent}{self.layer}[{place}] = {self.engine_value:.6g}, a value of the input"]
        if not self.terms:
            return [
                f"{indent}{self.layer}[{place}] = {self.engine_value:.6g}   {self.operator}: {self.formula}"
            ]
        lines = [f"{self.layer}[{place}] = {self.engine_value:.6g}   {self.operator}: {self.formula}"]
        for (number, axis), span in self.support.items():
            if span is not None:
                lines.append(f"  sees pixels {span[0]} to {span[1]} of axis {axis} of input {number}")
        lines += [f"  {factor.name} = {factor.value:.6g}" for factor in self.facts]
        lines += self._term_lines()
        lines.append(f"  total {self.total:.8g}; torch computed {self.engine_value:.8g}")
        if not self.agrees:
            lines.append(
                f"  THESE DO NOT AGREE: {self.difference:.2g} of the largest term apart; please report it"
            )
        lines = [indent + line for line in lines]
        for entry in self.down:
            lines += entry._lines(indent + "    ")
        return lines

    def _term_lines(self) -> list[str]:
        shown = list(self.terms)
        note = ""
        if len(shown) > _TERMS_SHOWN:
            groups = self.groups
            shown = self.largest(_TERMS_SHOWN)
            rest = len(self.terms) - len(shown)
            if 1 < len(groups) < len(self.terms):
                note = (
                    f"  and {rest} smaller terms; sums of the {len(groups)} groups, largest first: "
                    + ", ".join(
                        f"{name} {value:+.4g}"
                        for name, value in sorted(groups.items(), key=lambda pair: -abs(pair[1]))[:8]
                    )
                )
            else:
                left = self.total - sum(term.value for term in shown)
                note = f"  and {rest} smaller terms" + (
                    f", together {left:+.6g}" if self.taken is None else ""
                )
        lines = []
        for term in shown:
            product = " * ".join(f"({factor.value:.5g})" for factor in term.factors)
            names = " * ".join(factor.name for factor in term.factors)
            detail = f"  = {product}  [{names}]" if len(term.factors) > 1 else ""
            if len(term.factors) == 1 and term.factors[0].name != term.name:
                detail = f"  [{names} = {term.factors[0].value:.6g}]"
            lines.append(f"  {term.value:+.6g}  {term.name}{detail}")
        return [*lines, note] if note else lines


def explain(
    trace: Trace,
    layer: str,
    at: Sequence[int],
    *,
    down: int | Literal["input"] = 0,
    follow: int = 1,
) -> Explanation:
    """Take one value of a layer apart into named terms, and its largest terms in turn, down to the pixels.

    Convolution of every kind, dense layers and attention, pooling (the winner), normalisation in both modes,
    activations, sums, products, concatenation, interpolation, softmax. Views on the way are followed silently.

    Args:
        layer: a module's path (`path#1` for its second call), or an operator's name as in `trace.records`.
        at: index in its output; the batch index may be left out, it is 0 then.
        down: how many levels of terms to follow; "input" goes on to the pixels.
        follow: how many of the largest terms of each value.
    Raises:
        UnknownNameError: no such layer; the nearest names are told.
        ShapeError: a place outside the layer's output; the valid range is told.
        UsageError: a trace of a shape, weights that have changed since, an operator that is not explained.
    Cost:
        One more forward pass if the trace did not keep the layer's values; with `down` one that keeps all.
    Example:
        >>> import torch
        >>> from torch import nn
        >>> from convscope.trace import trace
        >>> net = nn.Sequential(nn.Conv2d(1, 1, 2, bias=False), nn.ReLU())
        >>> _ = nn.init.ones_(net[0].weight)
        >>> value = explain(trace(net, torch.arange(9.0).reshape(1, 1, 3, 3)), "1", (0, 1, 1), down=1)
        >>> value.engine_value, [term.value for term in value.down[0].terms]
        (24.0, [4.0, 5.0, 7.0, 8.0])
    """
    facts = trace.tensor_of(layer, "explain")
    place = check_place(facts.shape, at, layer, "explain")
    if down != "input" and (not isinstance(down, int) or isinstance(down, bool) or down < 0):
        raise UsageError(f"down is {down!r}; give a number of levels or 'input'.", call="explain")
    if not isinstance(follow, int) or follow < 1:
        raise UsageError(f"follow is {follow!r}; it must be at least 1.", call="explain")
    if not trace.has_values:
        raise UsageError(
            "this trace was made from a shape and has no values; trace a real tensor.", call="explain"
        )
    found = trace.replayed(facts.index if down == 0 else None)
    walk = _Walk(found, follow)
    try:
        return walk.explained(
            layer, facts.index, place, len(found.records) if down == "input" else down, top=True
        )
    except RecursionError as error:
        raise UsageError(
            f"the way down from {layer!r} is longer than Python can follow; give down=300.", call="explain"
        ) from error


class _Walk:
    """Takes values apart, and their largest terms, as deep as it is told."""

    def __init__(self, trace: Trace, follow: int) -> None:
        self.trace, self.follow = trace, follow
        self.tensors = list(trace.tensors)
        self.depends = set(trace.inputs)  # tensors that an input has a part in
        for record in trace.records:
            if not makes_constants(record) and any(number in self.depends for number in record.inputs):
                self.depends.update(record.outputs)

    def explained(
        self, layer: str, number: int, at: tuple[int, ...], levels: int, *, top: bool = False
    ) -> Explanation:
        """Return the explanation of one element; an operator without one ends its branch, unless it was asked for."""
        trace = self.trace
        origin = self._behind_views(number, at)
        source, place = origin or (number, at)
        record, facts = trace.producer(source), trace.tensors[source]
        values = trace.values.get(source)
        if values is None:  # an input that nothing reads
            values = trace.given[trace.inputs.index(source)]
        if values.is_complex():
            raise UsageError(f"{layer!r} holds complex numbers; those are not explained.", call="explain")
        engine_value = float(values[place])
        tolerance = _tolerance(values.dtype)
        support = trace.support_at(source, place)

        def leaf(name: str, operator: str, formula: str) -> Explanation:
            return Explanation(
                name, operator, "", place, facts.shape, (), engine_value, engine_value, formula, (), (), support,
                tolerance,
            )  # fmt: skip

        if record is None and facts.kind == "input":
            return leaf(facts.name or layer, "input", "a given value")
        if origin is None or record is None or source not in self.depends:
            return leaf(facts.name or layer, "constant", "a constant: no input has a part in it")
        try:
            taken = self._taken_apart(record, source, place)
        except UsageError as error:
            if top:
                raise
            return leaf(record.name, record.operator, f"not explained: {error.message}")
        followed = (
            [taken.taken] if taken.taken is not None else sorted(taken.terms, key=lambda t: -abs(t.value))
        )
        children: list[Explanation] = []
        for term in followed if levels > 0 else ():
            if len(children) < self.follow and term.source is not None and self._leads_on(*term.source):
                children.append(self.explained(self._name_of(term.source[0]), *term.source, levels - 1))
        return Explanation(
            layer if source == number else record.name,
            record.operator,
            record.path,
            place,
            facts.shape,
            taken.terms,
            taken.total,
            engine_value,
            taken.formula,
            taken.facts,
            taken.window,
            support,
            tolerance,
            taken.taken,
            tuple(children),
        )

    def _leads_on(self, number: int, at: tuple[int, ...]) -> bool:
        """Tell whether an input has a part in an element: in no parameter, no constant, no padding."""
        if number not in self.depends:
            return False
        origin = self._behind_views(number, at)
        return origin is not None and origin[0] in self.depends

    def _name_of(self, number: int) -> str:
        record = self.trace.producer(number)
        return record.name if record is not None else self.trace.tensors[number].name or "constant"

    def _behind_views(self, number: int, at: tuple[int, ...]) -> tuple[int, tuple[int, ...]] | None:
        """Follow an element back through records that only rename it."""
        while True:
            record = self.trace.producer(number)
            if record is None or not record.hidden or not moves_only(record):
                return number, at
            origin = self._origin(record, number, at)
            if origin is None:
                return None
            number, at = origin

    def _origin(self, record: Record, number: int, at: tuple[int, ...]) -> tuple[int, tuple[int, ...]] | None:
        try:
            return origin_of(record, at, self.tensors, self.trace.values, record.outputs.index(number))
        except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError) as error:
            raise _unexplained(record, error) from error

    def _taken_apart(self, record: Record, number: int, at: tuple[int, ...]) -> Sum:
        rule = rule_of(record.operator)
        if rule is not None and rule.family == "move":
            return self._moved(record, number, at)
        if rule is None or rule.explain is None:
            raise _unexplained(record)
        if number != record.outputs[0]:
            raise UsageError(
                f"this is output {record.outputs.index(number)} of {record.operator} ({record.name!r}), indices or "
                "statistics; only the first output is explained.",
                call="explain",
            )
        try:
            return rule.explain(ValueCall(Call(record, self.tensors), self.trace.values, at))
        except (RuntimeError, ValueError, IndexError, TypeError, KeyError, NotImplementedError) as error:
            raise _unexplained(record, error) from error

    def _moved(self, record: Record, number: int, at: tuple[int, ...]) -> Sum:
        origin = self._origin(record, number, at)
        if origin is None:
            value = float(self.trace.values[number][at])
            return Sum((Term("filled in", value),), value, f"{record.short_operator}: a constant")
        value = float(self.trace.values[origin[0]][origin[1]])
        name = f"{self._name_of(origin[0])}[{', '.join(map(str, origin[1]))}]"
        return Sum((Term(name, value, (), origin),), value, f"{record.short_operator}: copied")


def _unexplained(record: Record, error: Exception | None = None) -> UsageError:
    why = "" if error is None else f" here ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
    return UsageError(
        f"operator {record.operator} of {record.name!r} has no explanation{why}; explain a layer before or behind it.",
        call="explain",
    )


def _tolerance(dtype: torch.dtype) -> float:
    """Return how far the engine may be from float64: its own rounding, several times over."""
    return max(1e-5, 4 * torch.finfo(dtype).eps) if dtype.is_floating_point else 0.0
