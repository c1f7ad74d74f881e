"""The native kernels beside PyTorch's operators, forward and backward, on the networks' own shapes.

    python benchmarks/native/operators.py [--rounds 9] [--output FILE.json]

All run in turns in one process that keeps its memory (as an accelerated one does, so that nobody pays for page faults),
two threads, float32; outputs and gradients are compared first. "of limit" is the share of the roofline: the longer of
the arithmetic at this machine's measured rate and the bytes at its measured bandwidth, over the time taken.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from turns import quartiles

from convscope import kernels
from convscope.acceleration import measure_limits, prepare_process
from convscope.training import environment

BATCH = 16
TOLERANCE = 1e-2  # of the norm; sums themselves are within 1e-5
# channels, size, kernel, stride, groups
DEPTHWISE = (
    (32, 112, 3, 1),
    (96, 112, 3, 2),
    (144, 56, 3, 1),
    (192, 28, 3, 1),
    (576, 14, 3, 1),
    (960, 7, 3, 1),
    (240, 28, 5, 1),
    (672, 14, 5, 1),
    (1152, 7, 5, 1),
    (96, 56, 7, 1),
    (192, 28, 7, 1),
    (384, 14, 7, 1),
    (768, 7, 7, 1),
)
GROUPED = ((128, 56, 1), (256, 28, 1), (512, 14, 1))  # 32 groups: 4, 8, 16 channels a group
DENSE = ((64, 64, 56), (128, 128, 28), (256, 256, 14), (512, 512, 7), (96, 208, 14))
NORMS = (
    (64, 112, "relu", False),
    (256, 56, "relu", True),
    (512, 28, "relu", True),
    (96, 112, "relu6", False),
)
PIXELS = ((96, 56), (192, 28), (384, 14), (768, 7))  # ConvNeXt-T: layer norms; GELUs are four times as wide
SCALED = ((32, 112), (96, 56), (144, 56), (240, 28), (480, 14), (672, 14), (1152, 7))  # EfficientNet-B0
ACTIVATIONS = {"relu": F.relu, "relu6": F.relu6, "silu": F.silu}
Step = Callable[[], tuple[Tensor, ...]]


def differentiate(function: Callable[..., Tensor], grad: Tensor, *operands: Tensor) -> Step:
    """Return a step: the function and the gradients of its operands."""

    def step() -> tuple[Tensor, ...]:
        output = function(*operands)
        return (output.detach(), *torch.autograd.grad(output, operands, grad))

    return step


def convolution_steps(
    channels: int, out: int, size: int, kernel: int, stride: int, groups: int
) -> dict[str, Step]:
    """Return the ways to compute a convolution and its gradients."""
    torch.manual_seed(0)
    input = torch.randn(BATCH, channels, size, size)
    weight = torch.randn(out, channels // groups, kernel, kernel).requires_grad_()
    settings: Any = (stride, stride), (kernel // 2, kernel // 2), (1, 1), groups
    grad = torch.randn_like(F.conv2d(input, weight, None, *settings))
    last = torch.channels_last
    plain = input.clone().requires_grad_()
    other = input.contiguous(memory_format=last).requires_grad_()

    def torchs(x: Tensor, w: Tensor) -> Tensor:
        return F.conv2d(x, w, None, *settings)

    def ours(x: Tensor, w: Tensor) -> Tensor:
        return kernels.conv2d(x, w, None, *settings)

    return {
        "nchw": differentiate(torchs, grad, plain, weight),
        "nhwc": differentiate(torchs, grad.contiguous(memory_format=last), other, weight),
        "ours": differentiate(ours, grad.contiguous(memory_format=last), other, weight),
    }


def norm_steps(channels: int, size: int, activation: str, residual: bool) -> dict[str, Step]:
    """Return the ways to compute batch norm, an addition and an activation in training, and their gradients."""
    torch.manual_seed(0)
    input, other, grad = (torch.randn(BATCH, channels, size, size) for _ in range(3))
    weight, bias = torch.rand(channels).requires_grad_(), torch.randn(channels).requires_grad_()

    def torchs(x: Tensor, w: Tensor, b: Tensor, *rest: Tensor) -> Tensor:
        maps = F.batch_norm(x, None, None, w, b, training=True)
        for each in rest:
            maps = maps + each
        return ACTIVATIONS[activation](maps, inplace=True)

    def ours(x: Tensor, w: Tensor, b: Tensor, *rest: Tensor) -> Tensor:
        added = rest[0] if rest else None
        return kernels.batch_norm_act(x, added, w, b, None, None, True, activation=activation)

    def operands(layout: torch.memory_format) -> list[Tensor]:
        maps = [each.contiguous(memory_format=layout).clone().requires_grad_() for each in (input, other)]
        return [maps[0], weight, bias, *(maps[1:] if residual else [])]

    last, first = torch.channels_last, torch.contiguous_format
    return {
        "nchw": differentiate(torchs, grad, *operands(first)),
        "nhwc": differentiate(torchs, grad.contiguous(memory_format=last), *operands(last)),
        "ours": differentiate(ours, grad.contiguous(memory_format=last), *operands(last)),
    }


def pixel_steps(channels: int, size: int, gelu: bool) -> dict[str, Step]:
    """Return the ways to compute layer norm over the channels, or GELU, and their gradients."""
    torch.manual_seed(0)
    input, grad = torch.randn(2, BATCH, channels, size, size).unbind()
    parameters = (
        () if gelu else (torch.rand(channels).requires_grad_(), torch.randn(channels).requires_grad_())
    )

    def torchs(x: Tensor, *parameters: Tensor) -> Tensor:
        if gelu:
            return F.gelu(x)
        weight, bias = parameters
        return F.layer_norm(x.permute(0, 2, 3, 1), (channels,), weight, bias).permute(0, 3, 1, 2)

    def ours(x: Tensor, *parameters: Tensor) -> Tensor:
        if gelu:
            return kernels.gelu(x)
        weight, bias = parameters
        return kernels.layer_norm_act(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)

    other, last = (each.contiguous(memory_format=torch.channels_last) for each in (input, grad))
    plain, other = input.requires_grad_(), other.requires_grad_()
    return {
        "nchw": differentiate(torchs, grad, plain, *parameters),
        "nhwc": differentiate(torchs, last, other, *parameters),
        "ours": differentiate(ours, last, other, *parameters),
    }


def scale_steps(channels: int, size: int) -> dict[str, Step]:
    """Return the ways to multiply maps by a number for each channel of each image, and their gradients."""
    torch.manual_seed(0)
    input, grad = torch.randn(2, BATCH, channels, size, size).unbind()
    scale = torch.rand(BATCH, channels, 1, 1).requires_grad_()
    other, last = (each.contiguous(memory_format=torch.channels_last) for each in (input, grad))
    plain, other = input.requires_grad_(), other.requires_grad_()
    return {
        "nchw": differentiate(torch.mul, grad, plain, scale),
        "nhwc": differentiate(torch.mul, last, other, scale),
        "ours": differentiate(kernels.scale_maps, last, other, scale),
    }


def measure(name: str, steps: dict[str, Step], rounds: int, limit: float | None = None) -> dict[str, Any]:
    """Compare the ways, then time them in turns."""
    results = {way: step() for way, step in steps.items()}
    for way, found in results.items():
        for mine, truth in zip(found, results["nchw"], strict=True):
            # By norms: an activation whose input rounds across 0 moves single gradients by their own size.
            difference = float((mine - truth).norm() / truth.norm())
            if not difference <= TOLERANCE:
                sys.exit(f"{name}, {way}: off by {difference:.1e} of the norm; nothing was timed.")
    del results
    seconds: dict[str, list[float]] = {way: [] for way in steps}
    for _ in range(rounds):
        for way, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[way].append(time.perf_counter() - start)
    row: dict[str, Any] = {"name": name, "seconds": seconds, "limit": limit}
    middles = {way: statistics.median(each) for way, each in seconds.items()}
    share = f", {limit / middles['ours']:.0%} of limit" if limit else ""
    cells = [f"{way} {1e3 * m:.2f} ({1e3 * low:.2f}-{1e3 * high:.2f})" for way, (low, m, high) in
             ((way, quartiles(each)) for way, each in seconds.items())]  # fmt: skip
    ratios = ", ".join(f"{middles[way] / middles['ours']:.1f}x over {way}" for way in ("nchw", "nhwc"))
    print(f"{name:<34} {', '.join(cells)} ms: {ratios}{share}", flush=True)
    return row


def geomean(rows: list[dict[str, Any]], way: str) -> float:
    """Return the geometric mean of how many times faster ours is than a way; `best`: than the better of both."""
    ratios = []
    for row in rows:
        middles = {key: statistics.median(each) for key, each in row["seconds"].items()}
        slow = min(middles["nchw"], middles["nhwc"]) if way == "best" else middles[way]
        ratios.append(slow / middles["ours"])
    return math.exp(statistics.fmean(map(math.log, ratios)))


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    prepare_process()
    torch.set_num_threads(2)
    kernels.self_test()
    limits = measure_limits()
    print(f"{environment()}\n{limits}")

    def conv(channels: int, out: int, size: int, kernel: int, stride: int, groups: int) -> dict[str, Any]:
        made = -(-size // stride)
        macs = BATCH * made * made * out * (channels // groups) * kernel * kernel
        maps = 4 * BATCH * (channels * size * size + out * made * made)
        # Three passes, each reading two of input, output and weights, and writing the third.
        limit = 3 * max(2 * macs / limits.fp32_flops, maps / limits.bytes_per_second)
        name = (
            f"{kernel}x{kernel} {channels}->{out}@{size}"
            + (f"/{stride}" if stride > 1 else "")
            + f" g{groups}"
        )
        return measure(
            name, convolution_steps(channels, out, size, kernel, stride, groups), options.rounds, limit
        )

    tables = {
        "depthwise": [conv(c, c, s, k, stride, c) for c, s, k, stride in DEPTHWISE],
        "grouped, 32 groups": [conv(c, c, s, 3, stride, 32) for c, s, stride in GROUPED],
        "dense 3x3": [conv(i, o, s, 3, 1, 1) for i, o, s in DENSE],
        "batch norm": [
            measure(
                f"batch norm {'+ add ' if add else ''}+ {act} {c}@{s}",
                norm_steps(c, s, act, add),
                options.rounds,
            )
            for c, s, act, add in NORMS
        ],
        "layer norm": [
            measure(f"layer norm {c}@{s}", pixel_steps(c, s, False), options.rounds) for c, s in PIXELS
        ],
        "GELU": [
            measure(f"GELU {4 * c}@{s}", pixel_steps(4 * c, s, True), options.rounds) for c, s in PIXELS
        ],
        "scaling": [measure(f"scaling {c}@{s}", scale_steps(c, s), options.rounds) for c, s in SCALED],
    }
    summary = {
        name: {way: geomean(rows, way) for way in ("nchw", "nhwc", "best")} for name, rows in tables.items()
    }
    for name, found in summary.items():
        print(f"geomean {name}: " + ", ".join(f"{value:.2f}x over {way}" for way, value in found.items()))
    if options.output:
        content = {
            "environment": environment(),
            "limits": limits.to_dict(),
            "tables": tables,
            "summary": summary,
        }
        options.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
