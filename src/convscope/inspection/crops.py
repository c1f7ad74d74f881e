"""The part of the image that one value sees, and the value computed again from that part alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from convscope.display import Shown
from convscope.errors import ConvscopeError
from convscope.geometry import AxisField, Span, hull
from convscope.trace import Trace
from convscope.trace.receptive_field import axis_name
from convscope.trace.regions import Box, Part, Regions, whole_box
from convscope.trace.tracing import check_place

__all__ = ["ReceptiveCrop", "SeenAxis", "SeenInput", "receptive_crop", "seen_by"]


@dataclass(frozen=True, slots=True)
class SeenAxis:
    """What one value sees along one axis of an input.

    Attributes:
        axis, name: which of the input's axes.
        first, last: pixels of the image, both included.
        before, after: pixels of the receptive field that lie outside the image, at its beginning and its end; what
            is there is padding.
    """

    axis: int
    name: str
    first: int
    last: int
    before: int
    after: int

    @property
    def size(self) -> int:
        """Return how many pixels of the image are seen."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class SeenInput:
    """What one value sees of one input.

    Attributes:
        input, name: number of the input, and what it is called.
        axes: those of the image; along batch and channels everything is taken.
        whole: whether every pixel is seen, by a global operator or by a field that covers the image.
    """

    input: int
    name: str
    axes: tuple[SeenAxis, ...]
    whole: bool

    @property
    def sides(self) -> tuple[int, ...]:
        """Return the size of the seen part along each axis of the image."""
        return tuple(axis.size for axis in self.axes)

    def cut(self, image: Tensor) -> Tensor:
        """Return the seen part of an image or of a batch of them, (..., C, H, W), as a view."""
        spatial = [slice(axis.first, axis.last + 1) for axis in self.axes]
        return image[(..., *spatial)]

    def __str__(self) -> str:
        parts = [f"{axis.name} {axis.first} to {axis.last}" + _beyond(axis) for axis in self.axes]
        text = ", ".join(parts) or "everything"
        return f"{self.name}: {text}" + (" (the whole image)" if self.whole and self.axes else "")


def _beyond(axis: SeenAxis) -> str:
    sides = [f"{axis.before} before"] * bool(axis.before) + [f"{axis.after} behind"] * bool(axis.after)
    return f" and {' and '.join(sides)} the image" if sides else ""


@dataclass(frozen=True, eq=False)
class ReceptiveCrop(Shown):
    """One value of a layer, the part of each input that it sees, and what that part alone makes of it.

    Attributes:
        seen: an entry an input of which anything is seen.
        crops: the seen part of each, with all images of the batch and all channels.
        value: computed from the crops alone.
        engine_value: in the full image.
        scale: the largest magnitude in the layer's output, which rounding errors are measured by.
        whole_because: global operators through which the whole input is seen.
        unclear: operators that read where values say, or that have no rule: what lies before them is taken whole.
    """

    layer: str
    at: tuple[int, ...]
    seen: tuple[SeenInput, ...]
    crops: tuple[Tensor, ...]
    value: float
    engine_value: float
    scale: float
    whole_because: tuple[str, ...]
    unclear: tuple[str, ...]

    @property
    def difference(self) -> float:
        """Return how far the two values are apart, relative to the largest of the layer."""
        return abs(self.value - self.engine_value) / (self.scale or 1.0)

    @property
    def agrees(self) -> bool:
        """Tell whether the crop alone makes the value of the full image; NaN agrees with NaN."""
        both = self.value != self.value and self.engine_value != self.engine_value
        return both or self.difference <= 1e-5

    def to_dict(self) -> dict[str, Any]:
        """Return places and values, not the pixels, as plain values for JSON."""
        return {
            "layer": self.layer,
            "at": list(self.at),
            "seen": [{**asdict(entry), "axes": [asdict(axis) for axis in entry.axes]} for entry in self.seen],
            "value": self.value,
            "engine_value": self.engine_value,
            "difference": self.difference,
            "agrees": self.agrees,
            "whole_because": list(self.whole_because),
            "unclear": list(self.unclear),
        }

    def __str__(self) -> str:
        place = ", ".join(map(str, self.at))
        lines = [
            f"{self.layer}[{place}] = {self.value:.6g} from what it sees alone, {self.engine_value:.6g} in the full "
            "image"
        ]
        lines += [f"  {entry}" for entry in self.seen]
        lines += [f"  the whole image because of {name}" for name in self.whole_because[:3]]
        lines += [f"  not followed through {name}" for name in self.unclear]
        return "\n".join(lines)


def receptive_crop(trace: Trace | Regions, layer: str, at: Sequence[int]) -> ReceptiveCrop:
    """Cut out of the image what one value of a layer sees, and compute the value again from that alone.

    Every operator on the way runs on the region that it needs, through branches and their joins, and is padded where
    the border of its full map lies, not at the border of the crop. So the value is that of the full image, up to
    rounding. Where a global operator lies on the way, the crop is the whole image and `whole_because` names it.

    Args:
        trace: of a real image, in evaluation mode; for many places give `Regions(trace)`, made once.
        layer, at: as in `explain`.
    Raises:
        UsageError: a trace of a shape, or of a network in training mode.
        UnknownNameError, ShapeError: no such layer, no such place in it.
    Cost:
        A second run of the network, once a trace; then the operators on the regions that are needed.
    Example:
        >>> import torch
        >>> from torch import nn
        >>> from convscope.trace import trace
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 4, 3, padding=1))
        >>> found = receptive_crop(trace(net, torch.randn(1, 1, 9, 9)), "2", (3, 0, 4))
        >>> print(found.seen[0])
        input: height 0 to 2 and 2 before the image, width 2 to 6
        >>> tuple(found.crops[0].shape), found.agrees
        ((1, 1, 3, 5), True)
    """
    try:
        regions = trace if isinstance(trace, Regions) else Regions(trace)
    except ConvscopeError as error:
        raise error.at("receptive_crop") from error
    trace = regions.trace
    facts = trace.tensor_of(layer, "receptive_crop")
    place = check_place(facts.shape, at, layer, "receptive_crop")
    field = trace.field_of(facts.index)
    seen = seen_by(trace, facts.index, place)
    boxes = {trace.inputs[entry.input]: _box(trace, entry) for entry in seen}
    given = {
        number: Part(box, trace.given[entry.input][tuple(slice(r.start, r.stop) for r in box)])
        for entry, (number, box) in zip(seen, boxes.items(), strict=True)
    }
    positions = tuple(range(index, index + 1) for index in place)
    try:
        part = regions.compute(facts.index, positions, given)
    except ConvscopeError as error:
        raise error.at("receptive_crop") from error
    engine = regions.kept[facts.index]
    return ReceptiveCrop(
        layer,
        place,
        seen,
        tuple(given[number].values for number in boxes),
        float(part.values),
        float(engine[place]),
        float(engine.double().abs().max()),
        field.whole_because,
        (*field.data_dependent, *field.unknown),
    )


def _box(trace: Trace, entry: SeenInput) -> Box:
    shape = trace.tensors[trace.inputs[entry.input]].shape
    spans = {axis.axis: range(axis.first, axis.last + 1) for axis in entry.axes}
    return tuple(spans.get(axis, positions) for axis, positions in enumerate(whole_box(shape)))


def seen_by(trace: Trace, number: int, at: tuple[int, ...]) -> tuple[SeenInput, ...]:
    """Return what one element of a tensor sees of each input, cut at the borders; a whole image where that is unclear.

    Args:
        number: of the tensor in the trace.
        at: its full index in the tensor.
    Example:
        >>> from torch import nn
        >>> from convscope.trace import trace
        >>> found = trace(nn.Conv2d(3, 8, 7, stride=2, padding=3), (1, 3, 32, 32))
        >>> print(*seen_by(found, found.outputs[0], (0, 0, 0, 5)))
        input: height 0 to 3 and 3 before the image, width 7 to 13
    """
    endless = trace.fields(AxisField)
    state = endless.of(number)
    unclear = bool(state.data_dependent or state.unknown)
    spans = trace.support_at(number, at)
    fields: dict[tuple[int, int], list[Span | None]] = {}
    for index, dim in zip(at, state.dims, strict=True):
        for source, entry in endless.single(dim).items():
            fields.setdefault(source, []).append(entry.at(index))
    found: list[SeenInput] = []
    for place, tensor in enumerate(trace.inputs):
        shape = trace.tensors[tensor].shape
        mine = {axis: span for (input, axis), span in spans.items() if input == place}
        if not unclear and len(shape) > 2 and (not mine or None in mine.values()):
            continue  # no pixel of it is seen
        axes: list[SeenAxis] = []
        for axis in range(2, len(shape)) if len(shape) > 2 else ():
            size = shape[axis]
            low, high = (0, size - 1) if unclear else mine.get(axis) or (0, size - 1)
            local = hull(fields.get((place, axis), []))
            everywhere = unclear or (place, axis) in state.reach or local is None
            outside = (
                (0, 0) if everywhere or local is None else (max(-local[0], 0), max(local[1] - size + 1, 0))
            )
            axes.append(SeenAxis(axis, axis_name(len(shape), axis), low, high, *outside))
        whole = all(axis.size == shape[axis.axis] for axis in axes)
        found.append(SeenInput(place, trace.tensors[tensor].name, tuple(axes), whole))
    return tuple(found)
