"""Fully connected networks: the perceptron and the multilayer perceptron of the source document.

Rosenblatt, The perceptron, Psychological Review 65(6), 1958, learnt the weights of a weighted sum from examples;
Rumelhart, Hinton & Williams, Learning representations by back-propagating errors, Nature 323, 1986, those of layers
behind one another. Different from both: one linear unit a class, trained by gradient; ReLU instead of the sigmoid.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from convscope.errors import ShapeError, UsageError
from convscope.geometry import as_int
from convscope.geometry.integers import is_sequence
from convscope.models.image_input import takes_images
from convscope.models.registry import register_model

__all__ = ["mlp", "perceptron"]


class FullyConnected(nn.Sequential):
    """Layers on the flattened image, one after the other; wrong images are told the ones that fit.

    Shapes:
        input (N, *image_shape); returns (N, num_classes)
    """

    image_shape: tuple[int, ...] | None = None  # (C, H, W), which the factories set; None in a slice

    @takes_images
    def forward(self, input: Tensor) -> Tensor:
        """Return the class scores."""
        return super().forward(input)


def _fully_connected(in_channels: int, image_size: Sequence[int], *layers: nn.Module) -> FullyConnected:
    network = FullyConnected(*layers)
    network.image_shape = (in_channels, *image_size)
    return network


@register_model(
    "perceptron",
    input_shape=(1, 28, 28),
    num_classes=10,
    source="Rosenblatt, Psychological Review 65(6), 1958; here one linear unit a class, trained by gradient",
    head=("1",),
)
def perceptron(num_classes: int, in_channels: int, image_size: Sequence[int]) -> FullyConnected:
    """One linear layer on the flattened image: a weighted sum of all pixels for each class."""
    features = in_channels * prod(image_size)
    return _fully_connected(in_channels, image_size, nn.Flatten(), nn.Linear(features, num_classes))


@register_model(
    "mlp",
    input_shape=(1, 28, 28),
    num_classes=10,
    source="Rumelhart, Hinton & Williams, Nature 323, 1986; ReLU instead of the sigmoid",
    head=("5",),  # with two hidden layers, as published here
)
def mlp(
    num_classes: int, in_channels: int, image_size: Sequence[int], hidden: Sequence[int] = (512, 512)
) -> FullyConnected:
    """Fully connected layers with ReLU on the flattened image; `hidden` gives their widths."""
    if not is_sequence(hidden):
        raise ShapeError(f"hidden is {hidden!r}; give a sequence of widths, such as (512, 512).", call="mlp")
    try:
        widths = [
            in_channels * prod(image_size),
            *(as_int("hidden", width, at_least=1) for width in hidden),
        ]
    except UsageError as error:
        raise error.at("mlp") from error
    layers: list[nn.Module] = [nn.Flatten()]
    for width, following in itertools.pairwise(widths):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return _fully_connected(in_channels, image_size, *layers, nn.Linear(widths[-1], num_classes))
