"""Units that say nothing: always zero, or pressed against a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from convscope.inspection.audit.finding import Advice, Finding, NotChecked
from convscope.inspection.audit.subject import Subject, family_of
from convscope.trace import Record, Trace
from convscope.trace.rules.convolution import convolution_windows

__all__ = ["dead_units", "saturated_activations"]

_VALUES_AT_LEAST = 32  # of a channel, before it is called dead
_IMAGES_AT_LEAST = 8  # before that is more than a note
_DEAD_SHARE = 0.1  # of the channels
_SATURATED_SHARE = 0.5
_FLAT = 0.05  # of the steepest slope: below it an output counts as saturated

_DEAD = Advice(
    "dead-units",
    "warning",
    "A unit that is off for every image passes no gradient back and stays off (Lu et al., arXiv:1903.06733).",
    "Lower the learning rate, normalise before the activation, or use a leaky one.",
)
_ASLEEP = Advice(
    "dead-units",
    "note",
    "Few images tell little: a channel that they leave at zero may wake for others.",
    f"Give at least {_IMAGES_AT_LEAST} different images.",
)
_SATURATED = Advice(
    "saturated-activations",
    "warning",
    f"Where the slope is below {_FLAT:.0%} of its largest, hardly any gradient passes (Glorot & Bengio, AISTATS 2010).",
    "Normalise before it, scale the weights down, or use an activation that does not saturate.",
)


def dead_units(subject: Subject) -> Iterator[Finding]:
    """Find channels that are zero at every position of every image."""
    for record, values in _kept(subject, _stops_at_zero):
        axis = _channel_axis(subject, record, values)
        if axis is None or not values.shape[axis] or values.numel() // values.shape[axis] < _VALUES_AT_LEAST:
            continue
        dead = int((values.movedim(axis, 0).flatten(1) == 0).all(dim=1).sum())
        channels, images = values.shape[axis], values.shape[0]
        if not dead:
            continue
        yield (_DEAD if images >= _IMAGES_AT_LEAST else _ASLEEP).at(
            record.name,
            f"{dead} of {channels} channels are 0 at every position of {images} image{'s' if images != 1 else ''}",
            {"dead_channels": dead, "channels": channels, "dead_share": dead / channels, "images": images},
            "warning" if images >= _IMAGES_AT_LEAST and dead > _DEAD_SHARE * channels else "note",
        )


def saturated_activations(subject: Subject) -> Iterator[Finding]:
    """Find bounded activations most of whose outputs are where the slope is nearly 0."""
    returned = {record.index for record in subject.last}
    for record, values in _kept(subject, lambda entry: _flat_part(entry) is not None):
        limits = _flat_part(record)
        if limits is None or record.index in returned or not values.numel():
            continue
        low, high = limits
        below = float((values <= low).double().mean()) if low is not None else 0.0
        above = float((values >= high).double().mean())
        if below + above <= _SATURATED_SHARE:
            continue
        share, operator = below + above, record.short_operator.strip("_")
        yield _SATURATED.at(
            record.name,
            f"{share:.0%} of the outputs are in the flat part of {operator}: {below:.0%} low, {above:.0%} high",
            {"saturated_share": share, "low_share": below, "high_share": above},
        )


def _kept(subject: Subject, wanted: Callable[[Record], bool]) -> Iterator[tuple[Record, Tensor]]:
    """Run the network again and return the results of these operators."""
    if subject.values is False:
        raise NotChecked("values were not asked for")
    if not subject.trace.has_values:
        raise NotChecked("needs values: give a tensor or a picture instead of a shape")
    paths = sorted({record.path for record in subject.records if wanted(record)})
    if not paths:
        return
    again: Trace = subject.trace.with_values(paths)
    for record in again.records:
        if wanted(record) and record.outputs[0] in again.values:
            yield record, again.values[record.outputs[0]]


def _stops_at_zero(record: Record) -> bool:
    operator, given = record.short_operator.strip("_"), record.arguments
    if operator in ("relu", "relu6", "hardswish"):
        return True
    if operator == "hardtanh":
        return given["min_val"] == 0
    if operator == "threshold":
        return given["value"] == 0
    return operator in ("clamp", "clamp_min") and given.get("min") == 0


def _flat_part(record: Record) -> tuple[float | None, float] | None:
    """Return up to where and from where a bounded activation's output is flat."""
    operator, given = record.short_operator.strip("_"), record.arguments
    if operator == "sigmoid":  # slope y (1 - y), at most 1/4
        edge = 0.5 * (1 - (1 - _FLAT) ** 0.5)
        return edge, 1 - edge
    if operator == "tanh":  # slope 1 - y^2
        edge = (1 - _FLAT) ** 0.5
        return -edge, edge
    if operator == "hardsigmoid":
        return 0.0, 1.0
    if operator == "hardtanh":  # relu6 too: its zeros are those of any ReLU
        low, high = float(given["min_val"]), float(given["max_val"])
        return (low if low < 0 else None), high
    return None


def _channel_axis(subject: Subject, record: Record, values: Tensor) -> int | None:
    """Return the axis of the channels, as the convolution or dense layer before the activation made it."""
    waiting, met = subject.sources(record), set()
    while waiting:
        source = waiting.pop(0)
        if source.index in met:
            continue
        met.add(source.index)
        family = family_of(source)
        if family == "convolution" and "deform" not in source.operator:
            axis = values.dim() - convolution_windows(subject.call(source)).ndim - 1
            return axis if axis >= 0 else None
        if family == "dense":
            return values.dim() - 1
        waiting += subject.sources(source)
    return 1 if values.dim() > 1 else None
