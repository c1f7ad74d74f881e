"""Deformable convolution v2 beside torchvision's, forward and backward, in turns in one process.

Needs torchvision, which this project never installs, so it runs in an environment of its own (torch 2.14.1, torchvision
0.29.1), with this tree and its native library (`make kernels`) on the path:

    PYTHONPATH=src python benchmarks/native/deformable.py
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision  # pyright: ignore[reportMissingImports]
from torch import Tensor

from convscope import kernels, ops
from convscope.acceleration.process import prepare_process

SHAPES = ((2, 128, 28), (2, 64, 56), (8, 256, 14))  # batch, channels, size
ROUNDS = 15


def differentiated(
    function: Callable[..., Tensor], given: list[Tensor], grad: Tensor
) -> Callable[[], tuple[Tensor, ...]]:
    """Return a step: output and gradients of input, offset, weight and mask."""

    def step() -> tuple[Tensor, ...]:
        input, offset, weight, mask = given
        output = function(input, offset, weight, padding=1, mask=mask)
        return (output.detach(), *torch.autograd.grad(output, given, grad))

    return step


def main() -> None:
    """Compare outputs and gradients, then time both in turns."""
    prepare_process()
    torch.set_num_threads(2)
    rows = []
    for batch, channels, size in SHAPES:
        torch.manual_seed(0)
        last = torch.channels_last
        input, grad = (torch.randn(batch, channels, size, size) for _ in range(2))
        offset, mask = torch.randn(batch, 18, size, size), torch.rand(batch, 9, size, size)
        weight = torch.randn(channels, channels, 3, 3) / channels
        others = [offset, weight, mask]
        plain = [each.clone().requires_grad_() for each in (input, *others)]
        maps = input.contiguous(memory_format=last)
        own = [each.clone().requires_grad_() for each in (maps, *others)]
        theirs = differentiated(torchvision.ops.deform_conv2d, plain, grad)
        ours = differentiated(ops.deform_conv2d, own, grad.contiguous(memory_format=last))

        worst = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours(), theirs(), strict=True))
        if not worst < 1e-4:
            sys.exit(f"results are {worst:.1e} apart; nothing was timed.")
        seconds: dict[str, list[float]] = {"torchvision": [], "ours": []}
        for _ in range(ROUNDS):
            for name, run in (("torchvision", theirs), ("ours", ours)):
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
        slow, fast = (statistics.median(seconds[name]) for name in ("torchvision", "ours"))
        rows.append(
            {"shape": [batch, channels, size], "seconds": seconds, "difference": worst, "ratio": slow / fast}
        )
        print(
            f"v2, 3x3, {channels}@{size}, batch {batch}: torchvision {1e3 * slow:.1f} ms, ours {1e3 * fast:.1f} ms "
            f"(fastest {1e3 * min(seconds['ours']):.1f}), {slow / fast:.1f}x; {worst:.1e} apart",
            flush=True,
        )
    total = math.exp(statistics.fmean(math.log(row["ratio"]) for row in rows))
    cpu = kernels.processor()
    print(
        f"geomean {total:.1f}x; torch {torch.__version__}, torchvision {torchvision.__version__}, {cpu.name}, 2 threads"
    )
    content = {"rows": rows, "geomean": total, "torch": torch.__version__, "cpu": cpu.name}
    (Path(__file__).parent / "deformable.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
