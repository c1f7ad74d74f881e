"""Interpolation: nearest, linear, cubic, with and without aligned corners."""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import floor, prod
from typing import Any

from convscope.geometry import AXIS_NAMES, Reads
from convscope.trace.fields import Fields, FieldState
from convscope.trace.rules.base import Call, Cost, Factor, Rule, Sum, Term, ValueCall, register

__all__: list[str] = []

# operator: kind along one axis, number of axes
_KINDS: dict[str, tuple[Any, int]] = {
    "upsample_nearest1d": ("nearest", 1),
    "upsample_nearest2d": ("nearest", 2),
    "upsample_nearest3d": ("nearest", 3),
    "_upsample_nearest_exact1d": ("nearest-exact", 1),
    "_upsample_nearest_exact2d": ("nearest-exact", 2),
    "_upsample_nearest_exact3d": ("nearest-exact", 3),
    "upsample_linear1d": ("linear", 1),
    "upsample_bilinear2d": ("linear", 2),
    "upsample_trilinear3d": ("linear", 3),
    "upsample_bicubic2d": ("cubic", 2),
    "_upsample_bilinear2d_aa": ("linear", 2),
    "_upsample_bicubic2d_aa": ("cubic", 2),
}
_TAPS = {"nearest": 1, "nearest-exact": 1, "linear": 2, "cubic": 4}


def _antialiased(call: Call) -> bool:
    return call.record.short_operator.endswith("_aa")


def _reads(call: Call) -> list[Reads]:
    kind, ndim = _KINDS[call.record.short_operator]
    sizes, counts = call.shape("self")[-ndim:], call.output.shape[-ndim:]
    if _antialiased(call):
        return [
            Reads.smoothed(size, count, _TAPS[kind], step=_step(call, axis, size, count))
            for axis, (size, count) in enumerate(zip(sizes, counts, strict=True))
        ]
    names = {1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w")}[ndim]
    scales = call.get("scale_factors") or [call.get(name) for name in names]
    return [
        Reads.resized(size, count, kind, align_corners=bool(call.get("align_corners")), scale=scale)
        for size, count, scale in zip(sizes, counts, scales, strict=True)
    ]


def _cost(call: Call) -> Cost:
    kind, ndim = _KINDS[call.record.short_operator]
    taps = _TAPS[kind] ** ndim
    if _antialiased(call):
        taps = max(len(row) for row in _reads(call)[0].taps) * max(len(row) for row in _reads(call)[1].taps)
    return Cost(element_ops=call.output.numel * (0 if taps == 1 else 2 * taps))


def _field(call: Call, fields: Fields) -> FieldState:
    state = fields.of(call["self"].value)
    reads = _reads(call)
    first = len(state.dims) - len(reads)
    read = tuple(
        fields.read(dim, pattern, count)
        for dim, pattern, count in zip(state.dims[first:], reads, call.output.shape[first:], strict=True)
    )
    return replace(state, dims=(*state.dims[:first], *read))


def _shares(
    reads: Reads, output: int, size: int, kind: str, step: float, corner: bool, smooth: bool
) -> dict[int, float]:
    """Return the share of each pixel in one output along one axis; taps beyond the ends count as the end."""
    if smooth:
        width = max(step, 1.0)
        kernel = (lambda d: _cubic(d, -0.5)) if kind == "cubic" else (lambda d: max(1.0 - d, 0.0))
        raw = {
            tap: kernel(abs(tap + 0.5 - step * (output + 0.5)) / width) for tap in reads.inside(output, size)
        }
        return {tap: share / sum(raw.values()) for tap, share in raw.items()}
    if kind.startswith("nearest"):
        return {reads.inside(output, size)[0]: 1.0}
    centre = output * step if corner else (output + 0.5) * step - 0.5
    if kind == "linear" and not corner:
        centre = max(centre, 0.0)
    low = floor(centre)
    rest = centre - low
    shares: dict[int, float] = {}
    weights = [1 - rest, rest] if kind == "linear" else [_cubic(abs(rest - place)) for place in (-1, 0, 1, 2)]
    for place, share in zip(range(low - (kind == "cubic"), low + 3), weights, strict=False):
        pixel = min(max(place, 0), size - 1)
        shares[pixel] = shares.get(pixel, 0.0) + share
    return {pixel: share for pixel, share in shares.items() if share}


def _cubic(distance: float, a: float = -0.75) -> float:
    """Return Keys' kernel (IEEE ASSP 29(6), 1981) with torch's a = -0.75."""
    if distance <= 1:
        return ((a + 2) * distance - (a + 3)) * distance * distance + 1
    return (((distance - 5) * distance + 8) * distance - 4) * a if distance < 2 else 0.0


def _step(call: Call, axis: int, size: int, count: int) -> float:
    ndim = _KINDS[call.record.short_operator][1]
    if call.get("align_corners"):
        return (size - 1) / (count - 1) if count > 1 else 0.0
    names = {1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w")}[ndim]
    scale = call["scale_factors"][axis] if call.get("scale_factors") else call.get(names[axis])
    return 1.0 / scale if scale else size / count


def _explain(asked: ValueCall) -> Sum:
    kind, ndim = _KINDS[asked.call.record.short_operator]
    values = asked.tensor("self")
    lead, place = asked.at[:-ndim], asked.at[-ndim:]
    corner = bool(asked.call.get("align_corners"))
    sizes, counts = values.shape[-ndim:], asked.call.output.shape[-ndim:]
    axes = [
        _shares(reads, at, size, kind, _step(asked.call, axis, size, count), corner, _antialiased(asked.call))
        for axis, (reads, at, size, count) in enumerate(
            zip(_reads(asked.call), place, sizes, counts, strict=True)
        )
    ]
    terms: list[Term] = []
    for chosen in itertools.product(*(shares.items() for shares in axes)):
        pixel_at = tuple(position for position, _ in chosen)
        share = prod(part for _, part in chosen)
        pixel = float(values[(*lead, *pixel_at)])
        name = ", ".join(f"{axis} {at}" for axis, at in zip(AXIS_NAMES[ndim], pixel_at, strict=True))
        factors = (Factor("input", pixel), Factor("share", share))
        terms.append(Term(name, pixel * share, factors, asked.source("self", (*lead, *pixel_at))))
    positions = tuple(tuple(sorted(shares)) for shares in axes)
    formula = f"{kind} interpolation: sum of input * share"
    return Sum(tuple(terms), sum(term.value for term in terms), formula, (), positions)


register(Rule("resizing", _cost, _field, _explain), *_KINDS)


def _grid_field(call: Call, fields: Fields) -> FieldState:
    """Say that everything may be read: the places come from values."""
    states = [fields.of(call[name].value) for name in ("input", "grid")]
    whole = [fields.reduced(state, range(len(state.dims))) for state in states]
    made = fields.like(whole, fields.blank(call.output.shape).dims)
    return replace(made, data_dependent=(*made.data_dependent, fields.reason))


register(
    Rule("resizing", lambda call: Cost(element_ops=8 * call.output.numel), _grid_field),
    "grid_sampler_2d",
    "grid_sampler_3d",
)
