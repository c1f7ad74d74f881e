"""Residual networks: ResNet, and ResNeXt with its grouped convolutions.

He, Zhang, Ren & Sun, Deep residual learning for image recognition, arXiv:1512.03385, let each block compute what is
to be added to its input, which made networks of more than a hundred layers trainable. Xie, Girshick, Dollár, Tu & He,
Aggregated residual transformations for deep neural networks, arXiv:1611.05431, split the block's 3x3 convolution into
groups. Different from the paper, as in torchvision: `Bottleneck` strides on its 3x3 convolution. The paper's own
networks for CIFAR-10 are in `resnet_cifar`; the `_cifar` members here are the ImageNet networks with a small stem.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from torch import Tensor, nn

import convscope.nn as cnn
from convscope.errors import UsageError
from convscope.models.image_input import takes_images
from convscope.models.options import Stem, check_stem
from convscope.models.registry import register_model

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "ResNet",
    "resnet18",
    "resnet18_cifar",
    "resnet34",
    "resnet50",
    "resnet50_cifar",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext50_32x4d_cifar",
    "resnext101_32x8d",
]


class _ResidualBlock(nn.Module):
    """What the blocks share: the output is ReLU(residual + shortcut).

    Both take `dilations`: of the 3x3 convolution that has the stride, and of one behind it. They differ in the block
    whose stride a dilated network leaves out: only what comes after the stride is to read further apart.
    """

    expansion: ClassVar[int]
    relu: nn.ReLU
    downsample: nn.Sequential | None

    def forward(self, input: Tensor) -> Tensor:
        """Return the block's maps."""
        maps = self._residual(input)
        # In place: `maps` is the last batch norm's output, which nothing else reads.
        maps += input if self.downsample is None else self.downsample(input)
        return self.relu(maps)

    def _residual(self, input: Tensor) -> Tensor:
        raise NotImplementedError


class BasicBlock(_ResidualBlock):
    """Two 3x3 convolutions beside a shortcut; the first one has the stride.

    Shapes:
        input (N, in_channels, H, W); returns (N, out_channels, ceil(H / stride), ceil(W / stride))
    Args:
        width: channels between the convolutions.
        groups: of both convolutions.
        dilations: of the first convolution and of the second.
    Source:
        He, Zhang, Ren & Sun, arXiv:1512.03385, figure 5 left; shortcut B, a 1x1 convolution where the shape changes.
    Example:
        >>> import torch
        >>> BasicBlock(64, 128, 128, stride=2)(torch.zeros(2, 64, 9, 8)).shape
        torch.Size([2, 128, 5, 4])
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        stride: int = 1,
        groups: int = 1,
        dilations: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, width, 3, stride, groups, dilations[0])
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv(width, out_channels, 3, 1, groups, dilations[1])
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = _projection(in_channels, out_channels, stride)

    def _residual(self, input: Tensor) -> Tensor:
        maps = self.relu(self.bn1(self.conv1(input)))
        return self.bn2(self.conv2(maps))


class Bottleneck(_ResidualBlock):
    """A 1x1 convolution down to `width` channels, a 3x3 one, a 1x1 one up, beside a shortcut.

    The 3x3 convolution has the stride, as in torchvision ("ResNet v1.5"); the paper gave it to the first 1x1,
    which then never looks at three pixels of four.

    Shapes:
        input (N, in_channels, H, W); returns (N, out_channels, ceil(H / stride), ceil(W / stride))
    Args:
        groups: of the 3x3 convolution; more than one make it ResNeXt's block.
        dilations: of the 3x3 convolution; the second is not used, as nothing behind it looks at neighbours.
    Source:
        He et al., arXiv:1512.03385, figure 5 right; Xie et al., arXiv:1611.05431, figure 3 (c).
    Example:
        >>> import torch
        >>> Bottleneck(64, 128, 256, groups=32)(torch.zeros(2, 64, 9, 8)).shape
        torch.Size([2, 256, 9, 8])
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        stride: int = 1,
        groups: int = 1,
        dilations: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride, groups, dilations[0])
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, out_channels, stride)

    def _residual(self, input: Tensor) -> Tensor:
        maps = self.relu(self.bn1(self.conv1(input)))
        maps = self.relu(self.bn2(self.conv2(maps)))
        return self.bn3(self.conv3(maps))


class ResNet(nn.Module):
    """A 7x7 convolution and max pooling, four stages of residual blocks, a global average head.

    The state dict has torchvision's keys, shapes and order, so its published weights fit. Convolutions start
    from N(0, 2 / fan_out), without biases; batch norms from weight 1 and bias 0.

    Shapes:
        input (N, in_channels, H, W), any H and W, published at 224x224; returns (N, num_classes)
    Args:
        block: `BasicBlock` or `Bottleneck`.
        depths: number of blocks in each stage; every stage but the first halves the sides and doubles the channels.
        groups, width_per_group: of the blocks' 3x3 convolutions in the first stage.
        stem: `cifar` starts with a 3x3 convolution of stride 1 and does not pool, for images of 32x32.
        replace_stride_with_dilation: for stages two, three and four, whether to keep the sides and instead spread
            the kernels of what follows, for segmentation: (False, True, True) gives maps of an eighth of the image
            whose every fourth pixel is, with the same weights, the ordinary network's.
    Raises:
        UsageError: other than four depths, or one below 1; other than three flags.
        UnknownNameError: an unknown stem.
    Source:
        He, Zhang, Ren & Sun, Deep residual learning for image recognition, arXiv:1512.03385, table 1; groups:
        Xie, Girshick, Dollár, Tu & He, Aggregated residual transformations, arXiv:1611.05431.
    Example:
        >>> import torch
        >>> network = ResNet(BasicBlock, (1, 1, 1, 1), num_classes=10)
        >>> network.layer4(torch.zeros(2, 256, 14, 11)).shape, network.eval()(torch.zeros(2, 3, 64, 48)).shape
        (torch.Size([2, 512, 7, 6]), torch.Size([2, 10]))
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        groups: int = 1,
        width_per_group: int = 64,
        stem: Stem = "imagenet",
        replace_stride_with_dilation: Sequence[bool] = (False, False, False),
    ) -> None:
        super().__init__()
        if len(depths) != 4 or min(depths) < 1:
            raise UsageError(f"depths are {tuple(depths)}; give four, each at least 1.", call="ResNet")
        flags = tuple(replace_stride_with_dilation)
        if len(flags) != 3 or not all(isinstance(flag, bool) for flag in flags):
            raise UsageError(
                f"replace_stride_with_dilation is {flags}; give three of True and False.", call="ResNet"
            )
        small = check_stem("ResNet", stem) == "cifar"
        self.conv1 = _conv(in_channels, 64, 3) if small else _conv(in_channels, 64, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small else cnn.MaxPool2d(3, stride=2, padding=1)
        channels, dilation = 64, 1
        stages: list[nn.Sequential] = []
        for stage, (depth, dilated) in enumerate(zip(depths, (False, *flags), strict=True)):
            before, dilation = dilation, dilation * (2 if dilated else 1)
            width, out_channels = groups * width_per_group * 2**stage, block.expansion * 64 * 2**stage
            blocks: list[nn.Module] = []
            for position in range(depth):
                stride = 2 if stage and not (position or dilated) else 1
                dilations = dilation if position else before, dilation
                blocks.append(block(channels, width, out_channels, stride, groups, dilations))
                channels = out_channels
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = cnn.GlobalAvgPool2d()
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @takes_images
    def forward(self, input: Tensor) -> Tensor:
        """Return the class scores."""
        maps = self.maxpool(self.relu(self.bn1(self.conv1(input))))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        return self.fc(self.avgpool(maps))


def _conv(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1, dilation: int = 1
) -> cnn.Conv2d:
    padding = kernel_size // 2 * dilation
    return cnn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups=groups, bias=False
    )


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(_conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


def _member(
    name: str,
    block: type[BasicBlock] | type[Bottleneck],
    depths: tuple[int, int, int, int],
    groups: int = 1,
    width_per_group: int = 64,
    small: tuple[str, str] | None = None,
) -> Callable[..., ResNet]:
    """Register one network of the family and return its factory; `small` has the counts of a CIFAR form."""
    classes, default_stem, side = (1000, "imagenet", 224) if small is None else (10, "cifar", 32)

    def factory(
        num_classes: int = classes,
        in_channels: int = 3,
        stem: Stem = default_stem,
        replace_stride_with_dilation: Sequence[bool] = (False, False, False),
    ) -> ResNet:
        return ResNet(
            block,
            depths,
            num_classes,
            in_channels,
            groups=groups,
            width_per_group=width_per_group,
            stem=stem,
            replace_stride_with_dilation=replace_stride_with_dilation,
        )

    factory.__name__ = factory.__qualname__ = name
    doc = f"Four stages of {', '.join(map(str, depths))} {block.__name__} blocks"
    source = "He, Zhang, Ren & Sun, arXiv:1512.03385"
    if groups != 1:
        doc += f", 3x3 convolutions in {groups} groups of {width_per_group}"
        source = "Xie, Girshick, Dollár, Tu & He, arXiv:1611.05431"
    if small is not None:
        doc += f", small stem: {small[0]} parameters, {small[1]} MACs at 32x32"
    factory.__doc__ = f"{doc}; see `ResNet`."
    if block is Bottleneck:
        source += "; stride on the 3x3 convolution, as in torchvision"
    if small is not None:
        source += "; 3x3 stem without pooling, for CIFAR"
    return register_model(
        name, input_shape=(3, side, side), num_classes=classes, source=source, head=("fc",)
    )(factory)


resnet18 = _member("resnet18", BasicBlock, (2, 2, 2, 2))
resnet34 = _member("resnet34", BasicBlock, (3, 4, 6, 3))
resnet50 = _member("resnet50", Bottleneck, (3, 4, 6, 3))
resnet101 = _member("resnet101", Bottleneck, (3, 4, 23, 3))
resnet152 = _member("resnet152", Bottleneck, (3, 8, 36, 3))
resnext50_32x4d = _member("resnext50_32x4d", Bottleneck, (3, 4, 6, 3), groups=32, width_per_group=4)
resnext101_32x8d = _member("resnext101_32x8d", Bottleneck, (3, 4, 23, 3), groups=32, width_per_group=8)
resnet18_cifar = _member("resnet18_cifar", BasicBlock, (2, 2, 2, 2), small=("11,173,962", "0.555 G"))
resnet50_cifar = _member("resnet50_cifar", Bottleneck, (3, 4, 6, 3), small=("23,520,842", "1.298 G"))
resnext50_32x4d_cifar = _member(
    "resnext50_32x4d_cifar",
    Bottleneck,
    (3, 4, 6, 3),
    groups=32,
    width_per_group=4,
    small=("22,992,714", "1.344 G"),
)
