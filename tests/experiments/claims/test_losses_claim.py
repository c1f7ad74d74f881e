"""Softmax against SVM loss: the same trainings, margins, temperatures, calibration, and the verdict."""

import numpy as np
import pytest
import torch
from scipy import optimize, special

from convscope.experiments import Effort, Interval, Verdict
from convscope.experiments.claims import losses
from convscope.experiments.claims.losses import (
    _best_temperature,
    _Found,
    _margins,
    _outcome,
    _Size,
    _train_all,
)

TINY = _Size(images=200, held_out=60, widths=(2, 3), batch_size=16, steps=3, pilot_steps=2)
NAMES = ("softmax", "SVM")


def drawn(count=500, seed=0, sharpness=1.0):
    """Scores, and labels that their softmax draws."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(count, 4)) * 2
    labels = [rng.choice(4, p=each) for each in special.softmax(scores, axis=1)]
    return torch.from_numpy(scores * sharpness), torch.tensor(labels)


def test_margins_by_hand():
    scores = torch.tensor([[3.0, 1.0, 2.5], [0.0, -1.0, 4.0], [1.0, 1.0, 0.0]])
    assert _margins(scores, torch.tensor([0, 0, 1])).tolist() == [0.5, -4.0, 0.0]
    np.testing.assert_allclose(
        _margins(*drawn()).numpy(),
        [
            each[label] - np.delete(each, label).max()
            for each, label in zip(drawn()[0].numpy(), drawn()[1].numpy(), strict=True)
        ],
    )


@pytest.mark.parametrize("sharpness", [0.2, 1.0, 5.0])
def test_the_temperature_is_the_best_one(sharpness):
    scores, labels = drawn(2000, sharpness=sharpness)

    def entropy(logarithm):
        tempered = special.log_softmax(scores.numpy() / np.exp(logarithm), axis=1)
        return -tempered[np.arange(2000), labels.numpy()].mean()

    best = np.exp(optimize.minimize_scalar(entropy, bounds=(-4, 4), method="bounded").x)
    assert _best_temperature(scores, labels) == pytest.approx(best, rel=0.03)  # the grid's step is 6 %
    assert best == pytest.approx(sharpness, rel=0.1)


def test_a_finding_measures_its_scores():
    scores, labels = drawn(3000, sharpness=0.2)
    found = _Found("SVM", 0, scores, labels, temperature=0.2)
    confidence = special.softmax(scores.numpy(), axis=1).max(1)
    right = scores.argmax(1).numpy() == labels.numpy()
    assert found.accuracy == right.mean()
    bins = np.ceil(confidence * 15).astype(int)
    expected = (
        sum(abs(right[bins == each].sum() - confidence[bins == each].sum()) for each in set(bins)) / 3000
    )
    assert found.calibrated().expected_error == pytest.approx(expected)
    assert found.calibrated(tempered=True).expected_error < 0.04 < found.calibrated().expected_error


def test_both_losses_get_the_same_start_order_and_images(monkeypatch):
    asked = []

    def watched(network, images, labels, **options):
        asked.append((next(network.parameters()).detach().clone(), images, options))

    monkeypatch.setattr(losses, "fit", watched)
    monkeypatch.setattr(losses, "choose_rate", lambda *given, loss, **options: 0.1)
    found, rates = _train_all(Effort(seeds=(2, 6)), TINY)
    assert [(each.seed, each.loss) for each in found] == [(seed, loss) for seed in (2, 6) for loss in NAMES]
    assert rates == dict.fromkeys(NAMES, 0.1)
    for one, other in ((asked[0], asked[1]), (asked[2], asked[3])):
        assert one[0].equal(other[0])
        assert one[1].equal(other[1])
        assert one[2]["seed"] == other[2]["seed"]
        assert one[2]["loss"] is not other[2]["loss"]
    assert not asked[0][0].equal(asked[2][0])
    assert len(asked[0][1]) == 200


def finding(loss, seed, accuracy, confidence, count=1000):
    """Scores of two classes with this accuracy, each answer given with this confidence."""
    labels = torch.zeros(count, dtype=torch.long)
    scores = torch.zeros(count, 2, dtype=torch.float64)
    scores[:, 0] = special.logit(confidence)
    scores[round(accuracy * count) :, 0] *= -1
    return _Found(loss, seed, scores, labels, 1.0)


@pytest.mark.parametrize(
    ("svm", "confidence", "verdict"),
    [
        ((0.900, 0.902, 0.901), (0.6, 0.6, 0.61), Verdict.HOLDS),
        ((0.940, 0.942, 0.941), (0.6, 0.6, 0.61), Verdict.FAILS),  # 4 points better: not alike
        ((0.860, 0.862, 0.861), (0.6, 0.6, 0.61), Verdict.FAILS),
        ((0.900, 0.902, 0.901), (0.9, 0.9, 0.9), Verdict.FAILS),  # calibrated as well
        ((0.900, 0.940, 0.901), (0.6, 0.6, 0.61), Verdict.UNDECIDED),
    ],
)
def test_verdicts_on_made_up_numbers(svm, confidence, verdict):
    softmax = (0.901, 0.900, 0.902)
    found = [finding("softmax", seed, each, 0.85) for seed, each in enumerate(softmax)]
    found += [finding("SVM", seed, *each) for seed, each in enumerate(zip(svm, confidence, strict=True))]
    outcome = _outcome(found, dict.fromkeys(NAMES, 1e-3))
    assert outcome.verdict is verdict
    figures = dict(outcome.figures)
    assert figures["accuracy_difference"] == pytest.approx(np.mean(np.subtract(svm, softmax)))
    errors = np.abs(np.subtract(svm, confidence)), np.abs(np.subtract(softmax, 0.85))
    assert figures["calibration_error_difference"] == pytest.approx(np.mean(errors[0] - errors[1]))
    cells = dict(zip(outcome.columns[1:], outcome.rows[0].cells, strict=True))
    assert cells["median margin"].value == pytest.approx(special.logit(0.85))
    below = outcome.charts[0].curves[0].points
    assert below[0] == (-5.0, 0.0)
    assert below[-1] == (15.0, 1.0)
    assert outcome.charts[1].curves[0].points == ((pytest.approx(0.85), pytest.approx(np.mean(softmax))),)


def test_the_whole_on_a_tiny_scale(monkeypatch):
    monkeypatch.setattr(losses, "_QUICK", TINY)
    one, other = (losses.EXPERIMENT.run(seeds=(0, 1)) for _ in range(2))
    assert one.to_dict()["table"] == other.to_dict()["table"]
    assert [row.name for row in one.outcome.rows] == list(NAMES)
    assert isinstance(one.outcome.rows[0].cells[1], Interval)
