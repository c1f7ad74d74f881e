"""Folders and IDX files built for the tests."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from picture_files import saved


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def write_four_files(folder: Path, *, num_train: int = 60, num_test: int = 40, suffix: str = "") -> None:
    random = np.random.default_rng(1)
    for stem, count in (("train", num_train), ("t10k", num_test)):
        labels = (np.arange(count) * 7 % 10).astype(np.uint8)
        for kind, values in (
            ("images-idx3", random.integers(256, size=(count, 4, 5), dtype=np.uint8)),
            ("labels-idx1", labels),
        ):
            content = idx(values)
            path = folder / f"{stem}-{kind}-ubyte{suffix}"
            path.write_bytes(gzip.compress(content) if suffix else content)


def write(path: Path, value: int = 0, size: tuple[int, int] = (6, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(saved(np.full((*size, 3), value, np.uint8), "PNG"))
    return path


def pets(root: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            write(root / name / f"{index:03}.png", index)
    return root
