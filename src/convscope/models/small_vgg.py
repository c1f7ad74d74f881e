"""A small network in the manner of VGG: pairs of 3x3 convolutions, pooling, wider after each pool."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

import convscope.nn as cnn
from convscope.models.image_input import takes_images
from convscope.models.registry import register_model

__all__ = ["SmallVGG"]


@register_model(
    "small_vgg",
    input_shape=(1, 28, 28),
    num_classes=10,
    source="Simonyan & Zisserman, arXiv:1409.1556, made small; batch norm and a global average pooling head",
    head=("classifier.fc",),
)
class SmallVGG(nn.Module):
    """Stages of two 3x3 convolutions with batch norm and ReLU, max pooling between, a global average head.

    Takes every image size of at least 2**(number of stages - 1) pixels.

    Shapes:
        input (N, in_channels, H, W); returns (N, num_classes)
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 1, widths: Sequence[int] = (16, 32, 64)
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage, width in enumerate(widths):
            if stage:
                layers.append(cnn.MaxPool2d(2))  # says which image is too small
            for channels in (in_channels, width):
                # Batch norm subtracts the mean, so a bias before it would change nothing.
                layers += [
                    cnn.Conv2d(channels, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
            in_channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = cnn.GlobalAveragePoolHead(in_channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @takes_images
    def forward(self, input: Tensor) -> Tensor:
        """Return the class scores."""
        return self.classifier(self.features(input))
