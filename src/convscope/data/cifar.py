"""CIFAR-10 and CIFAR-100: their classes, their published records, and the strips that a package holds.

A record is its label, or coarse and fine label, then 1,024 red, 1,024 green and 1,024 blue bytes, row by row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.data.decode import decode_image
from convscope.data.regular_file import read_regular_file
from convscope.errors import BadImageError, DataError

if TYPE_CHECKING:
    import numpy as np

    from convscope.data.fetched import FetchedDataset

__all__ = [
    "CIFAR10_CLASSES",
    "CIFAR10_FILES",
    "CIFAR10_STRIPS",
    "CIFAR100_CLASSES",
    "CIFAR100_FILES",
    "decode_cifar10",
    "decode_cifar10_strips",
    "decode_cifar100",
]

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
# In the order of the fine labels, which is the alphabet's.
_FINE_LABELS = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""
CIFAR100_CLASSES = tuple(_FINE_LABELS.split())
CIFAR10_FILES = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
CIFAR100_FILES = {"train": ("train.bin",), "test": ("test.bin",)}
CIFAR10_STRIPS = {
    "train": (*(f"data_batch_{number}.png" for number in range(1, 6)), "train_lables.json"),
    "test": ("test_batch.png", "test_lables.json"),
}
_MAX_STRIP_BYTES = 2**26


def decode_cifar10(folder: Path, facts: FetchedDataset) -> dict[str, np.ndarray]:
    """Read the published files of CIFAR-10: records of 1 + 3,072 bytes."""
    return _decode_records(folder, facts, CIFAR10_FILES, (len(facts.classes),))


def decode_cifar100(folder: Path, facts: FetchedDataset) -> dict[str, np.ndarray]:
    """Read the published files of CIFAR-100: records of 2 + 3,072 bytes; the second label, the fine one, is kept."""
    return _decode_records(folder, facts, CIFAR100_FILES, (20, len(facts.classes)))


def _decode_records(
    folder: Path, facts: FetchedDataset, files: dict[str, tuple[str, ...]], num_labels: Sequence[int]
) -> dict[str, np.ndarray]:
    """Read fixed-size records into arrays; `num_labels` says how many values each leading label byte may take."""
    import numpy as np

    arrays = {}
    for split, names in files.items():
        tables = [
            _records(folder / name, facts, facts.num_images[split] // len(names), num_labels)
            for name in names
        ]
        skip = len(num_labels)
        arrays[f"{split}-labels"] = np.concatenate([table[:, skip - 1] for table in tables])
        arrays[f"{split}-images"] = np.concatenate([table[:, skip:] for table in tables]).reshape(
            -1, *facts.image_shape
        )
    return arrays


def _records(path: Path, facts: FetchedDataset, count: int, num_labels: Sequence[int]) -> np.ndarray:
    import numpy as np

    channels, height, width = facts.image_shape
    record_bytes = len(num_labels) + channels * height * width
    content = read_regular_file(path, "fetch_dataset", DataError, count * record_bytes)
    if len(content) != count * record_bytes:
        raise DataError(
            f"{path.name} of {facts.name} has {len(content):,} bytes; {count:,} records of {record_bytes:,} bytes are "
            f"{count * record_bytes:,}. Fetch it again.",
            call="fetch_dataset",
        )
    table = np.frombuffer(content, np.uint8).reshape(count, record_bytes)
    for column, limit in enumerate(num_labels):
        wrong = np.flatnonzero(table[:, column] >= limit)
        if wrong.size:
            raise DataError(
                f"{path.name} of {facts.name}: record {wrong[0]} has the label {table[wrong[0], column]}; labels are "
                f"0 to {limit - 1}. Fetch it again.",
                call="fetch_dataset",
            )
    if facts.files and hashlib.sha256(content).hexdigest() != facts.files[path.name]:
        raise DataError(
            f"{path.name} is another file than was published as {facts.name}; nothing was kept.",
            call="fetch_dataset",
        )
    return table


def decode_cifar10_strips(folder: Path, facts: FetchedDataset) -> dict[str, np.ndarray]:
    """Read CIFAR-10 from pictures whose rows are the images, height x width x RGB, and lists of labels."""
    import numpy as np

    channels, height, width = facts.image_shape
    arrays = {}
    for split, (*strips, labels) in CIFAR10_STRIPS.items():
        count = facts.num_images[split] // len(strips)
        images = []
        for name in strips:
            try:
                strip = decode_image(
                    read_regular_file(folder / name, "fetch_dataset", DataError, _MAX_STRIP_BYTES)
                )
            except BadImageError as error:
                raise DataError(f"{name}: {error.message}", call="fetch_dataset") from error
            if strip.shape != (count, height * width, channels):
                raise DataError(
                    f"{name} is {strip.shape[0]} x {strip.shape[1]} pixels; {count} rows of {height * width} are "
                    "expected.",
                    call="fetch_dataset",
                )
            images.append(strip.reshape(count, height, width, channels).transpose(0, 3, 1, 2))
        arrays[f"{split}-images"] = np.concatenate(images)
        arrays[f"{split}-labels"] = _listed_labels(folder / labels, facts)
    return arrays


def _listed_labels(path: Path, facts: FetchedDataset) -> np.ndarray:
    import numpy as np

    try:
        labels = json.loads(read_regular_file(path, "fetch_dataset", DataError, _MAX_STRIP_BYTES))
        right = isinstance(labels, list) and all(
            type(label) is int and 0 <= label < len(facts.classes) for label in labels
        )
    except (ValueError, RecursionError):
        labels, right = [], False
    if not right:
        raise DataError(
            f"{path.name} is no list of labels from 0 to {len(facts.classes) - 1}.", call="fetch_dataset"
        )
    return np.array(labels, np.uint8)
