"""What costs more time on a CPU than its MACs say, and what is in no total."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from convscope.inspection.audit.finding import Advice, Finding
from convscope.inspection.audit.subject import Subject, family_of
from convscope.trace import Record
from convscope.trace.rules import Call

__all__ = ["not_counted", "odd_channels", "slow_operators"]

_LANES = {"AVX512": 16, "AVX2": 8}  # float32 numbers in a vector register
_WASTE_SHARE = 0.01  # of the network's MACs from which a layer's empty lanes are told,
_WASTE_AT_LEAST = 1_000_000  # and MACs
_WIDEST_KERNEL = 14  # of oneDNN's direct convolutions

_ODD = Advice(
    "odd-channels",
    "note",
    "Convolutions run over whole vector registers of channels: the time grows in steps, and the last register "
    "is partly empty.",
    "Take a multiple of the lanes, 8 (AVX2) or 16 (AVX-512).",
)
_DEFORMABLE = Advice(
    "slow-operator",
    "note",
    "Deformable convolution gathers four pixels a tap and has no fast CPU kernel: ours is made of torch operators, "
    "torchvision's one thread of scalar code; either takes many times the time of a plain convolution.",
    "Use it in few layers, on small maps.",
)
_TYPE = Advice(
    "slow-operator",
    "note",
    "Most CPUs have no fast convolution of this type: torch takes slow_conv2d or reference code instead "
    "(ATen/native/Convolution.cpp, use_mkldnn; pytorch#150514).",
    "Compute in float32 or bfloat16.",
)
_DILATED = Advice(
    "slow-operator",
    "note",
    "Dilated bfloat16 convolutions are 4 to 16 times slower since torch 2.13 (pytorch#183815).",
    "Compute this layer in float32, or dilate less.",
)
_WIDE = Advice(
    "slow-operator",
    "note",
    f"oneDNN's direct convolutions take kernels up to {_WIDEST_KERNEL} wide; a wider one becomes a matrix product over "
    "copied patches (oneDNN developer guide, convolution, implementation limitations).",
    "Stack smaller kernels, dilate, or factorise into a row and a column.",
)
_DEPTHWISE = Advice(
    "slow-operator",
    "note",
    "A depthwise convolution does few MACs a byte, and the gradient of its weights runs at a few percent of a dense "
    "one's rate on a CPU (pytorch#13716): in training it takes far more than its share of the MACs.",
    "For training on a CPU: channels_last memory, smaller depthwise kernels, or plain convolutions.",
)
_GROUPED = Advice(
    "slow-operator",
    "note",
    "Groups whose channels are no multiple of the vector width leave oneDNN's direct path for a matrix product over "
    "copied patches (oneDNN developer guide, convolution, implementation limitations).",
    "Take groups of 16, 32, ... channels, or none.",
)
_NOT_COUNTED = Advice(
    "not-counted",
    "note",
    "Its work is in no total, and what lies before it counts as seen whole.",
    "Add its operations by hand, or write it with operators that are known.",
)


def odd_channels(subject: Subject) -> Iterator[Finding]:
    """Find channel counts that leave vector lanes empty, where that costs at least 1 % of the network."""
    lanes = _LANES.get(torch.backends.cpu.get_cpu_capability(), 8)
    total = subject.trace.macs
    for call in subject.calls("convolution"):
        channels = call.output.shape[len(call.output.shape) - len(call.shape("weight")) + 1]
        padded = -(-channels // lanes) * lanes
        wasted = call.record.macs * (padded - channels) // channels
        if wasted <= max(_WASTE_SHARE * total, _WASTE_AT_LEAST) or _is_last(subject, call.record):
            continue
        yield _ODD.at(
            call.record.name,
            f"{channels} channels take the time of {padded} on this CPU's {lanes} lanes: {wasted:,} MACs more, "
            f"{wasted / total:.1%} of the network",
            {"channels": channels, "padded_channels": padded, "lanes": lanes, "wasted_macs": wasted},
        )


def _is_last(subject: Subject, record: Record) -> bool:
    """Tell whether no other weights follow: its channels are the classes."""
    waiting, met = [record], {record.index}
    while waiting:
        for reader in subject.readers(waiting.pop()):
            if family_of(reader) in ("convolution", "dense", "attention"):
                return False
            if reader.index not in met:
                met.add(reader.index)
                waiting.append(reader)
    return True


def slow_operators(subject: Subject) -> Iterator[Finding]:
    """Find operators that run on slow paths of CPU libraries."""
    total = max(subject.trace.macs, 1)
    for call in subject.calls("convolution"):
        found = _slow(call)
        if found is not None:
            advice, fact = found
            macs = call.record.macs
            numbers = {"macs": macs, "macs_share": macs / total}
            yield advice.at(call.record.name, f"{fact}, {macs / total:.1%} of the MACs", numbers)


def _slow(call: Call) -> tuple[Advice, str] | None:
    weight = call.shape("weight")
    convolution = f"{' x '.join(map(str, weight[2:]))} convolution"
    if "deform" in call.record.operator:
        return _DEFORMABLE, f"deformable {convolution}"
    dtype = call.facts("input").dtype
    if dtype in (torch.float64, torch.float16):
        return _TYPE, f"{str(dtype).removeprefix('torch.')} {convolution}"
    if dtype == torch.bfloat16 and max(call["dilation"]) > 1:
        return _DILATED, f"bfloat16 {convolution}, dilation {max(call['dilation'])}"
    if weight[-1] > _WIDEST_KERNEL and weight[-1] > call["stride"][-1]:  # patches side by side need no copies
        return _WIDE, convolution
    groups = call["groups"]
    if groups == 1 or not call.record.parameters:
        return None
    # (C_out, C_in/groups, *K), transposed (C_in, C_out/groups, *K)
    inputs, outputs = weight[1], weight[0] // groups
    if call["transposed"]:
        inputs, outputs = outputs, inputs
    if inputs == 1:
        return _DEPTHWISE, f"depthwise {convolution} of {groups} channels"
    if inputs % 16 or outputs % 16:
        each = f"{inputs}" if inputs == outputs else f"{inputs} to {outputs}"
        return _GROUPED, f"{convolution} in {groups} groups of {each} channels"
    return None


def not_counted(subject: Subject) -> Iterator[Finding]:
    """Find operators without a rule."""
    for operator, count in subject.trace.not_counted.items():
        times = f"ran {count} time{'s' if count != 1 else ''}, and no rule is known for it"
        yield _NOT_COUNTED.at(operator, times, {"count": count})
