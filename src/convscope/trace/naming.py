"""Names for records: the module's path where one operator is all it does, else path/operator."""

from __future__ import annotations

from convscope.trace.capture import ModuleCall
from convscope.trace.record import Record, TensorFacts
from convscope.trace.rules import makes_constants

__all__ = ["name_records"]


def name_records(records: list[Record], calls: list[ModuleCall], tensors: list[TensorFacts]) -> None:
    """Hide bookkeeping, then give every record a name of its own."""
    _hide_bookkeeping(records, tensors)
    visible: dict[tuple[str, int], int] = {}
    for record in records:
        if not record.hidden:
            visible[record.path, record.call] = visible.get((record.path, record.call), 0) + 1
    containers = _containers(calls)
    taken: set[str] = {entry.path for entry in calls if (entry.path, entry.call) in containers}
    for record in records:
        place = (record.path, record.call)
        lead = f"{record.path}#{record.call}" if record.call else record.path
        operator = record.short_operator.strip("_")
        alone = not record.hidden and visible.get(place) == 1 and place not in containers and lead
        wanted = lead if alone else f"{lead}/{operator}" if lead else operator
        name, count = wanted, 1
        while name in taken:
            count += 1
            name = f"{wanted}_{count}"
        taken.add(name)
        record.name = name


def _containers(calls: list[ModuleCall]) -> set[tuple[str, int]]:
    """Return the module calls that called modules of their own; calls come in the order in which they began."""
    found: set[tuple[str, int]] = set()
    open_calls: list[ModuleCall] = []
    for entry in calls:
        del open_calls[entry.depth :]
        if open_calls:
            found.add((open_calls[-1].path, open_calls[-1].call))
        open_calls.append(entry)
    return found


def _hide_bookkeeping(records: list[Record], tensors: list[TensorFacts]) -> None:
    """Hide what depends neither on an input nor on a parameter, such as batch norm's counter."""
    depends = {facts.index for facts in tensors if facts.kind in ("input", "parameter")}
    for record in records:
        if not makes_constants(record) and any(number in depends for number in record.inputs):
            depends.update(record.outputs)
        elif record.counted:
            record.hidden = True
