"""The small network of the fastest CIFAR-10 trainings.

Jordan, 94 % on CIFAR-10 in 3.29 seconds on a single GPU, arXiv:2404.00498, after Page's ResNet-9 (2018) and the
network of tysam-code/hlb-CIFAR10 (2023). The first layer is not learned: its 2x2 filters whiten the patches of the
training images, each eigenvector once with either sign. Three blocks follow, each with two 3x3 convolutions, pooling
after the first of them, and the scores are taken from the largest value of each channel.

What differs from the paper: the whitening's bias is left out unless asked for, so that nothing before the first 3x3
convolution needs a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

import convscope.nn as cnn
from convscope.errors import ShapeError, UsageError
from convscope.geometry import as_int
from convscope.models.image_input import takes_images
from convscope.models.registry import register_model

__all__ = ["SpeedBlock", "SpeedCNN", "whitening_filters"]

_MOMENTUM = 0.4  # of batch norm, as torch counts it; the paper's 0.6 is of the old value
_EPSILON = 5e-4  # added to the patches' variances


def whitening_filters(images: Tensor, kernel_size: int) -> Tensor:
    """Return the filters whose outputs on patches of these images are uncorrelated, with variance one.

    Shapes:
        images (N, C, H, W), mean about zero; returns (C * kernel_size**2, C, kernel_size, kernel_size), the direction
        of largest variance first
    Raises:
        ShapeError: images smaller than the filters.
    Example:
        >>> images = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> outputs = nn.functional.conv2d(images, whitening_filters(images, 2)).transpose(0, 1).flatten(1)
        >>> (torch.cov(outputs) - torch.eye(12)).abs().max() < 0.01
        tensor(True)
    """
    if images.dim() != 4 or min(images.shape[2:]) < kernel_size:
        raise ShapeError(
            f"images {tuple(images.shape)} must be (N, C, H, W) with at least {kernel_size} pixels a side.",
            call="whitening_filters",
        )
    channels = images.shape[1]
    patches = images.unfold(2, kernel_size, 1).unfold(3, kernel_size, 1)
    rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, channels * kernel_size**2).double()
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    filters = (vectors / (values + _EPSILON).sqrt()).T.flip(0)
    return filters.reshape(-1, channels, kernel_size, kernel_size).float()


class SpeedBlock(nn.Module):
    """A 3x3 convolution, max pooling, a second 3x3 convolution; batch norm without scale and GELU after each.

    Shapes:
        input (N, in_channels, H, W); returns (N, out_channels, H // 2, W // 2)
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = cnn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.pool = cnn.MaxPool2d(2)
        self.norm1 = _norm(out_channels)
        self.conv2 = cnn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = _norm(out_channels)
        self.activation = nn.GELU()
        for convolution in (self.conv1, self.conv2):  # the first filters hand their input on
            inputs = convolution.in_channels
            nn.init.dirac_(convolution.weight[:inputs])

    def forward(self, input: Tensor) -> Tensor:
        """Return the block's maps."""
        maps = self.activation(self.norm1(self.pool(self.conv1(input))))
        return self.activation(self.norm2(self.conv2(maps)))


@register_model(
    "speed_cnn",
    input_shape=(3, 32, 32),
    num_classes=10,
    source="Jordan, arXiv:2404.00498, the network of its 94 % training",
    head=("head",),
)
class SpeedCNN(nn.Module):
    """A whitening layer, three blocks of two 3x3 convolutions, the largest value of each channel, a linear head.

    `fit_to` sets the whitening filters from training images; until then they are the identity on each patch.

    Shapes:
        input (N, in_channels, H, W) with at least 17 pixels a side, published at 32x32; returns (N, num_classes)
    Args:
        widths: channels of the three blocks.
        whitening_bias: learn a bias behind the whitening.
    Source:
        Section 3 and listing 4 of the paper.
    Example:
        >>> SpeedCNN()(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 256, 256),
        whitening_bias: bool = False,
    ) -> None:
        super().__init__()
        widths = [as_int("SpeedCNN: widths", width, at_least=1) for width in widths]
        if not widths:
            raise UsageError("widths is empty; give at least one block's.", call="SpeedCNN")
        whitened = 2 * 4 * in_channels
        self.whiten = cnn.Conv2d(in_channels, whitened, 2, bias=whitening_bias)
        self.whiten.weight.requires_grad_(False)
        self._set_whitening(torch.eye(4 * in_channels).view(-1, in_channels, 2, 2))
        self.activation = nn.GELU()
        blocks = zip([whitened, *widths], widths, strict=False)
        self.blocks = nn.Sequential(*(SpeedBlock(before, after) for before, after in blocks))
        self.head = nn.Linear(widths[-1], num_classes, bias=False)

    def fit_to(self, images: Tensor) -> None:
        """Set the whitening filters from normalised training images (N, in_channels, H, W)."""
        self._set_whitening(whitening_filters(images, 2))

    @takes_images
    def forward(self, input: Tensor) -> Tensor:
        """Return the class scores."""
        maps = self.blocks(self.activation(self.whiten(input)))
        # Scores small at the start, as in the paper, whose last layer divides by nine.
        return self.head(maps.amax(dim=(2, 3))) / 9

    @torch.no_grad()
    def _set_whitening(self, filters: Tensor) -> None:
        self.whiten.weight.copy_(torch.cat([filters, -filters]))
        if self.whiten.bias is not None:
            self.whiten.bias.zero_()


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=1e-12, momentum=_MOMENTUM)
    norm.weight.requires_grad_(False)
    return norm
