"""A folder that the demonstration owns: made anew each time, never somebody else's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convscope.errors import OutputError
from convscope.files import make_folder, write_text
from convscope.training.folder import LOCK, hold_folder

__all__ = ["demo_folder"]

_MARK = ".convscope-demo"
_ABOUT = "This folder was made by `convscope demo`, which replaces it each time.\n"


@contextmanager
def demo_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder for the demonstration, holding it alone; what an earlier one left is removed.

    Raises:
        OutputError: the folder holds files and no demonstration made it, or it cannot be written.
        RunError: another process is running a demonstration there.
    Example:
        >>> import tempfile
        >>> with demo_folder(tempfile.mkdtemp() + "/demo") as folder:
        ...     _ = (folder / "report.html").write_text("first")
        >>> with demo_folder(folder):
        ...     print((folder / "report.html").exists())
        False
    """
    folder = Path(path)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _MARK).is_file():
        raise OutputError(
            f"{str(folder)!r} holds files that no demo made; choose another output or empty it.", call="demo"
        )
    make_folder(folder)
    with hold_folder(folder):
        write_text(folder / _MARK, _ABOUT)
        for entry in folder.iterdir():
            if entry.name in (_MARK, LOCK):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        yield folder
