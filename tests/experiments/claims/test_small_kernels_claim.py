"""Two 3x3 against one 5x5: fields, weights, and what the verdict is made of."""

import json

import pytest
import torch
from torch import nn

from convscope.experiments import Effort, Interval, Verdict, get_experiment
from convscope.experiments.claims.small_kernels import (
    _BLOCKS,
    _block,
    _fields,
    _judge,
    _network,
    _sensitivity,
    _Sizes,
    _test,
    _weights,
)
from convscope.experiments.contest import Budget

TINY = _Sizes(3, Budget(60, 30, 4, 20, (1e-3,)))
EFFORT = Effort(seeds=(0, 1))


@pytest.fixture(scope="module")
def outcome():
    return _test(EFFORT, TINY)


def test_weights_by_the_formula():
    assert _weights("one 5x5", 7) == 25 * 7 * 7
    assert _weights("two 3x3", 7) == _weights("two 3x3, no ReLU between", 7) == 18 * 7 * 7


@pytest.mark.parametrize("name", list(_BLOCKS))
def test_fields_are_what_gradients_reach(name):
    # Stem 3; block +4; pool +1; block +8; pool +2; block +16.
    assert _fields(name, (1, 28, 28), 2) == ((5, 5), (7, 7), (16, 16), (34, 34))
    torch.manual_seed(0)
    network = _network(name, 1, 4).eval()
    seen = _sensitivity(network, torch.randn(20, 1, 28, 28))
    assert seen.shape == (9, 9)
    assert (seen[2:7, 2:7] > 0).all()
    seen[2:7, 2:7] = 0
    assert (seen == 0).all()


def test_only_one_of_the_pairs_has_an_activation_between():
    kinds = {name: [type(layer) for layer in _block(name, 2)] for name in _BLOCKS}
    relus = {name: sum(issubclass(kind, nn.ReLU) for kind in each) for name, each in kinds.items()}
    assert relus == {"one 5x5": 1, "two 3x3": 2, "two 3x3, no ReLU between": 1}
    block = _block("two 3x3, no ReLU between", 2)[:-1].eval()
    one, two = torch.randn(2, 1, 2, 9, 9)
    torch.testing.assert_close(block(one + two), block(one) + block(two), rtol=1e-4, atol=1e-4)


def test_verdicts_from_made_up_differences():
    near, lost, unsure = (
        Interval(0.0, -0.005, 0.005),
        Interval(-0.03, -0.04, -0.02),
        Interval(0.0, -0.03, 0.03),
    )
    assert _judge(True, 0.72, near) is Verdict.HOLDS
    assert _judge(True, 0.72, lost) is Verdict.FAILS
    assert _judge(True, 0.72, unsure) is Verdict.UNDECIDED
    assert _judge(False, 0.72, near) is Verdict.FAILS
    assert _judge(True, 1.0, near) is Verdict.FAILS


def test_the_outcome_is_whole_and_the_same_again(outcome):
    assert [row.name for row in outcome.rows] == list(_BLOCKS)
    assert all(len(row.cells) == len(outcome.columns) - 1 for row in outcome.rows)
    assert dict(outcome.figures)["weight_share"] == pytest.approx(0.72)
    assert outcome.pictures[0].planes.shape == (3, 9, 9)
    assert outcome.pictures[0].planes.isfinite().all()
    assert json.dumps(_test(EFFORT, TINY).to_dict()) == json.dumps(outcome.to_dict())


def test_the_catalogue_knows_it():
    assert get_experiment("small-kernels").test is _test
