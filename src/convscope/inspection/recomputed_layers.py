"""The layers of a recomputation: recorded operators that run on whole maps, or on the boxes that a change can reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from convscope import kernels
from convscope.acceleration.folding import computed_here, fold, fused_conv2d, packed_weight
from convscope.geometry import Reach, Reads, Spans, Window
from convscope.inspection.patches import Pads, Patches, SharedMap
from convscope.trace import Record, Ref, Trace
from convscope.trace.rules import Call, rule_of
from convscope.trace.rules.convolution import convolution_windows
from convscope.trace.rules.pooling import pooling_windows

__all__ = [
    "ConvolutionLayer",
    "Layer",
    "LocalLayer",
    "NotRecomputable",
    "PoolingLayer",
    "Repeated",
    "convolution_tail",
]

_NEARLY_WHOLE = 0.8  # share of a map from which on all of it is computed, which needs no crops
_VIEWS = ("aten.view", "aten._unsafe_view", "aten._reshape_alias", "aten.reshape")
_COPIES = ("aten.clone", "aten.detach", "aten.alias", "aten.contiguous", "aten.lift_fresh")
_CUTS = ("aten.slice", "aten.split", "aten.split_with_sizes", "aten.chunk")


class NotRecomputable(Exception):
    """The records do not say how to run the network again in part.

    `alone`: not even several images at once give what each gives alone.
    """

    def __init__(self, message: str, *, alone: bool = False) -> None:
        super().__init__(message)
        self.alone = alone


class Run(Protocol):
    """The cases on their way: what a layer asks for, by the number of a tensor in the trace."""

    count: int

    def patches(self, number: int) -> Patches | None:
        """Return the boxes that were computed; None where the tensor is whole, or the same in all cases."""

    def shared(self, number: int) -> SharedMap:
        """Return the undisturbed map."""
        ...

    def whole(self, number: int) -> Tensor:
        """Return the tensor of all cases; of one that is the same in all cases, that."""
        ...


@dataclass(frozen=True)
class Repeated:
    """A record of one image beside that of two images, which tells what grows with them.

    Args:
        touched: numbers of the tensors that the image has a part in.
    """

    record: Record
    twice: Record
    trace: Trace
    touched: set[int]

    @property
    def call(self) -> Call:
        """Return the record as rules read it."""
        return Call(self.record, list(self.trace.tensors))

    @property
    def inputs(self) -> tuple[int, ...]:
        """Return the tensors read that the image has a part in."""
        return tuple(dict.fromkeys(number for number in self.record.inputs if number in self.touched))

    def shape(self, number: int) -> tuple[int, ...]:
        """Return a tensor's shape for one image."""
        return self.trace.tensors[number].shape

    def run(self, tensors: Mapping[int, Tensor], count: int) -> tuple[Tensor, ...]:
        """Return what the operator returns for `count` images.

        Whole numbers among its arguments that are others for two images than for one grow by the difference.
        """

        def put(once: Any, twice: Any) -> Any:
            if isinstance(once, Ref):
                return tensors[once.value]
            if isinstance(once, (list, tuple)):
                return [put(a, b) for a, b in zip(once, twice, strict=True)]
            if type(once) is int and type(twice) is int:
                return once + (count - 1) * (twice - once)
            return once

        arguments = {
            name: put(once, self.twice.arguments[name]) for name, once in self.record.arguments.items()
        }
        if self.record.operator in _VIEWS:  # maps are laid out otherwise than in the trace
            result = arguments["self"].reshape(arguments["size"])
        else:
            result = self.record.function()(**arguments)
        return (result,) if isinstance(result, Tensor) else tuple(result)


class Layer:
    """An operator without a rule: it runs on whole maps.

    Attributes:
        inputs: numbers of the tensors read that the image has a part in.
        outputs: numbers of the tensors made.
        last: index of the last record that it stands for.
        macs: multiply-accumulates for one image.
    """

    def __init__(self, repeated: Repeated) -> None:
        self.repeated = repeated
        self.inputs = repeated.inputs
        self.outputs = repeated.record.outputs
        self.last = repeated.record.index
        self.macs = repeated.record.macs
        rule = rule_of(repeated.record.operator)
        self.family = "" if rule is None else rule.family

    def whole(self, run: Run) -> tuple[Tensor, ...]:
        """Compute whole maps of all cases."""
        tensors = {number: run.whole(number) for number in self.repeated.record.inputs}
        return self.repeated.run(tensors, run.count)

    def partial(self, run: Run) -> tuple[Patches, ...] | None:
        """Compute what the changes can reach; None where whole maps should be."""
        return None


class _WindowLayer(Layer):
    """An operator whose outputs read a window of one map."""

    def __init__(self, repeated: Repeated, source: int, windows: Sequence[Window], output: int) -> None:
        super().__init__(repeated)
        self.source, self.windows = source, tuple(windows)
        sizes, counts = repeated.shape(source)[-2:], repeated.shape(output)[-2:]
        self.counts = counts
        self.reaches = tuple(
            Reach.of(Reads.of(window, size), size, count)
            for window, size, count in zip(windows, sizes, counts, strict=True)
        )
        self.pads = cast(
            "Pads",
            tuple(
                (window.pads(size)[0], max(_box(window, 0, count, size)[1] - window.pads(size)[0] - size, 0))
                for window, size, count in zip(windows, sizes, counts, strict=True)
            ),
        )
        self.sizes = sizes

    def reached(self, patches: Patches) -> tuple[Spans, Spans]:
        """Return the rows and columns of the output that the patches can alter."""
        rows, columns = (
            spans.reached(reach, count)
            for spans, reach, count in zip(
                (patches.rows, patches.columns), self.reaches, self.counts, strict=True
            )
        )
        return rows, columns

    def crops(self, run: Run, patches: Patches, rows: Spans, columns: Spans, fill: float = 0.0) -> Tensor:
        """Return what those outputs read, padding included."""
        (tops, height), (lefts, width) = (
            ([_box(window, start, spans.length, size)[0] for start in spans.starts],
             _box(window, 0, spans.length, size)[1])
            for window, spans, size in zip(self.windows, (rows, columns), self.sizes, strict=True)
        )  # fmt: skip
        return run.shared(self.source).boxes(tops, lefts, (height, width), patches, self.pads, fill)


def _box(window: Window, start: int, count: int, size: int) -> tuple[int, int]:
    """Return first position and length of what `count` outputs from `start` on read."""
    first = window.taps(start, size)[0]
    return first, (count - 1) * window.stride + window.span


def _nearly_whole(rows: Spans, columns: Spans) -> bool:
    return rows.length * columns.length >= _NEARLY_WHOLE * rows.size * columns.size


_ACTIVATIONS = {"relu": "relu", "silu": "silu", "hardswish": "hardswish", "gelu": "gelu", "hardtanh": "relu6"}


def _activation(record: Record) -> str | None:
    """Return the name of an activation that is computed together with a convolution."""
    name = _ACTIVATIONS.get(record.short_operator.removesuffix("_"))
    if name == "relu6" and (record.arguments["min_val"], record.arguments["max_val"]) != (0, 6):
        return None
    if name == "gelu" and record.arguments.get("approximate", "none") != "none":
        return None
    return name


def convolution_tail(
    repeated: Repeated, readers: Mapping[int, Sequence[Record]], kept: int, taken: set[int]
) -> list[Record]:
    """Return what is computed together with a convolution: batch norm, addition, activation, each its only reader.

    Args:
        readers: of each tensor.
        kept: a tensor that is wanted itself.
        taken: indices of records that are computed together with another.
    """
    found: list[Record] = []
    record = repeated.record
    for accepts in (_is_stored_norm, _is_sum, lambda each: _activation(each) is not None):
        number = record.outputs[0]
        following = readers.get(number, ())
        if number == kept or len(following) != 1 or following[0].index in taken:
            continue
        (reader,) = following
        if not accepts(reader):
            continue
        others = [n for n in reader.inputs if n != number]
        if _is_stored_norm(reader):
            fits = reader.arguments["input"].value == number and not set(others) & repeated.touched
        elif _is_sum(reader):
            shape = repeated.shape(number)
            fits = len(others) == 1 and others[0] in repeated.touched and repeated.shape(others[0]) == shape
        else:
            fits = True
        if fits:
            found.append(reader)
            record = reader
    return found


def _is_stored_norm(record: Record) -> bool:
    return record.arguments.get("running_mean") is not None and "batch_norm" in record.operator


def _is_sum(record: Record) -> bool:
    return (
        record.operator.removesuffix("_") == "aten.add"
        and isinstance(record.arguments["other"], Ref)
        and record.arguments.get("alpha", 1) == 1
    )


class ConvolutionLayer(_WindowLayer):
    """A convolution with what follows it."""

    def __init__(self, repeated: Repeated, tail: Sequence[Record], fixed: Mapping[int, Tensor]) -> None:
        call = repeated.call
        last = tail[-1] if tail else repeated.record
        windows = cast("Sequence[Window]", convolution_windows(call).axes)
        super().__init__(repeated, call["input"].value, windows, last.outputs[0])
        self.last, self.outputs = last.index, last.outputs[:1]
        strides, dilations = ([getattr(w, name) for w in windows] for name in ("stride", "dilation"))
        self.groups = call["groups"]
        pads = [window.pads(1)[0] for window in windows]
        self.settings = strides, pads, dilations, self.groups
        self.inner_settings = strides, [0, 0], dilations, self.groups
        self.weight = fixed[call["weight"].value]
        self.bias = None if call["bias"] is None else fixed[call["bias"].value]
        self.activation, self.residual = "none", None
        made = repeated.record.outputs[0]
        for record in tail:
            if _is_stored_norm(record):
                self.weight, self.bias = _folded(self.weight, self.bias, record, fixed)
            elif _is_sum(record):
                self.residual = next(n for n in record.inputs if n != made)
                self.inputs = tuple(dict.fromkeys((*self.inputs, self.residual)))
            else:
                self.activation = _activation(record) or "none"
            made = record.outputs[0]
        self._packed: Tensor | None = None

    @classmethod
    def takes(cls, repeated: Repeated, fixed: Mapping[int, Tensor]) -> bool:
        """Tell whether a record is a convolution of maps with weights of the network's own."""
        record = repeated.record
        if record.operator != "aten.convolution" or record.arguments["transposed"]:
            return False
        arguments = record.arguments
        own = [arguments[name].value for name in ("weight", "bias") if arguments[name] is not None]
        return all(number in fixed for number in own) and len(repeated.shape(arguments["input"].value)) == 4

    def whole(self, run: Run) -> tuple[Tensor, ...]:
        """Compute whole maps."""
        residual = None if self.residual is None else run.whole(self.residual)
        return (self._convolved(run.whole(self.source), self.settings, residual),)

    def partial(self, run: Run) -> tuple[Patches, ...] | None:
        """Compute what the changes can reach."""
        patches = run.patches(self.source)
        if patches is None:
            return None
        rows, columns = self.reached(patches)
        added = None
        if self.residual is not None:
            added = run.patches(self.residual)
            if added is None:
                return None
            rows, columns = rows.joined(added.rows), columns.joined(added.columns)
        if _nearly_whole(rows, columns):
            return None
        residual = None
        if self.residual is not None:
            residual = run.shared(self.residual).boxes(
                rows.starts, columns.starts, (rows.length, columns.length), added
            )
        crops = self.crops(run, patches, rows, columns)
        return (Patches(self._convolved(crops, self.inner_settings, residual), rows, columns),)

    def _convolved(self, input: Tensor, settings: tuple[Any, ...], residual: Tensor | None) -> Tensor:
        input, weight = kernels.channels_last(input), self.weight
        if not computed_here(input, weight, settings):
            if self._packed is None:
                self._packed = packed_weight(weight, settings, input.shape)
            weight = self._packed
        return fused_conv2d(input, weight, self.bias, settings, self.activation, residual)


def _folded(
    weight: Tensor, bias: Tensor | None, record: Record, fixed: Mapping[int, Tensor]
) -> tuple[Tensor, Tensor]:
    def given(name: str) -> Tensor | None:
        ref = record.arguments[name]
        return None if ref is None else fixed[ref.value]

    mean, variance = given("running_mean"), given("running_var")
    assert mean is not None
    assert variance is not None
    return fold(weight, bias, mean, variance, record.arguments["eps"], given("weight"), given("bias"))


class PoolingLayer(_WindowLayer):
    """The largest or the mean of windows."""

    def __init__(self, repeated: Repeated) -> None:
        call = repeated.call
        windows = cast("Sequence[Window]", pooling_windows(call).axes)
        super().__init__(repeated, call["self"].value, windows, repeated.record.outputs[0])
        self.outputs = self.outputs[:1]
        self.largest = "max" in repeated.record.operator

    @classmethod
    def takes(cls, repeated: Repeated, readers: Mapping[int, Sequence[Record]]) -> bool:
        """Tell whether a record is a pooling whose windows all count alike, and whose places nobody reads."""
        record = repeated.record
        if any(number in readers for number in record.outputs[1:]):
            return False
        if record.operator in ("aten.max_pool2d_with_indices", "aten.max_pool2d"):
            return len(repeated.shape(record.inputs[0])) == 4
        if record.operator != "aten.avg_pool2d" or len(repeated.shape(record.inputs[0])) != 4:
            return False
        call = repeated.call
        sizes, counts = repeated.shape(record.inputs[0])[2:], call.output.shape[2:]
        windows = cast("Sequence[Window]", pooling_windows(call).axes)
        for window, size, count in zip(windows, sizes, counts, strict=True):
            before, after = window.pads(size)
            sticks_out = (count - 1) * window.stride + window.span > before + size + after
            if sticks_out or (max(before, after) > 0 and not call["count_include_pad"]):
                return False
        return True

    def whole(self, run: Run) -> tuple[Tensor, ...]:
        """Compute whole maps."""
        if not self.largest:
            return super().whole(run)[:1]
        kernel, stride, pads, dilation = (
            [getattr(window, name) for window in self.windows]
            for name in ("kernel_size", "stride", "padding", "dilation")
        )
        input, ceil_mode = run.whole(self.source), self.windows[0].ceil_mode
        return (kernels.max_pool2d(input, kernel, stride, [pad[0] for pad in pads], dilation, ceil_mode),)

    def partial(self, run: Run) -> tuple[Patches, ...] | None:
        """Compute what the changes can reach."""
        patches = run.patches(self.source)
        if patches is None:
            return None
        rows, columns = self.reached(patches)
        if _nearly_whole(rows, columns):
            return None
        kernel, stride, dilation = (
            [getattr(window, name) for window in self.windows]
            for name in ("kernel_size", "stride", "dilation")
        )
        if self.largest:
            crops = self.crops(run, patches, rows, columns, float("-inf"))
            return (Patches(kernels.max_pool2d(crops, kernel, stride, [0, 0], dilation), rows, columns),)
        crops = self.crops(run, patches, rows, columns)
        divisor = self.repeated.record.arguments.get("divisor_override")
        means = torch.ops.aten.avg_pool2d.default(crops, kernel, stride, [0, 0], False, True, divisor)
        return (Patches(means, rows, columns),)


class LocalLayer(Layer):
    """An operator whose outputs read their own position alone: activations, sums, stored norms, channels joined."""

    def __init__(self, repeated: Repeated, fixed: Mapping[int, Tensor]) -> None:
        super().__init__(repeated)
        size = repeated.shape(self.outputs[0])[2:]
        self.outputs = self.outputs[:1] if self.family == "normalisation" else self.outputs
        # Those of a map's size are cropped like the maps; all others have no positions.
        self.spread = [
            n for n in repeated.record.inputs if n in fixed and len(fixed[n].shape) >= 2 and fixed[n].shape[-2:] == size
        ] if self.family == "pointwise" else []  # fmt: skip

    @classmethod
    def takes(cls, repeated: Repeated) -> bool:
        """Tell whether a record keeps positions apart."""
        record = repeated.record
        if not repeated.inputs:
            return False
        rule = rule_of(record.operator)
        output = repeated.shape(record.outputs[0])
        if rule is None or len(output) != 4 or output[2] * output[3] == 1:
            return False
        shapes = [repeated.shape(number) for number in repeated.inputs]
        if any(len(shape) != 4 or shape[2:] != output[2:] for shape in shapes):
            return False
        axis = record.arguments.get("dim")
        if record.operator == "aten.cat" or record.operator in _CUTS:
            return axis in (1, -3)
        if rule.family == "normalisation":
            return _is_stored_norm(record)
        if rule.family != "pointwise" or record.short_operator in ("tril", "triu", "glu", "rrelu_with_noise"):
            return record.operator in _COPIES
        own = [repeated.shape(n) for n in record.inputs if n not in repeated.touched]
        return all(
            shape[-2:] in ((), (1,), (1, 1)) or (len(shape) in (2, 3, 4) and shape[-2:] == output[2:])
            for shape in own
        )

    def partial(self, run: Run) -> tuple[Patches, ...] | None:
        """Compute the boxes that hold the changes of all operands."""
        given = [run.patches(number) for number in self.inputs]
        patches = [each for each in given if each is not None]
        if len(patches) < len(given):
            return None
        rows, columns = patches[0].rows, patches[0].columns
        for each in patches[1:]:
            rows, columns = rows.joined(each.rows), columns.joined(each.columns)
        size = rows.length, columns.length
        tensors = {
            number: run.shared(number).boxes(rows.starts, columns.starts, size, each)
            for number, each in zip(self.inputs, patches, strict=True)
        }
        for number in self.repeated.record.inputs:
            if number in self.spread:
                plane = run.shared(number)
                tensors[number] = plane.boxes(rows.starts, columns.starts, size)
            elif number not in tensors:
                tensors[number] = run.whole(number)
        made = self.repeated.run(tensors, 1)
        return tuple(Patches(values, rows, columns) for values in made[: len(self.outputs)])

    def whole(self, run: Run) -> tuple[Tensor, ...]:
        """Compute whole maps."""
        return super().whole(run)[: len(self.outputs)]
