"""Recompute values from what they see alone: every layer of networks of the zoo, at four corners and one place inside.

Prints, a network a line, how many values were recomputed, how far the worst lies from the value in the full image
(relative to the largest of its layer), and how large the crops are.
"""

from __future__ import annotations

import platform
import sys

import torch
from torch import nn

import convscope
from convscope.inspection import receptive_crop
from convscope.models import create_seeded_model
from convscope.trace import trace
from convscope.trace.regions import Regions

NETWORKS = {
    "resnet18": (96, 128),
    "vgg11_bn": (64, 64),
    "googlenet": (96, 128),
    "mobilenet_v2": (96, 128),
    "efficientnet_b0": (64, 96),
    "convnext_tiny": (64, 96),
    "unet": (48, 64),
}


def places(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return corners and a place inside, another channel for each."""
    if len(shape) < 4:
        return [tuple((7 * turn) % size for size in shape) for turn in range(2)]
    ends = [
        (0, 0),
        (0, shape[3] - 1),
        (shape[2] - 1, 0),
        (shape[2] - 1, shape[3] - 1),
        (shape[2] // 2, shape[3] // 3),
    ]
    return [(0, (7 * turn) % shape[1], *end) for turn, end in enumerate(ends)]


def measured(name: str) -> str:
    """Return the line of one network."""
    network = create_seeded_model(name, 0)
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    height, width = NETWORKS[name]
    channels = next(p.shape[1] for p in network.parameters() if p.dim() == 4)
    regions = Regions(
        trace(network, torch.randn(1, channels, height, width, generator=generator), mode="eval")
    )
    worst, count, whole, shares = 0.0, 0, 0, []
    layers = regions.trace.layers
    for layer in layers:
        for at in places(regions.trace.tensor_of(layer).shape):
            found = receptive_crop(regions, layer, at)
            worst, count = max(worst, found.difference), count + 1
            whole += any(entry.whole for entry in found.seen)
            shares += [crop.shape[2] * crop.shape[3] / (height * width) for crop in found.crops]
    return (
        f"{name:20} {height}x{width}  {len(layers):4} layers  {count:5} values  worst {worst:.1e}  "
        f"whole image {whole / count:4.0%}  mean crop {sum(shares) / len(shares):4.0%}"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(
        f"convscope {convscope.__version__}, torch {torch.__version__}, Python {platform.python_version()}, 1 thread"
    )
    for name in sys.argv[1:] or NETWORKS:
        print(measured(name), flush=True)
