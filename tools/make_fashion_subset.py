"""Cut the packaged Fashion-MNIST subset out of the full set, bit for bit the same every time.

    python tools/make_fashion_subset.py SOURCE_DIR [--output DIR] [--train 1200] [--test 200]

SOURCE_DIR holds the four gzipped files as published (Debian package `dataset-fashion-mnist`, or
https://github.com/zalandoresearch/fashion-mnist). Of each class the first images are kept, in the original order.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import struct
import sys
from pathlib import Path

import numpy as np

from convscope.data.fashion_mnist import PACKAGED_FOLDER
from convscope.data.idx import IDX_STEMS, read_idx, required_idx_file
from convscope.errors import ConvscopeError, DataError
from convscope.files import make_folder, write_bytes


def first_of_each_class(labels: np.ndarray, per_class: int) -> np.ndarray:
    """Return the positions of the first `per_class` samples of every class, in ascending order."""
    chosen = []
    for label in np.unique(labels):
        positions = np.flatnonzero(labels == label)
        if len(positions) < per_class:
            raise DataError(
                f"make_fashion_subset: class {label} has {len(positions)} images, {per_class} are asked for."
            )
        chosen.append(positions[:per_class])
    return np.sort(np.concatenate(chosen))


def idx_file(values: np.ndarray) -> bytes:
    """Return uint8 values as a gzipped IDX file, the same bytes for the same values."""
    header = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    content = io.BytesIO()
    # GzipFile writes a header without name, time or system, the same under every Python version.
    with gzip.GzipFile(filename="", fileobj=content, mode="wb", compresslevel=9, mtime=0) as packed:
        packed.write(header + values.tobytes())
    return content.getvalue()


def make_subset(source: Path, output: Path, per_class: dict[str, int]) -> list[Path]:
    """Write the two files of each split and return their paths."""
    written = []
    make_folder(output)
    for split, count in per_class.items():
        images, labels = (
            read_idx(required_idx_file(source, stem, "make_fashion_subset")) for stem in IDX_STEMS[split]
        )
        kept = first_of_each_class(labels, count)
        for kind, values in (("images-idx3", images[kept]), ("labels-idx1", labels[kept])):
            path = output / f"fashion-{split}-{kind}-ubyte.gz"
            write_bytes(path, idx_file(values))
            written.append(path)
    return written


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Cut the packaged Fashion-MNIST subset out of the full set.")
    parser.add_argument("source", type=Path, help="folder with the four files of the full set")
    parser.add_argument("--output", type=Path, default=PACKAGED_FOLDER)
    parser.add_argument("--train", type=int, default=1200, help="training images per class")
    parser.add_argument("--test", type=int, default=200, help="test images per class")
    options = parser.parse_args(arguments)
    try:
        written = make_subset(options.source, options.output, {"train": options.train, "test": options.test})
    except ConvscopeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for path in written:
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
