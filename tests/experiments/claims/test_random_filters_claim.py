"""Random and trained filters: features, outlines against scipy, pictures, and what the verdict rests on."""

import numpy as np
import pytest
import torch

from convscope.experiments import Effort, Verdict, seeded
from convscope.experiments.claims import random_filters
from convscope.experiments.claims.random_filters import _Found, _measure, _network, _outcome, _Size

TINY = _Size(width=4, images=200, steps=3, pilot_steps=2, outlined=20)
SOURCES = ("pixels", "random filters", "trained filters")


@pytest.fixture
def data():
    effort = Effort(seeds=(0,))
    return effort, effort.images("train").take(200), effort.images("test").take(100)


def test_there_are_as_many_features_as_pixels(data):
    _, train, _ = data
    network = _network(train, random_filters._QUICK.width)
    assert network[:-1](torch.zeros(1, 1, 28, 28)).numel() == 28 * 28
    assert random_filters._FULL.width * 8 * 8 == 3 * 32 * 32


def test_filters_are_normal_and_of_the_seed(data):
    _, train, _ = data
    one, two, other = (seeded(lambda: _network(train, 64), seed) for seed in (1, 1, 2))
    assert one.conv2.weight.equal(two.conv2.weight)
    assert not one.conv2.weight.equal(other.conv2.weight)
    values = one.conv2.weight.detach().flatten()
    assert values.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert (values.abs() < values.std()).float().mean().item() == pytest.approx(0.683, abs=0.01)
    assert not one.conv1.bias.any()


def test_a_seed_trains_the_filters_that_it_drew_and_probes_both(data):
    effort, train, test = data
    found, random, trained = _measure(effort, TINY, train, test, 1e-2, seed=5)
    assert random.conv1.weight.equal(seeded(lambda: _network(train, 4), 5).conv1.weight)
    assert not trained.conv1.weight.equal(random.conv1.weight)
    assert set(found.probes) == set(SOURCES)
    assert set(found.outlines) == {(source, layer) for source in SOURCES for layer in ("conv1", "conv2")}
    assert all(0 <= each <= 1 for each in found.probes.values())
    again, _, _ = _measure(effort, TINY, train, test, 1e-2, seed=5)
    assert (again.probes, again.outlines, again.network) == (found.probes, found.outlines, found.network)


def found_of(probes, outlines):
    """One seed's findings: probes and first-layer outlines by source."""
    return _Found(
        dict(zip(SOURCES, probes, strict=True)),
        {
            (source, layer): value * sign  # the second layer, which the verdict leaves out, says the opposite
            for source, value in zip(SOURCES, outlines, strict=True)
            for layer, sign in (("conv1", 1), ("conv2", -1))
        },
        0.9,
    )


@pytest.mark.parametrize(
    ("probes", "outlines", "verdict"),
    [
        ([(0.7, 0.8, 0.9), (0.71, 0.8, 0.89)], [(0.1, 0.2, 0.3), (0.1, 0.21, 0.32)], Verdict.HOLDS),
        ([(0.7, 0.6, 0.9), (0.71, 0.6, 0.89)], [(0.1, 0.2, 0.3), (0.1, 0.21, 0.32)], Verdict.FAILS),
        ([(0.7, 0.8, 0.9), (0.71, 0.8, 0.89)], [(0.1, 0.2, 0.1), (0.1, 0.21, 0.12)], Verdict.FAILS),
        ([(0.7, 0.8, 0.9), (0.71, 0.8, 0.89)], [(0.1, 0.2, 0.1), (0.1, 0.21, 0.32)], Verdict.UNDECIDED),
    ],
)
def test_verdicts_on_made_up_numbers(probes, outlines, verdict):
    outcome = _outcome([found_of(*each) for each in zip(probes, outlines, strict=True)], 1e-3)
    assert outcome.verdict is verdict
    figures = dict(outcome.figures)
    means = np.mean(probes, axis=0), np.mean(outlines, axis=0)
    for name, mean in zip(("probe", "outlines"), means, strict=True):
        assert figures[f"{name}_random_over_pixels"] == pytest.approx(mean[1] - mean[0])
        assert figures[f"{name}_trained_over_random"] == pytest.approx(mean[2] - mean[1])
    assert [row.cells[0].value for row in outcome.rows] == pytest.approx(list(means[0]))


def test_the_whole_on_a_tiny_scale(monkeypatch):
    monkeypatch.setattr(random_filters, "_QUICK", TINY)
    result = random_filters.EXPERIMENT.run(seeds=(0,))
    assert result.outcome.verdict is Verdict.UNDECIDED  # of one seed nothing is known
    assert "one seed" in result.outcome.reason
    pictures = result.outcome.pictures
    assert [tuple(row.planes.shape) for row in pictures] == [
        (1, 300, 451, 3),
        (8, 300, 451),
        (1, 28, 28, 3),
        (8, 28, 28),
        (8, 14, 14),
    ]
    assert all(len(row.names) in (0, len(row.planes)) for row in pictures)
    assert pictures[1].planes[:4].ne(pictures[1].planes[4:]).any()
