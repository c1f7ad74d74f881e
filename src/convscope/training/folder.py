"""The run folder on disk: who may write it, and how each file is replaced whole."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from convscope.errors import OutputError, RunError, UsageError
from convscope.files import make_folder, output_error
from convscope.training.checkpoint import BEST, CHECKPOINTS, LATEST, Checkpoints
from convscope.training.metrics import read_json_lines
from convscope.training.recipe import Recipe
from convscope.training.recipe_file import parse_recipe

__all__ = [
    "ENVIRONMENT",
    "INITIAL_WEIGHTS",
    "LOCK",
    "METRICS",
    "RECIPE",
    "SNAPSHOTS",
    "STATE",
    "TENSORBOARD",
    "TIMES",
    "VERSION",
    "check_free_space",
    "hold_folder",
    "is_held",
    "read_json",
    "read_recipe",
    "read_state",
    "run_lock",
]

VERSION = 1  # of the folder's layout
RECIPE, STATE, ENVIRONMENT = "recipe.toml", "state.json", "environment.json"
METRICS, TIMES = "metrics.jsonl", "times.jsonl"
SNAPSHOTS, TENSORBOARD = "snapshots", "tensorboard"
INITIAL_WEIGHTS = "weights-initial.safetensors"
LOCK = ".lock"
_FILES = (RECIPE, STATE, ENVIRONMENT, METRICS, TIMES, INITIAL_WEIGHTS, LATEST, BEST, LOCK)
# What `files.py` leaves of a process that was killed while it replaced one of these, or probed the folder.
_UNFINISHED = re.compile(rf"\.({'|'.join(map(re.escape, (*_FILES, 'probe')))})\.[^.]+\.tmp")


@contextlib.contextmanager
def hold_folder(path: Path) -> Iterator[None]:
    """Hold a folder alone while the block runs; a process that dies lets go of it.

    Raises:
        RunError: another process holds it.
        OutputError: the lock cannot be written, or the file system knows no locks.
    """
    in_use = RunError(
        f"folder {str(path)!r} is in use by another process; wait for it or choose another output."
    )
    with contextlib.ExitStack() as opened:
        try:
            lock = opened.enter_context(open(path / LOCK, "a"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # perhaps only `is_held`, looking
                time.sleep(0.05)
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(lock.fileno()), os.stat(path / LOCK))
        except (BlockingIOError, FileNotFoundError):  # or removed a moment ago by the run that held it
            raise in_use from None
        except OSError as error:
            raise output_error("train", path / LOCK, error) from error
        if not ours:
            raise in_use
        yield


def is_held(path: Path) -> bool:
    """Tell whether a process holds a folder now; where the file system cannot tell, that one does."""
    try:
        with open(path / LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


@contextlib.contextmanager
def run_lock(path: Path, *, resume: bool) -> Iterator[None]:
    """Create the folder if need be and hold it alone; give up at once if another process does.

    When the block raises before the run came to anything (an epoch, a checkpoint after the first step, a stop that
    saved), its files are removed again, and the folder if this call created it. What a killed process left
    half-written is removed.

    Raises:
        RunError: the folder holds a run already (unless resuming), holds none (resuming), or is in use.
        OutputError: the folder cannot be written.
    """
    existed, ours = path.is_dir(), (path / LOCK).exists()
    if resume and not Checkpoints(path).exist():
        raise RunError(f"{str(path)!r} has no checkpoint to resume from; start a run there without resume.")
    make_folder(path)
    with hold_folder(path):
        # Looked at under the lock: another process may have begun a run there a moment ago. A run that was killed
        # before its first checkpoint left nothing to resume, so its folder is free.
        came_to_something = Checkpoints(path).exist() or (
            (path / METRICS).exists() and (path / METRICS).stat().st_size > 0
        )
        if not resume and (came_to_something or ((path / RECIPE).exists() and not ours)):
            raise RunError(
                f"run folder {str(path)!r} holds a run already; choose another output, or resume that run."
            )
        for left in path.iterdir():
            if _UNFINISHED.fullmatch(left.name):
                with contextlib.suppress(OSError):
                    left.unlink()
        try:
            yield
        except BaseException:
            if not resume and not _worth_keeping(path):
                for name in (CHECKPOINTS, SNAPSHOTS, TENSORBOARD):
                    shutil.rmtree(path / name, ignore_errors=True)
                for name in _FILES:
                    with contextlib.suppress(OSError):  # what the block raised is what to tell
                        (path / name).unlink()
                if not existed:
                    with contextlib.suppress(OSError):  # somebody else put a file there: leave it
                        path.rmdir()
            raise


def _worth_keeping(path: Path) -> bool:
    """Tell whether a run that raised has come to anything that can be gone on from or looked at."""
    if Checkpoints(path).after_first_step():
        return True
    with contextlib.suppress(RunError):
        epochs = any("epoch" in row for row in read_json_lines(path / METRICS))
        return epochs or read_json(path / STATE).get("status") in (
            "interrupted",
            "diverged",
        )
    return False


def check_free_space(path: Path, needed_bytes: int) -> None:
    """Raise OutputError before training when the folder's disk cannot hold the run's files."""
    free = shutil.disk_usage(path).free
    if free < needed_bytes:
        raise OutputError(
            f"train: {str(path)!r} has {free:,} bytes free, the run's files need about {needed_bytes:,}; "
            "free some space or choose another output."
        )


def read_recipe(path: Path) -> Recipe:
    """Return the recipe of a run folder.

    Raises:
        RunError: it is missing, damaged, or of another version; the message says how a run folder is made.
    """
    try:
        text = (path / RECIPE).read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _no_run_folder(path, RECIPE) from error
    except (OSError, ValueError) as error:
        raise RunError(f"{str(path / RECIPE)!r} cannot be read: {' '.join(str(error).split())}.") from error
    try:
        return parse_recipe(text, repr(str(path / RECIPE)))
    except UsageError as error:
        raise RunError(error.message, call=error.call) from error


def read_state(path: Path) -> dict[str, object]:
    """Return a run's state file, which must be of this layout.

    Raises:
        RunError: it is missing, damaged or of another version.
    """
    state = read_json(path / STATE)
    if state.get("version") != VERSION:
        raise RunError(
            f"{str(path / STATE)!r} is of version {state.get('version')!r}, this program reads version {VERSION}; use "
            "the program that wrote the run."
        )
    return state


def read_json(path: Path) -> dict[str, object]:
    """Return a JSON file of a run folder.

    Raises:
        RunError: it is missing or damaged; the message says how a run folder is made.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _no_run_folder(path.parent, path.name) from error
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{str(path)!r} cannot be read: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise RunError(f"{str(path)!r} holds {type(content).__name__}, not an object.")
    return content


def _no_run_folder(path: Path, lacking: str) -> RunError:
    return RunError(
        f"{str(path)!r} is no run folder: it has no {lacking}. Make one with `convscope train --output`."
    )
