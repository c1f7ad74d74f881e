"""Pictures of a folder decoded once: a memory-mapped file of their pixels, kept in the cache folder beside an index.

    packed/<folder name>-<digest of the folder and of what is asked of it>/
        pixels-<digest>.bin     uint8, N x C x H x W, image after image
        index.json              what was asked, every file with its size and time, broken files, checksums

Several processes write the one file, each at the places of its own pictures, so the bytes do not depend on how many
they are. Being one file, it is one tensor, whatever its size: the system brings pages in as they are read, and
processes that read the same file share them. The index is written last; without it nothing else counts. It holds the
SHA-256 of every shard, a section of 64 MiB.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import mmap
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.data.packing import Fitting, PictureFile, Progress, can_be_read, decode_into
from convscope.data.resize import RESIZE_RULE
from convscope.download import cache_folder
from convscope.errors import OutputError
from convscope.files import atomic_path, make_folder, output_error, write_text

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PackedImages", "pack_images"]

_FORMAT = 1
_SHARD_BYTES = 64 * 2**20
_OURS = (".pixels-*.tmp", ".index.json.*.tmp", "pixels-*.bin", "index.json")
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


@dataclass(frozen=True)
class PackedImages:
    """The pixels of a folder, in a file.

    Shapes:
        images (K, C, H, W) uint8, memory-mapped; what is written into the tensor stays in this process
    Args:
        kept: positions in the list of files, one for each image.
        broken: position and reason of every file that could not be decoded.
        was_built: False where an earlier call had decoded the folder.
    """

    images: Tensor
    kept: tuple[int, ...]
    broken: tuple[tuple[int, str], ...]
    path: Path
    shards: tuple[str, ...]
    was_built: bool

    def damaged_shards(self) -> tuple[int, ...]:
        """Read the whole file and return which of its 64 MiB shards are not what was written."""
        pairs = zip_longest(_checksums(self.path), self.shards)
        return tuple(number for number, (found, written) in enumerate(pairs) if found != written)


def pack_images(
    root: Path,
    part: str,
    files: Sequence[PictureFile],
    fitting: Fitting,
    *,
    workers: int,
    call: str,
    progress: Progress | None = None,
) -> PackedImages:
    """Open the packed pixels of a folder, after decoding it if that was not done or a file has changed since.

    A second process that wants the same waits for the first. Files that cannot be decoded are left out and listed.

    Args:
        part: tells apart the lists of files that one folder may have: its training half, all of it, ...
        workers: processes that decode, this one among them; the result does not depend on it.
        call: the call that errors name.
        progress: called with how many files are done and how many there are.
    Raises:
        DataError: a decoding process was killed.
        OutputError: the cache folder cannot be written, or has no room.
    """
    asked = {
        "format": _FORMAT,
        "resize_rule": RESIZE_RULE,
        "folder": str(root.resolve()),
        "part": part,
        **asdict(fitting),
        "size": list(fitting.size),
    }
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:20]
    folder = cache_folder("packed") / f"{_plain(root.resolve().name)}-{key}"
    index = _read_index(folder, asked, files, root, fitting)
    was_built = index is None
    if index is None:
        try:
            make_folder(folder)
        except OutputError as error:
            raise error.at(call) from error
        with _held(folder):
            index = _read_index(folder, asked, files, root, fitting)  # another process may have been at it
            was_built = index is None
            if index is None:
                index = _build(folder, asked, root, files, fitting, workers, call, progress)
    broken = tuple((position, reason) for position, reason, _ in index["broken"])
    without = {position for position, _ in broken}
    path = folder / index["pixels"]
    return PackedImages(
        _mapped(path, index["num_images"], fitting.shape),
        tuple(position for position in range(len(files)) if position not in without),
        broken,
        path,
        tuple(index["shards"]),
        was_built,
    )


def _plain(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)[:40] or "root"


def _rows(files: Sequence[PictureFile]) -> list[list]:
    return [[file.name, file.label, file.num_bytes, file.time_ns] for file in files]


def _read_index(
    folder: Path, asked: dict, files: Sequence[PictureFile], root: Path, fitting: Fitting
) -> dict | None:
    """Return the index if it is whole, of the same files, and nothing that could not be read can be now."""
    try:
        index = json.loads((folder / "index.json").read_text("utf-8"))
        num_bytes = (folder / index["pixels"]).stat().st_size
        same = index["asked"] == asked and index["files"] == _rows(files)
        whole = num_bytes == index["num_images"] * fitting.num_bytes
        unread = [position for position, _, unread in index["broken"] if unread]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not same or not whole or any(can_be_read(root / files[position].name) for position in unread):
        return None
    return index


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Let one process at a time build here; the system lets go of the lock of one that dies."""
    path = folder / ".lock"
    try:
        file = path.open("ab")
    except OSError as error:
        raise output_error("load_image_folder", path, error) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(
    folder: Path,
    asked: dict,
    root: Path,
    files: Sequence[PictureFile],
    fitting: Fitting,
    workers: int,
    call: str,
    progress: Progress | None,
) -> dict:
    for left_over in [file for pattern in _OURS for file in folder.glob(pattern)]:
        left_over.unlink(missing_ok=True)  # of a process that was killed, or of files that have changed
    num_bytes = len(files) * fitting.num_bytes
    _check_room(folder, num_bytes, call)
    target = folder / f"pixels-{os.urandom(8).hex()}.bin"
    try:
        with atomic_path(target) as temporary:
            _reserve(temporary, num_bytes)
            broken = decode_into(temporary, root, files, fitting, workers, call, progress)
            num_images = len(files) - len(broken)
            _close_gaps(temporary, [position for position, _, _ in broken], len(files), fitting.num_bytes)
            shards = _checksums(temporary)
        index = {
            "asked": asked,
            "pixels": target.name,
            "num_images": num_images,
            "shards": shards,
            "broken": broken,
            "files": _rows(files),
        }
        write_text(folder / "index.json", json.dumps(index) + "\n")
    except OutputError as error:
        target.unlink(missing_ok=True)
        raise OutputError(f"{call}: {str(error).removeprefix('write: ')}") from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return index


def _check_room(folder: Path, num_bytes: int, call: str) -> None:
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise OutputError(
            f"{call}: the decoded images are {num_bytes / 1e9:.2f} GB, but only {free / 1e9:.2f} GB are free in "
            f"{str(folder.parent)!r}. Free some, use a smaller size, or set CONVSCOPE_HOME to another disk."
        )


def _reserve(path: Path, num_bytes: int) -> None:
    """Take the space now: a full disk is told before the work, not at the end of it."""
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            os.truncate(path, num_bytes)


def _close_gaps(path: Path, missing: Sequence[int], num_files: int, size: int) -> None:
    """Move the images behind each missing one up, and cut off what is left over."""
    if not missing:
        return
    with path.open("r+b") as file:
        end = missing[0] * size
        for gap, following in zip(missing, [*missing[1:], num_files], strict=True):
            at, stop = (gap + 1) * size, following * size
            while at < stop:
                piece = os.pread(file.fileno(), min(stop - at, _SHARD_BYTES), at)
                written = os.pwrite(file.fileno(), piece, end)
                at, end = at + written, end + written
        file.truncate(end)


def _checksums(path: Path) -> list[str]:
    """Return the SHA-256 of every shard, in hexadecimal."""
    sums = []
    with path.open("rb") as file:
        while shard := file.read(_SHARD_BYTES):
            sums.append(hashlib.sha256(shard).hexdigest())
    return sums


def _mapped(path: Path, num_images: int, shape: tuple[int, int, int]) -> Tensor:
    """Return the file as a tensor; a page that is written to becomes a copy, the file stays as it is."""
    import numpy as np
    import torch

    if num_images == 0:
        return torch.empty((0, *shape), dtype=torch.uint8)
    with path.open("rb") as file:
        # Without a reservation: the system would otherwise count the whole file as memory that may be needed.
        memory = mmap.mmap(
            file.fileno(), 0, flags=mmap.MAP_PRIVATE | _NO_RESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE
        )
    return torch.from_numpy(np.frombuffer(memory, np.uint8).reshape(num_images, *shape))
