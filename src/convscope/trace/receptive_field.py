"""The receptive field of a layer, as people ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

from convscope.display import Shown
from convscope.geometry import AXIS_NAMES, AxisField, Span, hull
from convscope.trace.fields import Fields, Source
from convscope.trace.record import TensorFacts

__all__ = ["AxisReceptiveField", "ReceptiveField", "receptive_field_of", "support_of"]


@dataclass(frozen=True, slots=True)
class AxisReceptiveField:
    """What one position sees along one axis of an input.

    Attributes:
        input, axis, name: which input, which of its axes, and that axis's name.
        input_size: pixels along it.
        size: pixels that a position sees, through local operators alone; 0 where there is only a global one.
        stride: pixels from one position to the next, a fraction below 1 after upsampling; None if it varies.
        padding: pixels before the image at which position 0's field begins; negative: inside it.
        offset: centre of position 0's field.
        sizes: smallest and largest size over the positions; they differ after upsampling.
        whole_because: global operators through which every position sees all of this axis.
        fixed_by: operators that chose one position of this axis for all: `x[:, :, 3]`.
    """

    input: int
    axis: int
    name: str
    input_size: int
    size: int
    stride: Fraction | None
    padding: int
    offset: Fraction
    sizes: tuple[int, int]
    whole_because: tuple[str, ...] = ()
    fixed_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceptiveField(Shown):
    """What one position of a layer sees of the network's inputs.

    Attributes:
        layer: whose output it is.
        axes: one entry an input axis that is seen.
        data_dependent: operators that choose where to read by values: the field given is that of a plain window.
        unknown: operators without a rule on the way: what lies before them counts as seen whole.
    """

    layer: str
    axes: tuple[AxisReceptiveField, ...]
    data_dependent: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, ...]:
        """Return the size along each axis."""
        return tuple(axis.size for axis in self.axes)

    @property
    def stride(self) -> tuple[Fraction | None, ...]:
        """Return the stride along each axis."""
        return tuple(axis.stride for axis in self.axes)

    @property
    def padding(self) -> tuple[int, ...]:
        """Return the padding along each axis."""
        return tuple(axis.padding for axis in self.axes)

    @property
    def whole_because(self) -> tuple[str, ...]:
        """Return the global operators through which the whole input is seen."""
        return tuple(dict.fromkeys(name for axis in self.axes for name in axis.whole_because))

    def short(self) -> str:
        """Return the field in a few letters, for a column: `427`, `7x5`, `all`, `99, all`."""
        local = [axis.size for axis in self.axes if axis.size]
        text = ""
        if local:
            text = str(local[0]) if len(set(local)) == 1 else "x".join(map(str, local))
        if self.whole_because:
            text = f"{text}, all" if text else "all"
        return text + ("*" if self.data_dependent or self.unknown else "")

    def __str__(self) -> str:
        groups: dict[str, list[str]] = {}
        several = len({axis.input for axis in self.axes}) > 1
        for axis in self.axes:
            name = f"{axis.name} of input {axis.input}" if several else axis.name
            groups.setdefault(_axis_text(axis), []).append(name)
        lines = [
            text.replace("{axes}", " and ".join(names) if len(names) < 3 else ", ".join(names))
            for text, names in groups.items()
        ]
        if not lines:
            lines = ["sees no position of the input"]
        lines += [f"moves with the values of {name}" for name in self.data_dependent]
        lines += [f"not known through {name}: counted as whole" for name in self.unknown]
        return f"{self.layer}: " + "; ".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the field as plain values for JSON; fractions as numbers."""
        return {
            "layer": self.layer,
            "axes": [
                {
                    "input": axis.input,
                    "axis": axis.axis,
                    "name": axis.name,
                    "input_size": axis.input_size,
                    "size": axis.size,
                    "sizes": list(axis.sizes),
                    "stride": None if axis.stride is None else float(axis.stride),
                    "padding": axis.padding,
                    "offset": float(axis.offset),
                    "whole_because": list(axis.whole_because),
                    "fixed_by": list(axis.fixed_by),
                }
                for axis in self.axes
            ],
            "data_dependent": list(self.data_dependent),
            "unknown": list(self.unknown),
        }


def _axis_text(axis: AxisReceptiveField) -> str:
    parts: list[str] = []
    if axis.size:
        low, high = axis.sizes
        pixels = f"{high} pixel{'s' if high != 1 else ''}" if low == high else f"{low} to {high} pixels"
        stride = "no fixed stride" if axis.stride is None else f"stride {axis.stride}"
        parts.append(f"{pixels} along {{axes}}, {stride}, padding {axis.padding}")
    if axis.whole_because:
        because = ", ".join(axis.whole_because[:3]) + (", ..." if len(axis.whole_because) > 3 else "")
        parts.append(f"the whole {'image' if parts else '{axes}'} because of {because}")
    if axis.fixed_by:
        parts.append(f"a fixed part of {{axes}} because of {', '.join(axis.fixed_by[:3])}")
    return "; ".join(parts)


def axis_name(ndim: int, axis: int) -> str:
    """Return what an axis of an input is called: the last ones are width, height, depth."""
    spatial = max(ndim - 2, 1)
    names = AXIS_NAMES.get(spatial, ())
    place = axis - (ndim - spatial)
    return names[place] if 0 <= place < len(names) else f"axis {axis}"


def receptive_field_of(
    layer: str, facts: TensorFacts, fields: Fields, tensors: Sequence[TensorFacts], inputs: Sequence[int]
) -> ReceptiveField:
    """Return the field of one position of a tensor."""
    state = fields.of(facts.index)
    local: dict[Source, AxisField] = {}
    for dim in state.dims:
        size = prod(factor.size for factor in dim)
        for source, entry in fields.single(dim).items():
            assert isinstance(entry, AxisField)
            local[source] = local[source].union(entry, size) if source in local else entry
    axes: list[AxisReceptiveField] = []
    image = any(source not in fields.channel_axes for source in local)
    for source in sorted(set(local) | set(state.reach)):
        if (
            source in fields.channel_axes
            and image
            and source not in state.reach
            and _only_itself(local[source])
        ):
            continue  # a signal's channels
        number, axis = source
        shape = tensors[inputs[number]].shape
        field = local.get(source)
        sizes = [high - low + 1 for low, high in filter(None, field.spans)] if field else []
        reach = state.reach.get(source)
        axes.append(
            AxisReceptiveField(
                input=number,
                axis=axis,
                name=axis_name(len(shape), axis),
                input_size=shape[axis],
                size=field.size if field else 0,
                stride=field.stride if field else None,
                padding=field.padding if field else 0,
                offset=field.offset if field else Fraction(0),
                sizes=(min(sizes, default=0), max(sizes, default=0)),
                whole_because=reach.because if reach else (),
                fixed_by=reach.fixed if reach else (),
            )
        )
    # Positions of a view's blocks that were not put together again are not told apart.
    split = {factor.digit[0] for dim in state.dims for factor in dim if factor.digit and factor.fields}
    views = tuple(fields.splits[number][2] for number in sorted(split))
    unknown = state.unknown + tuple(name for name in views if name not in state.unknown)
    return ReceptiveField(layer, tuple(axes), state.data_dependent, unknown)


def _only_itself(entry: AxisField) -> bool:
    return entry == AxisField.identity()


def support_of(facts: TensorFacts, at: tuple[int, ...], fields: Fields) -> dict[Source, Span | None]:
    """Return the input span that one element of a tensor sees along each input axis."""
    state = fields.of(facts.index)
    spans: dict[Source, list[Span | None]] = {}
    for index, dim in zip(at, state.dims, strict=True):
        for source, entry in fields.single(dim).items():
            spans.setdefault(source, []).append(entry.at(index))
    for source, reach in state.reach.items():
        spans.setdefault(source, []).append(reach.span)
    seen = {source: hull(found) for source, found in sorted(spans.items())}
    # Where nothing is seen along one axis of an input, no pixel of it is seen at all.
    blind = {number for (number, _), span in seen.items() if span is None}
    return {source: None if source[0] in blind else span for source, span in seen.items()}
