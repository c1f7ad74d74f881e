"""How much memory the activations of a traced network take at once."""

from __future__ import annotations

from collections.abc import Sequence

from convscope.trace.record import Record, TensorFacts
from convscope.trace.rules import rule_of

__all__ = ["backward_bytes", "peak_bytes"]


def peak_bytes(
    tensors: Sequence[TensorFacts], records: Sequence[Record], inputs: Sequence[int], outputs: Sequence[int]
) -> int:
    """Return the largest sum of live activations; views share the memory of what they view."""
    root = _roots(records)
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


def backward_bytes(tensors: Sequence[TensorFacts], records: Sequence[Record], inputs: Sequence[int]) -> int:
    """Return the activations that backward finds alive, and the gradients of the two largest."""
    owners = {root for root in _roots(records).values() if tensors[root].producer is not None}
    sizes = sorted(tensors[number].size_bytes for number in {*owners, *inputs})
    return sum(sizes) + sum(sizes[-2:])


def _roots(records: Sequence[Record]) -> dict[int, int]:
    """Return the tensor whose memory each output lies in: a view's is that of what it views."""
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
    return root
