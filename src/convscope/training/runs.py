"""The runs below a folder, and what makes some of them differ."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convscope.display import Shown
from convscope.errors import ConvscopeError, UsageError
from convscope.training import folder
from convscope.training.run import Run

__all__ = ["RunComparison", "RunSummary", "compare_runs", "list_runs"]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run folder in a line.

    Attributes:
        best, last: accuracies that were measured after epochs, None before the first.
        seconds: of all finished epochs, with measuring and saving.
        time: when it was begun, as ISO 8601.
        problem: why the folder cannot be read; the rest is empty then.
    """

    path: Path
    model: str = ""
    data: str = ""
    status: str = ""
    epochs_done: int = 0
    epochs: int = 0
    best: float | None = None
    last: float | None = None
    seconds: float = 0.0
    time: str = ""
    problem: str | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the line as plain values for JSON."""
        return {**asdict(self), "path": str(self.path)}


def summarise(run: Run) -> RunSummary:
    """Return a run in a line."""
    measured = [row["acc@1"] for row in run.metrics if "acc@1" in row]
    return RunSummary(
        run.path,
        run.recipe.model,
        run.recipe.data,
        run.status,
        len(run.metrics),
        run.recipe.epochs,
        max(measured, default=None),
        measured[-1] if measured else None,
        sum(sum(row.get("phases", {}).values()) for row in run.metrics),
        str(run.environment.get("time", "")),
    )


def list_runs(path: str | Path = "runs") -> tuple[RunSummary, ...]:
    """Return the runs in a folder and below it, the newest first; damaged ones last, with what is wrong.

    Raises:
        UsageError: no such folder.
    Example:
        >>> import tempfile
        >>> list_runs(tempfile.mkdtemp())
        ()
    """
    path = Path(path)
    if not path.is_dir():
        raise UsageError(
            f"folder {str(path)!r} does not exist; name the folder that holds the runs.", call="list_runs"
        )
    found = [_summary(place) for place in _places(path)]
    found.sort(key=lambda entry: str(entry.path))
    found.sort(key=lambda entry: entry.time, reverse=True)
    return tuple(sorted(found, key=lambda entry: entry.problem is not None))


def _places(path: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(path):
        if folder.RECIPE in files or folder.STATE in files:
            folders.clear()  # a run holds no other
            yield Path(place)


def _summary(place: Path) -> RunSummary:
    try:
        return summarise(Run.open(place))
    except ConvscopeError as error:
        return RunSummary(place, problem=error.message)
    except OSError as error:
        return RunSummary(place, problem=f"{str(error.filename)!r} cannot be read: {error.strerror}.")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return RunSummary(place, problem=f"a file in it is garbled: {' '.join(str(error).split())}.")


@dataclass(frozen=True, eq=False)
class RunComparison(Shown):
    """Some runs side by side.

    Attributes:
        fields: what of their recipes differs, a value a run.
        summaries: a line a run.
    """

    runs: tuple[Run, ...]
    fields: dict[str, tuple[Any, ...]]
    summaries: tuple[RunSummary, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the comparison as plain values for JSON."""
        return {
            "runs": [each.to_dict() for each in self.summaries],
            "fields": {name: list(values) for name, values in self.fields.items()},
            "metrics": [list(run.metrics) for run in self.runs],
        }


def compare_runs(paths: Sequence[str | Path]) -> RunComparison:
    """Lay some runs side by side: the recipe's fields that differ, and what came of them.

    Raises:
        UsageError: fewer than two, or a folder that does not exist.
        RunError: a folder is no run, or damaged.
    """
    if len(paths) < 2:
        raise UsageError(f"got {len(paths)} run; name two or more.", call="compare_runs")
    runs = tuple(Run.open(path) for path in paths)
    recipes = [run.recipe.to_dict() for run in runs]
    fields = {
        name: tuple(recipe[name] for recipe in recipes)
        for name in recipes[0]
        if any(recipe[name] != recipes[0][name] for recipe in recipes)
    }
    return RunComparison(runs, fields, tuple(summarise(run) for run in runs))
