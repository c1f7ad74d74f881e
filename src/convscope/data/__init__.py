"""Pictures and labelled sets of them: decode, load, batch.

Names are resolved when first used, so importing this package, or decoding a picture, does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convscope.data.augmentation import Augmentation
    from convscope.data.batches import Batch, Batches, normalise, prepare
    from convscope.data.decode import decode_image
    from convscope.data.fashion_mnist import FASHION_MNIST_CLASSES, load_fashion_mnist
    from convscope.data.fetched import FetchedDataset, fetched_dataset, is_fetched, list_fetched
    from convscope.data.fetching import fetch_dataset
    from convscope.data.fitted import decode_fitted, decode_reduced
    from convscope.data.idx import load_idx_folder, read_idx
    from convscope.data.image_folder import load_image_folder
    from convscope.data.image_set import ImageSet
    from convscope.data.photograph import cat, cat_path
    from convscope.data.preprocessed import preprocess, visible_part
    from convscope.data.registry import list_datasets, load_dataset
    from convscope.data.resize import fit_image

__all__ = [
    "FASHION_MNIST_CLASSES",
    "Augmentation",
    "Batch",
    "Batches",
    "FetchedDataset",
    "ImageSet",
    "cat",
    "cat_path",
    "decode_fitted",
    "decode_image",
    "decode_reduced",
    "fetch_dataset",
    "fetched_dataset",
    "fit_image",
    "is_fetched",
    "list_datasets",
    "list_fetched",
    "load_dataset",
    "load_fashion_mnist",
    "load_idx_folder",
    "load_image_folder",
    "normalise",
    "prepare",
    "preprocess",
    "read_idx",
    "visible_part",
]

_HOME = {
    "FASHION_MNIST_CLASSES": "fashion_mnist",
    "Augmentation": "augmentation",
    "Batch": "batches",
    "Batches": "batches",
    "FetchedDataset": "fetched",
    "ImageSet": "image_set",
    "cat": "photograph",
    "cat_path": "photograph",
    "decode_fitted": "fitted",
    "decode_reduced": "fitted",
    "decode_image": "decode",
    "fetch_dataset": "fetching",
    "fetched_dataset": "fetched",
    "fit_image": "resize",
    "is_fetched": "fetched",
    "list_datasets": "registry",
    "list_fetched": "fetched",
    "load_dataset": "registry",
    "load_fashion_mnist": "fashion_mnist",
    "load_idx_folder": "idx",
    "load_image_folder": "image_folder",
    "normalise": "batches",
    "prepare": "batches",
    "preprocess": "preprocessed",
    "read_idx": "idx",
    "visible_part": "preprocessed",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
