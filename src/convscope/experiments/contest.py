"""A contest: networks that are given the same images in the same order, the same steps and the same choice of rates."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convscope.experiments.experiment import Effort
from convscope.experiments.learning import Learning, fit, hits, pixels
from convscope.experiments.outcome import Curve, Interval
from convscope.trace import trace

__all__ = ["Budget", "Entrant", "Task", "contest", "curve_of", "lowest_loss_rate"]

_TRIAL_SEED = 1000  # of the trainings that choose a rate; their images' order is nobody's afterwards
_TRIAL_SHARE = 3  # a trial takes one of so many steps


@dataclass(frozen=True)
class Budget:
    """What each network of a contest is given.

    Args:
        train, test: images, spread evenly over the classes.
        steps, batch_size: of its training.
        rates: learning rates, one of which is chosen for it.
    """

    train: int
    test: int
    steps: int
    batch_size: int
    rates: tuple[float, ...]

    @property
    def trial_steps(self) -> int:
        """Return how long a rate is tried."""
        return max(self.steps // _TRIAL_SHARE, 1)

    def __str__(self) -> str:
        return (
            f"{self.steps:,} steps of {self.batch_size} out of {self.train:,} images, tested on {self.test:,}; "
            f"each network's learning rate is that of {', '.join(f'{rate:g}' for rate in self.rates)} with the lowest "
            f"training loss at the end of {self.trial_steps:,} steps with a seed of its own"
        )


@dataclass(frozen=True, eq=False)
class Task:
    """The images of a contest, normalised by those to train on, and its budget.

    Shapes:
        train, test (N, C, H, W) float32; labels, test_labels (N,)
    """

    train: Tensor
    labels: Tensor
    test: Tensor
    test_labels: Tensor
    budget: Budget

    @classmethod
    def of(cls, effort: Effort, budget: Budget) -> Task:
        """Take as many images as the budget says from the effort's data.

        Example:
            >>> Task.of(Effort(), Budget(20, 10, 1, 5, (0.1,))).train.shape
            torch.Size([20, 1, 28, 28])
        """
        train = effort.images("train").take_balanced(budget.train)
        test = effort.images("test").take_balanced(budget.test)
        return cls(pixels(train), train.labels, pixels(test, train), test.labels, budget)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return (C, H, W)."""
        channels, height, width = self.train.shape[1:]
        return channels, height, width


@dataclass(frozen=True, eq=False)
class Entrant:
    """A network of a contest: what it costs, its learning rate, and what became of it with each seed.

    Attributes:
        networks, learnings, accuracies: one a seed; the accuracy is that on the test images.
    """

    name: str
    num_params: int
    macs: int
    rate: float
    networks: tuple[nn.Module, ...]
    learnings: tuple[Learning, ...]
    accuracies: tuple[float, ...]

    @property
    def accuracy(self) -> Interval:
        """Return the mean accuracy on the test images."""
        return Interval.of_mean(self.accuracies)

    def last_losses(self, share: float = 0.1) -> tuple[float, ...]:
        """Return the training loss of each seed, averaged over the last share of the steps."""
        return tuple(_last(learned.losses, share) for learned in self.learnings)

    def last_errors(self, share: float = 0.1) -> tuple[float, ...]:
        """Return the share of wrong answers while training, of each seed, over the last share of the steps."""
        return tuple(1 - _last(learned.accuracies, share) for learned in self.learnings)


def lowest_loss_rate(build: Callable[[], nn.Module], task: Task, **options: Any) -> float:
    """Return the rate of the budget's with which a network has the lowest training loss after a short training.

    Args:
        build: makes the network, its weights from torch's global generator.
        options: of `fit`.
    """
    rates = task.budget.rates
    if len(rates) == 1:
        return rates[0]
    losses: dict[float, float] = {}
    for rate in rates:
        torch.manual_seed(_TRIAL_SEED)
        learned = _fit(build(), task, task.budget.trial_steps, _TRIAL_SEED, rate, options)
        loss = _last(learned.losses, 0.2)
        losses[rate] = math.inf if math.isnan(loss) else loss  # it diverged
    return min(rates, key=lambda rate: losses[rate])


def contest(
    builds: Mapping[str, Callable[[], nn.Module]], task: Task, effort: Effort, **options: Any
) -> dict[str, Entrant]:
    """Train each network with each seed, which decides its first weights and the order of the images.

    Args:
        builds: name -> what makes the network, its weights from torch's global generator.
        options: of `fit`, such as `optimizer` and `momentum`.
    Example:
        >>> task = Task.of(Effort(), Budget(20, 10, 3, 5, (0.1,)))
        >>> linear = lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
        >>> [len(entrant.networks) for entrant in contest({"linear": linear}, task, Effort()).values()]
        [3]
    """
    entrants: dict[str, Entrant] = {}
    for name, build in builds.items():
        counted = trace(build(), (1, *task.image_shape), mode="eval")
        effort.say(f"{name}: choosing a learning rate")
        rate = lowest_loss_rate(build, task, **options)
        networks: list[nn.Module] = []
        learnings: list[Learning] = []
        accuracies: list[float] = []
        for seed in effort.seeds:
            effort.say(f"{name}: training with seed {seed} at {rate:g}")
            torch.manual_seed(seed)
            network = build()
            learnings.append(_fit(network, task, task.budget.steps, seed, rate, options))
            networks.append(network)
            accuracies.append(hits(network, task.test, task.test_labels) / len(task.test))
        entrants[name] = Entrant(
            name,
            counted.num_params,
            counted.macs,
            rate,
            tuple(networks),
            tuple(learnings),
            tuple(accuracies),
        )
    return entrants


def curve_of(name: str, series: Sequence[Sequence[float]], points: int = 40) -> Curve:
    """Return values a step, one sequence a seed, as the mean of each stretch of steps; the band is from seed to seed.

    Example:
        >>> curve_of("loss", [[4.0, 2.0, 1.0, 1.0], [6.0, 4.0, 3.0, 1.0]], points=2)
        Curve(name='loss', points=((2.0, 4.0), (4.0, 1.5)), band=((2.0, 3.0, 5.0), (4.0, 1.0, 2.0)))
    """
    steps = len(series[0])
    width = max(steps // points, 1)
    found: list[tuple[float, float]] = []
    band: list[tuple[float, float, float]] = []
    for end in range(width, steps + 1, width):
        means = [statistics.fmean(values[end - width : end]) for values in series]
        found.append((float(end), statistics.fmean(means)))
        band.append((float(end), min(means), max(means)))
    return Curve(name, tuple(found), tuple(band))


def _fit(
    network: nn.Module, task: Task, steps: int, seed: int, rate: float, options: Mapping[str, Any]
) -> Learning:
    size = task.budget.batch_size
    return fit(network, task.train, task.labels, steps=steps, seed=seed, batch_size=size, lr=rate, **options)


def _last(values: Sequence[float], share: float) -> float:
    return statistics.fmean(values[-max(round(len(values) * share), 1) :])
