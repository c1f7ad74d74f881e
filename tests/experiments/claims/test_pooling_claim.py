"""Max, average, stride: what is kept, what is found, and what the verdict is made of."""

import json

import pytest
import torch

from convscope.experiments import Effort, Interval, Verdict, get_experiment
from convscope.experiments.claims.pooling import (
    _WAYS,
    _found,
    _judge,
    _kept_of_patch,
    _kept_of_peaks,
    _network,
    _Sizes,
    _test,
)
from convscope.experiments.contest import Budget

TINY = _Sizes((2, 3), Budget(60, 30, 4, 20, (1e-3,)), noises=50)
EFFORT = Effort(seeds=(0, 1))


@pytest.fixture(scope="module")
def outcome():
    return _test(EFFORT, TINY)


def test_what_a_patch_keeps_by_hand():
    assert [_kept_of_patch("max", size) for size in (1, 2, 3)] == [1, 1, 1]
    assert _kept_of_patch("average", 1) == 0.25
    assert _kept_of_patch("average", 2) == (1 + 0.5 + 0.5 + 0.25) / 4
    assert _kept_of_patch("average", 3) == 1
    assert _kept_of_patch("stride", 1) == 0.25
    assert _kept_of_patch("stride", 2) == 1


def test_what_peaks_keep_against_torch():
    maps = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    averaged = torch.nn.functional.avg_pool2d(maps, 2).flatten(2).max(2).values
    assert _kept_of_peaks("max", maps) == 1
    assert _kept_of_peaks("average", maps) == pytest.approx(
        float(averaged.sum() / maps.flatten(2).max(2).values.sum())
    )


@pytest.mark.parametrize("way", list(_WAYS))
def test_found_patches_against_a_loop(way):
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(40, 1, 28, 28, generator=generator).numpy()
    corners = torch.randint(0, 27, (40, 2), generator=generator).tolist()
    found = 0
    for picture, (row, column) in zip(noise[:, 0], corners, strict=True):
        picture[row : row + 2, column : column + 2] += 4
        windows = picture.reshape(14, 2, 14, 2).swapaxes(1, 2).reshape(14, 14, 4)
        pooled = {"max": windows.max(2), "average": windows.mean(2), "stride": windows[:, :, 0]}[way]
        y, x = divmod(int(pooled.argmax()), 14)
        found += row - 1 <= 2 * y <= row + 1 and column - 1 <= 2 * x <= column + 1
    assert _found(way, 2, 40, 7) == pytest.approx(found / 40)


def test_networks_differ_in_what_halves_their_maps_alone():
    networks = {}
    for kind in ("max", "average", "stride", "strided layer"):
        torch.manual_seed(0)
        networks[kind] = _network(kind, 1, (2, 3))
        shapes = []
        maps = torch.zeros(1, 1, 28, 28)
        for layer in networks[kind]:
            maps = layer(maps)
            shapes.append(tuple(maps.shape[1:]))
        assert shapes[-3:] == [(2, 14, 14), (3, 14, 14), (10,)]
    assert shapes[0] == (2, 28, 28)
    states = [networks[kind].state_dict() for kind in ("max", "average", "stride")]
    assert all(states[0][name].equal(state[name]) for state in states[1:] for name in states[0])
    assert isinstance(networks["max"][1], torch.nn.MaxPool2d)
    assert isinstance(networks["average"][1], torch.nn.AvgPool2d)
    assert networks["stride"][0][3].stride == (2, 2)


def test_verdicts_from_made_up_differences():
    sure, none, against = Interval(0.1, 0.05, 0.15), Interval(0.0, -0.1, 0.1), Interval(-0.1, -0.2, -0.05)
    assert _judge(sure, sure) is Verdict.HOLDS
    assert _judge(sure, none) is Verdict.UNDECIDED
    assert _judge(sure, against) is Verdict.FAILS
    assert _judge(against, sure) is Verdict.FAILS


def test_the_outcome_is_whole_and_the_same_again(outcome):
    assert [row.name for row in outcome.rows] == ["max", "average", "stride", "strided layer"]
    assert all(len(row.cells) == len(outcome.columns) - 1 for row in outcome.rows)
    assert set(outcome.percent) <= set(outcome.columns)
    assert [row.planes.shape[1:] for row in outcome.pictures] == [(28, 28), (14, 14), (14, 14), (14, 14)]
    assert all(row.planes.isfinite().all() for row in outcome.pictures)
    macs = [row.cells[1] for row in outcome.rows]
    assert macs[2] < macs[0] == macs[1] < macs[3]
    again = _test(EFFORT, TINY)
    assert json.dumps(again.to_dict()) == json.dumps(outcome.to_dict())


def test_the_catalogue_knows_it():
    assert get_experiment("pooling").test is _test
