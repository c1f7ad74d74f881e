"""Pictures and labelled sets of them: decode, load, batch.

Names are resolved when first used, so importing this package, or decoding a picture, does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convscope.data.batches import Augmentation, Batches, normalise, prepare
    from convscope.data.decode import decode_image
    from convscope.data.fashion_mnist import FASHION_MNIST_CLASSES, fashion_mnist, load_idx_folder, read_idx
    from convscope.data.image_folder import load_image_folder
    from convscope.data.image_set import ImageSet
    from convscope.data.photograph import cat, cat_path
    from convscope.data.registry import list_datasets, load_dataset
    from convscope.data.resize import fit_image

__all__ = [
    "FASHION_MNIST_CLASSES",
    "Augmentation",
    "Batches",
    "ImageSet",
    "cat",
    "cat_path",
    "decode_image",
    "fashion_mnist",
    "fit_image",
    "list_datasets",
    "load_dataset",
    "load_idx_folder",
    "load_image_folder",
    "normalise",
    "prepare",
    "read_idx",
]

_MODULES = {
    "batches": ("Augmentation", "Batches", "normalise", "prepare"),
    "decode": ("decode_image",),
    "fashion_mnist": ("FASHION_MNIST_CLASSES", "load_idx_folder", "read_idx"),
    "image_folder": ("load_image_folder",),
    "image_set": ("ImageSet",),
    "photograph": ("cat", "cat_path"),
    "registry": ("list_datasets", "load_dataset"),
    "resize": ("fit_image",),
}
