"""Fashion-MNIST: the balanced part of it that ships with the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from convscope.data.idx import FASHION_MNIST_CLASSES, load_idx_pair
from convscope.errors import UsageError

if TYPE_CHECKING:
    from convscope.data.image_set import ImageSet

__all__ = ["FASHION_MNIST_CLASSES", "PACKAGED_FOLDER", "load_fashion_mnist"]

PACKAGED_FOLDER = Path(__file__).parent / "packaged"


def load_fashion_mnist(split: Literal["train", "test"] = "train") -> ImageSet:
    """Read the packaged subset: the first 1,200 training or 200 test images of each class.

    Ten garments, 28 x 28, white on black, in the order of the full set. The full set is read by
    `load_idx_folder`. `packaged/CREDITS.md` names source, licence and checksums.

    Shapes:
        images (12000, 1, 28, 28) for "train", (2000, 1, 28, 28) for "test"
    Raises:
        UsageError: `split` is another word.
    Source:
        Xiao, Rasul and Vollgraf, arXiv:1708.07747.
    Example:
        >>> load_fashion_mnist("test")
        ImageSet('fashion-mnist': 2000 images of 1 x 28 x 28, 10 classes)
    """
    if split not in ("train", "test"):
        raise UsageError(f"load_fashion_mnist: split must be 'train' or 'test', got {split!r}.")
    images, labels = (
        PACKAGED_FOLDER / f"fashion-{split}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")
    )
    return load_idx_pair(images, labels, FASHION_MNIST_CLASSES, "fashion-mnist")
