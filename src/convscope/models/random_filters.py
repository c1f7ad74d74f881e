"""The source document's network: three convolutions with random filters, never trained."""

from __future__ import annotations

from torch import Tensor, nn

import convscope.nn as cnn
from convscope.models.image_input import takes_images
from convscope.models.registry import register_model

__all__ = ["RandomFilters"]


@register_model(
    "random_filters",
    input_shape=(3, 300, 451),
    num_classes=3,
    source="the source document: three 3x3 convolutions, weights from N(0, 1), LeakyReLU(0.1) between them",
)
class RandomFilters(nn.Module):
    """Three 3x3 convolutions with standard normal filters and LeakyReLU(0.1) between them, as in the document.

    `hidden1`, `hidden2` and `hidden3` are the layers that the document shows. There is no bias and no activation
    after the last one. `num_classes` is the number of channels of the last layer.

    Shapes:
        input (N, in_channels, H, W), any H and W; returns (N, num_classes, H, W)
    """

    def __init__(self, num_classes: int = 3, in_channels: int = 3, width: int = 3) -> None:
        super().__init__()
        self.hidden1 = cnn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.hidden2 = cnn.Conv2d(width, width, 3, padding=1, bias=False)
        self.hidden3 = cnn.Conv2d(width, num_classes, 3, padding=1, bias=False)
        self.activation = nn.LeakyReLU(0.1)
        for layer in (self.hidden1, self.hidden2, self.hidden3):
            nn.init.normal_(layer.weight)

    @takes_images
    def forward(self, input: Tensor) -> Tensor:
        """Return the third layer's maps."""
        maps = self.activation(
            self.hidden1(input)
        )  # one name, so that each map is freed when it has been read
        maps = self.activation(self.hidden2(maps))
        return self.hidden3(maps)
