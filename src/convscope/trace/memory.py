"""How much memory the activations of a traced network take at once."""

from __future__ import annotations

from collections.abc import Sequence

from convscope.trace.record import Record, TensorFacts
from convscope.trace.rules import rule_of

__all__ = ["peak_bytes"]


def peak_bytes(
    tensors: Sequence[TensorFacts], records: Sequence[Record], inputs: Sequence[int], outputs: Sequence[int]
) -> int:
    """Return the largest sum of live activations; views share the memory of what they view."""
    root: dict[int, int] = {}
    for record in records:
        rule = rule_of(record.operator)
        shared = (
            rule is not None and rule.family == "view" and record.short_operator not in ("clone", "_to_copy")
        ) or (record.short_operator.endswith("_"))
        for number in record.outputs:
            root[number] = (
                root.get(record.inputs[0], record.inputs[0]) if shared and record.inputs else number
            )
    last: dict[int, int] = {}
    for record in records:
        for number in (*record.inputs, *record.outputs):
            last[root.get(number, number)] = record.index
    for number in (*outputs, *inputs):
        last[root.get(number, number)] = len(records)
    alive = sum(tensors[number].size_bytes for number in inputs)
    peak = alive
    freed: dict[int, list[int]] = {}
    for number, index in last.items():
        freed.setdefault(index, []).append(number)
    activations = {number for number in root.values() if tensors[number].producer is not None}
    for record in records:
        for number in record.outputs:
            if root[number] == number:
                alive += tensors[number].size_bytes
        peak = max(peak, alive)
        alive -= sum(tensors[n].size_bytes for n in freed.get(record.index, ()) if n in activations)
    return peak
