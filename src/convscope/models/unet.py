"""U-Net: down to a small map that sees much, up again to every pixel, with bridges between levels of one size.

Ronneberger, Fischer & Brox, U-Net: Convolutional networks for biomedical image segmentation, arXiv:1505.04597.
It introduced the decoder that mirrors its encoder, and the skip connections that put each encoder level's maps beside
the decoder's of the same size: what is there comes from below, where exactly it ends comes from beside.

`unet_paper` is figure 1 of the paper: no padding, no batch norm, an output smaller than its input. It lacks the
dropout at the end of the contracting path, whose rate the paper does not give. `unet` is what is trained today: padded
convolutions with batch norm, so that the output has the input's size. `unet_no_skip` is the same with the bridges
taken out.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

import convscope.nn as cnn
from convscope import ops
from convscope.errors import ShapeError, UsageError
from convscope.geometry import as_int
from convscope.models.image_input import takes_images
from convscope.models.registry import register_model

__all__ = ["UNet", "unet", "unet_no_skip", "unet_paper"]

_DEEPEST = 8  # 8 levels of width 64 have 8,192 channels at the lowest, and 2.0 billion parameters
_PAPER = "Ronneberger, Fischer & Brox, arXiv:1505.04597"


class UNet(nn.Module):
    """Two 3x3 convolutions a level; 2x2 max pooling down, doubling the channels; 2x2 transposed convolutions up.

    3x3 convolutions start from N(0, 2 / fan_in), as in section 3 of the paper.

    Padded, it takes every size: an image whose sides are no multiples of 2**(depth - 1) is continued with its last row
    and column up to the next ones, and the output is cut back to the image. Unpadded, the output is the middle of
    the image; a pooling drops the row or column that is left over, so that the output may end a little earlier.

    Shapes:
        input (N, in_channels, H, W)
        returns (N, num_classes, H, W), class scores of each pixel; unpadded (N, num_classes, H_out, W_out), where
            572 gives 388: the scores of the pixels from row and column 92 on
    Args:
        width: channels of the first level.
        depth: levels, the lowest one included; 2 to 8.
        skip: without, nothing passes from encoder to decoder but at the lowest level, and the decoder's first
            convolutions take half the channels.
        bilinear: double the sides by interpolation between pixel centres, which has no parameters; the
            convolutions below then end with the halved channels.
        padded: convolutions with a padding of 1.
        batch_norm: after each 3x3 convolution, which then has no bias.
    Raises:
        ShapeError: a width below 1, a depth below 2 or above 8; from the call, an image that is too small.
    Source:
        Ronneberger, Fischer & Brox, arXiv:1505.04597, figure 1.
    Example:
        >>> network = UNet(width=8, depth=3).eval()
        >>> network(torch.zeros(1, 3, 30, 41)).shape
        torch.Size([1, 2, 30, 41])
    """

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 3,
        *,
        width: int = 64,
        depth: int = 5,
        skip: bool = True,
        bilinear: bool = False,
        padded: bool = True,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        try:
            width, depth = as_int("width", width, at_least=1), as_int("depth", depth, at_least=2)
        except UsageError as error:
            raise error.at("UNet") from error
        if depth > _DEEPEST:
            raise ShapeError(
                f"depth is {depth}; it must be at most {_DEEPEST}: a level doubles the channels.", call="UNet"
            )
        self.skip, self.padded = skip, padded
        widths = [width * 2**level for level in range(depth)]
        if bilinear:
            widths[-1] //= 2

        def level(inputs: int, middle: int, outputs: int) -> nn.Sequential:
            return _two_convolutions(inputs, middle, outputs, padded, batch_norm)

        self.pool = cnn.MaxPool2d(2)
        self.encoder = nn.ModuleList(
            level(inputs, outputs, outputs)
            for inputs, outputs in zip([in_channels, *widths], widths, strict=False)
        )
        self.upsample, self.decoder = nn.ModuleList(), nn.ModuleList()
        channels = widths[-1]
        for number in reversed(range(depth - 1)):
            up = widths[number]
            self.upsample.append(
                nn.Upsample(scale_factor=2, mode="bilinear") if bilinear else _doubling(channels, up)
            )
            channels = widths[max(number - 1, 0)] if bilinear else up
            self.decoder.append(level(2 * up if skip else up, up, channels))
        self.classifier = cnn.Conv2d(channels, num_classes, 1)

    @takes_images
    def forward(self, input: Tensor) -> Tensor:
        """Return the class scores of each pixel."""
        height, width = input.shape[-2:]
        multiple = 2 ** (len(self.encoder) - 1)
        extra = (-height % multiple, -width % multiple)
        if self.padded and any(extra):
            input = ops.pad(input, [(0, rows) for rows in extra], "replicate")
        maps = self._decoded(input)
        return maps[..., :height, :width] if self.padded and any(extra) else maps

    def _decoded(self, maps: Tensor) -> Tensor:
        passed: list[Tensor] = []
        for number, level in enumerate(self.encoder):
            maps = level(self.pool(maps) if number else maps)
            passed.append(maps)
        passed.pop()  # the lowest level's own output
        start = 4  # rows that the unpadded convolutions below have cut off, in pixels of the level above
        for upsample, level in zip(self.upsample, self.decoder, strict=True):
            maps, beside = upsample(maps), passed.pop()
            if self.skip:
                if not self.padded:
                    rows, columns = maps.shape[-2:]
                    beside = beside[..., start : start + rows, start : start + columns]
                maps = torch.cat((beside, maps), dim=1)
            maps = level(maps)
            start = 2 * (start + 4)
        return self.classifier(maps)


def _two_convolutions(
    in_channels: int, width: int, out_channels: int, padded: bool, batch_norm: bool
) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (inputs, outputs) in enumerate([(in_channels, width), (width, out_channels)], start=1):
        conv = cnn.Conv2d(inputs, outputs, 3, padding=int(padded), bias=not batch_norm)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        layers[f"conv{number}"] = conv
        if batch_norm:
            layers[f"bn{number}"] = nn.BatchNorm2d(outputs)
        layers[f"relu{number}"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


def _doubling(in_channels: int, out_channels: int) -> cnn.ConvTranspose2d:
    return cnn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)


@register_model(
    "unet",
    input_shape=(3, 256, 256),
    num_classes=2,
    source=f"{_PAPER}; padded, with batch norm",
    task="segmentation",
    head=("classifier",),
)
def unet(
    num_classes: int = 2,
    in_channels: int = 3,
    *,
    width: int = 64,
    depth: int = 5,
    skip: bool = True,
    bilinear: bool = False,
) -> UNet:
    """Five levels with skip connections, padded convolutions and batch norm; see `UNet`."""
    return UNet(num_classes, in_channels, width=width, depth=depth, skip=skip, bilinear=bilinear)


@register_model(
    "unet_no_skip",
    input_shape=(3, 256, 256),
    num_classes=2,
    source=f"{_PAPER}; padded, with batch norm, the skip connections left out",
    task="segmentation",
    head=("classifier",),
)
def unet_no_skip(
    num_classes: int = 2, in_channels: int = 3, *, width: int = 64, depth: int = 5, bilinear: bool = False
) -> UNet:
    """`unet` without its skip connections, to see what they are for; see `UNet`."""
    return UNet(num_classes, in_channels, width=width, depth=depth, skip=False, bilinear=bilinear)


@register_model(
    "unet_paper",
    input_shape=(1, 572, 572),
    num_classes=2,
    source=f"{_PAPER}, figure 1",
    task="segmentation",
    head=("classifier",),
)
def unet_paper(num_classes: int = 2, in_channels: int = 1) -> UNet:
    """Five levels of unpadded convolutions with biases, as the paper drew them: 572 pixels in, 388 out; see `UNet`."""
    return UNet(num_classes, in_channels, padded=False, batch_norm=False)
