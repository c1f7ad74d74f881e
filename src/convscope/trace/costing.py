"""What each recorded call costs, worked out after the run: its time is the network's alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from convscope.trace.record import Record, TensorFacts
from convscope.trace.rules import Call, rule_of

__all__ = ["cost_records"]


def cost_records(
    records: Sequence[Record],
    tensors: list[TensorFacts],
    parameters_of: Mapping[int, tuple[str, ...]],
    sizes: Mapping[str, int],
) -> None:
    """Fill in parameters, MACs, element operations and bytes of records.

    Args:
        parameters_of: for tensors that are parameters, views or copies of them, which.
        sizes: elements of each parameter.
    """
    seen: set[str] = set()
    for record in records:
        rule = rule_of(record.operator)
        record.counted, record.hidden = rule is not None, rule is not None and rule.hidden
        for number in record.inputs:
            if number in parameters_of:
                names = parameters_of[number]
                record.parameters += tuple(name for name in names if name not in record.parameters)
        if rule is not None and rule.cost is not None:
            cost = rule.cost(Call(record, tensors))
            record.macs, record.element_ops = cost.macs, cost.element_ops
        if record.hidden:
            continue
        record.bytes_moved = sum(tensors[number].size_bytes for number in {*record.inputs, *record.outputs})
        for name in record.parameters:
            if name not in seen:
                seen.add(name)
                record.num_params += sizes[name]
