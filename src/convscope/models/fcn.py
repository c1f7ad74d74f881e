"""FCN: a classifier whose fully connected layers became 1x1 convolutions, so that it answers at every place.

Long, Shelhamer & Darrell, Fully convolutional networks for semantic segmentation, arXiv:1411.4038. It introduced
training from image to label map end to end, on networks pretrained for classification.

Different from the paper, as in torchvision: the backbone is a residual network in place of VGG; its last two strides
are dilation, so that the maps have an eighth of the image's sides and not a 32nd; they are enlarged once by fixed
bilinear interpolation, where the paper learns transposed convolutions and adds the scores of finer stages (FCN-16s,
FCN-8s); a second head on stage three helps in training.
"""

from __future__ import annotations

from collections.abc import Callable

from convscope.errors import UsageError
from convscope.models.registry import register_model
from convscope.models.segmentation import DenseHeads, ResidualBackbone, fcn_head

__all__ = ["FCN", "fcn_resnet18", "fcn_resnet50", "fcn_resnet101"]


class FCN(DenseHeads):
    """A residual backbone and a small convolutional head, `fcn_head`; shapes as in `DenseHeads`.

    Args:
        backbone: a network of the zoo that can replace its strides by dilation, such as `resnet18`.
        aux_loss: whether there is a second head, on the backbone's third stage; the published weights have it. Its
            scores are "aux", for a share of the loss in training.
        output_stride: image pixels from one pixel of the last maps to the next: 8, 16, or 32.
    Raises:
        UnknownNameError: no such backbone.
        UsageError: another output stride.
    Source:
        Long, Shelhamer & Darrell, arXiv:1411.4038; head and dilation as in torchvision.
    Example:
        >>> import torch
        >>> network = FCN("resnet18", num_classes=2).eval()
        >>> {name: tuple(scores.shape) for name, scores in network(torch.zeros(1, 3, 33, 50)).items()}
        {'out': (1, 2, 33, 50), 'aux': (1, 2, 33, 50)}
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        num_classes: int = 21,
        in_channels: int = 3,
        *,
        aux_loss: bool = True,
        output_stride: int = 8,
    ) -> None:
        try:
            body = ResidualBackbone(backbone, in_channels, output_stride)
        except UsageError as error:
            raise error.at("FCN") from error
        aux_classifier = fcn_head(body.channels // 2, num_classes) if aux_loss else None
        super().__init__(body, fcn_head(body.channels, num_classes), aux_classifier)


def _member(backbone: str) -> Callable[..., FCN]:
    """Register the network on a backbone and return its factory."""

    def factory(
        num_classes: int = 21, in_channels: int = 3, *, aux_loss: bool = True, output_stride: int = 8
    ) -> FCN:
        return FCN(backbone, num_classes, in_channels, aux_loss=aux_loss, output_stride=output_stride)

    name = factory.__name__ = factory.__qualname__ = f"fcn_{backbone}"
    factory.__doc__ = f"Class scores of each pixel by a small head on a dilated {backbone}; see `FCN`."
    return register_model(
        name,
        input_shape=(3, 520, 520),
        num_classes=21,
        source="Long, Shelhamer & Darrell, arXiv:1411.4038; on a dilated residual network, as in torchvision",
        task="segmentation",
        head=("classifier.4", "aux_classifier.4"),
        optional=("aux_classifier",),
    )(factory)


fcn_resnet18 = _member("resnet18")
fcn_resnet50 = _member("resnet50")
fcn_resnet101 = _member("resnet101")
