"""The run folder on disk: who may write it, and how each file is replaced whole."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from convscope.errors import OutputError, RunError
from convscope.files import make_folder, write_text

__all__ = [
    "CHECKPOINT",
    "ENVIRONMENT",
    "INITIAL_WEIGHTS",
    "LOCK",
    "METRICS",
    "RECIPE",
    "STATE",
    "WEIGHTS",
    "check_free_space",
    "hold_folder",
    "read_json",
    "read_metrics",
    "run_lock",
    "write_metrics",
]

RECIPE, STATE, ENVIRONMENT = "recipe.json", "state.json", "environment.json"
METRICS = "metrics.jsonl"
WEIGHTS, INITIAL_WEIGHTS = "weights.safetensors", "weights-initial.safetensors"
CHECKPOINT = "checkpoint.safetensors"
LOCK = ".lock"


@contextlib.contextmanager
def hold_folder(path: Path) -> Iterator[None]:
    """Hold a folder alone while the block runs; a process that dies lets go of it.

    Raises:
        RunError: another process holds it.
    """
    with open(path / LOCK, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"folder {str(path)!r} is in use by another process; wait for it or choose another output."
            ) from None
        yield


@contextlib.contextmanager
def run_lock(path: Path, *, resume: bool) -> Iterator[None]:
    """Create the folder if need be and hold it alone; give up at once if another process does.

    When the block raises before the first epoch is done, and was not asked to stop, its files are removed again,
    and the folder if this call created it.

    Raises:
        RunError: the folder holds a run already (unless resuming), holds none (resuming), or is in use.
        OutputError: the folder cannot be written.
    """
    existed, ours = path.is_dir(), (path / LOCK).exists()
    if resume and not (path / CHECKPOINT).is_file():
        raise RunError(f"{str(path)!r} has no {CHECKPOINT} to resume from; start a run there without resume.")
    make_folder(path)
    with hold_folder(path):
        # Looked at under the lock: another process may have begun a run there a moment ago. A run that was killed
        # before its first checkpoint left nothing to resume, so its folder is free.
        came_to_something = (path / CHECKPOINT).exists() or (
            (path / METRICS).exists() and (path / METRICS).stat().st_size > 0
        )
        if not resume and (came_to_something or ((path / RECIPE).exists() and not ours)):
            raise RunError(
                f"run folder {str(path)!r} holds a run already; choose another output, or resume that run."
            )
        try:
            yield
        except BaseException:
            if not resume and not _worth_keeping(path):
                for name in (RECIPE, STATE, ENVIRONMENT, METRICS, WEIGHTS, INITIAL_WEIGHTS, CHECKPOINT, LOCK):
                    (path / name).unlink(missing_ok=True)
                if not existed:
                    with contextlib.suppress(OSError):  # somebody else put a file there: leave it
                        path.rmdir()
            raise


def _worth_keeping(path: Path) -> bool:
    """Tell whether a run that raised has come to anything: an epoch, or a stop that saved its state."""
    with contextlib.suppress(RunError):
        return bool(read_metrics(path)) or read_json(path / STATE).get("status") in (
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


def write_metrics(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Replace the metrics file by these rows, one JSON object a line."""
    write_text(path / METRICS, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def read_metrics(path: Path) -> list[dict[str, object]]:
    """Return the metrics, one dict an epoch; a torn last line, left by a crash, is passed over."""
    file = path / METRICS
    if not file.is_file():
        return []
    rows: list[dict[str, object]] = []
    lines = file.read_text("utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise RunError(f"{str(file)!r} line {number} is no JSON: {error.msg}.") from error
    return rows


def read_json(path: Path) -> dict[str, object]:
    """Return a JSON file of a run folder.

    Raises:
        RunError: it is missing or damaged; the message says how a run folder is made.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(
            f"{str(path.parent)!r} is no run folder: it has no {path.name}. Make one with `convscope train --output`."
        ) from error
    except (OSError, ValueError) as error:
        raise RunError(f"{str(path)!r} cannot be read: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise RunError(f"{str(path)!r} holds {type(content).__name__}, not an object.")
    return content
