"""Experiments in a terminal and in the documentation: the list, and the outcome of one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from convscope.experiments import Experiment, ExperimentResult, Interval, Outcome
from convscope.report.columns import table

__all__ = ["cell_text", "experiment_text", "experiments_text", "outcome_rows", "run_line", "threads_text"]


def experiments_text(experiments: Sequence[Experiment]) -> str:
    """Return the list of experiments with their titles."""
    return table(("experiment", "what is put to the test"), [(each.name, each.title) for each in experiments])


def experiment_text(result: ExperimentResult) -> str:
    """Return claim, set-up, table and verdict."""
    experiment, outcome = result.experiment, result.outcome
    return "\n".join(
        (
            experiment.title,
            "",
            f"claim: {experiment.claim}",
            f"set-up: {experiment.setup}",
            run_line(result),
            "",
            table(outcome.columns, outcome_rows(outcome)),
            "",
            f"verdict: {outcome.verdict}. {outcome.reason}",
        )
    )


def run_line(result: ExperimentResult) -> str:
    """Return with what an experiment was run, when, where and for how long."""
    facts, effort = result.environment, result.effort
    seeds = ", ".join(map(str, effort.seeds))
    return (
        f"run: {'in full' if effort.full else 'quick'}, on {result.experiment.data_of(effort)}, seeds {seeds}, "
        f"{result.seconds:.0f} s on {threads_text(facts)} of {facts['cpu']}, {str(facts['time'])[:10]}"
    )


def threads_text(environment: Mapping[str, object]) -> str:
    """Return how many threads a run had.

    Example:
        >>> threads_text({"threads": 1}), threads_text({"threads": 2})
        ('one thread', '2 threads')
    """
    count = environment["threads"]
    return "one thread" if count == 1 else f"{count} threads"


def outcome_rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """Return the table's cells as texts."""
    return [
        (
            row.name,
            *(
                cell_text(cell, column in outcome.percent)
                for column, cell in zip(outcome.columns[1:], row.cells, strict=True)
            ),
        )
        for row in outcome.rows
    ]


def cell_text(cell: str | int | float | Interval, percent: bool = False) -> str:
    """Return a cell: a number with its 95 % interval where it has one.

    Example:
        >>> cell_text(Interval.of_mean([0.90, 0.91, 0.92]), percent=True), cell_text(150528), cell_text(0.25)
        ('91.00 % (88.52 to 93.48)', '150,528', '0.25')
    """
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Interval):
        if cell.is_exact:
            return cell_text(cell.value, percent)
        if not math.isfinite(cell.low):
            return f"{cell_text(cell.value, percent)} (one seed)"
        low, high = (cell_text(end, percent).removesuffix(" %") for end in (cell.low, cell.high))
        return f"{cell_text(cell.value, percent)} ({low} to {high})"
    if percent:
        return f"{cell:.2%}".replace("%", " %")
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.4g}"
