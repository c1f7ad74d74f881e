"""What `convscope runs` prints."""

from __future__ import annotations

from collections.abc import Sequence

from convscope.errors import printable
from convscope.report.columns import table
from convscope.training import RunComparison, RunSummary

__all__ = ["comparison_text", "runs_text"]


def runs_text(runs: Sequence[RunSummary]) -> str:
    """Return a table with a line a run, then the folders that cannot be read and why."""
    rows = [
        (
            printable(str(run.path)),
            run.model,
            printable(run.data),
            run.status,
            f"{run.epochs_done}/{run.epochs}",
            _share(run.best),
            _share(run.last),
            f"{run.seconds:,.0f} s",
            run.time[:16].replace("T", " "),
        )
        for run in runs
        if run.problem is None
    ]
    head = ("run", "model", "data", "status", "epochs", "best", "last", "time", "begun (UTC)")
    blocks = [table(head, rows)] if rows else []
    damaged = [
        f"{printable(str(run.path))}: {printable(run.problem)}" for run in runs if run.problem is not None
    ]
    if damaged:
        blocks.append("\n".join(["cannot be read:", *damaged]))
    return "\n\n".join(blocks) or "no run."


def comparison_text(comparison: RunComparison) -> str:
    """Return the fields that differ, and what came of each run, a column a run."""
    names = [printable(str(run.path)) for run in comparison.runs]
    differing = [(name, *(_value(value) for value in values)) for name, values in comparison.fields.items()]
    summaries = comparison.summaries
    rows = [
        ("status", *(each.status for each in summaries)),
        ("epochs", *(f"{each.epochs_done}/{each.epochs}" for each in summaries)),
        ("best accuracy", *(_share(each.best) for each in summaries)),
        ("last accuracy", *(_share(each.last) for each in summaries)),
        *(
            (label, *(_last(run.metrics, key, form) for run in comparison.runs))
            for label, key, form in (
                ("last loss", "val_loss", ".4f"),
                ("last training loss", "train_loss", ".4f"),
                ("last training accuracy", "train_acc@1", ".2%"),
                ("test accuracy", "test_acc@1", ".2%"),
                ("images a second", "images_per_second", ",.0f"),
            )
        ),
        ("time", *(f"{each.seconds:,.0f} s" for each in summaries)),
    ]
    first = table(("recipe", *names), differing) if differing else "The recipes are the same."
    return f"{first}\n\n{table(('result', *names), rows)}"


def _last(metrics: Sequence[dict[str, object]], key: str, form: str) -> str:
    values = [row[key] for row in metrics if key in row]
    return format(values[-1], form) if values else "-"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _value(value: object) -> str:
    text = "none" if value in (None, [], {}) else printable(str(value))
    return text if len(text) <= 40 else text[:37] + "..."
