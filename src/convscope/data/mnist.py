"""MNIST and Fashion-MNIST from their published IDX files, and the digits that a package holds as lists of numbers."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.data.idx import IDX_STEMS, read_idx, required_idx_file
from convscope.data.regular_file import read_regular_file
from convscope.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from convscope.data.fetched import FetchedDataset

__all__ = ["DIGIT_FILES", "IDX_FILES", "decode_digit_lists", "decode_idx_files"]

IDX_FILES = tuple(f"{stem}.gz" for stems in IDX_STEMS.values() for stem in stems)
DIGIT_FILES = tuple(f"{digit}.json" for digit in range(10))
_MAX_LIST_BYTES = 2**24
_TEST_PART = 5  # one in so many digits of a class


def decode_idx_files(folder: Path, facts: FetchedDataset) -> dict[str, np.ndarray]:
    """Read the four IDX files of the family, plain or gzipped."""
    arrays = {}
    for split, stems in IDX_STEMS.items():
        for kind, stem in zip(("images", "labels"), stems, strict=True):
            values = read_idx(required_idx_file(folder, stem, "fetch_dataset"))
            if facts.files and _idx_digest(values) != facts.files[stem]:
                raise DataError(
                    f"{stem} is another file than was published as {facts.name}; nothing was kept.",
                    call="fetch_dataset",
                )
            arrays[f"{split}-{kind}"] = values[:, None] if kind == "images" else values
    return arrays


def _idx_digest(values: np.ndarray) -> str:
    """Return the SHA-256 of an array as an unpacked IDX file."""
    digest = hashlib.sha256(struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape))
    digest.update(values.data)
    return digest.hexdigest()


def decode_digit_lists(folder: Path, facts: FetchedDataset) -> dict[str, np.ndarray]:
    """Read ten lists of grey values 0 to 1, one a digit, and split them.

    Images are put in the order of the SHA-256 of their values, so that every machine gets the same; the first fifth
    of each class is the test half.
    """
    import numpy as np

    pixels = facts.image_shape[1] * facts.image_shape[2]
    halves: dict[str, list[tuple[bytes, np.ndarray, int]]] = {"train": [], "test": []}
    for label, name in enumerate(DIGIT_FILES):
        try:
            content = json.loads(
                read_regular_file(folder / name, "fetch_dataset", DataError, _MAX_LIST_BYTES)
            )
            values = np.array(content["data"], np.float64)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise DataError(f"{name} holds no list of numbers.", call="fetch_dataset") from error
        if values.ndim != 1 or values.size % pixels or not ((values >= 0) & (values <= 1)).all():
            raise DataError(
                f"{name} holds an array of shape {values.shape}; images of {pixels} values from 0 to 1 are expected.",
                call="fetch_dataset",
            )
        images = np.rint(values * 255).astype(np.uint8).reshape(-1, *facts.image_shape)
        ranked = sorted(
            ((hashlib.sha256(image.data).digest(), image, label) for image in images), key=lambda e: e[0]
        )
        num_test = round(len(ranked) / _TEST_PART)
        halves["test"] += ranked[:num_test]
        halves["train"] += ranked[num_test:]
    arrays = {}
    for split, entries in halves.items():
        entries.sort(key=lambda entry: entry[0][::-1])  # whose beginning decided the split
        arrays[f"{split}-images"] = np.array([image for _, image, _ in entries])
        arrays[f"{split}-labels"] = np.array([label for *_, label in entries], np.uint8)
    return arrays
