"""Whether the native kernels are still as much faster than PyTorch as they should be: ratios, in under two minutes.

    python benchmarks/native/quick.py

Each row is measured in turns, outputs compared first; the least times count, as they move least on a shared machine.
Exits with 1 if a ratio is below its floor, which is about half of what a quiet AVX2 machine shows.
"""

from __future__ import annotations

import sys

import torch
from operators import convolution_steps, measure, norm_steps

from convscope import kernels
from convscope.acceleration import prepare_process

ROUNDS = 7
# steps, over the better of PyTorch's two layouts
CONVOLUTIONS = {
    (240, 240, 28, 5, 1, 240): 1.5,
    (96, 96, 56, 7, 1, 96): 1.5,
    (144, 144, 56, 3, 1, 144): 0.8,
    (128, 128, 28, 3, 1, 1): 1.1,
    (128, 128, 56, 3, 1, 32): 1.3,
}
NORMS = {(256, 56, "relu", True): 0.9, (96, 112, "relu6", False): 0.9}


def main() -> int:
    """Measure each row and return the exit code."""
    if kernels.load().handle is None:
        print(f"no native kernels: {kernels.load().reason}")
        return 1
    prepare_process()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    failures = []
    steps = {f"{k}x{k} {i}->{o}@{size} g{g}": (convolution_steps(i, o, size, k, stride, g), floor)
             for (i, o, size, k, stride, g), floor in CONVOLUTIONS.items()}  # fmt: skip
    steps |= {f"batch norm {act} {c}@{size}": (norm_steps(c, size, act, add), floor)
              for (c, size, act, add), floor in NORMS.items()}  # fmt: skip
    for name, (ways, floor) in steps.items():
        row = measure(name, ways, ROUNDS)
        least = {way: min(each) for way, each in row["seconds"].items()}
        ratio = min(least["nchw"], least["nhwc"]) / least["ours"]
        if ratio < floor:
            failures.append(f"{name}: {ratio:.2f}x, should be at least {floor}x")
    print("\n".join(failures) or "all ratios are above their floors")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
