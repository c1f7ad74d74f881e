"""Context: scenes whose truth and distances are known, fields, the figures and the rule of the verdict."""

import numpy as np
import pytest
import torch

from convscope.data import load_dataset
from convscope.experiments import Interval, Verdict, num_params
from convscope.experiments.claims import context as claim

TINY = claim._Size(train=20, test=60, width=4, steps=3, batch_size=4, lr=1e-3)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(claim, "_QUICK", TINY)


@pytest.fixture(scope="module")
def scenes():
    return claim._scenes(load_dataset("fashion-mnist", "test"), 200, torch.Generator().manual_seed(0))


def test_it_runs_and_is_the_same_again(tiny):
    one, other = (claim.EXPERIMENT.run(seeds=[0, 1]).outcome for _ in range(2))
    assert one.to_dict() == other.to_dict()
    assert [row.name for row in one.rows] == list(claim._networks(0, 4))
    for row in one.rows:
        assert len(row.cells) == len(one.columns) - 1
    for first, second in zip(one.pictures, other.pictures, strict=True):
        assert first.planes.equal(second.planes)
        assert first.planes.isfinite().all()


def test_each_lane_has_a_garment_with_one_target_and_distances_to_its_marker(scenes):
    assert scenes.images.shape == (200, 1, 32, 96)
    for targets, distances in zip(scenes.targets, scenes.distances, strict=True):
        for rows in (slice(0, 16), slice(16, 32)):
            known = targets[rows] != -100
            assert 20 < int(known.sum()) <= 196
            assert len(targets[rows][known].unique()) == 1
            columns = torch.nonzero(known.any(0))[:, 0]
            assert int(columns.max() - columns.min()) < 14
            assert (distances[rows][~known] == 0).all()
            # One column further away is one pixel further away, to one side or to the other.
            far = distances[rows][known] - torch.nonzero(known)[:, 1]
            near = distances[rows][known] + torch.nonzero(known)[:, 1]
            assert len(far.unique()) == 1 or len(near.unique()) == 1
    counts = scenes.targets[scenes.targets >= 0].bincount()
    assert 0.4 < float(counts[0] / counts.sum()) < 0.6
    known = scenes.distances[scenes.targets >= 0]
    assert float(known.min()) >= 1
    assert 60 < float(known.max()) <= 60 + 28


def test_lanes_do_not_tell_of_each_other(scenes):
    lanes = [[int(part[part >= 0].max()) for part in targets.split(16)] for targets in scenes.targets]
    assert abs(np.corrcoef(np.array(lanes).T)[0, 1]) < 0.25


def test_columns_by_hand():
    assert claim._columns(0.0, 0.0, False) == (0, 14)
    assert claim._columns(0.999, 0.999, False) == (8, 82)
    assert claim._columns(0.5, 0.999, True) == (82, 38)
    marked = torch.tensor([False, True, True, False, False])
    assert claim._columns_to(marked).tolist() == [1, 0, 0, 1, 2]


def test_the_first_three_have_the_same_parameters_and_the_pyramid_hardly_less():
    for size in (claim._QUICK, claim._FULL):
        counts = [num_params(network) for network in claim._networks(0, size.width).values()]
        assert counts[0] == counts[1] == counts[2] >= counts[3] > 0.9 * counts[0]


def test_fields_are_what_a_score_depends_on():
    for name, network in claim._networks(1, 4).items():
        sight = claim._sight(network)
        assert sight.whole is (name == claim._PYRAMID)
        if sight.whole:
            continue
        assert sight.field == 7 + 8 * sum(claim._DILATIONS[name])
        for parameter in network.parameters():  # so that nothing cancels and no ReLU is off
            torch.nn.init.constant_(parameter, 0.01)
        image = torch.rand(1, 1, 32, 400, requires_grad=True)
        network(image)[0, 0, 16, 200].backward()
        columns = torch.nonzero(image.grad[0, 0].abs().sum(0))[:, 0]
        assert int(columns.max() - columns.min()) + 1 == sight.field
        # The score at 200 is also that of pixel 203, which sees farther to the left than any other to any side.
        assert int(columns.max()) - 200 < sight.reach == 203 - int(columns.min())


def test_named_by_hand():
    targets = torch.tensor([[[0, 1, -100, 1]]])
    scenes = claim._Scenes(torch.zeros(1, 1, 1, 4), targets, torch.tensor([[[3.0, 9.0, 0.0, 20.0]]]))
    scores = torch.tensor([[[[1.0, 0.0, 9.0, 5.0]], [[0.0, 2.0, 0.0, 1.0]]]])
    named = claim._named(scores, scenes)
    assert (named.distances.tolist(), named.right.tolist()) == ([3, 9, 20], [True, True, False])
    assert named.accuracy(0) == pytest.approx(2 / 3)
    assert named.accuracy(3) == 0.5
    assert named.accuracy(0, 9) == 1.0


def made_up(share):
    """Right at every near pixel, and at this share of the far ones."""
    distances = torch.cat([torch.arange(1, 61.0), torch.arange(1, 61.0).repeat(9)])
    right = torch.ones(600, dtype=torch.bool)
    far = torch.nonzero(distances > 22)[:, 0]
    right[far[round(share * len(far)) :]] = False
    return claim._Named(distances, right)


SIGHTS = {
    name: claim._Sight(10, 20, field, name == claim._PYRAMID)
    for name, field in zip((*claim._DILATIONS, claim._PYRAMID), (39, 71, 127, 71), strict=True)
}


@pytest.mark.parametrize(
    ("spread", "pyramid", "verdict"),
    [
        ((0.8, 0.82, 0.81), (0.9, 0.91, 0.92), Verdict.HOLDS),
        ((0.8, 0.82, 0.81), (0.2, 0.21, 0.22), Verdict.FAILS),
        ((0.3, 0.8, 0.6), (0.9, 0.91, 0.92), Verdict.UNDECIDED),
        ((0.3, 0.8, 0.6), (0.2, 0.21, 0.22), Verdict.FAILS),
        ((0.8,), (0.9,), Verdict.UNDECIDED),
    ],
)
def test_the_verdict_wants_both(spread, pyramid, verdict):
    shares = {
        claim._PLAIN: (0.5,) * len(spread),
        "up to 4": (0.7,) * len(spread),
        claim._SPREAD: spread,
        claim._PYRAMID: pyramid,
    }
    named = {name: [made_up(share) for share in each] for name, each in shares.items()}
    outcome = claim._outcome(named, SIGHTS)
    assert outcome.verdict is verdict
    assert dict(outcome.figures)["gain_dilated"] == pytest.approx(np.mean(spread) - 0.5, abs=2e-3)
    assert outcome.rows[0].cells[3] == Interval.of_mean([1.0] * len(spread))
    assert outcome.rows[3].cells[2] == "71, all"
    assert [[x for x, _ in curve.points] for curve in outcome.charts[1].curves] == [[39, 71, 127], [71]]
