"""The layer of a network whose maps its scores are made of, read from the trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convscope.errors import UsageError
from convscope.trace import Record, Trace
from convscope.trace.rules import makes_constants, rule_of

__all__ = ["SpatialLayer", "choose_spatial_layer", "named_spatial_layer"]

_MIXING = ("convolution", "dense", "attention")  # what makes new channels out of all others


@dataclass(frozen=True, slots=True)
class SpatialLayer:
    """Maps inside a network, one a channel.

    Attributes:
        number: of the tensor in the trace.
        name: as `trace.tensor_of` takes it.
        axes: which of the tensor's axes are channels, rows and columns.
        how: why it is this one, as a sentence.
    """

    number: int
    name: str
    axes: tuple[int, int, int]
    how: str


def choose_spatial_layer(found: Trace, image: int, score: int) -> SpatialLayer:
    """Return the last maps that everything passes on its way from the image to the score.

    "Last" is: before the layer that makes the scores, and before the pooling and flattening that lead to it. Read from
    the graph of operators, so functional calls, branches and reused modules make no difference.

    Args:
        image, score: numbers of the two tensors.
    Raises:
        UsageError: no operator on the way returns maps.
    Example:
        >>> from torch import nn
        >>> from convscope.trace import trace
        >>> net = nn.Sequential(
        ...     nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
        ... )
        >>> found = trace(net, (1, 3, 9, 9))
        >>> chosen = choose_spatial_layer(found, found.inputs[0], found.outputs[0])
        >>> print(f"{chosen.name}: {chosen.how}")
        1: the last 8 maps of 7x7 that everything passes before 2 (mean)
    """
    path = _Path(found, image, score)
    mixing = [record.index for record in path.records if _family(record) in _MIXING]
    before = mixing[-1] if mixing else len(found.records)
    passed = path.passed_by_all()
    for numbers, end, bypassed in (
        (passed, before, False),
        (passed, len(found.records), False),  # the first convolution makes the scores
        (path.tensors, before, True),
    ):
        places = [
            (number, axes)
            for number in numbers
            if (record := found.producer(number)) is not None and record.index < end
            if (axes := path.axes(number)) is not None
        ]
        if places:
            return _described(path, _before_pooling(found, places), bypassed)
    raise UsageError(
        "nothing between the image and the score has maps with a height and a width above 1; larger images may "
        "have them, or name a layer.",
        call="class_activation",
    )


def named_spatial_layer(found: Trace, image: int, score: int, layer: str) -> SpatialLayer:
    """Return the maps of a layer that was asked for.

    Raises:
        UnknownNameError: no such layer; the nearest names are told.
        UsageError: it returns no maps, or the score does not depend on them.
    """
    facts = found.tensor_of(layer, "class_activation")
    path = _Path(found, image, score)
    if len(facts.shape) != 4:
        raise UsageError(
            f"layer {layer!r} returns {facts.shape}, no maps (N, C, H, W){_instead(found, image, score)}.",
            call="class_activation",
        )
    if facts.index not in path.members:
        raise UsageError(
            f"layer {layer!r} has no part in the score{_instead(found, image, score)}.",
            call="class_activation",
        )
    return SpatialLayer(facts.index, layer, path.axes(facts.index) or (1, 2, 3), "named")


def _instead(found: Trace, image: int, score: int) -> str:
    try:
        return f"; the last maps are those of {choose_spatial_layer(found, image, score).name!r}"
    except UsageError:
        return ""


class _Path:
    """The operators and tensors between an image and a score."""

    def __init__(self, found: Trace, image: int, score: int) -> None:
        self.found, self.image, self.score = found, image, score
        depends, leads = {image}, {score}
        for record in found.records:
            if not makes_constants(record) and any(number in depends for number in record.inputs):
                depends.update(record.outputs)
        for record in reversed(found.records):
            if not makes_constants(record) and any(number in leads for number in record.outputs):
                leads.update(record.inputs)
        self.members = depends & leads
        self.tensors = sorted(self.members - {image})  # a tensor's number is larger than those it is made of
        self.records = [
            record
            for record in found.records
            if not makes_constants(record)
            and self.members.intersection(record.inputs)
            and self.members.intersection(record.outputs)
        ]
        self._place = found.inputs.index(image)

    def passed_by_all(self) -> list[int]:
        """Return the tensors that no way from the image to the score goes round."""
        furthest: dict[int, int] = {}
        for record in self.records:
            last = max(self.members.intersection(record.outputs))
            for number in self.members.intersection(record.inputs):
                furthest[number] = max(last, furthest.get(number, last))
        passed, reach = list[int](), furthest.get(self.image, self.image)
        for number in self.tensors:
            if reach <= number:
                passed.append(number)
            reach = max(reach, furthest.get(number, number))
        return passed

    def axes(self, number: int) -> tuple[int, int, int] | None:
        """Return the axes of channels, rows and columns of a tensor, None where it has no such three.

        Rows and columns are the axes whose positions see rows and columns of the image; where an operator without a
        rule hides that, axes 2 and 3.
        """
        shape = self.found.tensors[number].shape
        if len(shape) != 4:
            return None
        state = self.found.fields().of(number)
        rows, columns = (
            [
                axis
                for axis, dim in enumerate(state.dims)
                if any((self._place, side) in factor.fields for factor in dim)
            ]
            for side in (2, 3)
        )
        if not rows and not columns and state.unknown:
            rows, columns = [2], [3]
        if len(rows) != 1 or len(columns) != 1 or rows == columns or 0 in (rows[0], columns[0]):
            return None
        if min(shape[rows[0]], shape[columns[0]]) < 2:
            return None
        return 6 - rows[0] - columns[0], rows[0], columns[0]


def _family(record: Record) -> str:
    rule = rule_of(record.operator)
    return "" if rule is None else rule.family


def _before_pooling(
    found: Trace, places: Sequence[tuple[int, tuple[int, int, int]]]
) -> tuple[int, tuple[int, int, int]]:
    """Return the last of these tensors, or the one that it merely is pooled or laid out anew."""
    axes_of = dict(places)
    number = places[-1][0]
    while True:
        record = found.producer(number)
        assert record is not None
        moved = record.hidden or _family(record) == "pooling"
        if not moved or record.inputs[0] not in axes_of:
            return number, axes_of[number]
        number = record.inputs[0]


def _described(path: _Path, place: tuple[int, tuple[int, int, int]], bypassed: bool) -> SpatialLayer:
    found, (number, axes) = path.found, place
    channels, height, width = (found.tensors[number].shape[axis] for axis in axes)
    maps = f"{channels} map{'s' if channels > 1 else ''} of {height}x{width}"
    following = next(
        (record for record in path.records if number in record.inputs and not record.hidden), None
    )
    before = "the score" if following is None else following.name
    if following is not None and not before.endswith(following.short_operator.strip("_")):
        before += f" ({following.short_operator.strip('_')})"
    how = f"the last {maps} that everything passes before {before}"
    if bypassed:
        how = f"the last {maps} before {before}; other ways to the score go round them"
    return SpatialLayer(number, _name(found, number), axes, how)


def _name(found: Trace, number: int) -> str:
    """Return the outermost module that returns a tensor, or the operator that made it."""
    calls = [entry for entry in found.calls if entry.path and entry.outputs == (number,)]
    if calls:
        entry = min(calls, key=lambda entry: entry.depth)
        return f"{entry.path}#{entry.call}" if entry.call else entry.path
    record = found.producer(number)
    assert record is not None
    return record.name
