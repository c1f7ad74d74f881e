"""Overfitting: who gets which images, what is measured, and what the verdict rests on."""

import numpy as np
import pytest
import torch

from convscope.data import load_dataset, normalise
from convscope.experiments import Effort, Verdict, num_params
from convscope.experiments.claims import overfitting
from convscope.experiments.claims.overfitting import (
    _builders,
    _drawn,
    _outcome,
    _rates,
    _Size,
    _train_all,
    _Trained,
)

TINY = _Size(counts=(40, 80), steps=(3, 4), batch_size=16, widths=(2, 3), pilot_images=50, pilot_steps=2)
NAMES = ("MLP", "MLP of the CNN's size", "CNN")


def test_the_narrow_mlp_has_the_cnns_parameters():
    for widths in ((8, 16, 32), (16, 32, 64), (2, 3)):
        counts = {
            name: num_params(build(0))
            for name, build in _builders(load_dataset("fashion-mnist"), widths).items()
        }
        assert abs(counts[NAMES[1]] - counts["CNN"]) <= 795 / 2 or counts[NAMES[1]] == 795 + 10
        assert counts["MLP"] == 785 * 512 + 513 * 512 + 513 * 10


def test_larger_sets_hold_the_smaller_ones_and_seeds_differ():
    images = load_dataset("fashion-mnist").take(100)
    small, large = _drawn(images, 10, 4), _drawn(images, 60, 4)
    assert large.images[:10].equal(small.images)
    assert not _drawn(images, 10, 5).images.equal(small.images)
    assert len({bytes(each.numpy()) for each in _drawn(images, 100, 4).images}) == len(
        {bytes(each.numpy()) for each in images.images}
    )


def test_accuracies_are_of_the_right_images(monkeypatch):
    effort = Effort(seeds=(3, 8))
    fitted = []

    def unfitted(network, images, labels, **options):
        fitted.append((images, labels, options))

    monkeypatch.setattr(overfitting, "fit", unfitted)
    train, test = effort.images("train"), effort.images("test")
    builders = _builders(train, TINY.widths)
    rates = dict(zip(NAMES, (0.1, 0.2, 0.3), strict=True))
    found = list(_train_all(builders, rates, effort, TINY))
    assert [(each.seed, each.count, each.network) for each in found] == [
        (seed, count, name) for seed in (3, 8) for count in (40, 80) for name in NAMES
    ]
    for each, (inputs, labels, options) in zip(found, fitted, strict=True):
        part = train.subset(
            torch.randperm(12_000, generator=torch.Generator().manual_seed(each.seed))[: each.count]
        )
        mean, std = (part.images / 255).mean().item(), (part.images / 255).std(correction=0).item()
        torch.testing.assert_close(inputs, normalise(part.images, (mean,), (std,)), rtol=1e-4, atol=1e-4)
        assert labels.equal(part.labels)
        assert options == {
            "steps": {40: 3, 80: 4}[each.count],
            "seed": each.seed,
            "batch_size": 16,
            "lr": rates[each.network],
        }
        network = builders[each.network](each.seed).eval()
        with torch.no_grad():
            for wanted, images in ((each.train, part), (each.test, test)):
                scores = network(normalise(images.images, (mean,), (std,)))
                share = (scores.argmax(1) == images.labels).float().mean().item()
                assert wanted == pytest.approx(share, abs=2 / len(images))
        assert each.gap == each.train - each.test


def made_up(gaps, tests, count=100):
    """A size for which the gaps and test accuracies are these, by network and seed."""
    return [
        _Trained(name, count, seed, test + gap, test)
        for name in NAMES
        for seed, (gap, test) in enumerate(zip(gaps[name], tests[name], strict=True))
    ]


@pytest.mark.parametrize(
    ("gap", "test", "verdict"),
    [
        ((0.2, 0.21, 0.22), (0.60, 0.61, 0.62), Verdict.HOLDS),
        ((0.2, 0.21, 0.22), (0.90, 0.91, 0.92), Verdict.FAILS),  # the MLP is better on new images
        ((0.05, 0.06, 0.07), (0.60, 0.61, 0.62), Verdict.FAILS),  # its gap is smaller
        ((0.05, 0.30, 0.07), (0.60, 0.61, 0.62), Verdict.UNDECIDED),
    ],
)
def test_verdicts_on_made_up_numbers(gap, test, verdict):
    other = {"gap": (0.10, 0.11, 0.105), "test": (0.8, 0.8, 0.79)}
    gaps, tests = (
        {NAMES[0]: ours, NAMES[1]: other[what], NAMES[2]: other[what]}
        for what, ours in (("gap", gap), ("test", test))
    )
    found = made_up(gaps, tests) + made_up(gaps, tests, 200)
    outcome = _outcome(found, dict(zip(NAMES, (30, 20, 21), strict=True)), dict.fromkeys(NAMES, 1e-3))
    assert outcome.verdict is verdict
    figures = dict(outcome.figures)
    assert figures["gap_difference"] == pytest.approx(np.mean(np.subtract(gap, other["gap"])))
    assert figures["test_difference"] == pytest.approx(np.mean(np.subtract(other["test"], test)))
    assert figures["gap_difference_at_equal_parameters"] == pytest.approx(0)
    row = dict(zip(outcome.columns[1:], outcome.rows[0].cells, strict=True))
    assert outcome.rows[0].name == "MLP, 100 images"
    assert row["parameters"] == 30
    assert row["gap"].value == pytest.approx(np.mean(gap))
    assert outcome.charts[0].curves[0].points[1] == (200, pytest.approx(np.mean(gap)))


def test_the_same_seeds_give_the_same():
    effort = Effort(seeds=(1,))
    builders = _builders(effort.images("train"), TINY.widths)
    rates = _rates(builders, effort.images("train"), TINY)
    assert set(rates.values()) <= set(overfitting._RATES)
    assert rates == _rates(builders, effort.images("train"), TINY)
    one, other = (list(_train_all(builders, rates, effort, TINY)) for _ in range(2))
    assert one == other


def test_the_whole_on_a_tiny_scale(monkeypatch):
    monkeypatch.setattr(overfitting, "_QUICK", TINY)
    result = overfitting.EXPERIMENT.run(seeds=(0, 1))
    assert len(result.outcome.rows) == 6
    assert [len(chart.curves) for chart in result.outcome.charts] == [3, 3]
    assert overfitting.EXPERIMENT.run(seeds=(0, 1)).to_dict()["table"] == result.to_dict()["table"]
