"""ReLU against tanh and sigmoid: a fair start, the choice of rates, counting steps, and the verdict."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from convscope.experiments import Effort, Learning, Verdict, seeded
from convscope.experiments.claims import activations
from convscope.experiments.claims.activations import (
    _curve,
    _fastest,
    _Found,
    _network,
    _outcome,
    _Race,
    _Size,
    _steps,
)

TINY = _Size(widths=(2, 3), steps=25, batch_size=16, error=0.5)
NAMES = ("ReLU", "tanh", "sigmoid")


def test_all_start_from_the_same_weights():
    networks = [seeded(lambda name=name: _network(name, (4, 8), (1, 28, 28), 10), 3) for name in NAMES]
    for parameters in zip(*(network.parameters() for network in networks), strict=True):
        assert all(each.equal(parameters[0]) for each in parameters)
    kinds = [
        [type(each) for each in network if type(each) in (nn.ReLU, nn.Tanh, nn.Sigmoid)]
        for network in networks
    ]
    assert kinds == [[nn.ReLU] * 2, [nn.Tanh] * 2, [nn.Sigmoid] * 2]
    weight = networks[0][3].weight
    assert weight.abs().max().item() == pytest.approx(
        math.sqrt(6 / (9 * (4 + 8))), rel=0.05
    )  # Glorot's bound


def test_a_run_is_sgd_with_momentum_at_one_rate():
    race = _Race(Effort(seeds=(0,)), TINY)
    found = race.run("tanh", 0.05, seed=2)
    theirs = seeded(lambda: _network("tanh", TINY.widths, (1, 28, 28), 10), 2).train()
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9)
    order = torch.randperm(12_000, generator=torch.Generator().manual_seed(2))
    losses = []
    for step in range(len(found.learning.losses)):
        index = order[16 * step : 16 * step + 16]
        loss = nn.functional.cross_entropy(theirs(race.inputs[index]), race.labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(found.learning.losses, losses, rtol=1e-3)
    with torch.no_grad():
        right = theirs.eval()(race.test_inputs).argmax(1) == race.test_labels
    assert found.test == pytest.approx(right.double().mean().item(), abs=2 / 2000)


def learning(*accuracies):
    """A training with these accuracies, 20 steps each."""
    return Learning((), tuple(each for each in accuracies for _ in range(20)), 0.0)


def trained(rate, *learnings):
    return [_Found("tanh", rate, seed, each, 0.8) for seed, each in enumerate(learnings)]


def test_the_fastest_rate_wins_and_where_none_arrives_the_one_that_came_nearest():
    size = _Size((2, 3), 60, 16, 0.2)
    fast, slow, near, far = learning(0.9, 0.9), learning(0.1, 0.9), learning(0.1, 0.5), learning(0.1, 0.2)
    mixed = trained(0.1, fast, far)  # 20 and 60 steps
    assert _steps(mixed, size) == [20.0, 60.0]
    assert _steps(trained(0.01, slow, slow), size) == [38.0, 38.0]  # 18 steps of 0.9, 2 of 0.1
    for order in ((near, far), (far, near)):
        one, other = (trained(rate, each, each) for rate, each in enumerate(order))
        assert _fastest(one + other, size)[0].learning is near
    assert _fastest(trained(1, slow, far) + trained(2, fast, far) + trained(3, far, far), size)[0].rate == 2


def test_every_rate_is_tried_from_every_seed(monkeypatch):
    race = _Race(Effort(seeds=(4, 9)), TINY)
    monkeypatch.setattr(race, "run", lambda *asked: asked)
    rates = activations._RATES["sigmoid"]
    assert race.measure("sigmoid") == [("sigmoid", rate, seed) for rate in rates for seed in (4, 9)]


def found_of(steps):
    """Findings with these steps to an error of 0.5, by activation and seed, and slower ones at another rate."""
    return {
        name: [
            _Found(name, rate, seed, Learning((), (0.0,) * (count - 10) + (1.0,) * (210 - count), 0.0), 0.8)
            for rate, more in ((0.3, 40), (0.01, 0), (0.2, 60))
            for seed, count in enumerate(np.add(each, more).tolist())
        ]
        for name, each in zip(NAMES, steps, strict=True)
    }


SIZE = _Size((2, 3), 200, 16, 0.5)


@pytest.mark.parametrize(
    ("steps", "verdict"),
    [
        ([(30, 32, 31), (60, 66, 61), (120, 128, 130)], Verdict.HOLDS),
        ([(60, 66, 61), (30, 32, 31), (120, 128, 130)], Verdict.FAILS),
        ([(30, 60, 31), (60, 32, 61), (120, 128, 130)], Verdict.UNDECIDED),
    ],
)
def test_verdicts_on_made_up_numbers(steps, verdict):
    found = found_of(steps)
    assert _steps(found["tanh"], SIZE)[3:6] == list(steps[1])
    outcome = _outcome(found, SIZE)
    assert outcome.verdict is verdict
    ratio = np.exp(np.mean(np.log(np.divide(steps[1], steps[0]))))
    assert dict(outcome.figures)["tanh_steps_over_relu"] == pytest.approx(ratio)
    assert f"{ratio:.2f} times as many" in outcome.reason
    assert outcome.rows[1].cells[:2] == (0.01, "3 of 3")
    assert outcome.rows[1].cells[2].value == pytest.approx(np.mean(steps[1]))


def test_what_never_arrives_counts_as_the_whole_budget():
    found = trained(0.1, learning(0.9), Learning((), (0.1,) * 200, 0.0))
    assert _steps(found, SIZE) == [20, 200]


def test_a_curve_starts_at_the_first_whole_window():
    curve = _curve(found_of([(30, 40), (60, 66), (120, 128)])["ReLU"][2:4])
    assert curve.points[0] == (20.0, 1.0)
    assert curve.points[1] == (30.0, pytest.approx((0.5 + 1.0) / 2))
    assert curve.points[-1] == (200.0, 0.0)


def test_the_whole_on_a_tiny_scale(monkeypatch):
    monkeypatch.setattr(activations, "_QUICK", TINY)
    monkeypatch.setattr(activations, "_RATES", dict.fromkeys(NAMES, (0.1,)))
    one, other = (activations.EXPERIMENT.run(seeds=(0, 1)) for _ in range(2))
    assert one.to_dict()["table"] == other.to_dict()["table"]
    assert [row.name for row in one.outcome.rows] == list(NAMES)
    assert len(one.outcome.charts[0].curves) == 3
