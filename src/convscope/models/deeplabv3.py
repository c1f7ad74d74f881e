"""DeepLabV3: parallel 3x3 convolutions whose kernels are spread to different widths see a pixel at several scales.

Chen, Papandreou, Schroff & Adam, Rethinking atrous convolution for semantic image segmentation, arXiv:1706.05587.
"Atrous" is dilated. It introduced a spatial pyramid of dilated convolutions with batch norm, and beside them the mean
of the whole image, so that every pixel's score depends on every pixel of the image, whatever the kernels reach.

Different from the paper, as in torchvision: a 3x3 convolution stands between the pyramid and the scores; the last stage
has no dilations within its blocks (multi-grid); dropout of 0.5 behind the pyramid; a second head on stage three, of
FCN's form, helps in training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

import convscope.nn as cnn
from convscope.errors import ShapeError, UsageError
from convscope.geometry import as_int
from convscope.models.registry import register_model
from convscope.models.segmentation import DenseHeads, ResidualBackbone, fcn_head

__all__ = ["ASPP", "DeepLabV3", "deeplabv3_resnet50", "deeplabv3_resnet101"]

_WIDTH = 256  # channels of the pyramid's branches and of what follows


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1 convolution, dilated 3x3 ones and the image's mean, joined by a 1x1.

    Each convolution is followed by batch norm and ReLU. Dropout of 0.5 at the end.

    Shapes:
        input (N, in_channels, H, W); returns (N, out_channels, H, W)
    Args:
        rates: dilations of the 3x3 convolutions, a branch each; their padding is the same.
    Raises:
        ShapeError: a rate below 1; from the call, a single image in training, whose mean is one value a channel, too
            few for batch norm.
        UsageError: no rate.
    Cost:
        H * W * in_channels * out_channels * (1 + 9 * len(rates)) MACs, and H * W * out_channels**2 * (2 + len(rates))
        for the joining; the mean's convolution is negligible.
    Source:
        Chen, Papandreou, Schroff & Adam, arXiv:1706.05587, section 3.3.
    Example:
        >>> ASPP(16, rates=(6, 12), out_channels=8)(torch.zeros(2, 16, 5, 4)).shape
        torch.Size([2, 8, 5, 4])
    """

    def __init__(
        self, in_channels: int, rates: Sequence[int] = (12, 24, 36), out_channels: int = 256
    ) -> None:
        super().__init__()
        try:
            rates = [as_int("a rate", rate, at_least=1) for rate in rates]
        except UsageError as error:
            raise error.at("ASPP") from error
        if not rates:
            raise UsageError("no rate is given; give at least one.", call="ASPP")
        self.convs = nn.ModuleList(
            [
                nn.Sequential(*_convolution(in_channels, out_channels)),
                *(nn.Sequential(*_convolution(in_channels, out_channels, rate)) for rate in rates),
                _ImageMean(cnn.GlobalAvgPool2d(keepdim=True), *_convolution(in_channels, out_channels)),
            ]
        )
        joined = len(self.convs) * out_channels
        self.project = nn.Sequential(*_convolution(joined, out_channels), nn.Dropout(0.5))

    def forward(self, input: Tensor) -> Tensor:
        """Return the joined branches."""
        return self.project(torch.cat([branch(input) for branch in self.convs], dim=1))


class _ImageMean(nn.Sequential):
    """The mean of each channel through a 1x1 convolution, then at every place."""

    def forward(self, input: Tensor) -> Tensor:
        if self[2].training and len(input) < 2:
            raise ShapeError(
                f"the image's mean is one value a channel, and batch norm needs two in training, but the batch has "
                f"{len(input)} image(s); give at least 2, or call eval().",
                call="ASPP",
            )
        # One pixel enlarged bilinearly is that pixel everywhere.
        return super().forward(input).expand(-1, -1, *input.shape[-2:])


def _convolution(in_channels: int, out_channels: int, rate: int = 0) -> tuple[nn.Module, ...]:
    """Return a 3x3 convolution of this dilation, or for 0 a 1x1, with batch norm and ReLU."""
    size, spread = (3, rate) if rate else (1, 1)
    conv = cnn.Conv2d(in_channels, out_channels, size, padding=rate, dilation=spread, bias=False)
    return conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)


class DeepLabV3(DenseHeads):
    """A residual backbone, `ASPP` on its last maps, a 3x3 convolution and the scores; shapes as in `DenseHeads`.

    Args:
        backbone: a network of the zoo that can replace its strides by dilation, such as `resnet18`.
        aux_loss: whether there is a second head, on the backbone's third stage; the published weights have it. Its
            scores are "aux", for a share of the loss in training.
        output_stride: image pixels from one pixel of the last maps to the next: 8, 16, or 32.
        rates: the pyramid's dilations; by default 12, 24 and 36 at an output stride of 8, half of them at 16, as in
            the paper, so that they reach as far in the image.
    Raises:
        UnknownNameError: no such backbone.
        UsageError: another output stride, no rate or one below 1; from the call, a single image in training.
    Source:
        Chen, Papandreou, Schroff & Adam, arXiv:1706.05587; heads as in torchvision.
    Example:
        >>> network = DeepLabV3("resnet18", num_classes=2, aux_loss=False).eval()
        >>> {name: tuple(scores.shape) for name, scores in network(torch.zeros(1, 3, 33, 50)).items()}
        {'out': (1, 2, 33, 50)}
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        num_classes: int = 21,
        in_channels: int = 3,
        *,
        aux_loss: bool = True,
        output_stride: int = 8,
        rates: Sequence[int] | None = None,
    ) -> None:
        try:
            body = ResidualBackbone(backbone, in_channels, output_stride)
        except UsageError as error:
            raise error.at("DeepLabV3") from error
        if rates is None:
            rates = [reach // output_stride for reach in (96, 192, 288)]
        classifier = nn.Sequential(
            ASPP(body.channels, rates, _WIDTH),
            cnn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, bias=False),
            nn.BatchNorm2d(_WIDTH),
            nn.ReLU(inplace=True),
            cnn.Conv2d(_WIDTH, num_classes, 1),
        )
        aux_classifier = fcn_head(body.channels // 2, num_classes) if aux_loss else None
        super().__init__(body, classifier, aux_classifier)


def _member(backbone: str) -> Callable[..., DeepLabV3]:
    """Register the network on a backbone and return its factory."""

    def factory(
        num_classes: int = 21,
        in_channels: int = 3,
        *,
        aux_loss: bool = True,
        output_stride: int = 8,
        rates: Sequence[int] | None = None,
    ) -> DeepLabV3:
        return DeepLabV3(
            backbone, num_classes, in_channels, aux_loss=aux_loss, output_stride=output_stride, rates=rates
        )

    name = factory.__name__ = factory.__qualname__ = f"deeplabv3_{backbone}"
    factory.__doc__ = (
        f"Class scores of each pixel by a pyramid of dilations on a dilated {backbone}; see `DeepLabV3`."
    )
    return register_model(
        name,
        input_shape=(3, 520, 520),
        num_classes=21,
        source="Chen, Papandreou, Schroff & Adam, arXiv:1706.05587; heads as in torchvision",
        task="segmentation",
        head=("classifier.4", "aux_classifier.4"),
        optional=("aux_classifier",),
    )(factory)


deeplabv3_resnet50 = _member("resnet50")
deeplabv3_resnet101 = _member("resnet101")
