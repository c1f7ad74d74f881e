"""Read a whole file without hanging on a pipe and without reading more than a limit."""

from __future__ import annotations

import os
import stat

from convscope.errors import ConvscopeError, UsageError

__all__ = ["read_regular_file"]


def read_regular_file(
    path: str | os.PathLike[str], call: str, failure: type[ConvscopeError], max_bytes: int
) -> bytes:
    """Return the bytes of a regular file, or refuse in one line that starts with `call`.

    Symbolic links are followed. Pipes, devices and sockets are refused and never opened for reading.

    Args:
        failure: the error for a path that exists but cannot be read.
    Raises:
        UsageError: there is no such file, or it is a folder.
        failure: anything else: not a regular file, no permission, more than `max_bytes`.
    Example:
        >>> read_regular_file("nowhere.png", "decode_image", UsageError, 100)
        Traceback (most recent call last):
        ...
        convscope.errors.UsageError: decode_image: no such file: 'nowhere.png'. Check the path.
    """
    name = repr(os.fspath(path))
    try:
        _check_kind(os.stat(path).st_mode, name, call, failure)
        # The path may have been replaced since: open without waiting for a writer, and look again.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            _check_kind(status.st_mode, name, call, failure)
            data = b"" if status.st_size > max_bytes else stream.read(status.st_size + 1)
            if len(data) > status.st_size:  # it grew, or is of a kind that tells no size
                data += stream.read(max_bytes + 1 - len(data))
            num_bytes = max(status.st_size, len(data))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"{call}: no such file: {name}. Check the path.") from error
    except ValueError as error:
        if isinstance(error, ConvscopeError):
            raise
        raise UsageError(f"{call}: {name} cannot be a path: {error}. Check the path.") from error
    except OSError as error:
        raise failure(f"{call}: cannot read {name}: {error.strerror}. Check its permissions.") from error
    if num_bytes > max_bytes:
        raise failure(
            f"{call}: {name} has {num_bytes:,} bytes; files of at most {max_bytes:,} bytes are read. "
            "Store it smaller."
        )
    return data


def _check_kind(mode: int, name: str, call: str, failure: type[ConvscopeError]) -> None:
    if stat.S_ISDIR(mode):
        raise UsageError(f"{call}: {name} is a folder; a file is expected. Name a file inside it.")
    if not stat.S_ISREG(mode):
        raise failure(
            f"{call}: {name} is not a regular file but a pipe, device or socket. Save it to a file first."
        )
