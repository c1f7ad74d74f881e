"""What FCN and DeepLabV3 share: a residual network without its head, dense heads on it, maps enlarged to the image.

The modules' names are torchvision's (`backbone`, `classifier`, `aux_classifier`), so its published weights fit.
"""

from __future__ import annotations

import inspect

import torch.nn.functional as F
from torch import Tensor, nn

import convscope.nn as cnn
from convscope.errors import UnknownNameError, UsageError
from convscope.models.image_input import takes_images
from convscope.models.registry import create_model, list_models, model_entry

__all__ = ["DenseHeads", "ResidualBackbone", "fcn_head"]

_DILATED = {8: (False, True, True), 16: (False, False, True), 32: (False, False, False)}


class ResidualBackbone(nn.Module):
    """A residual network up to its last maps; its modules keep their names.

    Shapes:
        input (N, in_channels, H, W)
        returns the maps of stage three (N, channels // 2, H_3, W_3) and of stage four (N, channels, H_4, W_4); H_4 is
            ceil(H / output_stride)
    Args:
        name: a network of the zoo that can replace its strides by dilation.
        output_stride: image pixels from one pixel of the last maps to the next: 8, 16, or 32.
    Raises:
        UnknownNameError: no such network, or one that cannot.
        UsageError: another output stride.
    Source:
        Chen, Papandreou, Schroff & Adam, arXiv:1706.05587, section 3.1: dilation in place of the last strides.
    Example:
        >>> import torch
        >>> backbone = ResidualBackbone("resnet18", output_stride=16)
        >>> [tuple(maps.shape) for maps in backbone(torch.zeros(2, 3, 33, 64))]
        [(2, 256, 3, 4), (2, 512, 3, 4)]
    """

    def __init__(self, name: str, in_channels: int = 3, output_stride: int = 8) -> None:
        super().__init__()
        if output_stride not in _DILATED:
            raise UsageError(f"output_stride is {output_stride!r}; give 8, 16 or 32.")
        known = [entry for entry in list_models() if "replace_stride_with_dilation" in _arguments(entry)]
        if name not in known:
            raise UnknownNameError("backbone", name, known)
        network = create_model(
            name, num_classes=1, in_channels=in_channels, replace_stride_with_dilation=_DILATED[output_stride]
        )
        part = network.get_submodule
        self.conv1, self.bn1, self.relu, self.maxpool = (
            part(key) for key in ("conv1", "bn1", "relu", "maxpool")
        )
        self.layer1, self.layer2, self.layer3, self.layer4 = (part(f"layer{stage}") for stage in (1, 2, 3, 4))
        head = part("fc")
        assert isinstance(head, nn.Linear)
        self.channels = head.in_features

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of the last two stages."""
        maps = self.maxpool(self.relu(self.bn1(self.conv1(input))))
        third = self.layer3(self.layer2(self.layer1(maps)))
        return third, self.layer4(third)


class DenseHeads(nn.Module):
    """Class scores of each pixel from a residual backbone, and for training those of its third stage too.

    Shapes:
        input (N, in_channels, H, W), any H and W
        returns {"out": (N, num_classes, H, W)}, with `aux_classifier` {"out": ..., "aux": (N, num_classes, H, W)}; both
            interpolated from maps of H / output_stride by W / output_stride, as pixel centres
    """

    def __init__(
        self, backbone: ResidualBackbone, classifier: nn.Module, aux_classifier: nn.Module | None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier

    @takes_images
    def forward(self, input: Tensor) -> dict[str, Tensor]:
        """Return the class scores of each pixel, by name of the head."""
        third, last = self.backbone(input)
        scores = {"out": self.classifier(last)}
        if self.aux_classifier is not None:
            scores["aux"] = self.aux_classifier(third)
        size = input.shape[-2:]
        return {
            name: F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
            for name, maps in scores.items()
        }


def fcn_head(in_channels: int, num_classes: int) -> nn.Sequential:
    """Return a 3x3 convolution to a quarter of the channels, batch norm, ReLU, dropout of 0.1, a 1x1 convolution.

    Example:
        >>> import torch
        >>> fcn_head(64, 21)(torch.zeros(2, 64, 5, 4)).shape
        torch.Size([2, 21, 5, 4])
    """
    width = in_channels // 4
    return nn.Sequential(
        cnn.Conv2d(in_channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Dropout(0.1),
        cnn.Conv2d(width, num_classes, 1),
    )


def _arguments(name: str) -> frozenset[str]:
    return frozenset(inspect.signature(model_entry(name).factory).parameters)
