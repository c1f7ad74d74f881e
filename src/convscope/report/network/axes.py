"""Which axis of a tensor is the batch, which are channels and which are positions, followed through a trace.

A picture needs this of every tensor: (1, 21, 8) is 21 tokens of 8 channels after a linear layer, and 21 channels of
8 samples after a 1-D convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from convscope.trace import Record, Ref, TensorFacts, Trace
from convscope.trace.rules import rule_of

__all__ = ["Volume", "volumes_of"]

Role = str  # N: batch, C: channel, S: position; "": an axis of length 1 that somebody inserted
Axis = tuple[tuple[Role, int], ...]  # factors, outermost first; several where axes were flattened into one
Axes = tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class Volume:
    """A tensor without its batch axis: channels first, then its positions along each axis.

    `tokens` tells that the tensor has its channels last and one axis of positions, as transformers have.
    """

    channels: int
    positions: tuple[int, ...] = ()
    tokens: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (C, *positions)."""
        return (self.channels, *self.positions)

    def __str__(self) -> str:
        """Return what a figure writes: 64×112×112, 1000, or 197 tokens × 768.

        Example:
            >>> print(Volume(64, (112, 112)), Volume(8, (21,), tokens=True), sep=", ")
            64×112×112, 21 tokens × 8
        """
        if self.tokens and self.channels == 1:
            return f"{self.positions[0]} tokens"
        if self.tokens:
            return f"{self.positions[0]} tokens × {self.channels}"
        return "×".join(map(str, self.shape))


def volumes_of(trace: Trace) -> list[Volume]:
    """Return the volume of every tensor of a trace, by number.

    Example:
        >>> from torch import nn
        >>> from convscope.trace import trace
        >>> found = trace(nn.Sequential(nn.Conv1d(2, 6, 3), nn.Flatten(), nn.Linear(18, 4)), (1, 2, 5))
        >>> [str(volumes_of(found)[found.tensor_of(name).index]) for name in ("input", "0", "2")]
        ['2×5', '6×3', '4']
    """
    known = _input_axes(trace)
    for record in trace.records:
        if not any(number in known for number in record.inputs):
            continue  # made of weights and constants alone
        made = _made(record, trace.tensors, known)
        for number in record.outputs:
            shape = trace.tensors[number].shape
            axes = made if made is not None and len(made) == len(shape) else _usual(shape)
            known[number] = _resized(axes, shape)
    return [_volume(known.get(facts.index) or _usual(facts.shape)) for facts in trace.tensors]


def _volume(axes: Axes) -> Volume:
    channels, positions, last, first = 1, [], -1, len(axes)
    for place, axis in enumerate(axes):
        roles = {role for role, size in axis if size > 1} or {role for role, _ in axis}
        size = prod(size for role, size in axis if role != "N")
        if "C" in roles:
            channels, last = channels * size, place
        elif "S" in roles:
            positions.append(size)
            first = min(first, place)
    return Volume(channels, tuple(positions), len(positions) == 1 and not -1 < last < first)


def _usual(shape: tuple[int, ...]) -> Axes:
    """Return what the axes of a tensor of unknown origin usually are: (N, C, positions)."""
    roles: list[Role] = ["C"] if len(shape) == 1 else ["N", "C", *(["S"] * (len(shape) - 2))]
    return tuple(((role, size),) for role, size in zip(roles, shape, strict=True)) if shape else ()


def _named(shape: tuple[int, ...], roles: str) -> Axes:
    return tuple(((role, size),) for role, size in zip(roles, shape, strict=True))


def _input_axes(trace: Trace) -> dict[int, Axes]:
    found: dict[int, Axes] = {}
    for number in trace.inputs:
        facts = trace.tensors[number]
        shape, ndim = facts.shape, len(facts.shape)
        reader = _first_reader(trace, number)
        family = getattr(rule_of(reader.operator), "family", "") if reader else ""
        batched = ndim > 1
        if reader and family in ("convolution", "pooling"):
            batched = ndim == len(trace.tensors[reader.inputs[0]].shape)
        # A linear layer that reads the last axis as it is, not one that was flattened.
        last = reader is not None and (
            family == "attention"
            or reader.operator.endswith("layer_norm")
            or (
                family == "dense"
                and any(trace.tensors[n].shape[-1] == shape[-1] for n in _activations(trace, reader))
            )
        )
        lead = "N" if batched else ""
        rest = ndim - len(lead)
        if not facts.dtype.is_floating_point and rest == 1:
            roles = "S"  # numbers of tokens
        elif last and rest > 1:
            roles = "S" * (rest - 1) + "C"
        else:
            roles = "C" + "S" * (rest - 1)
        found[number] = _named(shape, (lead + roles)[:ndim])
    return found


def _activations(trace: Trace, record: Record) -> list[int]:
    return [n for n in record.inputs if trace.tensors[n].kind in ("input", "activation")]


def _first_reader(trace: Trace, number: int) -> Record | None:
    """Return the first operator that reads a tensor and does more than to rename its elements."""
    waiting = [number]
    while waiting:
        current = waiting.pop(0)
        for index in trace.consumers.get(current, ()):
            record = trace.records[index]
            if not record.hidden:
                return record
            waiting.extend(record.outputs)
    return None


def _made(record: Record, tensors: tuple[TensorFacts, ...], known: dict[int, Axes]) -> Axes | None:
    """Return the axes of an operator's first output; None where nothing is known of its inputs."""
    if not record.outputs:
        return None
    shape = tensors[record.outputs[0]].shape
    arguments = record.arguments
    given = [known[number] for number in record.inputs if number in known]
    name = record.short_operator.rstrip("_")
    family = getattr(rule_of(record.operator), "family", "")
    first = given[0]
    if family == "convolution":
        return ((("N", shape[0]),), *_named(shape[1:], "C" + "S" * (len(shape) - 2)))
    if family == "dense":
        return _product(record, shape, known)
    if name in ("permute", "transpose", "t"):
        return _permuted(name, first, arguments)
    if name in ("unsqueeze", "stack"):
        dim = arguments["dim"] % len(shape)
        role: Role = "C" if name == "stack" else ""
        return (*first[:dim], ((role, shape[dim]),), *first[dim:])
    if name == "select":
        dim = arguments["dim"] % len(first)
        return (*first[:dim], *first[dim + 1 :])
    if name == "embedding":
        return (*given[-1], (("C", shape[-1]),))
    if name == "convscope.write" or record.operator == "convscope.write":
        return known.get(record.inputs[0]) or next((a for a in given if len(a) == len(shape)), None)
    if len(first) != len(shape) and prod(shape) == prod(size for axis in first for _, size in axis):
        return _viewed(first, shape)
    if family == "view" and name in ("view", "_unsafe_view", "reshape", "_reshape_alias", "clone"):
        return _viewed(first, shape)
    dims = arguments.get("dim")
    if family == "reduction" and len(shape) < len(first) and dims is not None:
        gone = {axis % len(first) for axis in ([dims] if isinstance(dims, int) else dims)}
        return tuple(axis for place, axis in enumerate(first) if place not in gone)
    fitting = [axes for axes in given if len(axes) == len(shape)]
    return max(fitting, key=_numel, default=None)


def _numel(axes: Axes) -> int:
    return prod(size for axis in axes for _, size in axis)


def _product(record: Record, shape: tuple[int, ...], known: dict[int, Axes]) -> Axes | None:
    """Return the rows of the left matrix and the columns of the right one; those of a weight are channels."""
    arguments = record.arguments
    names = [("mat1", "mat2"), ("batch1", "batch2"), ("self", "mat2")]
    pair = next(((a, b) for a, b in names if isinstance(arguments.get(a), Ref) and b in arguments), None)
    if pair is None:
        return None
    left, right = (known.get(arguments[name].value) for name in pair)
    if left is None and right is not None and len(right) == len(shape):
        # A weight times positions: the contracted axis is replaced by one of the same kind.
        return right
    if left is None or len(left) != len(shape):
        return None
    column: Axis = right[-1] if right is not None else (("C", shape[-1]),)
    return (*left[:-1], column)


def _permuted(name: str, axes: Axes, arguments: dict[str, Any]) -> Axes:
    if name == "permute":
        return tuple(axes[place] for place in arguments["dims"])
    order = list(range(len(axes)))
    if len(order) > 1:
        a, b = (0, 1) if name == "t" else (arguments["dim0"], arguments["dim1"])
        order[a], order[b] = order[b], order[a]
    return tuple(axes[place] for place in order)


def _viewed(axes: Axes, shape: tuple[int, ...]) -> Axes | None:
    """Regroup the factors of axes to a new shape; None where an axis is cut so that its factors do not fit."""
    pending = [factor for axis in axes for factor in axis]
    made: list[Axis] = []
    for length in shape:
        taken: list[tuple[Role, int]] = []
        if length == 1:
            if pending and pending[0][1] == 1:
                taken.append(pending.pop(0))
            made.append(tuple(taken) or (("", 1),))
            continue
        missing = length
        while missing > 1:
            if not pending:
                return None
            role, size = pending.pop(0)
            if size <= missing and missing % size == 0:
                taken.append((role, size))
                missing //= size
            elif size % missing == 0:
                taken.append((role, missing))
                pending.insert(0, (role, size // missing))
                missing = 1
            else:
                return None
        made.append(tuple(taken))
    if made and pending:
        made[-1] += tuple(pending)
    return tuple(made)


def _resized(axes: Axes, shape: tuple[int, ...]) -> Axes:
    """Return axes of these sizes: an axis that another operator made longer or shorter keeps its kind."""
    made: list[Axis] = []
    for axis, length in zip(axes, shape, strict=True):
        if prod(size for _, size in axis) == length:
            made.append(axis)
            continue
        roles = [role for role, size in axis if role != "N" and size > 1] or [role for role, _ in axis]
        made.append(((next(filter(None, roles), "S"), length),))
    return tuple(made)
