"""ConvNeXt: a ResNet rebuilt, step by step, with what vision transformers had.

Liu, Mao, Wu, Feichtenhofer, Darrell & Xie, A ConvNet for the 2020s, arXiv:2201.03545, took a ResNet-50 to a
transformer's accuracy with patches as a stem, 7x7 depthwise convolutions, an inverted bottleneck, GELU, few layer
norms and downsampling layers of their own. Nothing differs from the paper but the layout of the state dict, which is
torchvision's, whose weights fit. `convnext_tiny_cifar` is ours: a 3x3 stem of stride 1 instead of the 4x4 patches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

import convscope.nn as cnn
from convscope.errors import UsageError
from convscope.geometry import as_int
from convscope.models.image_input import takes_images
from convscope.models.options import Stem, check_probability, check_stem
from convscope.models.registry import register_model

__all__ = [
    "ConvNeXt",
    "ConvNeXtBlock",
    "LayerNorm2d",
    "convnext_base",
    "convnext_large",
    "convnext_small",
    "convnext_tiny",
    "convnext_tiny_cifar",
]

_EPS = 1e-6


class LayerNorm2d(nn.LayerNorm):
    """Normalise the channels of each pixel: `torch.nn.LayerNorm` for maps whose channels stand at dim=1.

    Shapes:
        input (N, C, H, W); returns the same
    Example:
        >>> maps = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1)
        >>> LayerNorm2d(2, eps=0)(maps).flatten().tolist()
        [-1.0, 1.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised maps."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Permute(nn.Module):
    """Reorders the axes."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, input: Tensor) -> Tensor:
        return input.permute(self.axes)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.axes))


class ConvNeXtBlock(nn.Module):
    """A 7x7 depthwise convolution, then at each pixel a layer norm and two linear layers, beside a shortcut.

    The residual is multiplied by `layer_scale`, a number a channel that starts near zero.

    Shapes:
        input (N, channels, H, W); returns the same
    Args:
        layer_scale: where these numbers start.
        drop_prob: of leaving out the block in training, for each sample.
    Source:
        Liu et al., arXiv:2201.03545, figure 4; layer scale: Touvron et al., arXiv:2103.17239.
    Example:
        >>> ConvNeXtBlock(8)(torch.zeros(2, 8, 5, 4)).shape
        torch.Size([2, 8, 5, 4])
    """

    def __init__(self, channels: int, layer_scale: float = 1e-6, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(torch.full((channels, 1, 1), layer_scale))
        self.block = nn.Sequential(
            cnn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            _Permute(0, 2, 3, 1),  # linear layers want the channels last
            nn.LayerNorm(channels, eps=_EPS),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
            _Permute(0, 3, 1, 2),
        )
        self.stochastic_depth = cnn.StochasticDepth(drop_prob)

    def forward(self, input: Tensor) -> Tensor:
        """Return the block's maps."""
        return input + self.stochastic_depth(self.layer_scale * self.block(input))


class ConvNeXt(nn.Module):
    """4x4 patches, four stages of `ConvNeXtBlock` with 2x2 downsampling between, a global average head.

    The state dict has torchvision's keys, shapes and order, so its published weights fit. Weights start from
    N(0, 0.02^2) cut off at 2, biases from 0.

    Shapes:
        input (N, in_channels, H, W), both sides at least 32, published at 224x224; returns (N, num_classes)
    Args:
        depths, widths: blocks and channels of each stage.
        stochastic_depth_prob: of leaving out a block; it rises linearly from 0 at the first to this at the last.
        layer_scale: where the factors of the residuals start.
        stem: `cifar` makes the first convolution 3x3 of stride 1, for images of 32x32.
    Raises:
        UsageError: other than four depths or widths, one below 1; a probability outside [0, 1).
        UnknownNameError: an unknown stem.
    Source:
        Table 9 and section 2.
    Example:
        >>> network = ConvNeXt((1, 1, 1, 1), (8, 16, 24, 32), num_classes=10)
        >>> network.features(torch.zeros(2, 3, 64, 100)).shape, network(torch.zeros(2, 3, 64, 100)).shape
        (torch.Size([2, 32, 2, 3]), torch.Size([2, 10]))
    """

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        stochastic_depth_prob: float = 0.0,
        layer_scale: float = 1e-6,
        stem: Stem = "imagenet",
    ) -> None:
        super().__init__()
        depths, widths = _four("depths", depths), _four("widths", widths)
        drop_prob = check_probability("ConvNeXt", "stochastic_depth_prob", stochastic_depth_prob)
        small = check_stem("ConvNeXt", stem) == "cifar"
        channels, built = widths[0], 0
        first = (
            cnn.Conv2d(in_channels, channels, 3, padding=1)
            if small
            else cnn.Conv2d(in_channels, channels, 4, 4)
        )
        layers: list[nn.Module] = [nn.Sequential(first, LayerNorm2d(channels, eps=_EPS))]
        for depth, width in zip(depths, widths, strict=True):
            if built:
                halving = cnn.Conv2d(channels, width, 2, stride=2)
                layers.append(nn.Sequential(LayerNorm2d(channels, eps=_EPS), halving))
            blocks: list[nn.Module] = []
            for _ in range(depth):
                probability = drop_prob * built / (sum(depths) - 1)
                blocks.append(ConvNeXtBlock(width, layer_scale, probability))
                built += 1
            layers.append(nn.Sequential(*blocks))
            channels = width
        self.features = nn.Sequential(*layers)
        self.avgpool = cnn.GlobalAvgPool2d(keepdim=True)
        self.classifier = nn.Sequential(
            LayerNorm2d(channels, eps=_EPS), nn.Flatten(), nn.Linear(channels, num_classes)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]

    @takes_images
    def forward(self, input: Tensor) -> Tensor:
        """Return the class scores."""
        return self.classifier(self.avgpool(self.features(input)))


def _four(name: str, values: Sequence[int]) -> tuple[int, ...]:
    if len(values) != 4:
        raise UsageError(f"{name} are {tuple(values)}; give four, each at least 1.", call="ConvNeXt")
    try:
        return tuple(as_int(name, value, at_least=1) for value in values)
    except UsageError as error:
        raise error.at("ConvNeXt") from error


def _member(
    name: str,
    depths: tuple[int, int, int, int],
    width: int,
    drop_prob: float,
    small: tuple[str, str] | None = None,
) -> Callable[..., ConvNeXt]:
    """Register one network of the family and return its factory; `small` has the counts of a CIFAR form."""
    widths = width, 2 * width, 4 * width, 8 * width
    classes, default_stem, side = (1000, "imagenet", 224) if small is None else (10, "cifar", 32)

    def factory(
        num_classes: int = classes,
        in_channels: int = 3,
        stochastic_depth_prob: float = drop_prob,
        layer_scale: float = 1e-6,
        stem: Stem = default_stem,
    ) -> ConvNeXt:
        return ConvNeXt(
            depths,
            widths,
            num_classes,
            in_channels,
            stochastic_depth_prob=stochastic_depth_prob,
            layer_scale=layer_scale,
            stem=stem,
        )

    factory.__name__ = factory.__qualname__ = name
    doc = f"Four stages of {', '.join(map(str, depths))} blocks with {', '.join(map(str, widths))} channels"
    source = "Liu et al., arXiv:2201.03545"
    if small is not None:
        doc += f", small stem: {small[0]} parameters, {small[1]} MACs at 32x32"
        source += "; 3x3 stem of stride 1, for CIFAR"
    factory.__doc__ = f"{doc}; see `ConvNeXt`."
    return register_model(
        name, input_shape=(3, side, side), num_classes=classes, source=source, head=("classifier.2",)
    )(factory)


convnext_tiny = _member("convnext_tiny", (3, 3, 9, 3), 96, 0.1)
convnext_small = _member("convnext_small", (3, 3, 27, 3), 96, 0.4)
convnext_base = _member("convnext_base", (3, 3, 27, 3), 128, 0.5)
convnext_large = _member("convnext_large", (3, 3, 27, 3), 192, 0.5)
convnext_tiny_cifar = _member("convnext_tiny_cifar", (3, 3, 9, 3), 96, 0.1, small=("27,825,802", "1.453 G"))
