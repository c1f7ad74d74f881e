"""What a figure says of one operator: its family, and `conv 3×3 /2` in the fewest letters that tell it exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from convscope.report.network.axes import Volume
from convscope.trace import Record, Trace
from convscope.trace.rules import Call, rule_of

__all__ = ["Family", "Step", "step_of"]

Family = Literal[
    "input",
    "convolution",
    "pooling",
    "dense",
    "attention",
    "normalisation",
    "resizing",
    "join",
    "block",
    "other",
]

_NAMES = {
    "relu": "ReLU",
    "silu": "SiLU",
    "gelu": "GELU",
    "elu": "ELU",
    "mish": "Mish",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "hardtanh": "ReLU6",
    "hardswish": "Hardswish",
    "hardsigmoid": "Hardsigmoid",
    "leaky_relu": "leaky ReLU",
    "prelu": "PReLU",
    "_prelu_kernel": "PReLU",
    "softplus": "softplus",
    "_softmax": "softmax",
    "_safe_softmax": "softmax",
    "_log_softmax": "log softmax",
    "softmax": "softmax",
    "native_batch_norm": "BN",
    "_native_batch_norm_legit": "BN",
    "native_layer_norm": "LN",
    "native_group_norm": "GN",
    "_fused_rms_norm": "RMS norm",
    "native_dropout": "dropout",
    "bernoulli": "dropout",
    "constant_pad_nd": "pad",
    "pixel_shuffle": "pixel shuffle",
    "pixel_unshuffle": "pixel unshuffle",
    "native_channel_shuffle": "channel shuffle",
    "channel_shuffle": "channel shuffle",
    "index_select": "index",
    "embedding": "embedding",
    "cat": "concat",
    "stack": "stack",
    "copy": "write",
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One operator in words.

    Attributes:
        major: it makes a volume of its own; otherwise it is told beside the step before.
        stride: its largest stride down, 1 for none.
        signature: what two equal steps share, the stride apart.
    """

    family: Family
    words: str
    major: bool
    stride: int = 1
    signature: str = ""


def step_of(trace: Trace, record: Record, volumes: Sequence[Volume], sources: int) -> Step:
    """Say what an operator does.

    Args:
        sources: how many tensors it reads that depend on the network's inputs.
    Example:
        >>> from torch import nn
        >>> from convscope.report.network.axes import volumes_of
        >>> from convscope.trace import trace
        >>> found = trace(nn.Conv2d(6, 6, 3, stride=2, groups=6), (1, 6, 9, 9))
        >>> step_of(found, found.records[0], volumes_of(found), 1).words
        'depthwise 3×3 /2'
    """
    rule = rule_of(record.operator)
    family = rule.family if rule is not None else "unknown"
    name = record.short_operator
    name = name.rstrip("_") if len(name.rstrip("_")) > 1 else name
    call = Call(record, list(trace.tensors))
    told = _TELLERS.get(family)
    if told is not None:
        return told(call, name, volumes)
    plain = _NAMES.get(name, name.strip("_").replace("_", " "))
    if record.kind.startswith("InstanceNorm"):
        plain = "IN"
    if family == "pointwise":
        if sources > 1:
            return Step("join", plain, True, signature=plain)
        named = [entry.rsplit(".", 1)[-1] for entry in record.parameters]
        signs = {"add": "+ {}", "sub": "− {}", "mul": "× {}", "div": "÷ {}"}
        words = signs[name].format(named[0]) if named and name in signs else plain
        return Step("normalisation", "scale" if words in ("multiply", "divide") else words, False)
    if family in ("normalisation", "softmax", "random"):
        return Step("normalisation", plain, False)
    if name in ("cat", "stack", "copy"):
        return Step("join", plain, name != "copy" or sources > 1, signature=plain)
    if name.startswith("pixel_"):
        return Step("resizing", plain, True, signature=plain)
    return Step("other", plain, True, signature=plain)


def _by(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))


def _stride(strides: Sequence[int]) -> str:
    """Return ` /2`, or nothing for a stride of 1."""
    if set(strides) <= {1}:
        return ""
    return f" /{strides[0] if len(set(strides)) == 1 else _by(strides)}"


def _convolution(call: Call, name: str, volumes: Sequence[Volume]) -> Step:
    weight = call.shape("weight")
    kernel = weight[2:]
    groups = int(call.get("groups", 1))
    if "deform" in name:
        strides = (call["stride_h"], call["stride_w"])
        dilation: Sequence[int] = (call["dilation_h"], call["dilation_w"])
        kind = "deformable"
    else:
        strides, dilation = _spread(call["stride"], kernel), _spread(call["dilation"], kernel)
        kind = "conv"
    channels = volumes[call.record.inputs[0]].channels
    transposed = bool(call.get("transposed", False))
    if transposed:
        kind = "up-conv"
    if groups > 1:
        kind = "depthwise" if groups == channels else f"{groups}-group {kind}"
    words = f"{kind} {_by(kernel)}"
    if max(dilation) > 1:
        words += f" dil. {dilation[0] if len(set(dilation)) == 1 else _by(dilation)}"
    up = f" ↑{strides[0] if len(set(strides)) == 1 else _by(strides)}" if max(strides) > 1 else ""
    return Step(
        "convolution",
        words + (up if transposed else _stride(strides)),
        True,
        1 if transposed else max(strides),
        words if not transposed else words + up,
    )


def _spread(given: Sequence[int], like: Sequence[int]) -> list[int]:
    return list(given) * len(like) if len(given) == 1 else list(given)


def _dense(call: Call, name: str, volumes: Sequence[Volume]) -> Step:
    words = "dense" if call.record.parameters else "matrix product"
    return Step("dense", words, True, signature=words)


def _pooling(call: Call, name: str, volumes: Sequence[Volume]) -> Step:
    kind = "max pool" if "max" in name else "avg pool"
    made = volumes[call.record.outputs[0]]
    if "adaptive" in name:
        words = f"global {kind}" if set(made.positions) <= {1} else f"{kind} to {_by(made.positions)}"
        return Step("pooling", words, True, signature=words)
    kernel = list(call["kernel_size"])
    ndim = len(made.positions)
    kernel = _spread(kernel, range(ndim))
    strides = _spread(call["stride"] or kernel, range(ndim))
    words = f"{kind} {_by(kernel)}"
    return Step("pooling", words + _stride(strides), True, max(strides), words)


def _reduction(call: Call, name: str, volumes: Sequence[Volume]) -> Step:
    before, after = volumes[call.record.inputs[0]], volumes[call.record.outputs[0]]
    kinds = {"mean": "avg pool", "amax": "max pool", "max": "max pool", "sum": "sum"}
    whole = before.channels == after.channels and set(after.positions) <= {1} and before.positions
    if name in kinds and whole:
        words = f"global {kinds[name]}"
        return Step("pooling", words, True, signature=words)
    plain = _NAMES.get(name, name.strip("_").replace("_", " "))
    return Step("other", plain, True, signature=plain)


def _resizing(call: Call, name: str, volumes: Sequence[Volume]) -> Step:
    before, after = volumes[call.record.inputs[0]].positions, volumes[call.record.outputs[0]].positions
    kind = next(
        (kind for kind in ("bilinear", "bicubic", "trilinear", "nearest", "linear") if kind in name), ""
    )
    if not kind:
        words = name.replace("_", " ")
        return Step("resizing", words, True, signature=words)
    ratios = (
        {to / size for to, size in zip(after, before, strict=True)} if len(before) == len(after) else set()
    )
    ratio = ratios.pop() if len(ratios) == 1 else 0.0
    words = f"{kind} ↑{ratio:g}" if ratio >= 1 and ratio == int(ratio) else f"{kind} to {_by(after)}"
    return Step("resizing", words, True, signature=words)


def _attention(call: Call, name: str, volumes: Sequence[Volume]) -> Step:
    return Step("attention", "attention", True, signature="attention")


_TELLERS: dict[str, Callable[[Call, str, Sequence[Volume]], Step]] = {
    "convolution": _convolution,
    "dense": _dense,
    "pooling": _pooling,
    "reduction": _reduction,
    "resizing": _resizing,
    "attention": _attention,
}
