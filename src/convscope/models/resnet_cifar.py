"""The residual networks of the ResNet paper's section on CIFAR-10.

He, Zhang, Ren & Sun, Deep residual learning for image recognition, arXiv:1512.03385, section 4.2, studied depth itself
on narrow networks of 6n + 2 layers: without shortcuts the deeper one was worse, with them better. Shortcut A has no
parameters: where the shape changes it takes every second pixel and fills the new channels with zeros. Nothing differs
from the paper; where the zeros go it does not say, and here they are behind the channels that there are.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

import convscope.nn as cnn
from convscope.errors import UsageError
from convscope.geometry import as_int
from convscope.models.image_input import takes_images
from convscope.models.registry import register_model

__all__ = [
    "CifarBlock",
    "CifarResNet",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
]


class CifarBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters; the first one has the stride.

    Shapes:
        input (N, in_channels, H, W); returns (N, out_channels, ceil(H / stride), ceil(W / stride))
    Raises:
        UsageError: fewer channels out than in.
    Source:
        He et al., arXiv:1512.03385, figure 5 left, with shortcut A.
    Example:
        >>> import torch
        >>> CifarBlock(16, 32, stride=2)(torch.zeros(2, 16, 9, 8)).shape
        torch.Size([2, 32, 5, 4])
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        if out_channels < in_channels:
            raise UsageError(
                f"out_channels is {out_channels}; a shortcut that adds zero channels needs at least in_channels "
                f"= {in_channels}.",
                call="CifarBlock",
            )
        self.conv1 = cnn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = cnn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.stride, self.added_channels = stride, out_channels - in_channels

    def forward(self, input: Tensor) -> Tensor:
        """Return the block's maps."""
        maps = self.relu(self.bn1(self.conv1(input)))
        return self.relu(self.bn2(self.conv2(maps)) + self._shortcut(input))

    def _shortcut(self, input: Tensor) -> Tensor:
        if self.stride != 1:
            input = input[:, :, :: self.stride, :: self.stride]
        if self.added_channels:
            input = nn.functional.pad(input, (0, 0, 0, 0, 0, self.added_channels))
        return input


class CifarResNet(nn.Module):
    """A 3x3 convolution, three stages of `CifarBlock` with 16, 32 and 64 channels, a global average head.

    Convolutions start from N(0, 2 / fan_out), without biases; batch norms from weight 1 and bias 0.

    Shapes:
        input (N, in_channels, H, W), any H and W, published at 32x32; returns (N, num_classes)
    Args:
        depth: layers with weights, 6n + 2 for n blocks a stage.
    Raises:
        UsageError: a depth that is not 6n + 2 with n at least 1.
    Source:
        Section 4.2.
    Example:
        >>> import torch
        >>> network = CifarResNet(8)
        >>> network.layer3(torch.zeros(2, 32, 16, 11)).shape, network(torch.zeros(2, 3, 32, 22)).shape
        (torch.Size([2, 64, 8, 6]), torch.Size([2, 10]))
    """

    def __init__(self, depth: int, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        try:
            blocks, rest = divmod(as_int("depth", depth, at_least=8) - 2, 6)
        except UsageError as error:
            raise error.at("CifarResNet") from error
        if rest:
            raise UsageError(
                f"depth is {depth}; it must be 6n + 2, such as {depth - rest} or {depth - rest + 6}.",
                call="CifarResNet",
            )
        self.conv1 = cnn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.avgpool = cnn.GlobalAvgPool2d()
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @takes_images
    def forward(self, input: Tensor) -> Tensor:
        """Return the class scores."""
        maps = self.relu(self.bn1(self.conv1(input)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        return self.fc(self.avgpool(maps))


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = CifarBlock(in_channels, out_channels, stride)
    return nn.Sequential(first, *(CifarBlock(out_channels, out_channels) for _ in range(blocks - 1)))


def _member(depth: int, num_params: str, macs: str) -> Callable[..., CifarResNet]:
    """Register one network of the family and return its factory."""

    def factory(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
        return CifarResNet(depth, num_classes, in_channels)

    factory.__name__ = factory.__qualname__ = name = f"resnet{depth}"
    factory.__doc__ = (
        f"{(depth - 2) // 6} blocks in each of three stages, shortcuts without parameters: {num_params} parameters, "
        f"{macs} MACs at 32x32; see `CifarResNet`."
    )
    return register_model(
        name,
        input_shape=(3, 32, 32),
        num_classes=10,
        source="He, Zhang, Ren & Sun, arXiv:1512.03385, section 4.2, shortcut A",
        head=("fc",),
    )(factory)


resnet20 = _member(20, "269,722", "40.6 M")
resnet32 = _member(32, "464,154", "68.9 M")
resnet44 = _member(44, "658,586", "97.2 M")
resnet56 = _member(56, "853,018", "125.5 M")
resnet110 = _member(110, "1,727,962", "252.9 M")
