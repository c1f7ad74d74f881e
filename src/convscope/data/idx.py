"""The IDX format of the MNIST family: a magic number, the sizes, then the bytes, often gzipped.

00 00 08 nd   size_1 .. size_nd (big-endian, 4 bytes each)   uint8 values, last axis fastest
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.data.regular_file import read_regular_file
from convscope.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from convscope.data.image_set import ImageSet

__all__ = [
    "FASHION_MNIST_CLASSES",
    "IDX_STEMS",
    "load_idx_folder",
    "load_idx_pair",
    "read_idx",
    "required_idx_file",
]

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

# (images, labels) of each split, under the names that MNIST, Fashion-MNIST and KMNIST share.
IDX_STEMS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

# The file names do not tell garments from digits; the labels do. sha256 of the label values.
_FASHION_MNIST_LABELS = {
    "train": "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
    "test": "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
}

_MAX_VALUES = 2**31
_MAX_FILE_BYTES = 2**31
_DEFLATE_RATIO = 1032  # no gzip file unpacks to more than so many times its size


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a uint8 IDX file, plain or gzipped.

    Shapes:
        returns whatever the header says: (N, H, W) for images, (N,) for labels
    Raises:
        UsageError: there is no such file.
        DataError: the magic number, the sizes or the number of bytes are not those of an IDX file.
    Cost:
        Decompresses no more than the header announces, and at most 2^31 values.
    Example:
        >>> from convscope.data.fashion_mnist import PACKAGED_FOLDER
        >>> read_idx(PACKAGED_FOLDER / "fashion-test-labels-idx1-ubyte.gz").shape
        (2000,)
    """
    import numpy as np

    name = repr(os.fspath(path))
    data = read_regular_file(path, "read_idx", DataError, _MAX_FILE_BYTES)
    try:
        with gzip.open(io.BytesIO(data)) if data[:2] == b"\x1f\x8b" else io.BytesIO(data) as stream:
            shape, body = _read_header_and_values(stream, name, len(data))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"read_idx: {name} ({len(data):,} bytes) is a damaged or cut off gzip file ({error}). "
            "Fetch the file again."
        ) from error
    num_values = math.prod(shape)
    if len(body) != num_values:
        fault = f"holds only {len(body):,}" if len(body) < num_values else "holds more than that"
        raise DataError(
            f"read_idx: {name} announces {shape}, {num_values:,} values, but {fault}. Fetch the file again."
        )
    return np.frombuffer(bytearray(body), dtype=np.uint8).reshape(shape)


def _read_header_and_values(
    stream: gzip.GzipFile | io.BytesIO, name: str, size_bytes: int
) -> tuple[tuple[int, ...], bytes]:
    """Return the sizes and the bytes after them, at most one more than the sizes ask for."""
    header = stream.read(4)
    if len(header) < 4 or header[:2] != b"\0\0" or header[2] != 8 or not 1 <= header[3] <= 4:
        raise DataError(
            f"read_idx: {name} ({size_bytes:,} bytes) starts with {header.hex(' ') or 'nothing'}; "
            "an IDX file of bytes starts with 00 00 08 and 1 to 4 axes. Check that it is the right file."
        )
    num_axes = header[3]
    sizes_bytes = stream.read(4 * num_axes)
    if len(sizes_bytes) < 4 * num_axes:
        raise DataError(
            f"read_idx: {name} ends within its header: {num_axes} axes need {4 * num_axes} bytes of sizes, "
            f"{len(sizes_bytes)} are there. Fetch the file again."
        )
    shape = struct.unpack(f">{num_axes}I", sizes_bytes)
    num_values = math.prod(shape)
    if not 1 <= num_values <= _MAX_VALUES:
        raise DataError(
            f"read_idx: {name} announces {shape}, {num_values:,} values; 1 to {_MAX_VALUES:,} are read. "
            "Fetch the file again."
        )
    if num_values > _DEFLATE_RATIO * size_bytes:
        raise DataError(
            f"read_idx: {name} announces {shape}, {num_values:,} values, more than its {size_bytes:,} bytes can "
            "unpack to. Fetch the file again."
        )
    return shape, stream.read(num_values + 1)


def load_idx_pair(images_path: Path, labels_path: Path, classes: tuple[str, ...], name: str) -> ImageSet:
    """Read an images file and a labels file that belong together.

    Raises:
        DataError: the files are damaged, are not (N, H, W) and (N,), or hold one class only.
    """
    import torch

    from convscope.data.image_set import ImageSet

    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(
            f"load_idx_folder: {str(images_path)!r} has the shape {images.shape} and {str(labels_path)!r} has "
            f"{labels.shape}; (N, H, W) and (N,) belong together. Fetch both files from one place."
        )
    highest = int(labels.max())
    if highest == int(labels.min()):
        raise DataError(
            f"load_idx_folder: all {len(labels):,} labels of {str(labels_path)!r} are {highest}; "
            "at least two classes are needed. Fetch the file again."
        )
    return ImageSet(
        torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).to(torch.int64), classes, name
    )


def load_idx_folder(root: str | os.PathLike[str], split: str = "train") -> ImageSet:
    """Read the training or the test half of a folder with the four files of the MNIST family.

    The files are `{train,t10k}-images-idx3-ubyte` and `{train,t10k}-labels-idx1-ubyte`, plain or `.gz`.
    Classes are the digits of the labels; Fashion-MNIST, known by its labels, gets its garment names.

    Shapes:
        images (N, 1, H, W) uint8
    Args:
        split: "train", or "test" for the `t10k` files.
    Raises:
        UsageError: a file is missing, or `split` is another word.
        DataError: a file is damaged.
    Example:
        >>> load_idx_folder("/nowhere", "test")
        Traceback (most recent call last):
        ...
        convscope.errors.UsageError: load_idx_folder: '/nowhere' holds no 't10k-images-idx3-ubyte(.gz)'. \
Check the folder.
    """
    if split not in IDX_STEMS:
        raise UsageError(f"load_idx_folder: split must be 'train' or 'test', got {split!r}.")
    images, labels = (required_idx_file(root, stem, "load_idx_folder") for stem in IDX_STEMS[split])
    digest = hashlib.sha256(read_idx(labels).tobytes()).hexdigest()
    if digest == _FASHION_MNIST_LABELS[split]:
        classes = FASHION_MNIST_CLASSES
    else:
        # Both halves are asked, so that a class which one of them lacks does not change the number of classes.
        files = [find_idx_file(root, label_stem) for _, label_stem in IDX_STEMS.values()]
        highest = max(int(read_idx(file).max()) for file in files if file is not None)
        classes = tuple(str(label) for label in range(highest + 1))
    return load_idx_pair(images, labels, classes, Path(root).resolve().name)


def required_idx_file(root: str | os.PathLike[str], stem: str, call: str) -> Path:
    """Return the file of that stem, or refuse."""
    path = find_idx_file(root, stem)
    if path is None:
        raise UsageError(f"{call}: {os.fspath(root)!r} holds no '{stem}(.gz)'. Check the folder.")
    return path


def find_idx_file(root: str | os.PathLike[str], stem: str) -> Path | None:
    """Return the file of that stem, gzipped or not, if the folder has it."""
    for candidate in (Path(root, stem + ".gz"), Path(root, stem)):
        if candidate.is_file():
            return candidate
    return None
