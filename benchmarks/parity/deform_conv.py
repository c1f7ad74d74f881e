"""Deformable convolution beside torchvision's own: outputs, every gradient, layers and their keys.

Needs torchvision, which this project never installs, so it runs in an environment of its own that has torch,
torchvision and safetensors, with this tree's `src` on the path:

    PYTHONPATH=src python benchmarks/parity/deform_conv.py

For SETTINGS random settings in each type (strides, paddings, dilations, kernels, groups and offset groups drawn apart
for each axis, with and without mask and bias) both compute the output and the gradients of input, offset, weight, bias
and mask for the same upstream gradient. Offsets are of four kinds: a few pixels, whole pixels (where the slope is not
unique), none, and mostly beyond the border. Prints the largest difference of each, in multiples of the largest value
there; exits with 1 if one is above TOLERANCE, or if a layer differs. The printed result is kept in `deform_conv.txt`.
"""

from __future__ import annotations

import random
import sys

import torch
import torchvision  # pyright: ignore[reportMissingImports]
from torch import Tensor

from convscope import nn, ops

SETTINGS = 400
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-4}
OFFSETS = {
    "fractions": lambda offset: 2 * offset,
    "whole": lambda offset: (2 * offset).round(),
    "zero": lambda offset: 0 * offset,
    "far": lambda offset: 20 * offset,
}
NAMES: tuple[str, ...] = ("output", "input", "offset", "weight", "bias", "mask")


def draw(
    choices: random.Random, dtype: torch.dtype
) -> tuple[dict[str, Tensor | None], tuple[tuple[int, int], ...]]:
    """Return operands with standard normal offsets, and (stride, padding, dilation)."""

    def pair(low: int, high: int) -> tuple[int, int]:
        return choices.randint(low, high), choices.randint(low, high)

    kernel, stride, padding, dilation = pair(1, 4), pair(1, 3), pair(0, 3), pair(1, 3)
    groups, offset_groups = choices.choice((1, 2, 4)), choices.choice((1, 2, 4))
    batch, channels, out_channels = choices.randint(1, 3), choices.choice((4, 8)), choices.choice((4, 12))
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    height, width = (max(1, s - 2 * p) + choices.randint(0, 6) for s, p in zip(spans, padding, strict=True))
    made = [
        (size + 2 * p - span) // s + 1
        for size, p, span, s in zip((height, width), padding, spans, stride, strict=True)
    ]
    taps = offset_groups * kernel[0] * kernel[1]
    operands: dict[str, Tensor | None] = {
        "input": torch.randn(batch, channels, height, width, dtype=dtype),
        "offset": torch.randn(batch, 2 * taps, *made, dtype=dtype),
        "weight": torch.randn(out_channels, channels // groups, *kernel, dtype=dtype),
        "bias": torch.randn(out_channels, dtype=dtype) if choices.random() < 0.5 else None,
        "mask": torch.rand(batch, taps, *made, dtype=dtype) if choices.random() < 0.5 else None,
    }
    return operands, (stride, padding, dilation)


def results(function, operands: dict[str, Tensor | None], settings) -> dict[str, Tensor]:
    """Return the output and the gradients of what is there, by name."""
    leaves = {
        key: None if value is None else value.clone().requires_grad_() for key, value in operands.items()
    }
    inputs = leaves["input"], leaves["offset"], leaves["weight"], leaves["bias"]
    output = function(*inputs, *settings, leaves["mask"])
    there = {key: value for key, value in leaves.items() if value is not None}
    upstream = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).reshape(output.shape)
    gradients = torch.autograd.grad(output, list(there.values()), upstream)
    return {"output": output.detach(), **dict(zip(there, gradients, strict=True))}


def layers_differ() -> int:
    """Return how many layers have other parameters from the same seed, other keys or another output."""
    wrong = 0
    for groups, bias in ((1, True), (2, False)):
        made = []
        for kind in (nn.DeformConv2d, torchvision.ops.DeformConv2d):
            torch.manual_seed(0)
            made.append(kind(4, 6, (3, 2), 2, (1, 0), 1, groups, bias))
        ours, theirs = made
        given = torch.randn(2, 4, 8, 7), torch.randn(2, 12, 4, 3), torch.rand(2, 6, 4, 3)
        same = list(ours.state_dict()) == list(theirs.state_dict()) and all(
            value.equal(theirs.state_dict()[key]) for key, value in ours.state_dict().items()
        )
        theirs.load_state_dict(ours.state_dict(), strict=True)
        wrong += not (same and torch.allclose(ours(*given), theirs(*given), atol=1e-5))
    return wrong


def main() -> int:
    """Compare, print, return the exit code."""
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, {SETTINGS} settings a line")
    print(f"{'type':9}{'offsets':11}" + "".join(f"{name:>9}" for name in NAMES))
    wrong = 0
    for dtype, tolerance in TOLERANCE.items():
        for kind, shape in OFFSETS.items():
            choices = random.Random(0)
            torch.manual_seed(0)
            largest = dict.fromkeys(NAMES, 0.0)
            for _ in range(SETTINGS):
                operands, settings = draw(choices, dtype)
                offset = operands["offset"]
                assert offset is not None
                operands["offset"] = shape(offset)
                ours, theirs = (
                    results(function, operands, settings)
                    for function in (ops.deform_conv2d, torchvision.ops.deform_conv2d)
                )
                for name, value in theirs.items():
                    scale = max(1.0, float(value.abs().max()))
                    largest[name] = max(largest[name], float((ours[name] - value).abs().max()) / scale)
            wrong += sum(not difference <= tolerance for difference in largest.values())
            row = "".join(f"{largest[name]:9.1e}" for name in NAMES)
            print(f"{str(dtype).removeprefix('torch.'):9}{kind:11}{row}")
    layers = layers_differ()
    print(
        "layers differ" if layers else "layers: same keys, same parameters from the same seed, same outputs"
    )
    wrong += layers
    print(f"{wrong} mismatches" if wrong else "no mismatch")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
