"""Data sets by name or by folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from convscope.data.fashion_mnist import PACKAGED_FOLDER, load_fashion_mnist
from convscope.data.fetched import fetched_dataset, fetched_folder, is_fetched, list_fetched, load_fetched
from convscope.data.idx import IDX_STEMS, find_idx_file, load_idx_folder
from convscope.data.resize import size_pair
from convscope.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from convscope.data.image_set import ImageSet

__all__ = ["DatasetEntry", "dataset_entries", "list_datasets", "load_dataset"]

_NAMED = {"fashion-mnist": load_fashion_mnist}


@dataclass(frozen=True)
class DatasetEntry:
    """Say what a named data set holds and whether it is on this machine.

    Args:
        image_shape: (C, H, W).
        num_images: of "train" and "test".
        state: "packaged", "fetched" or "not fetched".
        folder: where it is kept, or would be.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    num_images: Mapping[str, int]
    terms: str
    source: str
    state: Literal["packaged", "fetched", "not fetched"]
    folder: Path

    def to_dict(self) -> dict[str, object]:
        """Return the facts as plain values that JSON can hold."""
        return {
            "name": self.name,
            "title": self.title,
            "classes": list(self.classes),
            "image_shape": list(self.image_shape),
            "num_images": dict(self.num_images),
            "terms": self.terms,
            "source": self.source,
            "state": self.state,
            "folder": str(self.folder),
        }


def dataset_entries() -> tuple[DatasetEntry, ...]:
    """Return what is known of every named data set, in the order of their names.

    Example:
        >>> [entry.name for entry in dataset_entries() if entry.state == "packaged"]
        ['fashion-mnist']
    """
    complete = fetched_dataset("fashion-mnist-full")
    packaged = DatasetEntry(
        "fashion-mnist",
        "Fashion-MNIST, the part that ships: 1,200 + 200 garments of each kind",
        complete.classes,
        complete.image_shape,
        {"train": 12_000, "test": 2_000},
        complete.terms,
        complete.source,
        "packaged",
        PACKAGED_FOLDER,
    )
    known = map(fetched_dataset, list_fetched())
    others = [
        DatasetEntry(
            facts.name,
            facts.title,
            facts.classes,
            facts.image_shape,
            facts.num_images,
            facts.terms,
            facts.source,
            "fetched" if is_fetched(facts.name) else "not fetched",
            fetched_folder(facts.name),
        )
        for facts in known
    ]
    return tuple(sorted((packaged, *others), key=lambda entry: entry.name))


def list_datasets() -> tuple[str, ...]:
    """Return the names that `load_dataset` knows without a folder.

    `fashion-mnist` ships with the package; the others are fetched once, by `fetch_dataset`.

    Example:
        >>> list_datasets()
        ('cifar10', 'cifar100', 'fashion-mnist', 'fashion-mnist-full', 'mnist', 'mnist-10k')
    """
    return tuple(sorted((*_NAMED, *list_fetched())))


def load_dataset(
    name_or_path: str | os.PathLike[str],
    split: Literal["train", "test"] = "train",
    *,
    size: int | tuple[int, int] | None = None,
    mode: Literal["RGB", "L"] | None = None,
    skip_bad: bool = False,
) -> ImageSet:
    """Load the training or the test half of a data set into memory.

    Takes a name of `list_datasets()`, for sets that do not ship once they have been fetched (nothing is fetched
    here); a folder of class folders (see `load_image_folder`); or a folder with the
    four IDX files of the MNIST family (see `load_idx_folder`). A folder whose name is also that of a data set
    is read when given as a `Path` or written like one, `./fashion-mnist`.

    Args:
        size: bring every image to it by `fit_image`; None keeps the size that the set has.
        mode: colour or grey (ITU-R 601 luma); None keeps named sets and IDX files as they are and reads folders of
            pictures in colour.
        skip_bad: leave out the files of a folder that cannot be decoded, and list them in `ImageSet.skipped`.
    Raises:
        UnknownNameError: neither a known name nor a folder.
        UsageError: the path does not exist, or an argument is not as above.
        DataError: the folder holds no usable data set, or the named set has not been fetched.
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
    if isinstance(name_or_path, str) and name in list_fetched():
        return _converted(load_fetched(name, split), size, mode)
    folder = _existing_folder(name)
    if any(find_idx_file(folder, stem) for stems in IDX_STEMS.values() for stem in stems):
        return _converted(load_idx_folder(folder, split), size, mode)
    from convscope.data.image_folder import load_image_folder

    return load_image_folder(folder, size=size, mode=mode or "RGB", split=split, skip_bad=skip_bad)


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


def _converted(images: ImageSet, size: tuple[int, int] | None, mode: str | None) -> ImageSet:
    """Resize a set, repeat its one channel or weigh its three into one, if that is asked for."""
    from dataclasses import replace

    import numpy as np
    import torch

    from convscope.data.image_folder import check_memory
    from convscope.data.resize import fit_image

    pixels = images.images
    channels, height, width = images.image_shape
    target = size or (height, width)
    wanted = {"RGB": 3, "L": 1, None: channels}[mode]
    check_memory(len(images), max(channels, wanted), *target, "load_dataset")
    if target != (height, width):
        resized = np.empty((len(images), *target, channels), np.uint8)
        for index, new in enumerate(resized):
            new[:] = fit_image(images.picture(index), target).reshape(new.shape)
        pixels = torch.from_numpy(resized).permute(0, 3, 1, 2).contiguous()
    if wanted > channels:
        pixels = pixels.expand(-1, wanted, -1, -1).contiguous()
    elif wanted < channels:
        pixels = _grey(pixels)
    return replace(images, images=pixels)


def _grey(pixels: Tensor) -> Tensor:
    """Turn (N, 3, H, W) into (N, 1, H, W) as `decode_image` turns a colour picture grey."""
    import numpy as np
    import torch
    from PIL import Image

    count, _, height, width = pixels.shape
    grey = np.empty((count, 1, height, width), np.uint8)
    for image, new in zip(pixels.permute(0, 2, 3, 1).contiguous().numpy(), grey, strict=True):
        new[0] = np.asarray(Image.fromarray(image).convert("L"))
    return torch.from_numpy(grey)
