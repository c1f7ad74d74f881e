"""Fully connected networks: the perceptron and the multilayer perceptron of the source document."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod

from torch import nn

from convscope.models.registry import register_model

__all__ = ["mlp", "perceptron"]


@register_model(
    "perceptron",
    input_shape=(1, 28, 28),
    num_classes=10,
    source="Rosenblatt, Psychological Review 65(6), 1958; here one linear unit a class, trained by gradient",
)
def perceptron(num_classes: int, in_channels: int, image_size: Sequence[int]) -> nn.Sequential:
    """One linear layer on the flattened image: a weighted sum of all pixels for each class."""
    features = in_channels * prod(image_size)
    return nn.Sequential(nn.Flatten(), nn.Linear(features, num_classes))


@register_model(
    "mlp",
    input_shape=(1, 28, 28),
    num_classes=10,
    source="Rumelhart, Hinton & Williams, Nature 323, 1986; ReLU instead of the sigmoid",
)
def mlp(
    num_classes: int, in_channels: int, image_size: Sequence[int], hidden: Sequence[int] = (512, 512)
) -> nn.Sequential:
    """Fully connected layers with ReLU on the flattened image; `hidden` gives their widths."""
    widths = [in_channels * prod(image_size), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for width, following in itertools.pairwise(widths):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))
