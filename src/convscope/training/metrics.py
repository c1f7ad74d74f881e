"""The figures of a run as JSON lines that are only ever appended to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convscope.errors import RunError
from convscope.files import output_error

__all__ = ["JsonLines", "read_json_lines"]


class JsonLines:
    """A file of JSON objects, a line each, open for appending.

    Lines past `size` bytes, written after the checkpoint that a resumed run goes on from, are cut off first, so that
    each step stands in the file once.

    Raises:
        OutputError: the file cannot be opened or written.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self.path = path
        try:
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115  # closed by `close`
            self.cut(size)
        except OSError as error:
            raise output_error("train", path, error) from error

    def cut(self, size: int) -> None:
        """Forget the lines past `size` bytes."""
        self._file.truncate(size)
        self.size = size

    def append(self, row: Mapping[str, object]) -> None:
        """Write one object; a write that fails leaves no part of its line."""
        line = json.dumps(row, allow_nan=False).encode() + b"\n"
        try:
            if self._file.write(line) != len(line):
                self._file.truncate(self.size)
                self._file.write(line)  # tells why
        except OSError as error:
            self._file.truncate(self.size)
            raise output_error("train", self.path, error) from error
        self.size += len(line)

    def flush(self) -> int:
        """Bring all lines to the disk and return how many bytes they are."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise output_error("train", self.path, error) from error
        return self.size

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of such a file; a torn last line, left by a crash, is passed over.

    Raises:
        RunError: a line before the last is no JSON.
    """
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = []
    lines = path.read_text("utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise RunError(f"{str(path)!r} line {number} is no JSON: {error.msg}.") from error
    return rows
