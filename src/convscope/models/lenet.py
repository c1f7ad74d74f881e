"""LeNet-5, the first convolutional network that read handwriting for a living.

LeCun, Bottou, Bengio & Haffner, Gradient-based learning applied to document recognition, Proc. IEEE 86(11), 1998, put
convolutions, subsampling and shared weights into what read the amounts on cheques. Different from the paper: each map
of its third layer sees all six before it, where the paper connects some; the average pooling has no weights of its
own; the head is linear instead of radial basis functions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

import convscope.nn as cnn
from convscope.errors import ShapeError, UsageError
from convscope.geometry import Windows, as_int
from convscope.geometry.integers import is_sequence
from convscope.models.image_input import takes_images
from convscope.models.registry import register_model

__all__ = ["LeNet5"]


@register_model(
    "lenet5",
    input_shape=(1, 28, 28),
    num_classes=10,
    source="LeCun, Bottou, Bengio & Haffner, Proc. IEEE 86(11), 1998; every C3 map sees all S2 maps, a linear head",
    head=("classifier.fc",),
)
class LeNet5(nn.Module):
    """Two 5x5 convolutions with average pooling and tanh, then three fully connected layers; both can be other counts.

    The paper's input is 32x32. Sides below 32 are padded by the first layer so that a 28x28 image meets the same
    geometry; larger ones widen the first fully connected layer. 61,706 parameters and 416,520 MACs with one channel at
    28x28 or 32x32; with three at 32x32 62,006 and 651,720.

    Shapes:
        input (N, in_channels, *image_size), both sides at least 12; returns (N, num_classes)
    Args:
        widths: channels of each convolution; a third one needs sides of 36.
        hidden: widths of the fully connected layers before the classes.
    Raises:
        ShapeError: no width, or one below 1; an image too small for so many convolutions.
    Example:
        >>> import torch
        >>> network = LeNet5(10, 3, (36, 40), widths=(6, 12, 24), hidden=(64,))
        >>> network(torch.zeros(2, 3, 36, 40)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: Sequence[int] = (28, 28),
        widths: Sequence[int] = (6, 16),
        hidden: Sequence[int] = (120, 84),
    ) -> None:
        super().__init__()
        widths, hidden = _widths("widths", widths), _widths("hidden", hidden)
        smallest = next(side for side in itertools.count(1) if _output_side(side, len(widths)) is not None)
        if min(image_size) < smallest:
            count = "two" if len(widths) == 2 else len(widths)
            raise ShapeError(
                f"image_size is {tuple(image_size)}; {count} 5x5 convolutions and pools need {smallest} pixels.",
                call="LeNet5",
            )
        padding = tuple(_first_padding(side) for side in image_size)
        self.num_convs, self.image_shape = len(widths), (in_channels, *image_size)
        for index, (channels, width) in enumerate(itertools.pairwise((in_channels, *widths)), start=1):
            self.add_module(
                f"conv{index}", cnn.Conv2d(channels, width, 5, padding=0 if index > 1 else padding)
            )
        self.pool = nn.AvgPool2d(2)
        self.activation = nn.Tanh()
        sides = [_output_side(side, len(widths)) or 0 for side in image_size]
        self.classifier = cnn.FlattenHead(
            (widths[-1], *sides), num_classes, hidden=hidden, activation=nn.Tanh
        )

    @takes_images
    def forward(self, input: Tensor) -> Tensor:
        """Return the class scores."""
        maps = input
        for index in range(1, self.num_convs + 1):
            maps = self.pool(self.activation(self.get_submodule(f"conv{index}")(maps)))
        return self.classifier(maps)


def _first_padding(side: int) -> int:
    return 2 if side < 32 else 0


def _output_side(side: int, num_convs: int) -> int | None:
    """Return the side of the last map, None where a window does not fit."""
    try:
        for index in range(num_convs):
            padding = 0 if index else _first_padding(side)
            (side,) = Windows.of(1, 5, padding=padding).output_size((side,))
            (side,) = Windows.pool(1, 2, 2).output_size((side,))
    except ShapeError:
        return None
    return side


def _widths(name: str, values: Sequence[int]) -> tuple[int, ...]:
    if not is_sequence(values) or not values:
        raise ShapeError(f"{name} is {values!r}; give one or more widths, such as (6, 16).", call="LeNet5")
    try:
        return tuple(as_int(name, value, at_least=1) for value in values)
    except UsageError as error:
        raise error.at("LeNet5") from error
