"""VGG: nothing but 3x3 convolutions, max pooling and depth.

Simonyan & Zisserman, Very deep convolutional networks for large-scale image recognition, arXiv:1409.1556, showed that
small kernels in a deep stack beat large ones: two 3x3 convolutions see 5x5 pixels, three see 7x7, with fewer weights.
The members are columns A, B, D and E of its table 1. The `_bn` members, not in the paper, have batch norm (Ioffe &
Szegedy, arXiv:1502.03167) behind each convolution. torchvision left the convolutions their biases there, which batch
norm subtracts again; they are kept because the published weights hold them. The `_cifar` members are ours: no bias
before batch norm, and one linear layer instead of the three that hold nine tenths of VGG's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn

import convscope.nn as cnn
from convscope.errors import UnknownNameError, UsageError
from convscope.geometry import as_int
from convscope.models.image_input import takes_images
from convscope.models.options import check_probability
from convscope.models.registry import register_model

__all__ = [
    "VGG",
    "vgg11",
    "vgg11_bn",
    "vgg11_bn_cifar",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg16_bn_cifar",
    "vgg19",
    "vgg19_bn",
]

_WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, each ending in max pooling, then the classifier.

    The state dict has torchvision's keys, shapes and order, so its published weights fit. Convolutions start from
    N(0, 2 / fan_out), linear layers from N(0, 0.01^2), biases from 0.

    Shapes:
        input (N, in_channels, H, W), both sides at least 32, published at 224x224; returns (N, num_classes)
    Args:
        depths: convolutions of each stage.
        batch_norm: behind each convolution.
        dropout: probability, behind both hidden layers of the `dense` head.
        head: `dense` pools the maps to 7x7 and has two hidden layers of 4,096; `linear` averages them and has none.
        conv_bias: whether convolutions have biases.
    Raises:
        UsageError: other than five depths, or one below 1; a probability outside [0, 1).
        UnknownNameError: an unknown head.
    Source:
        Table 1.
    Example:
        >>> import torch
        >>> network = VGG((1, 1, 1, 1, 1), 10, batch_norm=True, head="linear", conv_bias=False)
        >>> network.features(torch.zeros(2, 3, 64, 100)).shape, network(torch.zeros(2, 3, 64, 100)).shape
        (torch.Size([2, 512, 2, 3]), torch.Size([2, 10]))
    """

    def __init__(
        self,
        depths: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        batch_norm: bool = False,
        dropout: float = 0.5,
        head: Literal["dense", "linear"] = "dense",
        conv_bias: bool = True,
    ) -> None:
        super().__init__()
        check_probability("VGG", "dropout", dropout)
        if len(depths) != len(_WIDTHS):
            raise UsageError(f"depths are {tuple(depths)}; give {len(_WIDTHS)}, each at least 1.", call="VGG")
        layers: list[nn.Module] = []
        for width, depth in zip(_WIDTHS, depths, strict=True):
            for _ in range(_depth(depth)):
                layers.append(cnn.Conv2d(in_channels, width, 3, padding=1, bias=conv_bias))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(width))
                layers.append(nn.ReLU(inplace=True))
                in_channels = width
            layers.append(cnn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        if head == "dense":
            self.avgpool = nn.AdaptiveAvgPool2d(7)
            self.classifier = nn.Sequential(
                nn.Linear(512 * 7 * 7, 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                nn.Linear(4096, 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                nn.Linear(4096, num_classes),
            )
        elif head == "linear":
            self.avgpool = cnn.GlobalAvgPool2d()
            self.classifier = nn.Sequential(nn.Linear(512, num_classes))
        else:
            raise UnknownNameError("head", head, ("dense", "linear"), call="VGG")
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    @takes_images
    def forward(self, input: Tensor) -> Tensor:
        """Return the class scores."""
        return self.classifier(self.avgpool(self.features(input)).flatten(1))


def _depth(depth: int) -> int:
    try:
        return as_int("depths", depth, at_least=1)
    except UsageError as error:
        raise error.at("VGG") from error


def _member(name: str, column: str, depths: tuple[int, int, int, int, int]) -> Callable[..., VGG]:
    """Register one network of the family and return its factory."""
    batch_norm = name.endswith("_bn")

    def factory(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> VGG:
        return VGG(depths, num_classes, in_channels, batch_norm=batch_norm, dropout=dropout)

    factory.__name__ = factory.__qualname__ = name
    doc = f"{sum(depths)} 3x3 convolutions in stages of {', '.join(map(str, depths))}, three dense layers"
    source = f"Simonyan & Zisserman, arXiv:1409.1556, column {column}"
    if batch_norm:
        doc += ", batch norm"
        source += "; batch norm behind biased convolutions, as in torchvision"
    factory.__doc__ = f"{doc}; see `VGG`."
    return register_model(
        name, input_shape=(3, 224, 224), num_classes=1000, source=source, head=("classifier.6",)
    )(factory)


def _cifar_member(
    name: str, column: str, depths: tuple[int, int, int, int, int], num_params: str, macs: str
) -> Callable[..., VGG]:
    """Register one network for images of 32x32 and return its factory."""

    def factory(num_classes: int = 10, in_channels: int = 3) -> VGG:
        return VGG(depths, num_classes, in_channels, batch_norm=True, head="linear", conv_bias=False)

    factory.__name__ = factory.__qualname__ = name
    factory.__doc__ = (
        f"{sum(depths)} 3x3 convolutions with batch norm, one linear layer: {num_params} parameters, "
        f"{macs} MACs at 32x32; see `VGG`."
    )
    source = (
        f"Simonyan & Zisserman, arXiv:1409.1556, column {column}; batch norm and a linear head, for CIFAR"
    )
    return register_model(
        name, input_shape=(3, 32, 32), num_classes=10, source=source, head=("classifier.0",)
    )(factory)


vgg11 = _member("vgg11", "A", (1, 1, 2, 2, 2))
vgg13 = _member("vgg13", "B", (2, 2, 2, 2, 2))
vgg16 = _member("vgg16", "D", (2, 2, 3, 3, 3))
vgg19 = _member("vgg19", "E", (2, 2, 4, 4, 4))
vgg11_bn = _member("vgg11_bn", "A", (1, 1, 2, 2, 2))
vgg13_bn = _member("vgg13_bn", "B", (2, 2, 2, 2, 2))
vgg16_bn = _member("vgg16_bn", "D", (2, 2, 3, 3, 3))
vgg19_bn = _member("vgg19_bn", "E", (2, 2, 4, 4, 4))
vgg11_bn_cifar = _cifar_member("vgg11_bn_cifar", "A", (1, 1, 2, 2, 2), "9,228,362", "0.153 G")
vgg16_bn_cifar = _cifar_member("vgg16_bn_cifar", "D", (2, 2, 3, 3, 3), "14,724,042", "0.313 G")
