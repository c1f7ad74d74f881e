"""Operators that move values and compute none: views, concatenation, padding, shuffles, copies."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from convscope.geometry import Reads, TransposedWindow, Window
from convscope.trace.fields import Dim, Factor, Fields, FieldState
from convscope.trace.record import Ref
from convscope.trace.rules.base import Call, Cost, Rule, register

__all__ = ["MOVED"]


def _state(call: Call, fields: Fields) -> FieldState:
    return fields.of(call.record.inputs[0])


def _same(call: Call, fields: Fields) -> FieldState:
    return _state(call, fields)


def _reshaped(call: Call, fields: Fields) -> FieldState:
    return fields.reshaped(_state(call, fields), call.output.shape)


def _permuted(call: Call, fields: Fields) -> FieldState:
    state = _state(call, fields)
    ndim = len(state.dims)
    order = list(range(ndim))
    if "dims" in call.record.arguments:
        order = [axis % ndim for axis in call["dims"]]
    elif "dim0" in call.record.arguments:
        first, second = call["dim0"] % ndim, call["dim1"] % ndim
        order[first], order[second] = second, first
    else:  # t
        order.reverse()
    return replace(state, dims=tuple(state.dims[axis] for axis in order))


def _unsqueezed(call: Call, fields: Fields) -> FieldState:
    state = _state(call, fields)
    axis = call["dim"] % (len(state.dims) + 1)
    return replace(state, dims=(*state.dims[:axis], (Factor(1),), *state.dims[axis:]))


def _squeezed(call: Call, fields: Fields) -> FieldState:
    state = _state(call, fields)
    shape = call.tensors[call.record.inputs[0]].shape
    given = call.get("dim", range(len(shape)))
    axes = {axis % len(shape) for axis in (given if isinstance(given, (list, tuple, range)) else (given,))}
    gone = {axis for axis in axes if shape[axis] == 1}
    return fields.reduced(state, gone, keepdim=False) if gone else state


def _expanded(call: Call, fields: Fields) -> FieldState:
    return fields.broadcast(_state(call, fields), call.output.shape)


def _repeated(call: Call, fields: Fields) -> FieldState:
    state = _state(call, fields)
    shape = call.output.shape
    lead = len(shape) - len(state.dims)
    dims: list[Dim] = [(Factor(length),) for length in shape[:lead]]
    for dim, length in zip(state.dims, shape[lead:], strict=True):
        size = prod(factor.size for factor in dim)
        if size == length:
            dims.append(dim)
        else:
            dims.append(fields.read(dim, Reads.digit(1, size), length))
    return replace(state, dims=tuple(dims))


def _replaced(state: FieldState, axis: int, dim: Dim) -> FieldState:
    return replace(state, dims=(*state.dims[:axis], dim, *state.dims[axis + 1 :]))


def _sliced(call: Call, fields: Fields) -> FieldState:
    state = _state(call, fields)
    shape = call.tensors[call.record.inputs[0]].shape
    axis, start, step = slice_of(call, shape)
    if call.output.shape[axis] == shape[axis]:
        return state
    read = fields.read(state.dims[axis], Reads.slice(start, step), call.output.shape[axis])
    return _replaced(state, axis, read)


def slice_of(call: Call, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return axis, first position and step of a recorded slice."""
    axis = call["dim"] % len(shape)
    start = call.get("start") or 0
    start = max(start + shape[axis], 0) if start < 0 else min(start, shape[axis])
    return axis, start, call.get("step") or 1


def _selected(call: Call, fields: Fields) -> FieldState:
    state = _state(call, fields)
    axis = call["dim"] % len(state.dims)
    size = call.tensors[call.record.inputs[0]].shape[axis]
    read = fields.read(state.dims[axis], Reads.slice(call["index"] % size), 1)
    return fields.reduced(_replaced(state, axis, read), (axis,), keepdim=False, fixed=True)


def _split(call: Call, fields: Fields) -> list[FieldState]:
    state = _state(call, fields)
    axis = (call.get("dim") or 0) % len(state.dims)
    states: list[FieldState] = []
    start = 0
    for index in call.record.outputs:
        length = call.tensors[index].shape[axis]
        read = fields.read(state.dims[axis], Reads.slice(start), length)
        states.append(_replaced(state, axis, read))
        start += length
    return states


def _unbound(call: Call, fields: Fields) -> list[FieldState]:
    state = _state(call, fields)
    axis = (call.get("dim") or 0) % len(state.dims)
    return [
        fields.reduced(
            _replaced(state, axis, fields.read(state.dims[axis], Reads.slice(index), 1)),
            (axis,),
            keepdim=False,
            fixed=True,
        )
        for index in range(len(call.record.outputs))
    ]


def _concatenated(call: Call, fields: Fields) -> FieldState:
    refs = [ref for ref in call["tensors"] if call.tensors[ref.value].shape != (0,)]
    states = [fields.of(ref.value) for ref in refs]
    axis = (call.get("dim") or 0) % len(call.output.shape)
    dims: list[Dim] = []
    for place in range(len(call.output.shape)):
        if place != axis:
            dim = states[0].dims[place]
            for state in states[1:]:
                dim = fields.union(dim, state.dims[place])
            dims.append(dim)
            continue
        dims.append(_joined(fields, [state.dims[axis] for state in states], call.output.shape[axis]))
    return fields.like(states, tuple(dims))


def _joined(fields: Fields, parts: list[Dim], size: int) -> Dim:
    """Put axes end to end."""
    start = 0
    whole: dict[Any, Any] = {}  # one kind of field throughout
    for part in parts:
        length = prod(factor.size for factor in part)
        entries: dict[Any, Any] = dict(fields.single(part))
        for source, entry in entries.items():
            before = whole.get(source)
            if before is None:
                before = fields.kind.identity(size).read_by(Reads(1, 0, ((),)), size)
            whole[source] = before.patched(entry, start, 1, length, size)
        start += length
    return (Factor(size, whole),)


def _stacked(call: Call, fields: Fields) -> FieldState:
    states = [fields.of(ref.value) for ref in call["tensors"]]
    axis = (call.get("dim") or 0) % len(call.output.shape)
    dims = list(states[0].dims)
    for state in states[1:]:
        dims = [fields.union(a, b) for a, b in zip(dims, state.dims, strict=True)]
    dims.insert(axis, (Factor(len(states)),))
    return fields.like(states, tuple(dims))


def _padded(call: Call, fields: Fields) -> FieldState:
    state = _state(call, fields)
    given = call["pad"] if "pad" in call.record.arguments else call["padding"]
    shape = call.tensors[call.record.inputs[0]].shape
    name = call.record.short_operator
    mode: Any = (
        "reflect" if name.startswith("reflection") else "replicate" if name.startswith("repl") else None
    )
    for place, (before, after) in enumerate(zip(given[::2], given[1::2], strict=True)):
        axis = len(shape) - 1 - place
        if before == 0 == after:
            continue
        reads = Reads.slice(-before) if mode is None else Reads.padded(before, shape[axis], after, mode)
        state = _replaced(state, axis, fields.read(state.dims[axis], reads, call.output.shape[axis]))
    return state


def _flipped(call: Call, fields: Fields) -> FieldState:
    state = _state(call, fields)
    for axis in call["dims"]:
        size = call.output.shape[axis]
        reads = Reads.slice(size - 1, -1)
        state = _replaced(state, axis % len(state.dims), fields.read(state.dims[axis], reads, size))
    return state


def _rolled(call: Call, fields: Fields) -> FieldState:
    state = _state(call, fields)
    shifts, axes = call["shifts"], call["dims"]
    if not axes:
        return fields.unknown([state], call.output.shape)
    for shift, axis in zip(shifts, axes, strict=True):
        size = call.output.shape[axis]
        state = _replaced(
            state, axis % len(state.dims), fields.read(state.dims[axis], Reads.rolled(shift, size), size)
        )
    return state


def _shuffled(call: Call, fields: Fields) -> FieldState:
    """Channels become pixels (pixel_shuffle), or pixels channels."""
    state = _state(call, fields)
    up = "upscale_factor" in call.record.arguments
    factor = call["upscale_factor"] if up else call["downscale_factor"]
    reads = Reads.digit(factor) if up else Reads(1, factor, (tuple(range(factor)),))
    first = len(state.dims) - 2
    dims = list(state.dims)
    for axis in (first, first + 1):
        dims[axis] = fields.read(dims[axis], reads, call.output.shape[axis])
    dims[first - 1] = (Factor(call.output.shape[first - 1]),)
    return replace(state, dims=tuple(dims))


def _unfolded(call: Call, fields: Fields) -> FieldState:
    """Patches as columns (im2col): the last axis runs over windows, row by row."""
    state = _state(call, fields)
    shape = call.tensors[call.record.inputs[0]].shape
    spatial: list[Factor] = []
    for axis in (0, 1):
        window = Window(
            call["kernel_size"][axis], call["stride"][axis], call["padding"][axis], call["dilation"][axis]
        )
        size = shape[axis - 2]
        count = window.output_size(size)
        spatial += fields.read(state.dims[axis - 2], Reads.of(window, size), count)
    return replace(state, dims=(*state.dims[:-3], (Factor(call.output.shape[-2]),), tuple(spatial)))


def _windowed(call: Call, fields: Fields) -> FieldState:
    """Windows of one axis laid out as a new last axis (Tensor.unfold)."""
    state = _state(call, fields)
    axis = call["dimension"] % len(state.dims)
    size = call.tensors[call.record.inputs[0]].shape[axis]
    reads = Reads.of(Window(call["size"], call["step"]), size)
    state = _replaced(state, axis, fields.read(state.dims[axis], reads, call.output.shape[axis]))
    return replace(state, dims=(*state.dims, (Factor(call["size"]),)))


def _folded(call: Call, fields: Fields) -> FieldState:
    """Columns summed back into an image (col2im): a transposed convolution's geometry."""
    state = _state(call, fields)
    shape = call.tensors[call.record.inputs[0]].shape
    settings = [
        (call["kernel_size"][a], call["stride"][a], call["padding"][a], call["dilation"][a]) for a in (0, 1)
    ]
    sizes = [call["output_size"][a] for a in (0, 1)]
    counts = [Window(*setting).output_size(size) for setting, size in zip(settings, sizes, strict=True)]
    state = fields.reshaped(state, (*shape[:-1], *counts))
    spatial: list[Dim] = []
    for dim, (kernel, stride, padding, dilation), count, size in zip(
        state.dims[-2:], settings, counts, sizes, strict=True
    ):
        window = TransposedWindow(kernel, stride, padding, 0, dilation)
        spatial.append(fields.read(dim, Reads.of(window, count), size))
    return replace(state, dims=(*state.dims[:-3], (Factor(call.output.shape[-3]),), *spatial))


def _strided(call: Call, fields: Fields) -> FieldState:
    """Say that a new layout of the same shape moves nothing; any other may read anything."""
    state = _state(call, fields)
    same = call.output.shape == call.tensors[call.record.inputs[0]].shape
    return state if same else fields.unknown([state], call.output.shape)


def _copied(call: Call, fields: Fields) -> FieldState:
    return fields.broadcast(fields.of(call["src"].value), call.output.shape)


def _indexed(call: Call, fields: Fields) -> FieldState:
    """Say that any position may be read: the places are values."""
    states = [fields.of(index) for index in call.record.inputs]
    whole = [fields.reduced(state, range(len(state.dims))) for state in states]
    return fields.like(whole, fields.blank(call.output.shape).dims)


def _written(call: Call, fields: Fields) -> FieldState:
    """Return what a tensor sees after a part of it was overwritten through a view."""
    base, part = fields.of(call["base"].value), fields.of(call["part"].value)
    view: Call = call["view"]
    shape = call.output.shape
    name = view.record.short_operator
    if name in ("slice", "select"):
        if name == "slice":
            axis, start, step = slice_of(view, shape)
        else:
            axis = view["dim"] % len(shape)
            start, step = view["index"] % shape[axis], 1
            part = replace(part, dims=(*part.dims[:axis], (Factor(1),), *part.dims[axis:]))
        count = prod(factor.size for factor in part.dims[axis])
        if count == shape[axis]:
            return part
        dims: list[Dim] = []
        for place, (old, new) in enumerate(zip(base.dims, part.dims, strict=True)):
            if place != axis:
                dims.append(fields.union(old, new))
                continue
            before: dict[Any, Any] = dict(fields.single(old))
            patch: dict[Any, Any] = dict(fields.single(new))
            none = fields.kind.identity(shape[axis]).read_by(Reads(1, 0, ((),)), shape[axis])
            merged: dict[Any, Any] = {
                source: before.get(source, none).patched(
                    patch.get(source, none),
                    start,
                    step,
                    count,
                    shape[axis],
                )
                for source in {*before, *patch}
            }
            dims.append((Factor(shape[axis], merged),))
        return fields.like([base, part], tuple(dims))
    if name in ("view", "_unsafe_view", "unsqueeze", "squeeze", "detach", "alias", "_reshape_alias"):
        return fields.reshaped(part, shape)
    return fields.unknown([base, part], shape)


def _move_cost(call: Call) -> Cost:
    return Cost()


def _views(field: Any, *operators: str) -> None:
    register(Rule("view", _move_cost, field, None, hidden=True), *operators)


def _moves(field: Any, *operators: str) -> None:
    register(Rule("move", _move_cost, field), *operators)


_views(_reshaped, "view", "_unsafe_view", "_reshape_alias", "unflatten", "flatten", "reshape", "view_as")
_views(_permuted, "permute", "transpose", "t", "numpy_T")
_views(_unsqueezed, "unsqueeze")
_views(_squeezed, "squeeze")
_views(_expanded, "expand", "expand_as")
_views(_sliced, "slice")
_views(_selected, "select")
_views(_split, "split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk")
_views(_unbound, "unbind")
_views(_same, "detach", "alias", "clone", "_to_copy", "contiguous", "to", "view_as_real", "resolve_conj")
_views(_strided, "as_strided")
_views(_windowed, "unfold")
register(Rule("sum", lambda call: Cost(element_ops=call.facts("self").numel), _folded), "col2im")
_moves(_copied, "copy")
_moves(_concatenated, "cat")
_moves(_stacked, "stack")
_moves(_padded, "constant_pad_nd")
_moves(_padded, *(f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in (1, 2, 3)))
_moves(_flipped, "flip")
_moves(_rolled, "roll")
_moves(_repeated, "repeat")
_moves(_shuffled, "pixel_shuffle", "pixel_unshuffle")
_moves(_same, "channel_shuffle", "native_channel_shuffle")
_moves(_unfolded, "im2col")
_moves(_indexed, "index", "index_select", "gather", "embedding", "take_along_dim", "index_put")
_views(_written, "convscope.write")

# What `trace.origins` follows: the output's elements are elements of these arguments.
MOVED: dict[str, tuple[str, ...]] = {
    "aten.cat": ("tensors",),
    "aten.stack": ("tensors",),
    "aten.copy": ("src",),
    "aten.copy_": ("src",),
}


def moved_arguments(call: Call) -> tuple[str, ...]:
    """Return the arguments whose elements the output is made of."""
    named = MOVED.get(call.record.operator)
    if named is not None:
        return named
    return tuple(name for name, given in call.record.arguments.items() if isinstance(given, Ref))[:1]
