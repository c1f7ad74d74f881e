"""Parts of a traced network's tensors, computed from parts of its inputs: every operator on the region it needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import lcm, prod
from typing import Any, TypeGuard

import torch
from torch import Tensor

from convscope.errors import UsageError
from convscope.geometry import AxisField, Span, TableField, hull
from convscope.trace.engines import tensors_in
from convscope.trace.fields import Fields, FieldState, Source
from convscope.trace.propagation import pass_through
from convscope.trace.record import Record, Ref
from convscope.trace.rules import makes_constants, rule_of
from convscope.trace.tracing import Trace

__all__ = ["Box", "Part", "Regions", "whole_box"]

Box = tuple[range, ...]  # positions along each axis, without gaps


def whole_box(shape: Sequence[int]) -> Box:
    """Return the box of a whole tensor.

    Example:
        >>> whole_box((2, 3))
        (range(0, 2), range(0, 3))
    """
    return tuple(map(range, shape))


def _joined(first: Box, second: Box) -> Box:
    pairs = zip(first, second, strict=True)
    return tuple(range(min(a.start, b.start), max(a.stop, b.stop)) for a, b in pairs)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The values of a tensor inside a box of it."""

    box: Box
    values: Tensor

    def within(self, box: Box) -> Tensor:
        """Return the values of another box, zeros where they are not known.

        Example:
            >>> part = Part((range(2, 4),), torch.tensor([5.0, 6.0]))
            >>> part.within((range(1, 4),)).tolist()
            [0.0, 5.0, 6.0]
        """
        if box == self.box:
            return self.values.contiguous()
        made = self.values.new_zeros([len(positions) for positions in box])
        shared = [
            range(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(self.box, box, strict=True)
        ]
        if all(shared):
            made[_slices(shared, box)] = self.values[_slices(shared, self.box)]
        return made


def _slices(positions: Iterable[range], box: Box) -> tuple[slice, ...]:
    """Return where these positions lie in the values of a box."""
    pairs = zip(positions, box, strict=True)
    return tuple(slice(part.start - base.start, part.stop - base.start) for part, base in pairs)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the elements of one output see of the operands, whose axes are named (number of the tensor, axis).

    Attributes:
        spans: output axis, operand's axis, and for each position of the first the lowest and the highest position
            seen; where nothing is seen, the lowest is above all and the highest below.
        reach: operands' axes that every element sees the same of.
        vague: whether what is read depends on values, or has no rule.
    """

    spans: tuple[tuple[int, Source, list[int], list[int]], ...]
    reach: dict[Source, Span | None]
    vague: bool

    @classmethod
    def of(cls, fields: Fields, state: FieldState) -> _Seen:
        spans = []
        for axis, dim in enumerate(state.dims):
            for source, entry in fields.single(dim).items():
                found = [entry.at(position) for position in range(prod(factor.size for factor in dim))]
                lows = [_NOWHERE if span is None else span[0] for span in found]
                spans.append((axis, source, lows, [-1 if span is None else span[1] for span in found]))
        reach = {source: entry.span for source, entry in state.reach.items()}
        return cls(tuple(spans), reach, bool(state.data_dependent or state.unknown))

    def by(self, box: Box) -> dict[Source, Span | None]:
        """Return the span of each operand's axis that the elements in a box see."""
        found: dict[Source, list[Span | None]] = {source: [span] for source, span in self.reach.items()}
        for axis, source, lows, highs in self.spans:
            here = slice(box[axis].start, box[axis].stop)
            low, high = min(lows[here]), max(highs[here])
            found.setdefault(source, []).append((low, high) if low <= high else None)
        return {source: hull(spans) for source, spans in found.items()}


@dataclass(frozen=True, slots=True)
class _Slide:
    """An axis of an output along which its operator slides.

    Attributes:
        unit: positions after which the patterns of all operands repeat.
        operands: the operands' axes read along it, how, by how much that moves in a unit, and their lengths.
    """

    axis: int
    size: int
    unit: int
    operands: tuple[tuple[Source, AxisField, int, int], ...]

    def cut(self, asked: range) -> tuple[int, int]:
        """Return how many units can be left out at both ends where only these positions are asked for."""
        front, back = asked.start // self.unit, (self.size - asked.stop) // self.unit
        for _, field, step, length in self.operands:
            # A pattern only moves on: its first period holds the lowest position, its last one the highest.
            ends = asked[: field.period], asked[-field.period :]
            first, last = (hull([field.at(position) for position in end]) for end in ends)
            front = min(front, max(first[0] if first else length, 0) // step)
            back = min(back, max(length - 1 - (last[1] if last else -1), 0) // step)
        for _, _, step, length in self.operands:  # something of each operand must be left
            front = min(front, (length - 1) // step)
            back = min(back, (length - 1) // step - front)
        return front, back


@dataclass(frozen=True, slots=True)
class _Patterns:
    """What one operator reads of its operands.

    Attributes:
        axes: those axes of each operand that are followed; along the others it is always read whole.
        seen: by each output, in the trace's own sizes, cut at the borders.
        slides: the axes of the first output along which the operator slides.
    """

    axes: dict[int, tuple[int, ...]]
    seen: dict[int, _Seen]
    slides: tuple[_Slide, ...]


_NOWHERE = 1 << 62

# Operators that, on operands shortened at the ends, make a result shortened at the ends, their arguments the same.
_SLIDING_FAMILIES = {"pooling", "pointwise", "normalisation", "softmax", "reduction", "dense", "resizing"}
_SLIDING = {
    *("convolution", "_convolution", "convolution_overrideable"),
    *("permute", "transpose", "t", "unsqueeze", "detach", "alias", "clone", "_to_copy"),
    *("cat", "stack", "slice", "select", "split", "split_with_sizes", "unbind"),
    *("constant_pad_nd", "pixel_shuffle", "pixel_unshuffle", "native_channel_shuffle"),
}
_ALIGNED = {"cat", "stack", "copy", "copy_"}  # as elementwise ones: position by position along the other axes
_FIXED = {"native_group_norm", "glu", "tril", "triu"}  # which count from the ends of what they read
_BOUND = {"cat", "stack", "slice", "select", "split", "split_with_sizes", "unbind"}  # to places along `dim`


class Regions:
    """Computes parts of a trace's tensors from parts of its inputs.

    A box of one tensor is followed backwards through the graph to the boxes that it needs of those before it. Then
    each operator runs on these alone: shortened by whole periods of its pattern where it slides along an axis, so
    that its own padding is met at the border of the map and nowhere else, and with zeros for what is not needed
    where it does not. What depends on no input is taken from the trace.

    Args:
        trace: of a real input, in evaluation mode.
    Raises:
        UsageError: a trace of a shape; from `compute`, an operator on the way that draws random numbers, or that
            cannot be run on a part.
    Example:
        >>> from convscope.trace import trace
        >>> image = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> regions = Regions(trace(torch.nn.AvgPool2d(2), image))
        >>> corner = (range(1), range(1), range(2, 4), range(2, 4))
        >>> given = {0: Part(corner, image[..., 2:, 2:])}
        >>> regions.compute(1, (range(1), range(1), range(1, 2), range(1, 2)), given).values.tolist()
        [[[[12.5]]]]
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        replayed = trace.replayed()
        # What is overwritten piece by piece is kept where it is returned.
        self.kept = {**dict(zip(trace.outputs, replayed.results, strict=True)), **replayed.values}
        self._tensors = list(trace.tensors)
        self._seen = trace.fields(TableField)
        self._patterns: dict[int, _Patterns] = {}
        self._depends = set(trace.inputs)
        for record in trace.records:
            if not makes_constants(record) and self._depends.intersection(record.inputs):
                self._depends.update(record.outputs)

    def compute(self, number: int, box: Box, given: Mapping[int, Part]) -> Part:
        """Return the values of a tensor inside a box, from parts of the inputs alone; elsewhere these count as 0.

        Args:
            given: parts of input tensors, by number.
        """
        if number not in self._depends:
            return Part(box, self.kept[number][_slices(box, whole_box(self._tensors[number].shape))])
        needed = self.needed(number, box)
        records = [
            record
            for record in self.trace.records
            if needed.keys() & set(record.outputs) and record.outputs[0] in self._depends
        ]
        last = {operand: record.index for record in records for operand in record.inputs}
        parts = dict(given)
        with torch.no_grad():
            for record in records:
                wanted = {n: needed[n] for n in record.outputs if n in needed}
                parts.update(self._run(record, wanted, parts))
                for operand in set(record.inputs):
                    if last[operand] == record.index and operand != number:
                        parts.pop(operand, None)
        return Part(box, parts[number].within(box))

    def needed(self, number: int, box: Box) -> dict[int, Box]:
        """Return the boxes of this and all tensors before it that a box of it needs, those of constants left out."""
        needed = {number: box}
        producer = self._tensors[number].producer
        for record in reversed(self.trace.records[: 0 if producer is None else producer + 1]):
            wanted = {n: needed[n] for n in record.outputs if n in needed}
            if not wanted or not self._depends.intersection(record.inputs):
                continue
            _check(record)
            for operand, read in self._reads(record, wanted).items():
                needed[operand] = _joined(needed[operand], read) if operand in needed else read
        return needed

    # Backwards ----------------------------------------------------------------------------------------------

    def _patterns_of(self, record: Record) -> _Patterns:
        if record.index not in self._patterns:
            aligned = _family(record) == "pointwise" or record.short_operator in _ALIGNED
            axes: dict[int, tuple[int, ...]] = {}
            for number in dict.fromkeys(record.inputs):
                if aligned:
                    shape = self._tensors[number].shape
                    axes[number] = tuple(axis for axis, size in enumerate(shape) if size > 1)
                else:
                    axes[number] = self._positions(number) if number in self._depends else ()
            exact = self._followed(record, axes, TableField)
            seen = {number: _Seen.of(exact, exact.of(number)) for number in record.outputs}
            self._patterns[record.index] = _Patterns(axes, seen, self._slides(record, axes))
        return self._patterns[record.index]

    def _positions(self, number: int) -> tuple[int, ...]:
        """Return the axes of a tensor along which its elements see different places of an input."""
        return tuple(
            axis
            for axis, dim in enumerate(self._seen.of(number).dims)
            if any(source not in self._seen.channel_axes for factor in dim for source in factor.fields)
        )

    def _followed(
        self, record: Record, axes: dict[int, tuple[int, ...]], kind: type[AxisField] | type[TableField]
    ) -> Fields:
        fields = Fields(kind, {}, set())
        for number, followed in axes.items():
            shape = self._tensors[number].shape
            fields.states[number] = fields.identity(shape, {axis: (number, axis) for axis in followed})
        pass_through(record, self._tensors, fields)
        return fields

    def _reads(self, record: Record, wanted: Mapping[int, Box]) -> dict[int, Box]:
        """Return the boxes of its operands that an operator reads for these boxes of its outputs."""
        patterns = self._patterns_of(record)
        found: dict[int, Box] = {}
        for number, box in wanted.items():
            seen = patterns.seen[number]
            spans = seen.by(box)
            for operand, axes in patterns.axes.items():
                if operand not in self._depends:
                    continue
                shape = self._tensors[operand].shape
                read = whole_box(shape)
                if axes and not seen.vague:
                    mine = {axis: spans[operand, axis] for axis in axes if (operand, axis) in spans}
                    if not mine or None in mine.values():
                        continue  # nothing of it is read
                    read = tuple(
                        range(span[0], span[1] + 1) if (span := mine.get(axis)) else positions
                        for axis, positions in enumerate(read)
                    )
                found[operand] = _joined(found[operand], read) if operand in found else read
        return found

    # Forwards -----------------------------------------------------------------------------------------------

    def _run(self, record: Record, wanted: Mapping[int, Box], parts: Mapping[int, Part]) -> dict[int, Part]:
        outer, inner = self._cuts(record, wanted)

        def put(given: Any) -> Any:
            if isinstance(given, Ref):
                return self._operand(given.value, inner, parts)
            if isinstance(given, tuple) and any(isinstance(entry, Ref) for entry in given):
                return [put(entry) for entry in given]
            return given

        arguments = {name: put(given) for name, given in record.arguments.items()}
        sizes = arguments.get("output_size")
        if sizes and outer:
            first = len(self._tensors[record.outputs[0]].shape) - len(sizes)
            arguments["output_size"] = [
                size - sum(outer.get(first + place, (0, 0))) for place, size in enumerate(sizes)
            ]
        results = tensors_in(_result(record, arguments))
        made: dict[int, Part] = {}
        for number, result in zip(record.outputs, results, strict=True):
            if number not in wanted:
                continue
            shape = self._tensors[number].shape
            there = tuple(
                range(outer.get(axis, (0, 0))[0], size - outer.get(axis, (0, 0))[1])
                for axis, size in enumerate(shape)
            )
            assert tuple(result.shape) == tuple(map(len, there)), f"{record.name} made {tuple(result.shape)}"
            made[number] = Part(wanted[number], result[_slices(wanted[number], there)])
        return made

    def _operand(
        self, number: int, inner: Mapping[Source, tuple[int, int]], parts: Mapping[int, Part]
    ) -> Tensor:
        facts = self._tensors[number]
        box = tuple(
            range(inner.get((number, axis), (0, 0))[0], size - inner.get((number, axis), (0, 0))[1])
            for axis, size in enumerate(facts.shape)
        )
        if number in parts:
            return parts[number].within(box)
        if number in self._depends:
            return torch.zeros(tuple(map(len, box)), dtype=facts.dtype)
        return self.kept[number][_slices(box, whole_box(facts.shape))]

    def _cuts(
        self, record: Record, wanted: Mapping[int, Box]
    ) -> tuple[dict[int, tuple[int, int]], dict[Source, tuple[int, int]]]:
        """Return what can be left out at both ends of each output axis, and of the operands' axes with it."""
        outer: dict[int, tuple[int, int]] = {}
        inner: dict[Source, tuple[int, int]] = {}
        if set(wanted) != {record.outputs[0]} and record.short_operator not in _BOUND:
            return outer, inner
        for slide in self._patterns_of(record).slides:
            boxes = [box[slide.axis] for box in wanted.values()]
            front, back = slide.cut(range(min(box.start for box in boxes), max(box.stop for box in boxes)))
            outer[slide.axis] = (front * slide.unit, back * slide.unit)
            inner.update((source, (front * step, back * step)) for source, _, step, _ in slide.operands)
        return outer, inner

    def _slides(self, record: Record, axes: dict[int, tuple[int, ...]]) -> tuple[_Slide, ...]:
        """Return the axes of an operator's first output along which it can run on less of its operands."""
        if not _may_slide(record):
            return ()
        fields = self._followed(record, axes, AxisField)
        first = record.outputs[0]
        state = fields.of(first)
        if state.data_dependent or state.unknown:
            return ()
        entries = [fields.single(dim) for dim in state.dims]
        used = Counter(source for entry in entries for source in entry)
        bound = -1
        if record.short_operator in _BOUND:
            bound = (record.arguments.get("dim") or 0) % max(len(entries), 1)
        found: list[_Slide] = []
        for axis, entry in enumerate(entries):
            patterns = {source: field for source, field in entry.items() if _repeats(field)}
            if axis == bound or not entry or len(patterns) < len(entry):
                continue
            if any(used[source] > 1 or source in state.reach for source in entry):
                continue
            unit = lcm(*(field.period for field in patterns.values()))
            operands = tuple(
                (source, field, field.shift * unit // field.period, self._tensors[source[0]].shape[source[1]])
                for source, field in patterns.items()
            )
            found.append(_Slide(axis, self._tensors[first].shape[axis], unit, operands))
        return tuple(found)


def _family(record: Record) -> str:
    rule = rule_of(record.operator)
    return "" if rule is None else rule.family


def _may_slide(record: Record) -> bool:
    name = record.short_operator.removesuffix("_")
    if name in _FIXED:
        return False
    return name in _SLIDING or _family(record) in _SLIDING_FAMILIES


def _repeats(field: AxisField | TableField) -> TypeGuard[AxisField]:
    """Tell whether a pattern goes on along an axis as it began."""
    return isinstance(field, AxisField) and field.regular and field.shift > 0 and any(field.spans)


def _check(record: Record) -> None:
    """Refuse what cannot be run again on a part."""
    statistics = record.arguments.get("training") is True and record.arguments.get("running_mean") is not None
    if _family(record) == "random" or statistics:
        raise UsageError(
            f"{record.name} ({record.short_operator}) works as in training, by random numbers or the batch's "
            "statistics; trace the network with mode='eval'.",
            call="Regions",
        )


def _result(record: Record, arguments: dict[str, Any]) -> Any:
    name = record.short_operator
    if record.operator == "convscope.write":
        return _overwritten(arguments)
    if name.startswith("as_strided"):
        if list(arguments["self"].shape) == list(arguments["size"]):
            return arguments["self"]
        raise _refused(record)
    if name == "_reshape_alias":
        return arguments["self"].reshape(arguments["size"])
    return record.function()(**arguments)


def _overwritten(arguments: dict[str, Any]) -> Tensor:
    """Return a tensor after a part of it was overwritten through a view."""
    base: Tensor = arguments["base"].clone()
    view: Record = arguments["view"].record
    again = {name: base if isinstance(given, Ref) else given for name, given in view.arguments.items()}
    place = view.function()(**again) if not view.short_operator.startswith("as_strided") else None
    if not isinstance(place, Tensor):
        raise _refused(view)
    place.copy_(arguments["part"])
    return base


def _refused(record: Record) -> UsageError:
    return UsageError(
        f"{record.name} ({record.short_operator}) cannot be run on a part of its input; ask for a layer before it.",
        call="Regions",
    )
