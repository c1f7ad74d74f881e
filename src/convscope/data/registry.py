"""Data sets by name or by folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from convscope.data.fashion_mnist import load_fashion_mnist
from convscope.data.idx import IDX_STEMS, find_idx_file, load_idx_folder
from convscope.data.resize import size_pair
from convscope.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from convscope.data.image_set import ImageSet

__all__ = ["list_datasets", "load_dataset"]

_NAMED = {"fashion-mnist": load_fashion_mnist}


def list_datasets() -> tuple[str, ...]:
    """Return the names that `load_dataset` knows without a folder.

    Example:
        >>> list_datasets()
        ('fashion-mnist',)
    """
    return tuple(sorted(_NAMED))


def load_dataset(
    name_or_path: str | os.PathLike[str],
    split: Literal["train", "test"] = "train",
    *,
    size: int | tuple[int, int] | None = None,
    mode: Literal["RGB", "L"] | None = None,
) -> ImageSet:
    """Load the training or the test half of a data set into memory.

    Takes a name of `list_datasets()`; a folder of class folders (see `load_image_folder`); or a folder with the
    four IDX files of the MNIST family (see `load_idx_folder`). A folder whose name is also that of a data set
    is read when given as a `Path` or written like one, `./fashion-mnist`.

    Args:
        size: bring every image to it by `fit_image`; None keeps the size that the set has.
        mode: colour or grey; None keeps named sets and IDX files grey and reads folders of pictures in colour.
    Raises:
        UnknownNameError: neither a known name nor a folder.
        UsageError: the path does not exist, or an argument is not as above.
        DataError: the folder holds no usable data set.
    Example:
        >>> load_dataset("fashion-mnist", "test", size=32, mode="RGB")
        ImageSet('fashion-mnist': 2000 images of 3 x 32 x 32, 10 classes)
    """
    if split not in ("train", "test"):
        raise UsageError(f"load_dataset: split must be 'train' or 'test', got {split!r}.")
    if mode not in ("RGB", "L", None):
        raise UsageError(f"load_dataset: mode must be 'RGB', 'L' or None, got {mode!r}.")
    if size is not None:
        size = size_pair(size, "load_dataset")
    if not isinstance(name_or_path, str | os.PathLike):
        raise UsageError(
            f"load_dataset: name_or_path must be a name or a path, got {type(name_or_path).__name__}."
        )
    name = os.fspath(name_or_path)
    if isinstance(name_or_path, str) and name in _NAMED:
        return _converted(_NAMED[name](split), size, mode)
    folder = _existing_folder(name)
    if any(find_idx_file(folder, stem) for stems in IDX_STEMS.values() for stem in stems):
        return _converted(load_idx_folder(folder, split), size, mode)
    from convscope.data.image_folder import load_image_folder

    return load_image_folder(folder, size=size, mode=mode or "RGB", split=split)


def _existing_folder(name: str) -> Path:
    try:
        if os.path.isdir(name):
            return Path(name)
        exists = os.path.exists(name)
    except ValueError:  # a NUL inside
        exists = False
    if exists:
        raise UsageError(
            f"load_dataset: {name!r} is a file; a folder is expected. Unpack it, or name its folder."
        )
    if os.path.basename(name) != name or name in ("", ".."):
        raise UsageError(
            f"load_dataset: no such folder: {name!r}. Check the path, or use a name: {', '.join(list_datasets())}."
        )
    raise UnknownNameError(
        "data set (and no folder of that name)", name, list_datasets(), call="load_dataset"
    )


def _converted(grey: ImageSet, size: tuple[int, int] | None, mode: str | None) -> ImageSet:
    """Resize a grey set and repeat its channel, if that is asked for."""
    from dataclasses import replace

    import numpy as np
    import torch

    from convscope.data.image_folder import check_memory
    from convscope.data.resize import fit_image

    images = grey.images
    _, height, width = grey.image_shape
    target = size or (height, width)
    check_memory(len(grey), 3 if mode == "RGB" else 1, *target, "load_dataset")
    if target != (height, width):
        resized = np.empty((len(grey), 1, *target), np.uint8)
        for old, new in zip(images.numpy(), resized, strict=True):
            new[0] = fit_image(old[0], target)
        images = torch.from_numpy(resized)
    if mode == "RGB":
        images = images.expand(-1, 3, -1, -1).contiguous()
    return replace(grey, images=images)
