"""Receptive fields that are too small for what is to be seen, or larger than there is to see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from convscope.geometry import AxisField, Reads
from convscope.inspection.audit.finding import Advice, Finding, NotChecked
from convscope.inspection.audit.subject import Reading, Subject, family_of
from convscope.trace import AxisReceptiveField, ReceptiveField, Record
from convscope.trace.fields import Fields, Source

__all__ = ["shrunk_maps", "small_receptive_field", "unproductive_layers"]

_SHARE_OF_INPUT = 0.5  # of a classifier's input that one position should see where no object size is known

_SMALL = Advice(
    "small-receptive-field",
    "warning",
    "No feature sees the whole of what is to be recognised, and the part of a field that counts in practice is "
    "smaller still (Luo et al., arXiv:1701.04128).",
    "Add layers, strides or dilation before it, or give smaller images.",
)
_UNPRODUCTIVE = Advice(
    "unproductive-layers",
    "warning",
    "A layer adds nothing that its input has not seen: layers behind this border did not improve accuracy "
    "(Richter et al., arXiv:2106.12307; the smallest field over all paths is compared).",
    "Leave these layers out, subsample later, or give larger images.",
)
_SHRUNK = Advice(
    "input-too-small",
    "warning",
    "On a map of one pixel a kernel is a 1x1 convolution that pays for all its taps: the input is too small for so "
    "many strides.",
    "Give a larger input, or leave out strides at the beginning.",
)


def small_receptive_field(subject: Subject) -> Iterator[Finding]:
    """Find a last map whose positions see less than the object."""
    if not subject.readings:
        raise NotChecked("no convolution and no pooling")
    maps = _last_maps(subject)
    if not maps:
        raise NotChecked("no map of the input's positions")
    record, field = max(maps, key=lambda entry: min(axis.size for axis in _seen(entry[1])))
    if field.unknown:
        raise NotChecked("an operator without a rule lies before the last map")
    small = min(_seen(field), key=lambda axis: axis.size)
    size, object_size = small.size, subject.object_size
    if object_size is not None:
        if size >= object_size:
            return
        wanted = f"the object has {object_size}"
    else:
        if _returns_maps(subject):
            raise NotChecked("needs an object_size: the network returns maps")
        if _joins_positions(subject):
            return
        small = min(_seen(field), key=lambda axis: axis.size / axis.input_size)
        size = small.size
        if size >= _SHARE_OF_INPUT * small.input_size:
            return
        wanted = f"less than {_SHARE_OF_INPUT:.0%} of the input's {small.input_size}"
    numbers = {"receptive_field": size, "input_size": small.input_size}
    if object_size is not None:
        numbers["object_size"] = object_size
    fact = f"a position of the last map sees {size} pixels along {small.name}; {wanted}"
    yield _SMALL.at(record.name, fact, numbers)


def _seen(field: ReceptiveField) -> list[AxisReceptiveField]:
    return [axis for axis in field.axes if axis.size]


def _last_maps(subject: Subject) -> list[tuple[Record, ReceptiveField]]:
    """Return, for each output, the operators nearest to it whose positions still are places of the input."""
    found: dict[int, tuple[Record, ReceptiveField]] = {}
    waiting, met = list(subject.last), set()
    while waiting:
        record = waiting.pop()
        if record.index in met:
            continue
        met.add(record.index)
        field = _field_of(subject, record)
        if field is not None and _seen(field):
            found[record.index] = (record, field)
        else:
            waiting += subject.sources(record)
    return [found[index] for index in sorted(found)]


def _field_of(subject: Subject, record: Record) -> ReceptiveField | None:
    return subject.trace.field_of(record.outputs[0]) if record.outputs else None


def _returns_maps(subject: Subject) -> bool:
    fields = [_field_of(subject, record) for record in subject.last]
    return any(field is not None and _seen(field) for field in fields)


def _joins_positions(subject: Subject) -> bool:
    """Tell whether positions are weighed one by one behind the last map: by dense layers, by attention."""
    names = {name for state in subject.last for name in _whole_because(subject, state)}
    return any(
        family_of(record) in ("dense", "attention") for record in subject.records if record.name in names
    )


def _whole_because(subject: Subject, record: Record) -> tuple[str, ...]:
    field = _field_of(subject, record)
    return field.whole_because if field is not None else ()


@dataclass(frozen=True, slots=True)
class NarrowestField(AxisField):
    """The field along the path on which it is smallest: where paths meet, the smaller one is kept."""

    @classmethod
    def identity(cls, size: int = 0) -> NarrowestField:
        """Return the field of the input itself."""
        return _narrow(AxisField.identity(size))

    def read_by(self, reads: Reads, output_size: int) -> NarrowestField:
        """Return the field of an operator's output that reads this axis so."""
        return _narrow(AxisField.read_by(self, reads, output_size))

    def union(self, other: AxisField, size: int) -> NarrowestField:
        """Return the smaller of the two, unless it sees nothing."""
        sees = [field for field in (self, other) if field.size]
        return _narrow(min(sees, key=lambda field: field.size)) if sees else self

    def patched(self, patch: AxisField, start: int, step: int, count: int, size: int) -> NarrowestField:
        """Return the field after a part of the axis was overwritten."""
        return _narrow(AxisField.patched(self, patch, start, step, count, size))


def _narrow(field: AxisField) -> NarrowestField:
    if isinstance(field, NarrowestField):
        return field
    return NarrowestField(field.period, field.shift, field.spans, field.regular)


def unproductive_layers(subject: Subject) -> Iterator[Finding]:
    """Find convolutions whose input sees more than the image on every path already."""
    fields = subject.trace.fields(NarrowestField)
    total = max(subject.trace.macs, 1)
    sizes = {
        (place, axis): size
        for place, number in enumerate(subject.trace.inputs)
        for axis, size in enumerate(subject.trace.tensors[number].shape)
    }
    for reading in subject.convolutions:
        before = _fields_before(reading, fields)
        exceeded = [
            [(size, sizes[source]) for source, size in axis.items() if size > sizes[source]]
            for axis in before
        ]
        if not exceeded or not all(exceeded):
            continue
        size, input_size = exceeded[0][0]
        record = reading.record
        share = record.macs / total
        yield _UNPRODUCTIVE.at(
            reading.name,
            f"its input sees {size} pixels already, the image has {input_size}; {record.num_params:,} parameters, "
            f"{share:.1%} of the MACs",
            {
                "field_before": size,
                "input_size": input_size,
                "num_params": record.num_params,
                "macs_share": share,
            },
        )


def _fields_before(reading: Reading, fields: Fields) -> list[dict[Source, int]]:
    """Return, for each axis along which the kernel widens the field, the sizes before it."""
    found: list[dict[Source, int]] = []
    dims = fields.of(reading.call["input"].value).dims
    for window, dim in zip(reading.windows, dims[-len(reading.windows) :], strict=True):
        if window.kernel_size > 1:
            entries = fields.single(dim).items()
            found.append(
                {s: entry.size for s, entry in entries if isinstance(entry, AxisField) and entry.size}
            )
    return found


def shrunk_maps(subject: Subject) -> Iterator[Finding]:
    """Find kernels that slide over a map of one pixel."""
    for reading in subject.convolutions:
        taps, dead = reading.taps, reading.dead_taps if reading.is_point else 0
        if not dead:
            continue
        fact = f"its map has shrunk to {reading.map_text}: {dead} of {taps} taps read padding only"
        yield _SHRUNK.at(reading.name, fact, {"taps": taps, "dead_taps": dead})
