"""EfficientNet: one small network found by search, scaled in width, depth and image size together.

Tan & Le, EfficientNet: rethinking model scaling for convolutional neural networks, arXiv:1905.11946, showed that the
three are to grow in a fixed proportion. Different from the paper, as in torchvision: the image sizes of B2 to B4, and
torch's own batch norm up to B4. `efficientnet_b0_cifar` is ours: B0 without its first two halvings.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil
from typing import NamedTuple

from torch import Tensor, nn

import convscope.nn as cnn
from convscope.models.image_input import takes_images
from convscope.models.options import Stem, check_positive, check_probability, check_stem, scaled_width
from convscope.models.registry import register_model

__all__ = [
    "EfficientNet",
    "MBConv",
    "SqueezeExcitation",
    "efficientnet_b0",
    "efficientnet_b0_cifar",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
]

_Norm = Callable[[int], nn.Module]


class _Stage(NamedTuple):
    expansion: int
    kernel_size: int
    stride: int
    out_channels: int
    depth: int


# Table 1 of the paper, stages 2 to 8, before scaling.
_STAGES = (
    _Stage(1, 3, 1, 16, 1),
    _Stage(6, 3, 2, 24, 2),
    _Stage(6, 5, 2, 40, 2),
    _Stage(6, 3, 2, 80, 3),
    _Stage(6, 5, 1, 112, 3),
    _Stage(6, 5, 2, 192, 4),
    _Stage(6, 3, 1, 320, 1),
)


class SqueezeExcitation(nn.Module):
    """Multiply each channel by a number in (0, 1) that two small layers compute from all channels' means.

    Shapes:
        input (N, channels, H, W); returns the same
    Args:
        squeeze_channels: width between the two layers.
    Source:
        Hu, Shen & Sun, arXiv:1709.01507; SiLU instead of ReLU, as EfficientNet has it.
    Example:
        >>> import torch
        >>> SqueezeExcitation(8, 2)(torch.zeros(2, 8, 5, 4)).shape
        torch.Size([2, 8, 5, 4])
    """

    def __init__(self, channels: int, squeeze_channels: int) -> None:
        super().__init__()
        self.avgpool = cnn.GlobalAvgPool2d(keepdim=True)
        self.fc1 = cnn.Conv2d(channels, squeeze_channels, 1)
        self.fc2 = cnn.Conv2d(squeeze_channels, channels, 1)
        self.activation = nn.SiLU(inplace=True)
        self.scale_activation = nn.Sigmoid()

    def forward(self, input: Tensor) -> Tensor:
        """Return the weighted channels."""
        means = self.avgpool(input)
        return input * self.scale_activation(self.fc2(self.activation(self.fc1(means))))


class MBConv(nn.Module):
    """Widen by a 1x1 convolution, filter each channel, reweigh the channels, narrow by a 1x1 convolution.

    A shortcut is added where input and output have one shape. With `expansion` 1 nothing is widened.

    Shapes:
        input (N, in_channels, H, W); returns (N, out_channels, ceil(H / stride), ceil(W / stride))
    Args:
        expansion: the depthwise convolution has expansion * in_channels channels.
        norm: makes the normalisation of so many channels.
        drop_prob: of leaving out the block in training, for each sample.
    Source:
        Sandler et al., MobileNetV2, arXiv:1801.04381; squeeze and excitation: Tan et al., arXiv:1807.11626.
    Example:
        >>> import torch
        >>> MBConv(16, 24, kernel_size=5, stride=2, expansion=6)(torch.zeros(2, 16, 9, 8)).shape
        torch.Size([2, 24, 5, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        expansion: int,
        norm: _Norm = nn.BatchNorm2d,
        drop_prob: float = 0.0,
    ) -> None:
        super().__init__()
        width = expansion * in_channels
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(_conv_norm_silu(in_channels, width, 1, norm))
        layers += [
            _conv_norm_silu(width, width, kernel_size, norm, stride, groups=width),
            # The squeeze is to a quarter of the block's input, not of `width`.
            SqueezeExcitation(width, max(1, in_channels // 4)),
            _conv_norm(width, out_channels, 1, norm),
        ]
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = cnn.StochasticDepth(drop_prob)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, input: Tensor) -> Tensor:
        """Return the block's maps."""
        maps = self.block(input)
        if self.has_shortcut:
            maps = self.stochastic_depth(maps)
            maps += input
        return maps


class EfficientNet(nn.Module):
    """A strided 3x3 convolution, seven stages of `MBConv` blocks, a 1x1 convolution, a global average head.

    The state dict has torchvision's keys, shapes and order, so its published weights fit. Convolutions start
    from N(0, 2 / fan_out), the fan of one group; batch norms from weight 1, biases from 0.

    Shapes:
        input (N, in_channels, H, W), any H and W; returns (N, num_classes)
    Args:
        width_mult, depth_mult: of the channels, rounded to multiples of 8, and of each stage's blocks, rounded up.
        dropout: probability, before the linear layer.
        stochastic_depth_prob: of leaving out a block; the k-th of n blocks has k/n of it, the first 0.
        norm_eps, norm_momentum: of the batch norms, in torch's sense of momentum.
        stem: `cifar` gives the first convolution and the first strided stage stride 1, for images of 32x32.
    Raises:
        UsageError: a probability outside [0, 1), a multiplier not above 0.
        UnknownNameError: an unknown stem.
    Source:
        Tan & Le, EfficientNet: rethinking model scaling, arXiv:1905.11946, table 1 and section 5.
    Example:
        >>> import torch
        >>> network = EfficientNet(0.25, 0.5, num_classes=10)
        >>> network.features(torch.zeros(2, 3, 64, 48)).shape, network(torch.zeros(2, 3, 64, 48)).shape
        (torch.Size([2, 320, 2, 2]), torch.Size([2, 10]))
    """

    def __init__(
        self,
        width_mult: float,
        depth_mult: float,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        dropout: float = 0.2,
        stochastic_depth_prob: float = 0.2,
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
        stem: Stem = "imagenet",
    ) -> None:
        super().__init__()
        for argument, value in (("width_mult", width_mult), ("depth_mult", depth_mult)):
            check_positive("EfficientNet", argument, value)
        dropout = check_probability("EfficientNet", "dropout", dropout)
        drop_prob = check_probability("EfficientNet", "stochastic_depth_prob", stochastic_depth_prob)
        small = check_stem("EfficientNet", stem) == "cifar"
        norm: _Norm = partial(nn.BatchNorm2d, eps=norm_eps, momentum=norm_momentum)
        depths = [ceil(stage.depth * depth_mult) for stage in _STAGES]
        channels, built = scaled_width(32, width_mult), 0
        layers: list[nn.Module] = [_conv_norm_silu(in_channels, channels, 3, norm, stride=1 if small else 2)]
        for index, (stage, depth) in enumerate(zip(_STAGES, depths, strict=True)):
            first_stride = 1 if small and index == 1 else stage.stride
            out_channels = scaled_width(stage.out_channels, width_mult)
            blocks: list[nn.Module] = []
            for position in range(depth):
                stride, probability = 1 if position else first_stride, drop_prob * built / sum(depths)
                shape = channels, out_channels, stage.kernel_size, stride, stage.expansion
                blocks.append(MBConv(*shape, norm, probability))
                channels, built = out_channels, built + 1
            layers.append(nn.Sequential(*blocks))
        layers.append(_conv_norm_silu(channels, 4 * channels, 1, norm))
        self.features = nn.Sequential(*layers)
        self.avgpool = cnn.GlobalAvgPool2d()
        self.classifier = nn.Sequential(
            nn.Dropout(dropout, inplace=True), nn.Linear(4 * channels, num_classes)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                _initialise_conv(module)
            elif isinstance(module, nn.Linear):
                nn.init.uniform_(module.weight, -(num_classes**-0.5), num_classes**-0.5)
                nn.init.zeros_(module.bias)

    @takes_images
    def forward(self, input: Tensor) -> Tensor:
        """Return the class scores."""
        return self.classifier(self.avgpool(self.features(input)))


def _conv_norm(
    in_channels: int, out_channels: int, kernel_size: int, norm: _Norm, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    padding = kernel_size // 2
    conv = cnn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
    return nn.Sequential(conv, norm(out_channels))


def _conv_norm_silu(
    in_channels: int, out_channels: int, kernel_size: int, norm: _Norm, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    layers = _conv_norm(in_channels, out_channels, kernel_size, norm, stride, groups)
    return layers.append(nn.SiLU(inplace=True))


def _initialise_conv(conv: nn.Conv2d) -> None:
    # torch's kaiming_normal_ counts all groups' outputs as one fan: a depthwise layer of 2,000 channels would start
    # so small that the batch norm's eps outweighs the variance of its maps.
    fan_out = conv.weight.shape[0] // conv.groups * conv.weight[0, 0].numel()
    nn.init.normal_(conv.weight, std=(2 / fan_out) ** 0.5)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def _member(
    name: str,
    image_size: int,
    width_mult: float,
    depth_mult: float,
    dropout: float,
    small: tuple[str, str] | None = None,
) -> Callable[..., EfficientNet]:
    """Register one network of the family and return its factory; `small` has the counts of a CIFAR form."""
    default_dropout = dropout
    classes, default_stem = (1000, "imagenet") if small is None else (10, "cifar")
    # torchvision has torch's own batch norm up to B4 and that of the paper's code from B5 on.
    norm_eps, norm_momentum = (1e-5, 0.1) if depth_mult < 2 else (1e-3, 0.01)

    def factory(
        num_classes: int = classes,
        in_channels: int = 3,
        dropout: float = default_dropout,
        stochastic_depth_prob: float = 0.2,
        stem: Stem = default_stem,
    ) -> EfficientNet:
        return EfficientNet(
            width_mult,
            depth_mult,
            num_classes,
            in_channels,
            dropout=dropout,
            stochastic_depth_prob=stochastic_depth_prob,
            norm_eps=norm_eps,
            norm_momentum=norm_momentum,
            stem=stem,
        )

    factory.__name__ = factory.__qualname__ = name
    doc = f"B0 made {width_mult} times as wide and {depth_mult} times as deep"
    if width_mult == depth_mult == 1:
        doc = "Seven stages of 1, 2, 2, 3, 3, 4, 1 MBConv blocks"
    source = "Tan & Le, arXiv:1905.11946; image size and batch norm as in torchvision"
    if small is not None:
        doc += f", small stem: {small[0]} parameters, {small[1]} MACs at 32x32"
        source = (
            "Tan & Le, arXiv:1905.11946; first convolution and first strided stage of stride 1, for CIFAR"
        )
    factory.__doc__ = f"{doc}; see `EfficientNet`."
    shape = (3, image_size, image_size)
    return register_model(
        name, input_shape=shape, num_classes=classes, source=source, head=("classifier.1",)
    )(factory)


efficientnet_b0 = _member("efficientnet_b0", 224, 1.0, 1.0, dropout=0.2)
efficientnet_b1 = _member("efficientnet_b1", 240, 1.0, 1.1, dropout=0.2)
efficientnet_b2 = _member("efficientnet_b2", 288, 1.1, 1.2, dropout=0.3)
efficientnet_b3 = _member("efficientnet_b3", 300, 1.2, 1.4, dropout=0.3)
efficientnet_b4 = _member("efficientnet_b4", 380, 1.4, 1.8, dropout=0.4)
efficientnet_b5 = _member("efficientnet_b5", 456, 1.6, 2.2, dropout=0.4)
efficientnet_b6 = _member("efficientnet_b6", 528, 1.8, 2.6, dropout=0.5)
efficientnet_b7 = _member("efficientnet_b7", 600, 2.0, 3.1, dropout=0.5)
efficientnet_b0_cifar = _member(
    "efficientnet_b0_cifar", 32, 1.0, 1.0, dropout=0.2, small=("4,020,358", "0.116 G")
)
