"""LeNet-5, the first convolutional network that read handwriting for a living."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

import convscope.nn as cnn
from convscope.errors import ShapeError
from convscope.geometry import Windows
from convscope.models.registry import register_model

__all__ = ["LeNet5"]


@register_model(
    "lenet5",
    input_shape=(1, 28, 28),
    num_classes=10,
    source="LeCun, Bottou, Bengio & Haffner, Proc. IEEE 86(11), 1998; every C3 map sees all S2 maps, a linear head",
)
class LeNet5(nn.Module):
    """Two 5x5 convolutions with average pooling and tanh, then three fully connected layers.

    The paper's input is 32x32. Sides below 32 are padded by the first layer so that a 28x28 image meets the same
    geometry; larger ones widen the first fully connected layer.

    Shapes:
        input (N, in_channels, *image_size), both sides at least 12; returns (N, num_classes)
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 1, image_size: Sequence[int] = (28, 28)
    ) -> None:
        super().__init__()
        if min(image_size) < 12:
            raise ShapeError(
                f"image_size is {tuple(image_size)}; two 5x5 convolutions and pools need 12 pixels."
            )
        padding = tuple(2 if side < 32 else 0 for side in image_size)
        conv1, conv2, pool = Windows.of(2, 5, padding=padding), Windows.of(2, 5), Windows.pool(2, 2)
        size = tuple(image_size)
        for windows in (conv1, pool, conv2, pool):
            size = windows.output_size(size)
        self.conv1 = cnn.Conv2d(in_channels, 6, 5, padding=padding)
        self.conv2 = cnn.Conv2d(6, 16, 5)
        self.pool = nn.AvgPool2d(2)
        self.activation = nn.Tanh()
        self.classifier = cnn.FlattenHead(
            16 * size[0] * size[1], num_classes, hidden=(120, 84), activation=nn.Tanh
        )

    def forward(self, input: Tensor) -> Tensor:
        """Return the class scores."""
        features = self.pool(self.activation(self.conv1(input)))
        features = self.pool(self.activation(self.conv2(features)))
        return self.classifier(features)
