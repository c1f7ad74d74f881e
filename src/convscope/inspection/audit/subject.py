"""What the checks look at: a trace, what was asked about it, and which operators read what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import cast

from torch import nn

from convscope.geometry import Window, Windows
from convscope.trace import Record, Ref, TensorFacts, Trace
from convscope.trace.rules import Call, rule_of
from convscope.trace.rules.convolution import convolution_windows
from convscope.trace.rules.pooling import pooling_windows

__all__ = ["Reading", "Subject", "family_of"]


@dataclass(frozen=True, slots=True)
class Reading:
    """A convolution or a pooling, with the map that it reads.

    Attributes:
        windows: one an axis; zeros that an operator before it laid round the map are counted as its padding.
        sizes: pixels of the map along each axis, without padding.
    """

    call: Call
    windows: tuple[Window, ...]
    sizes: tuple[int, ...]

    @property
    def record(self) -> Record:
        """Return the operator."""
        return self.call.record

    @property
    def name(self) -> str:
        """Return the operator's name."""
        return self.call.record.name

    @property
    def is_convolution(self) -> bool:
        """Tell whether it has a kernel of weights."""
        return "weight" in self.record.arguments

    @property
    def taps(self) -> int:
        """Return the number of taps of the kernel."""
        return prod(window.kernel_size for window in self.windows)

    @property
    def dead_taps(self) -> int:
        """Return how many taps read padding in every window."""
        live = 1
        for window, size in zip(self.windows, self.sizes, strict=True):
            rows = [window.taps(output, size) for output in range(window.output_size(size))]
            live *= sum(any(0 <= row[tap] < size for row in rows) for tap in range(window.kernel_size))
        return self.taps - live

    @property
    def is_point(self) -> bool:
        """Tell whether the map has shrunk to one pixel."""
        return prod(self.sizes) == 1

    @property
    def map_text(self) -> str:
        """Return the size of the map as people write it: 56 x 56."""
        return " x ".join(map(str, self.sizes))


def family_of(record: Record) -> str:
    """Return the family of a record's rule: `convolution`, `pooling`, ...; "" where there is none."""
    rule = rule_of(record.operator)
    return rule.family if rule is not None else ""


@dataclass(frozen=True, eq=False)
class Subject:
    """A traced network and what is asked about it.

    Attributes:
        object_size: pixels of the smallest thing that one position must see; None where nobody said.
        memory_limit: bytes; None where there is none.
        values: whether checks may look at values; None: where the trace has some.
        gradients: whether to run backward; None: where that is quick.
    """

    trace: Trace
    object_size: int | None = None
    memory_limit: int | None = None
    values: bool | None = None
    gradients: bool | None = None

    @property
    def network(self) -> nn.Module:
        """Return the network."""
        return self.trace.network

    @cached_property
    def records(self) -> list[Record]:
        """Return the operators that compute or move something, in order."""
        return self.trace.visible

    def call(self, record: Record) -> Call:
        """Return a record as rules read it."""
        return Call(record, self._tensors)

    @cached_property
    def _tensors(self) -> list[TensorFacts]:
        return list(self.trace.tensors)

    def calls(self, *families: str) -> Iterator[Call]:
        """Return the calls of these families, in order."""
        return (self.call(record) for record in self.records if family_of(record) in families)

    @cached_property
    def _neighbours(self) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        sources: dict[int, list[int]] = {}
        readers: dict[int, list[int]] = {}
        for source, reader in self.trace.edges:
            sources.setdefault(reader, []).append(source)
            readers.setdefault(source, []).append(reader)
        return sources, readers

    def sources(self, record: Record) -> list[Record]:
        """Return the operators whose results this one reads, views passed over."""
        return [self.trace.records[i] for i in self._neighbours[0].get(record.index, ()) if i >= 0]

    def readers(self, record: Record) -> list[Record]:
        """Return the operators that read this one's result, views passed over."""
        return [self.trace.records[i] for i in self._neighbours[1].get(record.index, ())]

    def other_readers(self, record: Record) -> list[Record]:
        """Return what else reads the map that this operator reads."""
        sources, readers = self._neighbours
        found = {i for source in sources.get(record.index, ()) for i in readers[source]} - {record.index}
        return [self.trace.records[i] for i in sorted(found)]

    @cached_property
    def last(self) -> list[Record]:
        """Return the operators whose results, views passed over, the network returns."""
        found: dict[int, Record] = {}
        for number in self.trace.outputs:
            record = self.trace.producer(number)
            while record is not None and record.hidden and record.inputs:
                record = self.trace.producer(record.inputs[0])
            if record is not None:
                found[record.index] = record
        return list(found.values())

    @cached_property
    def readings(self) -> list[Reading]:
        """Return the convolutions and poolings that are neither transposed, adaptive nor deformable."""
        found: list[Reading] = []
        for call in self.calls("convolution", "pooling"):
            if (
                call.get("transposed")
                or "deform" in call.record.operator
                or "adaptive" in call.record.operator
            ):
                continue
            pooling = family_of(call.record) == "pooling"
            windows = pooling_windows(call) if pooling else convolution_windows(call)
            found.append(self._with_zeros_before(call, windows, "self" if pooling else "input"))
        return found

    @property
    def convolutions(self) -> list[Reading]:
        """Return those of the readings that have weights."""
        return [reading for reading in self.readings if reading.is_convolution]

    def _with_zeros_before(self, call: Call, windows: Windows, read: str) -> Reading:
        axes = cast("tuple[Window, ...]", windows.axes)
        sizes = call.shape(read)[-windows.ndim :]
        plain = Reading(call, axes, sizes)
        producer = self.trace.producer(call[read].value)
        if producer is None or producer.short_operator != "constant_pad_nd":
            return plain
        given = list(producer.arguments["pad"])
        pads = [(given[2 * place], given[2 * place + 1]) for place in range(len(given) // 2)][::-1]
        pads = [(0, 0)] * (len(axes) - len(pads)) + pads
        if len(pads) != len(axes) or min(map(min, pads)) < 0 or any(window.ceil_mode for window in axes):
            return plain
        inner = tuple(size - before - after for size, (before, after) in zip(sizes, pads, strict=True))
        if min(inner) < 1:
            return plain
        merged = tuple(
            replace(window, padding=tuple(a + b for a, b in zip(window.pads(size), pad, strict=True)))
            for window, size, pad in zip(axes, sizes, pads, strict=True)
        )
        return Reading(call, merged, inner)

    def depends_on_parameters(self, number: int) -> bool:
        """Tell whether a tensor is a parameter or an input, or was computed from one."""
        waiting, seen = [number], set()
        while waiting:
            facts = self.trace.tensors[waiting.pop()]
            if facts.kind in ("parameter", "input"):
                return True
            record = self.trace.producer(facts.index)
            if record is not None and record.index not in seen:
                seen.add(record.index)
                waiting += record.inputs
        return False

    def parameter(self, call: Call, name: str) -> str | None:
        """Return the name of the parameter that was given as an argument; None where it is none."""
        given = call.get(name)
        if not isinstance(given, Ref):
            return None
        facts = self.trace.tensors[given.value]
        return facts.name if facts.kind == "parameter" else None
