"""Softmax against SVM loss: accuracy, margins, and whether scores read as probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convscope.experiments.experiment import Effort, Experiment
from convscope.experiments.learning import class_scores, fit, pixels
from convscope.experiments.outcome import (
    Chart,
    Curve,
    Interval,
    Outcome,
    Row,
    verdict_of_all,
    verdict_on,
)
from convscope.experiments.rates import choose_rate
from convscope.inspection import Calibration, calibration
from convscope.models import create_seeded_model
from convscope.ops import multiclass_hinge_loss, softmax_cross_entropy

__all__ = ["EXPERIMENT"]

_RATES = (3e-3, 1e-2, 3e-2)
_SOFTMAX, _SVM = "softmax", "SVM"
_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    _SOFTMAX: softmax_cross_entropy,
    _SVM: multiclass_hinge_loss,
}
_ALIKE = 0.02  # accuracies that differ by less are about equal
_TEMPERATURES = torch.logspace(-2, 1, 121, dtype=torch.float64)
_MARGINS = torch.linspace(-5, 15, 41, dtype=torch.float64)  # at which the share of images below is drawn


@dataclass(frozen=True)
class _Size:
    """How much is done: images to train on and held out, widths of the network, batch, steps."""

    images: int
    held_out: int
    widths: tuple[int, ...]
    batch_size: int
    steps: int
    pilot_steps: int


_QUICK = _Size(10_000, 2_000, (8, 16, 32), 64, 400, 150)
_FULL = _Size(45_000, 5_000, (16, 32, 64), 128, 1_200, 300)


@dataclass(frozen=True, eq=False)
class _Found:
    """What one network of one seed says of the test images, and what its scores are to be divided by."""

    loss: str
    seed: int
    scores: Tensor  # (N, K) float64
    labels: Tensor
    temperature: float

    @property
    def accuracy(self) -> float:
        """Return the share of test images that have their own label's score on top."""
        return float((self.scores.argmax(dim=1) == self.labels).double().mean())

    @property
    def margins(self) -> Tensor:
        """Return by how much the right class's score lies above the best of the others."""
        return _margins(self.scores, self.labels)

    def calibrated(self, tempered: bool = False) -> Calibration:
        """Compare confidence and accuracy, the scores read through a softmax, tempered or as they are."""
        return _calibration(self.scores / (self.temperature if tempered else 1.0), self.labels)


def _margins(scores: Tensor, labels: Tensor) -> Tensor:
    right = scores.gather(1, labels.unsqueeze(1))
    others = scores.scatter(1, labels.unsqueeze(1), -torch.inf)
    return right.squeeze(1) - others.amax(dim=1)


def _calibration(scores: Tensor, labels: Tensor) -> Calibration:
    confidences, predictions = scores.softmax(dim=1).max(dim=1)
    return calibration(labels, predictions, confidences.clamp(max=1.0))


def _best_temperature(scores: Tensor, labels: Tensor) -> float:
    """Return what scores are to be divided by for the least cross-entropy (Guo et al., arXiv:1706.04599)."""
    losses = [
        float(softmax_cross_entropy(scores / temperature, labels)) for temperature in _TEMPERATURES.tolist()
    ]
    return float(_TEMPERATURES[losses.index(min(losses))])


def _train_all(effort: Effort, size: _Size) -> tuple[list[_Found], dict[str, float]]:
    """Return what each loss gave from each seed, and the learning rate of each."""
    whole, test = effort.images("train"), effort.images("test")
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))
    train = whole.subset(order[: size.images])
    apart = whole.subset(order[size.images : size.images + size.held_out])
    inputs, apart_inputs, test_inputs = pixels(train), pixels(apart, train), pixels(test, train)

    def build(seed: int) -> nn.Module:
        shape = {"num_classes": len(train.classes), "in_channels": train.image_shape[0]}
        return create_seeded_model("small_vgg", seed, widths=size.widths, **shape)

    rates: dict[str, float] = {}
    for name, loss in _LOSSES.items():
        effort.say(f"choosing the learning rate of {name}")
        rates[name] = choose_rate(
            build,
            inputs,
            train.labels,
            rates=_RATES,
            steps=size.pilot_steps,
            batch_size=size.batch_size,
            loss=loss,
        )
    found: list[_Found] = []
    for seed in effort.seeds:
        for name, loss in _LOSSES.items():
            effort.say(f"seed {seed}: {name}")
            network = build(seed)
            fit(
                network,
                inputs,
                train.labels,
                steps=size.steps,
                seed=seed,
                batch_size=size.batch_size,
                lr=rates[name],
                loss=loss,
            )
            temperature = _best_temperature(class_scores(network, apart_inputs).double(), apart.labels)
            scores = class_scores(network, test_inputs).double()
            found.append(_Found(name, seed, scores, test.labels, temperature))
    return found, rates


def _values(found: Sequence[_Found], loss: str, what: Callable[[_Found], float]) -> list[float]:
    return [what(each) for each in found if each.loss == loss]


def _difference(found: Sequence[_Found], what: Callable[[_Found], float]) -> Interval:
    """Return by how much the SVM's value is above the softmax's, paired by seed."""
    return Interval.of_gains(_values(found, _SVM, what), _values(found, _SOFTMAX, what))


def _error(each: _Found) -> float:
    return each.calibrated().expected_error


def _tempered_error(each: _Found) -> float:
    return each.calibrated(tempered=True).expected_error


def _below(margin: float) -> Callable[[_Found], float]:
    return lambda each: float((each.margins < margin).double().mean())


def _reliability(found: Sequence[_Found], loss: str) -> Curve:
    """Return accuracy by confidence, of all seeds' answers together."""
    ours = [each for each in found if each.loss == loss]
    bins = _calibration(
        torch.cat([each.scores for each in ours]), torch.cat([each.labels for each in ours])
    ).bins
    return Curve(
        loss,
        tuple(
            (each.confidence, each.accuracy)
            for each in bins
            if each.confidence is not None and each.accuracy is not None
        ),
    )


def _outcome(found: Sequence[_Found], rates: Mapping[str, float]) -> Outcome:
    measures: tuple[Callable[[_Found], float], ...] = (
        lambda each: each.accuracy,
        lambda each: float(each.margins.median()),
        _below(1.0),
        _error,
        lambda each: each.temperature,
        _tempered_error,
    )
    rows = tuple(
        Row(loss, (rates[loss], *(Interval.of_mean(_values(found, loss, what)) for what in measures)))
        for loss in _LOSSES
    )
    accuracy = _difference(found, lambda each: each.accuracy)
    opposite = Interval(-accuracy.value, -accuracy.high, -accuracy.low)
    error, tempered = _difference(found, _error), _difference(found, _tempered_error)
    reason = (
        f"Trained with the SVM loss the network's test accuracy is {accuracy.in_points()} beside the softmax's. Read "
        f"through a softmax, its scores have an expected calibration error that is {error.in_points()} beside the "
        f"softmax's; with each network's scores divided by one number, chosen on held-out images, "
        f"{tempered.in_points()}."
    )
    return Outcome(
        columns=(
            "loss",
            "rate",
            "test accuracy",
            "median margin",
            "margins below 1",
            "calibration error",
            "temperature",
            "calibration error, tempered",
        ),
        rows=rows,
        verdict=verdict_of_all(
            [verdict_on(accuracy, -_ALIKE), verdict_on(opposite, -_ALIKE), verdict_on(error)]
        ),
        reason=reason,
        charts=(
            Chart(
                "margins of the test images",
                "score of the right class minus the best of the others",
                "images below",
                tuple(
                    Curve.of_means(
                        loss, {margin: _values(found, loss, _below(margin)) for margin in _MARGINS.tolist()}
                    )
                    for loss in _LOSSES
                ),
                percent=True,
            ),
            Chart(
                "how often an answer is right",
                "confidence",
                "accuracy",
                (
                    *(_reliability(found, loss) for loss in _LOSSES),
                    Curve("as said", ((0.0, 0.0), (1.0, 1.0))),
                ),
                percent=True,
            ),
        ),
        percent=("test accuracy", "margins below 1", "calibration error", "calibration error, tempered"),
        figures=(
            ("accuracy_difference", accuracy.value),
            ("calibration_error_difference", error.value),
            ("tempered_calibration_error_difference", tempered.value),
        ),
    )


def _test(effort: Effort) -> Outcome:
    return _outcome(*_train_all(effort, _FULL if effort.full else _QUICK))


EXPERIMENT = Experiment(
    name="losses",
    title="Softmax against SVM loss",
    claim="A network's class scores can be trained with a softmax or with an SVM loss, and become about equally "
    "accurate; but only the softmax makes scores that read as probabilities.",
    setup=f"A small VGG is trained {_QUICK.steps} (in full {_FULL.steps:,}) steps of {_QUICK.batch_size} (in full "
    f"{_FULL.batch_size}) of {_QUICK.images:,} (in full {_FULL.images:,}) images by Adam, the rate going to 0 along "
    "half a cosine, with softmax cross-entropy and with the multiclass hinge loss of margin 1, from the same first "
    "weights and in the same order. Rates: for each loss the best of "
    f"{', '.join(f'{rate:g}' for rate in _RATES)} on held-out training images, from a start of its own. Compared are "
    "test accuracy, margins (score of the right class minus the best of the others) and the expected calibration "
    "error of the scores' softmax in 15 bins; beside it the same with the scores divided by the one number that is "
    "best on images held out of all training. The claim holds if, paired by seed, the 95 % interval of the difference "
    f"in accuracy lies within {100 * _ALIKE:.0f} points of 0, and that of the SVM's calibration error minus the "
    "softmax's above 0.",
    test=_test,
)
