"""An experiment: a claim in our words, how it is tested, and its running."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from convscope.data import ImageSet, load_dataset
from convscope.display import Shown
from convscope.errors import UsageError
from convscope.experiments.outcome import Outcome
from convscope.geometry import as_int
from convscope.training import environment

__all__ = ["Effort", "Experiment", "ExperimentResult"]


def _nobody(line: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Effort:
    """How much an experiment may do: its seeds, whether it runs in full, and whom it tells what it is at.

    Args:
        full: on CIFAR-10 and for as long as the figures need; otherwise on packaged data, within 3 minutes on 2 cores.
        seeds: each experiment is run with each of them.
        say: called with a line of progress.
    Raises:
        UsageError: no seed, or one below 0.
    """

    full: bool = False
    seeds: tuple[int, ...] = (0, 1, 2)
    say: Callable[[str], None] = field(default=_nobody, repr=False)

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UsageError(f"seeds {list(self.seeds)}: give at least one, each once.", call="experiment")
        for seed in self.seeds:
            try:
                as_int("seed", seed, at_least=0)
            except UsageError as error:
                raise error.at("experiment") from error

    @property
    def data(self) -> str:
        """Return the name of the data set: Fashion-MNIST, packaged, or in full CIFAR-10, fetched."""
        return "cifar10" if self.full else "fashion-mnist"

    def images(self, split: Literal["train", "test"]) -> ImageSet:
        """Return the `train` or `test` images of the data set.

        Raises:
            DataError: CIFAR-10 was not fetched; `convscope data fetch cifar10` does.
        Example:
            >>> len(Effort().images("test"))
            2000
        """
        return load_dataset(self.data, split)


@dataclass(frozen=True, eq=False)
class ExperimentResult(Shown):
    """An experiment that was run: with what, how long, on which machine, and what it found."""

    experiment: Experiment
    effort: Effort
    outcome: Outcome
    seconds: float
    environment: dict[str, object]

    def to_dict(self) -> dict[str, object]:
        """Return claim, set-up, environment and outcome as plain values for JSON."""
        return {
            "name": self.experiment.name,
            "claim": self.experiment.claim,
            "setup": self.experiment.setup,
            "full": self.effort.full,
            "data": self.experiment.data_of(self.effort),
            "seeds": list(self.effort.seeds),
            "seconds": self.seconds,
            "environment": self.environment,
            **self.outcome.to_dict(),
        }


@dataclass(frozen=True)
class Experiment:
    """A claim and its test.

    Args:
        name: what the command line calls it.
        title: a few words.
        claim: what is put to the test, in one or two sentences.
        setup: how: networks, training, what is compared, and what decides the verdict.
        test: runs it.
        data: what it runs on, quick and in full; None where that is the effort's data set.
    """

    name: str
    title: str
    claim: str
    setup: str
    test: Callable[[Effort], Outcome] = field(repr=False)
    data: tuple[str, str] | None = None

    def data_of(self, effort: Effort) -> str:
        """Return the name of what it runs on."""
        return effort.data if self.data is None else self.data[effort.full]

    def run(
        self,
        *,
        full: bool = False,
        seeds: Sequence[int] = (0, 1, 2),
        say: Callable[[str], None] = _nobody,
    ) -> ExperimentResult:
        """Run the experiment; with the same seeds, threads and machine it finds the same.

        Raises:
            UsageError: no seed, or data that was not fetched.
        """
        effort = Effort(full, tuple(seeds), say)
        began = time.perf_counter()
        with torch.random.fork_rng(devices=[]):
            outcome = self.test(effort)
        return ExperimentResult(self, effort, outcome, time.perf_counter() - began, environment())
