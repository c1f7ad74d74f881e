"""AlexNet: the network with which deep learning won ImageNet in 2012.

Krizhevsky, Sutskever & Hinton, ImageNet classification with deep convolutional neural networks, NIPS 2012, introduced
ReLU, dropout, overlapping max pooling and training on two graphics cards to image classification at that scale.
`alexnet_paper` is that network; whatever it leaves open, such as the padding, is as in the authors' code. `alexnet` is
torchvision's, whose published weights fit: the single-card version of Krizhevsky, One weird trick for parallelizing
convolutional neural networks, arXiv:1404.5997, with fewer channels, no groups and no local response normalisation, and
with dropout before the fully connected layers instead of behind them.
"""

from __future__ import annotations

from torch import Tensor, nn

import convscope.nn as cnn
from convscope.errors import UsageError
from convscope.geometry import as_int
from convscope.models.image_input import takes_images
from convscope.models.options import Stem, check_probability, check_stem
from convscope.models.registry import register_model

__all__ = ["AlexNet", "AlexNetPaper", "alexnet_cifar"]


@register_model(
    "alexnet",
    input_shape=(3, 224, 224),
    num_classes=1000,
    source="Krizhevsky, arXiv:1404.5997; adaptive pooling before the classifier, as in torchvision",
    head=("classifier.6",),
)
class AlexNet(nn.Module):
    """Five convolutions with three overlapping max poolings, then three fully connected layers.

    The state dict has torchvision's keys, shapes and order, so its published weights fit. Weights start as torch's
    layers do. The adaptive pooling takes every image of at least 63x63; at 224x224 it changes nothing.

    Shapes:
        input (N, in_channels, H, W); returns (N, num_classes)
    Args:
        dropout: probability, before both hidden layers of the classifier.
        hidden: width of these layers.
        stem: `cifar` makes the first convolution 3x3 of stride 1 and pools to 3x3 instead of 6x6, for images of
            32x32; smaller ones than 15x15 are refused.
    Raises:
        UsageError: a probability outside [0, 1), a width below 1.
        UnknownNameError: an unknown stem.
    Example:
        >>> import torch
        >>> network = AlexNet(num_classes=10, hidden=8)
        >>> network.features(torch.zeros(2, 3, 224, 192)).shape, network(torch.zeros(2, 3, 64, 80)).shape
        (torch.Size([2, 256, 6, 5]), torch.Size([2, 10]))
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.5,
        hidden: int = 4096,
        stem: Stem = "imagenet",
    ) -> None:
        super().__init__()
        check_probability("AlexNet", "dropout", dropout)
        hidden = _width("AlexNet", hidden)
        small = check_stem("AlexNet", stem) == "cifar"
        side = 3 if small else 6
        self.features = nn.Sequential(
            cnn.Conv2d(in_channels, 64, 3, padding=1)
            if small
            else cnn.Conv2d(in_channels, 64, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            cnn.MaxPool2d(3, stride=2),
            cnn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            cnn.MaxPool2d(3, stride=2),
            cnn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            cnn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            cnn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            cnn.MaxPool2d(3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(side)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * side * side, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, num_classes),
        )

    @takes_images
    def forward(self, input: Tensor) -> Tensor:
        """Return the class scores."""
        return self.classifier(self.avgpool(self.features(input)).flatten(1))


@register_model(
    "alexnet_paper",
    input_shape=(3, 227, 227),
    num_classes=1000,
    source="Krizhevsky, Sutskever & Hinton, NIPS 2012; 227x227 without padding instead of 224x224",
    head=("classifier.6",),
)
class AlexNetPaper(nn.Module):
    """AlexNet as the paper has it: grouped convolutions and local response normalisation.

    The second, fourth and fifth convolution see half of the channels each, which was how two cards shared the
    network. Weights start from N(0, 0.01^2); biases from 1 where the paper wants ReLUs to start alive, else from 0.
    The paper states 224x224 pixels, but its 55x55 maps need 227x227; other images of at least 67x67 are pooled to
    6x6 before the classifier, which is not in the paper.

    Shapes:
        input (N, in_channels, H, W); returns (N, num_classes)
    Args:
        groups: of the second, fourth and fifth convolution; 1 gives the 62,378,344 parameters often quoted.
        dropout: probability, behind both hidden layers of the classifier.
    Raises:
        UsageError: a probability outside [0, 1); groups that do not divide the channels.
    Source:
        Sections 3.3 to 3.5 and 5: normalisation with k = 2, n = 5, alpha = 1e-4, beta = 0.75 behind the first two
        ReLUs. torch divides alpha by n, the paper does not, so the layer here has 5e-4.
    Example:
        >>> import torch
        >>> network = AlexNetPaper()
        >>> sum(parameter.numel() for parameter in network.parameters())
        60965224
        >>> network.features(torch.zeros(1, 3, 227, 227)).shape
        torch.Size([1, 256, 6, 6])
    """

    def __init__(
        self, num_classes: int = 1000, in_channels: int = 3, groups: int = 2, dropout: float = 0.5
    ) -> None:
        super().__init__()
        check_probability("AlexNetPaper", "dropout", dropout)
        try:
            groups = as_int("groups", groups, at_least=1)
            self.features = nn.Sequential(
                cnn.Conv2d(in_channels, 96, 11, stride=4),
                nn.ReLU(inplace=True),
                nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
                cnn.MaxPool2d(3, stride=2),
                cnn.Conv2d(96, 256, 5, padding=2, groups=groups),
                nn.ReLU(inplace=True),
                nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
                cnn.MaxPool2d(3, stride=2),
                cnn.Conv2d(256, 384, 3, padding=1),
                nn.ReLU(inplace=True),
                cnn.Conv2d(384, 384, 3, padding=1, groups=groups),
                nn.ReLU(inplace=True),
                cnn.Conv2d(384, 256, 3, padding=1, groups=groups),
                nn.ReLU(inplace=True),
                cnn.MaxPool2d(3, stride=2),
            )
        except UsageError as error:
            raise error.at("AlexNetPaper") from error
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        layers = [*self.features, *self.classifier]
        for layer in layers:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
        # Section 5: in the second, fourth and fifth convolution and in the hidden layers of the classifier.
        for layer in (
            *(self.features[index] for index in (4, 10, 12)),
            self.classifier[0],
            self.classifier[3],
        ):
            nn.init.ones_(layer.bias)  # pyright: ignore[reportArgumentType]

    @takes_images
    def forward(self, input: Tensor) -> Tensor:
        """Return the class scores."""
        return self.classifier(self.avgpool(self.features(input)).flatten(1))


@register_model(
    "alexnet_cifar",
    input_shape=(3, 32, 32),
    num_classes=10,
    source="Krizhevsky, arXiv:1404.5997; 3x3 stem of stride 1 and hidden layers of 1,024, for CIFAR",
    head=("classifier.6",),
)
def alexnet_cifar(
    num_classes: int = 10,
    in_channels: int = 3,
    dropout: float = 0.5,
    hidden: int = 1024,
    stem: Stem = "cifar",
) -> AlexNet:
    """AlexNet for 32x32: 3x3 stem, hidden layers of 1,024: 5,868,362 parameters, 0.179 G MACs; see `AlexNet`."""
    return AlexNet(num_classes, in_channels, dropout, hidden, stem)


def _width(call: str, hidden: int) -> int:
    try:
        return as_int("hidden", hidden, at_least=1)
    except UsageError as error:
        raise error.at(call) from error
