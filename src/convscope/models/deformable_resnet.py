"""ResNet-50 with deformable convolutions in its last stages.

Dai, Qi, Xiong, Li, Zhang, Hu & Wei, Deformable convolutional networks, arXiv:1703.06211, let the taps of a
convolution move by offsets that another convolution predicts from the same maps, and put three of these into the last
stage (conv5, here `layer4`). Zhu, Hu, Lin & Dai, Deformable ConvNets v2: more deformable, better results,
arXiv:1811.11168, add a mask to each tap and use them for every 3x3 convolution from conv3 on (`layer2` to `layer4`:
13 layers; the paper says 12). Both train them in detectors and segmenters; here they are classifiers at the ordinary
stride, and offsets have one group. State-dict keys are ResNet's, with `conv2.offset.weight` and `conv2.offset.bias`
added in each deformable block, so ResNet-50's published weights load with `strict=False` and only those are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import convscope.nn as cnn
from convscope.errors import UsageError
from convscope.geometry import as_int
from convscope.models.options import Stem
from convscope.models.registry import register_model
from convscope.models.resnet import Bottleneck, ResNet

__all__ = ["DeformableResNet", "resnet50_dcn", "resnet50_dcnv2"]


class DeformableResNet(ResNet):
    """A `ResNet` of `Bottleneck` blocks whose last stages have deformable 3x3 convolutions.

    Offsets start at 0. Then v1 (`modulated=False`) is the plain network of the same weights. In v2 each mask starts
    at 0.5, as in the paper, which halves what those convolutions give: the plain network of the same weights is one
    whose deformable `conv2.weight` are doubled.

    Shapes:
        input (N, in_channels, H, W), any H and W; returns (N, num_classes)
    Args:
        depths: number of blocks in each of the four stages.
        deformable_stages: how many stages, counted from the last, are deformable.
        modulated: v2, with masks.
        stem, replace_stride_with_dilation: as of `ResNet`; the taps start from the dilated places.
    Raises:
        UsageError: more than 4 deformable stages; settings that `ResNet` refuses.
        UnknownNameError: an unknown stem.
    Source:
        Dai et al., arXiv:1703.06211, section 2.1 and 4.2; Zhu et al., arXiv:1811.11168, section 3.
    Example:
        >>> import torch
        >>> network = DeformableResNet((1, 1, 1, 1), num_classes=10, deformable_stages=2, modulated=True)
        >>> [key for key in network.state_dict() if "offset.weight" in key]
        ['layer3.0.conv2.offset.weight', 'layer4.0.conv2.offset.weight']
        >>> network.eval()(torch.zeros(2, 3, 64, 48)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        depths: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        deformable_stages: int = 1,
        modulated: bool = False,
        stem: Stem = "imagenet",
        replace_stride_with_dilation: Sequence[bool] = (False, False, False),
    ) -> None:
        if as_int("deformable_stages", deformable_stages, at_least=0) > 4:
            raise UsageError(
                f"deformable_stages is {deformable_stages}; there are 4 stages.", call="DeformableResNet"
            )
        super().__init__(
            Bottleneck,
            depths,
            num_classes,
            in_channels,
            stem=stem,
            replace_stride_with_dilation=replace_stride_with_dilation,
        )
        stages = [self.layer1, self.layer2, self.layer3, self.layer4]
        for block in (block for stage in stages[4 - deformable_stages :] for block in stage):
            block.conv2 = _deformable(block.conv2, modulated)


def _deformable(plain: Any, modulated: bool) -> cnn.DeformableConv2d:
    """Return a deformable convolution with the weight and settings of a `Conv2d` without bias."""
    made = cnn.DeformableConv2d(
        plain.in_channels,
        plain.out_channels,
        plain.kernel_size,
        plain.stride,
        plain.padding,
        plain.dilation,
        plain.groups,
        bias=False,
        modulated=modulated,
    )
    made.weight = plain.weight
    return made


def _member(
    name: str, deformable_stages: int, modulated: bool, source: str
) -> Callable[..., DeformableResNet]:
    """Register one network of the family and return its factory."""

    def factory(
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "imagenet",
        replace_stride_with_dilation: Sequence[bool] = (False, False, False),
    ) -> DeformableResNet:
        return DeformableResNet(
            (3, 4, 6, 3),
            num_classes,
            in_channels,
            deformable_stages=deformable_stages,
            modulated=modulated,
            stem=stem,
            replace_stride_with_dilation=replace_stride_with_dilation,
        )

    factory.__name__ = factory.__qualname__ = name
    stages = "the last stage" if deformable_stages == 1 else f"the last {deformable_stages} stages"
    kind = "modulated deformable (v2)" if modulated else "deformable (v1)"
    factory.__doc__ = f"ResNet-50 with {kind} 3x3 convolutions in {stages}; see `DeformableResNet`."
    return register_model(name, input_shape=(3, 224, 224), num_classes=1000, source=source, head=("fc",))(
        factory
    )


resnet50_dcn = _member("resnet50_dcn", 1, False, "Dai et al., arXiv:1703.06211")
resnet50_dcnv2 = _member("resnet50_dcnv2", 3, True, "Zhu, Hu, Lin & Dai, arXiv:1811.11168")
