"""What logging, checkpoints and progress cost a training: the same steps with and without them, in turns.

    python benchmarks/training/overhead.py [--recipe speedrun-90] [--data fashion-mnist] [--rounds 5] [--json FILE]

A training records each step, tells a live table about it, saves a checkpoint after every epoch and looks at its filters
and maps; beside it the same recipe on the same images with all of that taken out. The weights of the two are compared
first. An epoch of the packaged images has 12 steps of 1,000, where one of CIFAR-10 has 50: what is saved after an
epoch weighs more here.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from convscope.report.progress import training_progress
from convscope.report.terminal import table
from convscope.training import Event, Recipe, cpu_name, environment, loop, named_recipe
from convscope.training.clock import Clock
from convscope.training.preparation import Preparation
from convscope.training.team import Team, team


class Bare(loop.Training):
    """A training that keeps everything to itself."""

    def _record(self, name: str, row: dict[str, Any]) -> None:
        pass

    def _save(self, **_: bool) -> None:
        pass

    def _snapshot(self) -> None:
        pass


def trained(
    kind: type[loop.Training], recipe: Recipe, listener: Callable[[Event], None] | None, processes: Team
) -> tuple[float, loop.Training]:
    """Train once in a new folder; return the seconds from the first step to the last save, without measurements."""
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        training = kind(
            Preparation.of(recipe, processes, resume=False), Path(folder), listener, clock, processes
        )
        evaluating = 0.0
        measure = training._evaluate

        def timed(images: Any) -> Any:
            nonlocal evaluating
            began = time.perf_counter()
            try:
                return measure(images)
            finally:
                evaluating += time.perf_counter() - began

        training._evaluate = timed
        began = time.perf_counter()
        training.fit(resume=False)
        return time.perf_counter() - began - evaluating, training


def main() -> None:
    """Train in turns and print both times and their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--recipe", default="speedrun-90")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    recipe = named_recipe(arguments.recipe).replace(
        data=arguments.data, epochs=arguments.epochs, test_views="one", progressive_sizes=[]
    )
    seconds: dict[str, list[float]] = {"bare": [], "with logging, checkpoints, progress": []}
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)
    weights: list[dict[str, Any]] = []
    with team() as processes:
        for turn in range(arguments.rounds + 1):
            for name, kind in zip(seconds, (Bare, loop.Training), strict=True):
                with training_progress(terminal) as told:
                    listener = None if kind is Bare else lambda event, told=told: told("run", event)
                    taken, training = trained(kind, recipe, listener, processes)
                if turn:
                    seconds[name].append(taken)
                else:
                    weights.append(training.network.state_dict())
    same = all(weights[0][key].equal(value) for key, value in weights[1].items())
    facts = environment()
    print(f"{cpu_name()}, {facts['threads']} threads, torch {facts['torch']}, {facts['time']}")
    print(f"weights of the two are {'the same bytes' if same else 'NOT the same'}")
    rows = []
    for name, taken in seconds.items():
        rows.append((name, f"{statistics.median(taken):.2f}", f"{min(taken):.2f} to {max(taken):.2f}"))
    bare, whole = (statistics.median(taken) for taken in seconds.values())
    print(table(("training", "seconds", "range"), rows))
    print(f"overhead {whole / bare - 1:.2%}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"environment": facts, "seconds": seconds}, indent=2) + "\n")


if __name__ == "__main__":
    main()
