"""How many steps a network needs to a given training error, with ReLU, tanh and sigmoid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

import convscope.nn as cnn
from convscope.experiments.experiment import Effort, Experiment
from convscope.experiments.learning import Learning, fit, hits, pixels, seeded
from convscope.experiments.outcome import (
    Chart,
    Curve,
    Interval,
    Outcome,
    Row,
    Verdict,
    verdict_of_all,
    verdict_on,
)

__all__ = ["EXPERIMENT"]

_RELU = "ReLU"
_ACTIVATIONS: dict[str, type[nn.Module]] = {_RELU: nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
# The sigmoid's slope is at most a quarter of tanh's, so what comes back through it asks for larger steps.
_RATES = {_RELU: (0.01, 0.03, 0.1), "tanh": (0.01, 0.03, 0.1), "sigmoid": (0.03, 0.1, 0.3)}
_EVERY = 10  # steps from one point of a curve to the next


@dataclass(frozen=True)
class _Size:
    """How much is done: the widths of the convolutions, the most steps, the batch, and the error to be reached."""

    widths: tuple[int, ...]
    steps: int
    batch_size: int
    error: float


_QUICK = _Size((8, 16, 32), 400, 64, 0.2)
_FULL = _Size((32, 32, 64), 2_000, 128, 0.25)


@dataclass(frozen=True)
class _Found:
    """What one seed gave."""

    activation: str
    rate: float
    seed: int
    learning: Learning
    test: float


def _network(activation: str, widths: Sequence[int], shape: Sequence[int], num_classes: int) -> nn.Sequential:
    """Return 3x3 convolutions, each with the activation and max pooling, and a linear head; Glorot's first weights."""
    channels, rows, columns = shape
    layers: list[nn.Module] = []
    for width in widths:
        layers += [
            cnn.Conv2d(channels, width, 3, padding=1),
            _ACTIVATIONS[activation](),
            cnn.MaxPool2d(2),
        ]
        channels, rows, columns = width, rows // 2, columns // 2
    layers.append(cnn.FlattenHead((channels, rows, columns), num_classes))
    network = nn.Sequential(*layers)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


class _Race:
    """The networks of a size on one set of images, trained by SGD with momentum at a rate that stays."""

    def __init__(self, effort: Effort, size: _Size) -> None:
        train, test = effort.images("train"), effort.images("test")
        self.effort, self.size = effort, size
        self.shape, self.num_classes = train.image_shape, len(train.classes)
        self.inputs, self.labels = pixels(train), train.labels
        self.test_inputs, self.test_labels = pixels(test, train), test.labels

    def run(self, activation: str, rate: float, seed: int) -> _Found:
        """Train to the error; of a seed all start from the same weights and see the same order of images."""
        size = self.size
        network = seeded(lambda: _network(activation, size.widths, self.shape, self.num_classes), seed)
        learned = fit(
            network,
            self.inputs,
            self.labels,
            steps=size.steps,
            seed=seed,
            batch_size=size.batch_size,
            lr=rate,
            optimizer=torch.optim.SGD,
            momentum=0.9,
            decays=False,
            until_error=size.error,
        )
        right = hits(network, self.test_inputs, self.test_labels)
        return _Found(activation, rate, seed, learned, right / len(self.test_labels))

    def measure(self, activation: str) -> list[_Found]:
        """Train with each of the three rates from every seed."""
        found: list[_Found] = []
        for rate in _RATES[activation]:
            for seed in self.effort.seeds:
                self.effort.say(f"{activation} at {rate:g}, seed {seed}")
                found.append(self.run(activation, rate, seed))
        return found


def _fastest(found: Sequence[_Found], size: _Size) -> list[_Found]:
    """Return the trainings at the rate whose seeds take the fewest steps; of equals those with the least error."""
    rates = dict.fromkeys(each.rate for each in found)
    groups = [[each for each in found if each.rate == rate] for rate in rates]

    def slowness(group: Sequence[_Found]) -> tuple[float, float]:
        return sum(_steps(group, size)), math.fsum(each.learning.errors()[-1] for each in group)

    return min(groups, key=slowness)


def _steps(found: Sequence[_Found], size: _Size) -> list[float]:
    """Return the steps to the error, one a seed; the most steps there were where it was not reached."""
    return [float(each.learning.steps_to_error(size.error) or size.steps) for each in found]


def _log_ratio(slow: Sequence[_Found], fast: Sequence[_Found], size: _Size) -> Interval:
    """Return the logarithm of how many times more steps one needs, paired by seed."""
    pairs = zip(_steps(slow, size), _steps(fast, size), strict=True)
    return Interval.of_mean([math.log(one / other) for one, other in pairs])


def _curve(found: Sequence[_Found]) -> Curve:
    """Return the mean training error up to where the first of the seeds arrives."""
    errors = [each.learning.errors() for each in found]
    first = len(found[0].learning.accuracies) - len(errors[0]) + 1
    places = range(0, min(len(each) for each in errors), _EVERY)
    return Curve.of_means(
        found[0].activation, {float(first + place): [each[place] for each in errors] for place in places}
    )


def _outcome(found: Mapping[str, Sequence[_Found]], size: _Size) -> Outcome:
    """Judge by all trainings of each activation; each counts at its fastest rate."""
    fastest = {activation: _fastest(each, size) for activation, each in found.items()}
    rows = tuple(
        Row(
            activation,
            (
                ours[0].rate,
                f"{sum(each.learning.steps_to_error(size.error) is not None for each in ours)} of {len(ours)}",
                Interval.of_mean(_steps(ours, size)),
                Interval.of_mean([each.learning.errors()[-1] for each in ours]),
                Interval.of_mean([each.test for each in ours]),
            ),
        )
        for activation, ours in fastest.items()
    )
    relu = _steps(fastest[_RELU], size)
    ratios = {name: _log_ratio(ours, fastest[_RELU], size) for name, ours in fastest.items() if name != _RELU}
    told = ", and ".join(
        f"{math.exp(each.value):.2f} times as many ({_times(each)}) with {activation}, where the claim "
        f"{_said_of(verdict_on(each))}"
        for activation, each in ratios.items()
    )
    reason = (
        f"To a training error of {100 * size.error:.0f} % a network with ReLU takes {math.fsum(relu) / len(relu):.0f} "
        f"steps; it takes {told}. Where the error was not reached, {size.steps:,} steps are counted, and the ratio is "
        "that much too small."
    )
    return Outcome(
        columns=("activation", "rate", "seeds that reach it", "steps", "error at the end", "test accuracy"),
        rows=rows,
        verdict=verdict_of_all([verdict_on(each) for each in ratios.values()]),
        reason=reason,
        charts=(
            Chart(
                "training error",
                "step",
                "training error",
                tuple(_curve(ours) for ours in fastest.values()),
                percent=True,
            ),
        ),
        percent=("error at the end", "test accuracy"),
        figures=tuple((f"{name}_steps_over_relu", math.exp(each.value)) for name, each in ratios.items()),
    )


def _times(log_ratio: Interval) -> str:
    """Return the bounds of a ratio; of a single seed there are none."""
    if not math.isfinite(log_ratio.low):
        return "one seed"
    return f"{math.exp(log_ratio.low):.2f} to {math.exp(log_ratio.high):.2f}"


def _said_of(verdict: Verdict) -> str:
    return "is undecided" if verdict is Verdict.UNDECIDED else str(verdict)


def _test(effort: Effort) -> Outcome:
    size = _FULL if effort.full else _QUICK
    race = _Race(effort, size)
    return _outcome({activation: race.measure(activation) for activation in _ACTIVATIONS}, size)


def _listed(rates: Sequence[float]) -> str:
    return ", ".join(f"{rate:g}" for rate in rates)


EXPERIMENT = Experiment(
    name="activations",
    title="ReLU against tanh and sigmoid",
    claim="With ReLU a network reaches a given training error in fewer steps than with the sigmoid that came before "
    "it, or with tanh (Krizhevsky et al., 2012: six times fewer than with tanh).",
    setup="Three 3x3 convolutions, each with the activation and 2x2 max pooling, and a linear head: "
    f"{'-'.join(map(str, _QUICK.widths))} filters (in full {'-'.join(map(str, _FULL.widths))}). From the same first "
    "weights (Glorot's, made for tanh) and in the same order of images they are trained by SGD with momentum 0.9 at a "
    f"rate that stays, {_QUICK.batch_size} (in full {_FULL.batch_size}) images a step, for {_QUICK.steps} (in full "
    f"{_FULL.steps:,}) steps at most. Counted are the steps until the training error, averaged over 20 steps, is at "
    f"most {100 * _QUICK.error:.0f} % (in full {100 * _FULL.error:.0f} %, as in the paper). Three rates are tried for "
    f"each activation ({_listed(_RATES[_RELU])} for ReLU and tanh, {_listed(_RATES['sigmoid'])} for the sigmoid), and "
    "the one whose seeds take the fewest steps together counts: each is as fast as it can be made, as in the paper. "
    "The claim holds if for tanh and for the sigmoid the 95 % interval "
    "of the logarithm of their steps over ReLU's, paired by seed, lies above 0.",
    test=_test,
)
