"""MobileNetV2: depthwise convolutions between narrow linear layers, for telephones.

Sandler, Howard, Zhu, Zhmoginov & Chen, MobileNetV2: inverted residuals and linear bottlenecks, arXiv:1801.04381,
introduced the block that widens, filters each channel by itself, narrows without an activation, and carries the
shortcut between the narrow ends, which EfficientNet took over. As in torchvision, whose weights fit, a shortcut stands
only where the shape stays. `mobilenet_v2_cifar` is ours: the network without its first two halvings.
"""

from __future__ import annotations

from torch import Tensor, nn

import convscope.nn as cnn
from convscope.errors import ShapeError
from convscope.geometry import as_int
from convscope.models.image_input import takes_images
from convscope.models.options import Stem, check_positive, check_probability, check_stem, scaled_width
from convscope.models.registry import register_model

__all__ = ["InvertedResidual", "MobileNetV2", "mobilenet_v2_cifar"]

# Table 2 of the paper: expansion, channels, blocks, stride of the first block.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Widen by a 1x1 convolution, filter each channel by a 3x3 one, narrow by a 1x1 one without activation.

    A shortcut is added where input and output have one shape. With `expansion` 1 nothing is widened.

    Shapes:
        input (N, in_channels, H, W); returns (N, out_channels, ceil(H / stride), ceil(W / stride))
    Args:
        expansion: the depthwise convolution has expansion * in_channels channels.
    Raises:
        ShapeError: a stride other than 1 and 2, an expansion below 1.
    Source:
        Sandler et al., arXiv:1801.04381, table 1 and figure 4 (d).
    Example:
        >>> import torch
        >>> InvertedResidual(16, 24, stride=2, expansion=6)(torch.zeros(2, 16, 9, 8)).shape
        torch.Size([2, 24, 5, 4])
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ShapeError(f"stride is {stride}; it must be 1 or 2.", call="InvertedResidual")
        try:
            width = in_channels * as_int("expansion", expansion, at_least=1)
        except ShapeError as error:
            raise error.at("InvertedResidual") from error
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(_conv_norm_relu6(in_channels, width, 1))
        self.conv = nn.Sequential(
            *layers,
            _conv_norm_relu6(width, width, 3, stride, groups=width),
            cnn.Conv2d(width, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, input: Tensor) -> Tensor:
        """Return the block's maps."""
        maps = self.conv(input)
        if self.has_shortcut:
            # In place: `maps` is the last batch norm's output, which nothing else reads.
            maps += input
        return maps


@register_model(
    "mobilenet_v2",
    input_shape=(3, 224, 224),
    num_classes=1000,
    source="Sandler et al., arXiv:1801.04381",
    head=("classifier.1",),
)
class MobileNetV2(nn.Module):
    """A strided 3x3 convolution, seventeen `InvertedResidual` blocks, a 1x1 convolution, a global average head.

    The state dict has torchvision's keys, shapes and order, so its published weights fit. Convolutions start from
    N(0, 2 / fan_out), torch's fan of all groups; the linear layer from N(0, 0.01^2), its bias from 0.

    Shapes:
        input (N, in_channels, H, W), any H and W, published at 224x224; returns (N, num_classes)
    Args:
        width_mult: of the channels, rounded to multiples of 8; the 1,280 before the classes only grow.
        dropout: probability, before the linear layer.
        stem: `cifar` gives the first convolution and the first strided block, which makes 24 channels, stride 1,
            for images of 32x32.
    Raises:
        UsageError: a multiplier not above 0, a probability outside [0, 1).
        UnknownNameError: an unknown stem.
    Source:
        Table 2.
    Example:
        >>> import torch
        >>> network = MobileNetV2(num_classes=10, width_mult=0.25)
        >>> network.features(torch.zeros(2, 3, 64, 48)).shape, network(torch.zeros(2, 3, 64, 48)).shape
        (torch.Size([2, 1280, 2, 2]), torch.Size([2, 10]))
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        width_mult: float = 1.0,
        dropout: float = 0.2,
        stem: Stem = "imagenet",
    ) -> None:
        super().__init__()
        check_positive("MobileNetV2", "width_mult", width_mult)
        check_probability("MobileNetV2", "dropout", dropout)
        small = check_stem("MobileNetV2", stem) == "cifar"
        channels = scaled_width(32, width_mult)
        layers: list[nn.Module] = [_conv_norm_relu6(in_channels, channels, 3, stride=1 if small else 2)]
        for index, (expansion, width, depth, stride) in enumerate(_STAGES):
            out_channels = scaled_width(width, width_mult)
            first_stride = 1 if small and index == 1 else stride
            for position in range(depth):
                stride = 1 if position else first_stride
                layers.append(InvertedResidual(channels, out_channels, stride, expansion))
                channels = out_channels
        features = scaled_width(1280, max(1.0, width_mult))
        layers.append(_conv_norm_relu6(channels, features, 1))
        self.features = nn.Sequential(*layers)
        self.avgpool = cnn.GlobalAvgPool2d()
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    @takes_images
    def forward(self, input: Tensor) -> Tensor:
        """Return the class scores."""
        return self.classifier(self.avgpool(self.features(input)))


def _conv_norm_relu6(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    padding = kernel_size // 2
    conv = cnn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU6(inplace=True))


@register_model(
    "mobilenet_v2_cifar",
    input_shape=(3, 32, 32),
    num_classes=10,
    source="Sandler et al., arXiv:1801.04381; first convolution and first strided block of stride 1, for CIFAR",
    head=("classifier.1",),
)
def mobilenet_v2_cifar(
    num_classes: int = 10,
    in_channels: int = 3,
    width_mult: float = 1.0,
    dropout: float = 0.2,
    stem: Stem = "cifar",
) -> MobileNetV2:
    """MobileNetV2 without its first two halvings: 2,236,682 parameters, 0.088 G MACs at 32x32; see `MobileNetV2`."""
    return MobileNetV2(num_classes, in_channels, width_mult, dropout, stem)
