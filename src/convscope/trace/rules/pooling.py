"""Pooling: the largest or the mean of a window, fixed or adaptive."""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import prod
from typing import cast

from convscope.geometry import AXIS_NAMES, Reads, Window, Windows
from convscope.trace.fields import Fields, FieldState
from convscope.trace.rules.base import Call, Cost, Factor, Rule, Sum, Term, ValueCall, register, winner

__all__ = ["pooling_windows"]


def pooling_windows(call: Call) -> Windows:
    """Return the windows of a recorded pooling call."""
    ndim = len(call["kernel_size"]) if len(call["kernel_size"]) > 1 else _ndim(call)

    def per_axis(name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        given = tuple(call.get(name) or ()) or default
        return given * ndim if len(given) == 1 else given

    kernel = per_axis("kernel_size", (1,))
    return Windows.pool(
        ndim,
        kernel,
        per_axis("stride", kernel),
        per_axis("padding", (0,)),
        per_axis("dilation", (1,)),
        ceil_mode=bool(call.get("ceil_mode")),
    )


def _ndim(call: Call) -> int:
    return 3 if "3d" in call.record.operator else 1 if "1d" in call.record.operator else 2


def _cost(call: Call) -> Cost:
    # Each output compares or adds every tap once.
    return Cost(element_ops=call.output.numel * prod(pooling_windows(call).kernel_size))


def _field(call: Call, fields: Fields) -> FieldState:
    state = fields.of(call["self"].value)
    windows = pooling_windows(call)
    first = len(state.dims) - windows.ndim
    sizes, counts = call.shape("self")[first:], call.output.shape[first:]
    read = tuple(
        fields.read(dim, Reads.of(window, size), count)
        for dim, window, size, count in zip(state.dims[first:], windows.axes, sizes, counts, strict=True)
    )
    return replace(state, dims=(*state.dims[:first], *read))


def _window_terms(
    asked: ValueCall, positions: tuple[tuple[int, ...], ...], share: float | None
) -> list[Term]:
    """Return a term for each pixel of the window; with a `share` they are its parts of a mean."""
    values = asked.tensor("self")
    ndim = len(positions)
    lead = asked.at[:-ndim]
    names = AXIS_NAMES[ndim]
    terms: list[Term] = []
    for place in itertools.product(*positions):
        if not all(0 <= at < size for at, size in zip(place, values.shape[-ndim:], strict=True)):
            continue
        pixel = float(values[(*lead, *place)])
        factors = (Factor("input", pixel),) + ((Factor("share", share),) if share is not None else ())
        name = ", ".join(f"{axis} {at}" for axis, at in zip(names, place, strict=True))
        terms.append(
            Term(
                name,
                pixel if share is None else pixel * share,
                factors,
                asked.source("self", (*lead, *place)),
            )
        )
    return terms


def _positions(asked: ValueCall, windows: Windows) -> tuple[tuple[int, ...], ...]:
    sizes = asked.tensor("self").shape[-windows.ndim :]
    return tuple(
        tuple(cast("Window", window).taps(index, size))
        for window, index, size in zip(windows.axes, asked.at[-windows.ndim :], sizes, strict=True)
    )


def _explain_max(asked: ValueCall) -> Sum:
    positions = _positions(asked, pooling_windows(asked.call))
    terms = _window_terms(asked, positions, None)
    taken = winner(terms)
    return Sum(tuple(terms), taken.value, f"the largest, at {taken.name}", (), positions, taken)


def _explain_mean(asked: ValueCall) -> Sum:
    windows = pooling_windows(asked.call)
    positions = _positions(asked, windows)
    sizes = asked.tensor("self").shape[-windows.ndim :]
    counted = 1
    for window, places, size in zip(windows.axes, positions, sizes, strict=True):
        # A window that sticks out beyond the padding counts only up to its end.
        allowed = cast("Window", window).padded(size) if asked.call.get("count_include_pad") else range(size)
        counted *= sum(place in allowed for place in places)
    divisor = asked.call.get("divisor_override") or counted
    terms = _window_terms(asked, positions, 1.0 / divisor)
    return Sum(
        tuple(terms), sum(term.value for term in terms), f"sum of the window / {divisor}", (), positions
    )


register(
    Rule("pooling", _cost, _field, _explain_max),
    *(f"max_pool{n}d_with_indices" for n in (2, 3)),
    "max_pool2d",
)
register(Rule("pooling", _cost, _field, _explain_mean), *(f"avg_pool{n}d" for n in (1, 2, 3)))


def _adaptive_cost(call: Call) -> Cost:
    ndim = _ndim(call)
    bins = 1
    for size, count in zip(call.shape("self")[-ndim:], call.output.shape[-ndim:], strict=True):
        reads = Reads.adaptive(size, count)
        bins *= sum(len(reads.at(o)) for o in range(count))
    return Cost(element_ops=prod(call.output.shape[:-ndim]) * bins)


def _adaptive_field(call: Call, fields: Fields) -> FieldState:
    state = fields.of(call["self"].value)
    ndim = _ndim(call)
    first = len(state.dims) - ndim
    whole = [a for a in range(first, len(state.dims)) if call.output.shape[a] == 1 != call.shape("self")[a]]
    state = fields.reduced(state, whole)
    read = tuple(
        dim if first + axis in whole else fields.read(dim, Reads.adaptive(size, count), count)
        for axis, (dim, size, count) in enumerate(
            zip(state.dims[first:], call.shape("self")[first:], call.output.shape[first:], strict=True)
        )
    )
    return replace(state, dims=(*state.dims[:first], *read))


def _adaptive_positions(asked: ValueCall) -> tuple[tuple[int, ...], ...]:
    ndim = _ndim(asked.call)
    sizes, counts = asked.tensor("self").shape[-ndim:], asked.call.output.shape[-ndim:]
    return tuple(
        Reads.adaptive(size, count).at(index)
        for size, count, index in zip(sizes, counts, asked.at[-ndim:], strict=True)
    )


def _explain_adaptive_mean(asked: ValueCall) -> Sum:
    positions = _adaptive_positions(asked)
    count = prod(map(len, positions))
    terms = _window_terms(asked, positions, 1.0 / count)
    return Sum(tuple(terms), sum(term.value for term in terms), f"sum of the bin / {count}", (), positions)


def _explain_adaptive_max(asked: ValueCall) -> Sum:
    positions = _adaptive_positions(asked)
    terms = _window_terms(asked, positions, None)
    taken = winner(terms)
    return Sum(tuple(terms), taken.value, f"the largest, at {taken.name}", (), positions, taken)


register(
    Rule("pooling", _adaptive_cost, _adaptive_field, _explain_adaptive_mean),
    *(f"_adaptive_avg_pool{n}d" for n in (2, 3)),
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
)
register(
    Rule("pooling", _adaptive_cost, _adaptive_field, _explain_adaptive_max),
    *(f"adaptive_max_pool{n}d" for n in (2, 3)),
)
