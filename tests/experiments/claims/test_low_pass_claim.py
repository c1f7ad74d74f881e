"""Pooling as a low-pass: filters, spectra, shifts, and what the verdict is made of."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from convscope.experiments import Effort, Interval, Verdict, get_experiment
from convscope.experiments.claims.low_pass import (
    _FILTERS,
    _TRAINED,
    _consistency,
    _Halving,
    _judge,
    _left_of_grating,
    _network,
    _share_above,
    _Sizes,
    _test,
    _zone_plate,
)
from convscope.experiments.contest import Budget

TINY = _Sizes((2, 3, 4), Budget(60, 30, 4, 20, (1e-3,)), 10, (1, 2))
EFFORT = Effort(seeds=(0, 1))


@pytest.fixture(scope="module")
def outcome():
    return _test(EFFORT, TINY)


@pytest.mark.parametrize("name", _TRAINED)
def test_a_network_halves_by_the_filter_that_is_measured(name):
    maps = torch.randn(2, 3, 12, 10)
    torch.testing.assert_close(_Halving(name)(maps), _FILTERS[name](maps)[..., ::2, ::2])


def test_what_is_left_of_stripes_by_the_transfer_functions():
    for frequency in (0.1, 0.25, 0.4):
        assert _left_of_grating("stride", frequency) == pytest.approx(1)
        average = math.cos(math.pi * frequency) ** 2
        assert _left_of_grating("average", frequency) == pytest.approx(average, rel=1e-6)
        assert _left_of_grating("blur", frequency) == pytest.approx(average**2, rel=1e-6)
    assert _left_of_grating("average", 0.5) == pytest.approx(0, abs=1e-12)
    assert _left_of_grating("max", 0.1) > _left_of_grating("average", 0.1)


def test_energy_above_the_limit_of_stripes():
    places = torch.arange(32)
    for frequency, above in ((0.125, 0), (0.375, 1)):
        stripes = torch.cos(2 * math.pi * frequency * places).expand(2, 3, 32, 32)
        assert _share_above(stripes) == pytest.approx(above, abs=0.01)
        assert _share_above(stripes.mT) == pytest.approx(above, abs=0.01)


def test_rings_reach_the_limit_at_the_edge():
    row = _zone_plate(64)[0, 0, 32]
    assert row[32:40].tolist() == pytest.approx([math.cos(math.pi * n * n / 64) for n in range(8)], abs=1e-5)
    fastest = np.gradient([math.pi * n * n / 64 for n in range(33)])[-1] / (2 * math.pi)
    assert fastest == pytest.approx(0.5, abs=0.01)


class Corner(nn.Module):
    """Class 1 if the left upper pixel is white."""

    def forward(self, input):
        return torch.stack([0.5 - input[:, 0, 0, 0], input[:, 0, 0, 0] - 0.5], dim=1)


def test_consistency_by_hand():
    images = torch.zeros(2, 1, 4, 4)
    images[0, 0, 1, 1] = 1
    images[1, 0, 0, 0] = 1
    # The edge repeats, so a corner that is white stays so; the other image's white pixel moves away from the corner.
    assert _consistency(Corner(), images, 1) == 1
    images[1, 0, 0, 0] = 0
    assert _consistency(Corner(), images.flip(2, 3), 1) == 1

    class Middle(Corner):
        def forward(self, input):
            return super().forward(input[:, :, 2:, 1:])

    # At (1, 1): moved down it lies where the class is made, right and both it does not.
    assert _consistency(Middle(), images[:1], 1) == pytest.approx(2 / 3)


def test_networks_differ_in_their_filter_alone():
    made = {}
    for name in _TRAINED:
        torch.manual_seed(0)
        made[name] = _network(name, 1, (2, 3, 4)).eval()
    states = [network.state_dict() for network in made.values()]
    assert all(states[0][key].equal(state[key]) for state in states for key in states[0])
    outputs = [
        network(torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0)))
        for network in made.values()
    ]
    assert all(not one.equal(other) for one, other in itertools.pairwise(outputs))


def test_verdicts_from_made_up_differences():
    sure, none, against = Interval(0.1, 0.05, 0.15), Interval(0.0, -0.1, 0.1), Interval(-0.1, -0.2, -0.05)
    assert _judge(sure, sure, sure) is Verdict.HOLDS
    assert _judge(sure, sure, none) is Verdict.UNDECIDED
    assert _judge(against, sure, sure) is Verdict.FAILS
    assert _judge(sure, sure, against) is Verdict.FAILS


def test_the_outcome_is_whole_and_the_same_again(outcome):
    assert [row.name for row in outcome.rows] == list(_TRAINED)
    assert all(len(row.cells) == len(outcome.columns) - 1 for row in outcome.rows)
    assert set(outcome.percent) <= set(outcome.columns)
    before, after = outcome.rows[0].cells[2:4]
    assert before == after
    assert outcome.pictures[1].planes.shape == (5, 64, 64)
    assert json.dumps(_test(EFFORT, TINY).to_dict()) == json.dumps(outcome.to_dict())


def test_the_catalogue_knows_it():
    assert get_experiment("low-pass").test is _test
