"""Convolution and transposed convolution, of 1 to 3 axes, grouped, dilated; deformable convolution."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from convscope.geometry import Reads, TransposedWindow, Windows, conv_macs
from convscope.trace.arithmetic import convolution_sums, deformable_sums, transposed_sums
from convscope.trace.fields import Factor as Positions
from convscope.trace.fields import Fields, FieldState
from convscope.trace.rules.base import Call, Cost, Factor, Rule, Sum, Term, ValueCall, register

__all__ = ["convolution_windows"]


def convolution_windows(call: Call) -> Windows:
    """Return the windows of a recorded convolution, transposed or not.

    Its weight is (C_out, C_in/groups, *K), transposed (C_in, C_out/groups, *K).
    """
    kernel = call.shape("weight")[2:]
    ndim = len(kernel)

    def per_axis(name: str) -> tuple[int, ...]:
        given = tuple(call[name])
        return given * ndim if len(given) == 1 else given

    if call["transposed"]:
        return Windows.transposed(
            ndim,
            kernel,
            per_axis("stride"),
            per_axis("padding"),
            per_axis("output_padding"),
            per_axis("dilation"),
        )
    return Windows.of(ndim, kernel, per_axis("stride"), per_axis("padding"), per_axis("dilation"))


def _cost(call: Call) -> Cost:
    weight, input = call.shape("weight"), call.shape("input")
    batched = len(input) == len(weight)
    # A convolution spends a kernel on each output position, a transposed one on each of its input.
    places = input if call["transposed"] else call.output.shape
    bias = call.output.numel if call["bias"] is not None else 0
    return Cost(conv_macs(input[0] if batched else 1, places[-(len(weight) - 2) :], weight), bias)


def _field(call: Call, fields: Fields) -> FieldState:
    state = fields.of(call["input"].value)
    windows = convolution_windows(call)
    output = call.output.shape
    channel = len(output) - windows.ndim - 1
    sizes = call.shape("input")[-windows.ndim :]
    read = fields.channels_read(state, channel)
    spatial = tuple(
        fields.read(dim, Reads.of(window, size), count)
        for dim, window, size, count in zip(
            read.dims[channel:], windows.axes, sizes, output[channel + 1 :], strict=True
        )
    )
    made = replace(read, dims=(*read.dims[:channel], (Positions(output[channel]),), *spatial))
    return fields.like([made, *_weight_states(call, fields)], made.dims)


def _weight_states(call: Call, fields: Fields) -> list[FieldState]:
    """Return what weights see that were themselves computed from an input."""
    states = [fields.of(call[name].value) for name in ("weight", "bias") if call[name] is not None]
    return [fields.reduced(state, range(len(state.dims))) for state in states if state.sources]


def _explain(asked: ValueCall) -> Sum:
    call = asked.call
    windows = convolution_windows(call)
    transposed = isinstance(windows.axes[0], TransposedWindow)
    sums = (transposed_sums if transposed else convolution_sums)(
        asked.tensor("input"), asked.tensor("weight"), windows, call["groups"], asked.at
    )
    names = [window.axis for window in windows.axes]
    terms = [
        Term(
            f"channel {entry.channel}, " + ", ".join(f"{n} {p}" for n, p in zip(names, place, strict=True)),
            product,
            (Factor("input", pixel), Factor("weight", weight)),
            asked.source("input", (*sums.lead, entry.channel, *place)) if sums.inside(place) else None,
            f"channel {entry.channel}",
        )
        for entry in sums.channels
        for place, pixel, weight, product in sums.rows(entry)
    ]
    formula = "sum over channels and taps of input * weight"
    bias = asked.value("bias")
    if bias is not None:
        shift = float(bias[asked.at[len(sums.lead)]])
        terms.append(Term("bias", shift, (Factor("bias", shift),), None, "bias"))
        formula += " + bias"
    return Sum(tuple(terms), sum(term.value for term in terms), formula, (), sums.positions)


register(
    Rule("convolution", _cost, _field, _explain), "convolution", "_convolution", "convolution_overrideable"
)


def _deformable_cost(call: Call) -> Cost:
    weight, output = call.shape("weight"), call.output.shape
    # Each tap is interpolated from 4 pixels: 4 weights and 4 products with their sum, and its mask.
    samples = prod(output[-2:]) * output[0] * call.shape("input")[1] * prod(weight[2:])
    masked = samples if call["use_mask"] else 0
    return Cost(
        conv_macs(output[0], output[-2:], weight), 8 * samples + masked + output[0] * prod(output[1:])
    )


def _deformable_field(call: Call, fields: Fields) -> FieldState:
    """Say what a plain convolution of that shape would see, and that the offsets move it."""
    state = fields.of(call["input"].value)
    others = [fields.of(call["offset"].value)]
    if call["use_mask"]:
        others.append(fields.of(call["mask"].value))
    windows = _deformable_windows(call)
    output = call.output.shape
    read = fields.channels_read(state, 1)
    spatial = []
    for axis, window in enumerate(windows.axes):
        dim = fields.read(
            read.dims[1 + axis], Reads.of(window, call.shape("input")[2 + axis]), output[2 + axis]
        )
        for other in others:
            dim = fields.union(dim, other.dims[2 + axis])
        spatial.append(dim)
    dims = (read.dims[0], (Positions(output[1]),), *spatial)
    made = fields.like([read, *others], dims)
    return replace(made, data_dependent=(*made.data_dependent, fields.reason))


def _deformable_windows(call: Call) -> Windows:
    """Return the windows before they are moved; the padding behind the image follows from the output's size."""
    stride, before, dilation = (
        (call[f"{name}_h"], call[f"{name}_w"]) for name in ("stride", "pad", "dilation")
    )
    kernel = call.shape("weight")[2:]
    bare = Windows.of(2, kernel, stride, 0, dilation)
    ends = (
        (count - 1) * window.stride + window.span - size
        for window, size, count in zip(bare.axes, call.shape("input")[2:], call.output.shape[2:], strict=True)
    )
    padding = [(side, max(0, end - side)) for side, end in zip(before, ends, strict=True)]
    return Windows.of(2, kernel, stride, padding, dilation)


def _explain_deformable(asked: ValueCall) -> Sum:
    call = asked.call
    mask = asked.value("mask") if call["use_mask"] else None
    taps = deformable_sums(
        asked.tensor("input"),
        asked.tensor("weight"),
        asked.tensor("offset"),
        mask,
        _deformable_windows(call),
        call["groups"],
        call["offset_groups"],
        asked.at,
    )
    terms = [
        Term(
            f"channel {tap.channel}, height {tap.place[0]:.3f}, width {tap.place[1]:.3f}",
            tap.product,
            (Factor("input", tap.pixel), Factor("mask", tap.mask), Factor("weight", tap.weight))
            if mask is not None
            else (Factor("input", tap.pixel), Factor("weight", tap.weight)),
            asked.source("input", (asked.at[0], tap.channel, *tap.nearest)) if tap.nearest else None,
            f"channel {tap.channel}",
        )
        for tap in taps
    ]
    bias = asked.value("bias")
    if bias is not None and bias.numel():
        terms.append(Term("bias", float(bias[asked.at[1]]), (), None, "bias"))
    return Sum(
        tuple(terms),
        sum(term.value for term in terms),
        "sum over channels and taps of input at (tap + offset), interpolated from 4 pixels, * weight + bias",
    )


# The same operator with the same arguments, torchvision's and ours.
register(
    Rule("convolution", _deformable_cost, _deformable_field, _explain_deformable),
    "torchvision.deform_conv2d",
    "convscope.deform_conv2d",
)
