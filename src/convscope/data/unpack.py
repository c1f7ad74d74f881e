"""Taking named files out of a tar archive of unknown origin."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import IO

from convscope.errors import DataError
from convscope.files import output_error

__all__ = ["unpack_members"]

_PIECE = 1 << 20


class _Limited:
    """Give out no more than so many bytes of a stream, whatever its compression promises."""

    def __init__(self, stream: IO[bytes], max_bytes: int) -> None:
        self._stream, self._left = stream, max_bytes

    def read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self._left -= len(piece)
        if self._left < 0:
            raise tarfile.ReadError("it unpacks to more than the files that are looked for")
        return piece


def unpack_members(
    archive: Path, members: Collection[str], folder: Path, *, max_bytes: int, call: str
) -> None:
    """Write the named files of a tar archive, plain or gzipped, into a folder, under the last part of their names.

    Nothing else in the archive is looked at: no folder is made, no link is followed, no owner or mode is taken over.
    Reading ends with the last of the files.

    Args:
        members: full names inside the archive, such as `package/data.bin`.
        max_bytes: of the unpacked archive up to its last file.
    Raises:
        DataError: not an archive, cut off, larger than allowed, a file is missing or is no regular file.
        OutputError: the folder cannot be written.
    """
    left = set(members)
    try:
        with archive.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with gzip.open(file) if packed else file as stream:
                limited = _Limited(stream, max_bytes)  # type: ignore[arg-type]
                with tarfile.open(fileobj=limited, mode="r|", bufsize=_PIECE) as tar:  # type: ignore[call-overload]
                    for entry in tar:
                        name = entry.name.removeprefix("./")
                        if name in left:
                            _write(tar, entry, folder / PurePosixPath(name).name)
                            left.remove(name)
                        if not left:
                            return
    # A hostile archive leads the reader to whatever its headers say.
    except (
        tarfile.TarError,
        EOFError,
        OSError,
        zlib.error,
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{archive.name} cannot be unpacked: {reason}.", call=call) from error
    raise DataError(f"{archive.name} has no {sorted(left)[0]}.", call=call)


def _write(tar: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
    content = tar.extractfile(entry) if entry.isreg() else None
    if content is None:
        raise tarfile.ReadError(f"{entry.name} is no regular file in it")
    left = entry.size
    try:
        file = path.open("xb")
    except OSError as error:
        raise output_error("unpack", path, error) from error
    with file:
        while left:
            piece = content.read(min(left, _PIECE))
            if not piece:
                raise tarfile.ReadError("it is cut off")
            left -= len(piece)
            try:
                file.write(piece)
            except OSError as error:
                raise output_error("unpack", path, error) from error
