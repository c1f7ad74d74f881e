"""Convolution against cross-correlation: both convolutions against scipy, gaps by hand, the verdict's rule."""

import json

import numpy as np
import pytest
import scipy.signal
import torch

from convscope.experiments import Effort, Learning, Verdict, get_experiment
from convscope.experiments.claims.flipped_kernel import (
    _CORRELATION,
    _FLIPPED,
    _UNTURNED,
    _WRITTEN,
    _judge,
    _kernel_gap,
    _kernels,
    _loss_gap,
    _network,
    _Sizes,
    _started,
    _test,
)

TINY = _Sizes((2, 3), train=60, test=30, steps=5, batch_size=20)
EFFORT = Effort(seeds=(0, 1))


@pytest.fixture(scope="module")
def outcome():
    return _test(EFFORT, TINY)


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        (_CORRELATION, scipy.signal.correlate2d),
        (_FLIPPED, scipy.signal.convolve2d),
        (_WRITTEN, scipy.signal.convolve2d),
        (_UNTURNED, scipy.signal.convolve2d),
    ],
)
def test_the_first_layer_against_scipy(kind, function):
    torch.manual_seed(0)
    layer = _network(kind, (2, 12, 8), (3, 4))[0]
    image = torch.randn(1, 2, 9, 8, dtype=torch.float64)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    expected = [
        sum(function(image[0, c].numpy(), weight[k, c], mode="same") for c in range(2)) + bias[k]
        for k in range(3)
    ]
    np.testing.assert_allclose(layer(image)[0].detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_where_they_start():
    drawn = _started(_CORRELATION, (1, 12, 12), TINY, 5)
    for kind in (_FLIPPED, _WRITTEN):
        pairs = list(zip(_kernels(drawn), _kernels(_started(kind, (1, 12, 12), TINY, 5)), strict=True))
        assert len(pairs) == 2
        assert all(one.equal(other.flip(2, 3)) and not one.equal(other) for one, other in pairs)
    assert all(
        one.equal(other)
        for one, other in zip(
            _kernels(drawn), _kernels(_started(_UNTURNED, (1, 12, 12), TINY, 5)), strict=True
        )
    )
    image = torch.randn(2, 1, 12, 12, dtype=torch.float64)
    torch.testing.assert_close(drawn(image), _started(_WRITTEN, (1, 12, 12), TINY, 5)(image))


def test_gaps_by_hand():
    one, other = Learning((2.0, 4.0), (), 0.0), Learning((2.5, 3.0), (), 0.0)
    assert _loss_gap(one, other) == [0.25, 0.25]
    drawn, turned = _started(_CORRELATION, (1, 12, 12), TINY, 5), _started(_FLIPPED, (1, 12, 12), TINY, 5)
    assert _kernel_gap(drawn, turned) == 0
    _kernels(turned)[1][0, 0, 0, 0] += 2 * _kernels(drawn)[1].abs().max()
    assert _kernel_gap(drawn, turned) == pytest.approx(2)


def test_verdicts_from_made_up_gaps():
    assert _judge([1e-12], [1e-11], [0.3]) is Verdict.HOLDS
    assert _judge([1e-12, 1e-3], [1e-11], [0.3]) is Verdict.FAILS
    assert _judge([1e-12], [1e-3], [0.3]) is Verdict.FAILS
    assert _judge([1e-12], [1e-11], [0.3, 0.0]) is Verdict.UNDECIDED


def test_the_outcome_is_whole_and_the_same_again(outcome):
    assert outcome.verdict is Verdict.HOLDS
    assert [row.name for row in outcome.rows] == [_CORRELATION, _FLIPPED, _WRITTEN, _UNTURNED]
    assert all(len(row.cells) == len(outcome.columns) - 1 for row in outcome.rows)
    assert outcome.pictures[0].planes.shape == (2, 5, 5)
    torch.testing.assert_close(outcome.pictures[0].planes, outcome.pictures[2].planes)
    assert all(y > 0 for curve in outcome.charts[1].curves for _, y in curve.points)
    assert json.dumps(_test(EFFORT, TINY).to_dict()) == json.dumps(outcome.to_dict())


def test_the_catalogue_knows_it():
    assert get_experiment("flipped-kernel").test is _test
