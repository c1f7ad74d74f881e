"""Where a moved value came from: views, slices, permutations, concatenations followed back element by element."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from convscope.trace.record import Record, Ref, TensorFacts
from convscope.trace.rules import Call, rule_of
from convscope.trace.rules.shapes import moved_arguments

__all__ = ["origin_of"]

Place = tuple[int, tuple[int, ...]]


def origin_of(
    record: Record,
    at: tuple[int, ...],
    tensors: list[TensorFacts],
    values: dict[int, Tensor],
    output: int = 0,
) -> Place | None:
    """Return tensor and place that an element of a moving record's output was copied from; None for a constant.

    The record's own operator is run on the elements' numbers instead of their values, so that every view, slice,
    flip or shuffle is followed by its own definition.

    Args:
        at: place in output number `output`.
    """
    call = Call(record, tensors)
    if record.operator == "convscope.write":
        return _origin_of_write(call, at)
    sources = _moved(call)
    numbers: dict[int, Tensor] = {}
    start = 1  # 0 marks what was filled in, such as padding
    for number in sources:
        shape = tensors[number].shape
        count = prod(shape)
        numbers[number] = torch.arange(start, start + count, dtype=torch.float64).reshape(shape)
        start += count
    result = _applied(record, {**values, **numbers})
    if isinstance(result, (tuple, list)):
        result = result[output]
    found = int(result[at])
    if found == 0:
        return None
    for number in sources:
        count = prod(tensors[number].shape)
        if found <= count:
            return number, _unraveled(found - 1, tensors[number].shape)
        found -= count
    raise AssertionError(f"{record.name} moved an element from nowhere")


def _moved(call: Call) -> list[int]:
    numbers: list[int] = []
    for name in moved_arguments(call):
        given = call[name]
        numbers += [ref.value for ref in (given if isinstance(given, tuple) else (given,))]
    return list(dict.fromkeys(numbers))


def _applied(record: Record, values: dict[int, Tensor]) -> Any:
    """Run a record's operator again, out of place, on other values."""

    def put(given: Any) -> Any:
        if isinstance(given, Ref):
            return values[given.value]
        if isinstance(given, tuple) and any(isinstance(entry, Ref) for entry in given):
            return [put(entry) for entry in given]
        return given

    arguments = {name: put(given) for name, given in record.arguments.items()}
    if record.operator in ("aten.copy_", "aten.copy"):
        shape = arguments["self"].shape
        return arguments["src"].expand(shape)
    if record.operator == "aten.constant_pad_nd":
        arguments["value"] = 0
    for name in ("dtype", "device", "layout", "pin_memory"):
        arguments.pop(name, None)
    same = record.operator.startswith("aten.as_strided") and list(arguments["self"].shape) == list(
        arguments["size"]
    )
    if same or record.operator in ("aten._to_copy", "aten.clone"):
        return arguments["self"]
    return record.function()(**arguments)


def _origin_of_write(call: Call, at: tuple[int, ...]) -> Place:
    """Tell whether an element of a tensor was overwritten through a view, and by which element of that."""
    base, part, view = call["base"].value, call["part"].value, call["view"]
    shape = call.tensors[base].shape
    numbers = torch.arange(prod(shape), dtype=torch.float64).reshape(shape)
    first = view.record.inputs[0]
    written = _applied(view.record, {first: numbers})
    if isinstance(written, (tuple, list)):
        written = next(entry for entry in written if tuple(entry.shape) == call.tensors[part].shape)
    hits = (written == float(numbers[at])).nonzero()
    if len(hits):
        return part, tuple(hits[0].tolist())
    return base, at


def _unraveled(index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    place: list[int] = []
    for size in reversed(shape):
        index, rest = divmod(index, size)
        place.append(rest)
    return tuple(reversed(place))


def moves_only(record: Record) -> bool:
    """Tell whether a record's output elements are elements of its inputs."""
    rule = rule_of(record.operator)
    return rule is not None and rule.family in ("view", "move")
