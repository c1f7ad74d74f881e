"""Plain against residual depth: the networks, and what the verdict is made of."""

import json

import pytest
import torch

from convscope.experiments import Effort, Interval, Verdict, get_experiment
from convscope.experiments.claims.residual import _judge, _network, _Sizes, _test
from convscope.experiments.contest import Budget
from convscope.models import CifarResNet
from convscope.trace import trace

TINY = _Sizes((8, 14), 2, Budget(60, 30, 10, 20, (0.1,)))
EFFORT = Effort(seeds=(0, 1))


@pytest.fixture(scope="module")
def outcome():
    return _test(EFFORT, TINY)


def made(kind, depth, width=4):
    torch.manual_seed(0)
    return _network(kind, depth, 1, width).eval()


@pytest.mark.parametrize("depth", [8, 14, 20])
def test_layers_with_weights_and_what_both_kinds_share(depth):
    plain, residual = made("plain", depth), made("residual", depth)
    layers = [each for each in plain.modules() if isinstance(each, (torch.nn.Conv2d, torch.nn.Linear))]
    assert len(layers) == depth
    one, other = plain.state_dict(), residual.state_dict()
    assert list(one) == list(other)
    assert all(one[name].equal(other[name]) for name in one)
    assert not plain(torch.ones(1, 1, 28, 28)).equal(residual(torch.ones(1, 1, 28, 28)))


def test_residual_is_the_papers_network_on_halved_images():
    ours, papers = made("residual", 14, width=16), CifarResNet(14, in_channels=1).eval()
    papers.load_state_dict(dict(zip(papers.state_dict(), ours.state_dict().values(), strict=True)))
    images = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(ours(images), papers(torch.nn.functional.avg_pool2d(images, 2)))


def test_no_shortcut_in_the_plain_one():
    additions = {
        kind: sum(record.operator == "aten.add" for record in trace(made(kind, 8), (1, 1, 28, 28)).records)
        for kind in ("plain", "residual")
    }
    assert additions == {"plain": 0, "residual": 3}


def test_verdicts_from_made_up_differences():
    worse, same, better = Interval(0.3, 0.2, 0.4), Interval(0.0, -0.01, 0.01), Interval(-0.3, -0.4, -0.2)
    unsure = Interval(0.1, -0.5, 0.7)
    assert _judge(worse, same) is Verdict.HOLDS
    assert _judge(worse, better) is Verdict.HOLDS
    assert _judge(worse, worse) is Verdict.FAILS
    assert _judge(better, better) is Verdict.FAILS
    assert _judge(unsure, better) is Verdict.UNDECIDED
    assert _judge(worse, unsure) is Verdict.UNDECIDED


def test_the_outcome_is_whole_and_the_same_again(outcome):
    assert [row.name for row in outcome.rows] == [
        "plain, 8 layers",
        "residual, 8 layers",
        "plain, 14 layers",
        "residual, 14 layers",
    ]
    assert all(len(row.cells) == len(outcome.columns) - 1 for row in outcome.rows)
    for plain, residual in zip(outcome.rows[::2], outcome.rows[1::2], strict=True):
        assert plain.cells[:2] == residual.cells[:2]
    figures = dict(outcome.figures)
    loss = {row.name: row.cells[3].value for row in outcome.rows}
    drawn = {curve.name: dict(curve.points) for curve in outcome.charts[0].curves}
    assert all(loss[f"{kind}, {depth} layers"] == drawn[kind][depth] for kind in drawn for depth in (8, 14))
    assert figures["plain_growth"] == pytest.approx(loss["plain, 14 layers"] - loss["plain, 8 layers"])
    assert figures["gap_at_deepest"] == pytest.approx(loss["plain, 14 layers"] - loss["residual, 14 layers"])
    assert json.dumps(_test(EFFORT, TINY).to_dict()) == json.dumps(outcome.to_dict())


def test_the_catalogue_knows_it():
    assert get_experiment("residual").test is _test
