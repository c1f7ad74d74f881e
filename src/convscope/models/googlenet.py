"""GoogLeNet: modules of parallel convolutions of several sizes, concatenated.

Szegedy et al., Going deeper with convolutions, arXiv:1409.4842, introduced the Inception module, whose 1x1
convolutions make the others cheap, put global average pooling instead of large dense layers before the classes, and
trained with two auxiliary classifiers half way. Different from the paper, as in torchvision, whose weights fit: batch
norm behind each convolution instead of local response normalisation; the branch that the paper calls 5x5 has a 3x3
kernel (`true_5x5=True` gives the paper's); the auxiliary heads pool adaptively to 4x4; dropout 0.2 instead of 0.4.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

import convscope.nn as cnn
from convscope.errors import UsageError
from convscope.models.image_input import takes_images
from convscope.models.options import Stem, check_probability, check_stem
from convscope.models.registry import register_model

__all__ = ["ConvNorm", "GoogLeNet", "GoogLeNetOutputs", "Inception", "googlenet_cifar"]


class GoogLeNetOutputs(NamedTuple):
    """Class scores in training: of the head, of the later auxiliary head and of the earlier one.

    The paper's loss is that of `logits` and 0.3 times that of each other.
    """

    logits: Tensor
    aux_logits2: Tensor
    aux_logits1: Tensor


class ConvNorm(nn.Module):
    """A convolution without bias, batch norm, ReLU.

    Shapes:
        input (N, in_channels, H, W); returns (N, out_channels, ceil(H / stride), ceil(W / stride))
    Example:
        >>> ConvNorm(3, 8, 5, stride=2)(torch.zeros(2, 3, 9, 8)).shape
        torch.Size([2, 8, 5, 4])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.conv = cnn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, input: Tensor) -> Tensor:
        """Return the layer's maps."""
        return nn.functional.relu(self.bn(self.conv(input)), inplace=True)


class Inception(nn.Module):
    """Four branches side by side: 1x1; 1x1 then 3x3; 1x1 then the third; max pooling then 1x1; concatenated.

    Shapes:
        input (N, in_channels, H, W); returns (N, width1 + width3 + width5 + width_pool, H, W)
    Args:
        width1, width3, width5, width_pool: channels of each branch.
        reduce3, reduce5: channels of the 1x1 convolutions before the larger ones.
        true_5x5: makes the third branch's kernel 5x5 instead of 3x3.
    Source:
        Szegedy et al., arXiv:1409.4842, figure 2 (b); the arguments are in the order of table 1.
    Example:
        >>> Inception(192, 64, 96, 128, 16, 32, 32)(torch.zeros(2, 192, 5, 4)).shape
        torch.Size([2, 256, 5, 4])
    """

    def __init__(
        self,
        in_channels: int,
        width1: int,
        reduce3: int,
        width3: int,
        reduce5: int,
        width5: int,
        width_pool: int,
        true_5x5: bool = False,
    ) -> None:
        super().__init__()
        kernel_size = 5 if true_5x5 else 3
        self.branch1 = ConvNorm(in_channels, width1, 1)
        self.branch2 = nn.Sequential(ConvNorm(in_channels, reduce3, 1), ConvNorm(reduce3, width3, 3))
        self.branch3 = nn.Sequential(
            ConvNorm(in_channels, reduce5, 1), ConvNorm(reduce5, width5, kernel_size)
        )
        self.branch4 = nn.Sequential(
            cnn.MaxPool2d(3, stride=1, padding=1), ConvNorm(in_channels, width_pool, 1)
        )

    def forward(self, input: Tensor) -> Tensor:
        """Return the branches' maps, one behind the other along the channel axis."""
        branches = self.branch1, self.branch2, self.branch3, self.branch4
        return torch.cat([branch(input) for branch in branches], dim=1)


class _AuxiliaryHead(nn.Module):
    """Scores the classes from maps half way: 4x4 averages, a 1x1 convolution, two linear layers."""

    def __init__(self, in_channels: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.conv = ConvNorm(in_channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input: Tensor) -> Tensor:
        features = self.conv(self.pool(input)).flatten(1)
        return self.fc2(self.dropout(nn.functional.relu(self.fc1(features), inplace=True)))


@register_model(
    "googlenet",
    input_shape=(3, 224, 224),
    num_classes=1000,
    source="Szegedy et al., arXiv:1409.4842; batch norm, and 3x3 in the branch called 5x5, as in torchvision",
    head=("fc", "aux1.fc2", "aux2.fc2"),
    optional=("aux1", "aux2"),
)
class GoogLeNet(nn.Module):
    """Three convolutions, nine Inception modules with pooling between, a global average head.

    The state dict has torchvision's keys, shapes and order. Its published weights hold the auxiliary heads, and were
    trained on images normalised to (x - 0.5) / 0.5, which is what `published_weights("googlenet").preprocessing` says;
    pass `transform_input=True`, as torchvision does, for images normalised with ImageNet's mean and standard deviation.
    Convolutions start from N(0, 2 / fan_out), linear weights from N(0, 0.01^2), where torchvision cuts N(0, 0.01^2)
    off at 2, two hundred standard deviations away.

    Shapes:
        input (N, in_channels, H, W), both sides at least 15, published at 224x224; returns (N, num_classes), and in
        training with `aux_logits` a `GoogLeNetOutputs` of three such
    Args:
        aux_logits: build the auxiliary heads, which only run in training; 13,004,888 parameters instead of 6,624,904.
        transform_input: renormalise the three channels first, as said above.
        dropout, dropout_aux: probabilities, before the last linear layer of the head and of the auxiliary heads.
        true_5x5: the paper's 5x5 kernels, which torchvision's weights do not fit; 7,005,832 parameters.
        stem: `cifar` makes the first convolution 3x3 of stride 1 and leaves out the first pooling, for images of
            32x32.
    Raises:
        UsageError: a probability outside [0, 1); `transform_input` for other than three channels.
        UnknownNameError: an unknown stem.
    Source:
        Table 1.
    Example:
        >>> network, images = GoogLeNet(num_classes=10, aux_logits=True), torch.zeros(2, 3, 64, 48)
        >>> [tuple(scores.shape) for scores in network(images)], tuple(network.eval()(images).shape)
        ([(2, 10), (2, 10), (2, 10)], (2, 10))
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        aux_logits: bool = False,
        transform_input: bool = False,
        dropout: float = 0.2,
        dropout_aux: float = 0.7,
        true_5x5: bool = False,
        stem: Stem = "imagenet",
    ) -> None:
        super().__init__()
        check_probability("GoogLeNet", "dropout", dropout)
        check_probability("GoogLeNet", "dropout_aux", dropout_aux)
        if transform_input and in_channels != 3:
            raise UsageError(
                f"transform_input renormalises red, green and blue; in_channels is {in_channels}.",
                call="GoogLeNet",
            )
        small = check_stem("GoogLeNet", stem) == "cifar"
        self.transform_input = transform_input
        self.conv1 = ConvNorm(in_channels, 64, 3) if small else ConvNorm(in_channels, 64, 7, stride=2)
        self.maxpool1 = nn.Identity() if small else cnn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = ConvNorm(64, 64, 1)
        self.conv3 = ConvNorm(64, 192, 3)
        self.maxpool2 = cnn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(192, 64, 96, 128, 16, 32, 32, true_5x5)
        self.inception3b = Inception(256, 128, 128, 192, 32, 96, 64, true_5x5)
        self.maxpool3 = cnn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = Inception(480, 192, 96, 208, 16, 48, 64, true_5x5)
        self.inception4b = Inception(512, 160, 112, 224, 24, 64, 64, true_5x5)
        self.inception4c = Inception(512, 128, 128, 256, 24, 64, 64, true_5x5)
        self.inception4d = Inception(512, 112, 144, 288, 32, 64, 64, true_5x5)
        self.inception4e = Inception(528, 256, 160, 320, 32, 128, 128, true_5x5)
        self.maxpool4 = cnn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = Inception(832, 256, 160, 320, 32, 128, 128, true_5x5)
        self.inception5b = Inception(832, 384, 192, 384, 48, 128, 128, true_5x5)
        self.aux1 = _AuxiliaryHead(512, num_classes, dropout_aux) if aux_logits else None
        self.aux2 = _AuxiliaryHead(528, num_classes, dropout_aux) if aux_logits else None
        self.avgpool = cnn.GlobalAvgPool2d()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)

    @takes_images
    def forward(self, input: Tensor) -> Tensor | GoogLeNetOutputs:
        """Return the class scores; in training with auxiliary heads theirs too."""
        maps = self.maxpool1(self.conv1(_renormalised(input) if self.transform_input else input))
        maps = self.maxpool2(self.conv3(self.conv2(maps)))
        maps = self.maxpool3(self.inception3b(self.inception3a(maps)))
        maps = self.inception4a(maps)
        aux_logits1 = self.aux1(maps) if self.training and self.aux1 is not None else None
        maps = self.inception4d(self.inception4c(self.inception4b(maps)))
        aux_logits2 = self.aux2(maps) if self.training and self.aux2 is not None else None
        maps = self.maxpool4(self.inception4e(maps))
        maps = self.inception5b(self.inception5a(maps))
        logits = self.fc(self.dropout(self.avgpool(maps)))
        if aux_logits1 is None or aux_logits2 is None:
            return logits
        return GoogLeNetOutputs(logits, aux_logits2, aux_logits1)


def _renormalised(images: Tensor) -> Tensor:
    """Turn (x - mean) / std of ImageNet into (x - 0.5) / 0.5."""
    mean, std = images.new_tensor((0.485, 0.456, 0.406)), images.new_tensor((0.229, 0.224, 0.225))
    return images * (std / 0.5)[:, None, None] + ((mean - 0.5) / 0.5)[:, None, None]


@register_model(
    "googlenet_cifar",
    input_shape=(3, 32, 32),
    num_classes=10,
    source="Szegedy et al., arXiv:1409.4842; as googlenet, 3x3 stem without its pooling, for CIFAR",
    head=("fc", "aux1.fc2", "aux2.fc2"),
    optional=("aux1", "aux2"),
)
def googlenet_cifar(
    num_classes: int = 10,
    in_channels: int = 3,
    aux_logits: bool = False,
    dropout: float = 0.2,
    true_5x5: bool = False,
) -> GoogLeNet:
    """Nine Inception modules behind a 3x3 stem: 5,602,474 parameters, 0.452 G MACs at 32x32; see `GoogLeNet`."""
    return GoogLeNet(num_classes, in_channels, aux_logits, dropout=dropout, true_5x5=true_5x5, stem="cifar")
