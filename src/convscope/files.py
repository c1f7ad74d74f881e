"""Writing files so that a reader sees the old content or the new one, never half of it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from convscope.errors import OutputError

__all__ = ["atomic_path", "flush", "make_folder", "output_error", "write_bytes", "write_json", "write_text"]

_CAUSES = {
    errno.ENOSPC: "no space is left on the device; free some or choose another output",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another output",
    errno.EFBIG: "the file would exceed the size limit of this process or file system; choose another output",
    errno.EROFS: "the file system is read-only; choose another output",
    errno.EACCES: "permission is denied; choose an output that you may write",
    errno.EPERM: "the operation is not permitted; choose an output that you may write",
    errno.EISDIR: "it is a folder; name a file",
    errno.ENOTDIR: "a part of its path is a file, not a folder; choose another output",
    errno.EEXIST: "a file of that name stands where a folder is needed; choose another output",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


def output_error(call: str, path: Path, error: OSError) -> OutputError:
    """Return the error to raise for a file that could not be written, with the cause in words."""
    cause = _CAUSES.get(error.errno or 0, error.strerror or str(error))
    return OutputError(f"{call}: cannot write {str(path)!r}: {cause}.")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; rename it to `path` when the block ends well.

    The content is flushed to the disk before the rename and the folder after it. When the block raises, the
    temporary file is removed and what stood at `path` stays.

    Raises:
        OutputError: the file cannot be written (permission, space, a folder of that name).
    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_path(folder / "note.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> [entry.name for entry in folder.iterdir()], (folder / "note.txt").read_text()
        (['note.txt'], 'whole')
    """
    path = Path(os.path.realpath(path))  # a link stays, what it points to is replaced
    temporary: Path | None = None
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OutputError(f"write: cannot write {str(path)!r}: it is no regular file; choose another output.")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        flush(temporary)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp made it private; a result is as readable as any other file
        temporary.replace(path)
        temporary = None
        flush(path.parent)
    except FileNotFoundError as error:
        if path.parent.is_dir():
            raise output_error("write", path, error) from error
        raise OutputError(
            f"write: cannot write {str(path)!r}: the folder {str(path.parent)!r} does not exist; create it first."
        ) from error
    except OSError as error:
        raise output_error("write", path, error) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):  # what went wrong before is what to tell
                temporary.unlink()


def flush(path: Path) -> None:
    """Bring a file or a folder's list of names to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace the file at `path` by `content`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Replace the file at `path` by `content` in UTF-8, whole or not at all."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str | os.PathLike[str], content: object) -> None:
    """Replace the file at `path` by `content` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create a folder and its parents if need be, and prove that a file can be written into it.

    A new folder's name is on the disk when this returns: what is flushed into it later cannot vanish with it.

    Raises:
        OutputError: a file stands in the way, or the folder cannot be created or written.
    """
    path = Path(path)
    try:
        made = [each for each in (path, *path.parents) if not each.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for each in made:
            flush(each.parent)
        handle, name = tempfile.mkstemp(prefix=".probe.", suffix=".tmp", dir=path)
        try:
            os.write(handle, b"\0" * 4096)  # a full disk lets a file be created but not filled
            os.fsync(handle)
        finally:
            os.close(handle)
            os.unlink(name)
    except OSError as error:
        raise output_error("make_folder", path, error) from error
    return path
