"""The figures of a run as JSON lines that are only ever appended to."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convscope.errors import RunError
from convscope.files import output_error

__all__ = ["JsonLines", "read_json_lines", "whole_lines"]


class JsonLines:
    """A file of JSON objects, a line each, open for appending.

    Lines past `size` bytes, written after the checkpoint that a resumed run goes on from, are cut off first, so that
    each step stands in the file once. Of a file that has lost its end only whole lines stay. A line that could not
    be written waits in memory for the next call: the disk has each line, in order, or the process has it still.

    Raises:
        OutputError: the file cannot be opened or written.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self.path, self.size, self._waiting = path, 0, b""
        try:
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115  # closed by `close`
            try:
                self.cut(whole_lines(path, size))
            except OSError:
                self._file.close()
                raise
        except OSError as error:
            raise output_error("train", path, error) from error

    def cut(self, size: int) -> None:
        """Forget the lines past `size` bytes, and those that wait.

        Raises:
            OutputError: the file cannot be written.
        """
        try:
            self._file.truncate(size)
        except OSError as error:
            raise output_error("train", self.path, error) from error
        self.size, self._waiting = size, b""

    def append(self, row: Mapping[str, object]) -> None:
        """Write one object; a write that fails leaves no part of a line, and is tried again by the next call.

        Raises:
            OutputError: it could not be written now.
        """
        self._waiting += json.dumps(row, allow_nan=False).encode() + b"\n"
        self._write()

    def flush(self) -> int:
        """Bring all lines to the disk and return how many bytes they are.

        Raises:
            OutputError: a line is not on the disk.
        """
        self._write()
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise output_error("train", self.path, error) from error
        return self.size

    def _write(self) -> None:
        left = self._waiting
        try:
            if left and os.fstat(self._file.fileno()).st_size != self.size:
                self._file.truncate(self.size)  # part of a line that an earlier call could not take back
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self.size)
            raise output_error("train", self.path, error) from error
        self.size += len(self._waiting)
        self._waiting = b""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def whole_lines(path: Path, size: int) -> int:
    """Return how many of the first `size` bytes of such a file are whole lines of JSON objects; all, in a sound one.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "metrics.jsonl"
        >>> _ = path.write_bytes(b'{"step": 1}' + b"\\n" + b'{"st')
        >>> whole_lines(path, 12), whole_lines(path, 16), whole_lines(path, 100)
        (12, 12, 12)
    """
    if not size or not path.is_file():
        return 0
    with path.open("rb") as file:
        content = file.read(size)
    found = 0
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n") or not isinstance(_parsed(line), dict):
            break
        found += len(line)
    return found


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of such a file; a torn last line, left by a crash, is passed over.

    Raises:
        RunError: the file cannot be read, or a line before the last is no JSON object.
    """
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RunError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error
    for number, line in enumerate(lines, start=1):
        row = _parsed(line)
        if isinstance(row, dict):
            rows.append(row)
        elif number < len(lines):
            raise RunError(
                f"{str(path)!r} line {number} is no JSON object; restore the file or remove the line."
            )
    return rows


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
