"""Skip connections: scenes whose halves come from the two splits, figures by hand, the rule of the verdict."""

import dataclasses

import numpy as np
import pytest
import torch

from convscope.data import load_dataset
from convscope.experiments import SkipConnections, SkipRun, Verdict, num_params
from convscope.experiments.claims import skip_connections as claim
from convscope.models import create_model

TINY = claim._Size(64, 192, 30, channels=2, depth=2, steps=3, batch_size=2, tile=32, lr=1e-3)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(claim, "_QUICK", TINY)
    monkeypatch.setattr(claim, "_SHOWN", 48)


def test_it_runs_and_is_the_same_again(tiny):
    one, other = (claim.EXPERIMENT.run(seeds=[0, 1]).outcome for _ in range(2))
    assert one.to_dict() == other.to_dict()
    assert [row.name for row in one.rows] == ["with skip connections", "without", "gain, seed by seed"]
    for row in one.rows:
        assert len(row.cells) == len(one.columns) - 1
    for first, second in zip(one.pictures, other.pictures, strict=True):
        assert first.planes.equal(second.planes)
        assert first.planes.isfinite().all()
        assert len(first.names) == len(first.planes)
    assert one.pictures[0].planes[:, :48, :48].shape == (4, 48, 48)
    assert one.pictures[0].planes[1].unique().tolist() == [0, 1]
    truth, *predicted = one.pictures[0].planes[1:]
    assert one.pictures[1].planes.equal(torch.stack(predicted) - truth)


def test_garments_of_the_training_images_are_left_and_of_the_test_images_right():
    scene = claim._scene(3, "fashion-mnist", TINY)
    split = 128
    for columns, numbers in ((slice(None, split), range(1, 21)), (slice(split, None), range(21, 31))):
        assert set(scene.shown[:, columns].unique().tolist()) <= {0, *numbers}
    # The last garment put down is uncovered: its pixels are those of one test image.
    rows, columns = torch.nonzero(scene.shown == 30, as_tuple=True)
    values = (scene.image[rows, columns] * 255).round().to(torch.uint8)
    tests = load_dataset("fashion-mnist", "test").images[:, 0]
    bright = (tests > 25).sum((1, 2)) == len(values)
    assert any(image[image > 25].equal(values) for image in tests[bright])
    assert not claim._scene(4, "fashion-mnist", TINY).image.equal(scene.image)


def test_without_skip_connections_it_has_at_least_as_many_parameters_and_hardly_more():
    for size in (claim._QUICK, claim._FULL):
        width = claim._width_without(size)
        options = {"in_channels": 1, "depth": size.depth}
        counts = [
            num_params(create_model(name, width=channels, **options))
            for name, channels in (
                ("unet", size.channels),
                ("unet_no_skip", width),
                ("unet_no_skip", width - 1),
            )
        ]
        assert counts[2] < counts[0] <= counts[1] < 1.2 * counts[0]


def made_up(iou, edge_iou, predicted=None):
    truth = np.zeros((20, 20), bool)
    truth[:, 10:] = True
    runs = tuple(
        SkipRun(
            skip, 0, 10, iou[skip], edge_iou[skip], 1.0, 0.0, 0.0, truth if predicted is None else predicted
        )
        for skip in (True, False)
    )
    return SkipConnections(runs, 5, 8, 9, 4, 1, 1, 8, 1e-3, image=np.zeros((20, 20)), truth=truth)


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.05, 0.06, 0.055), Verdict.HOLDS),
        ((-0.05, -0.06, -0.055), Verdict.FAILS),
        ((0.05, -0.06, 0.01), Verdict.UNDECIDED),
        ((0.05,), Verdict.UNDECIDED),
    ],
)
def test_the_verdict_is_on_the_differences_near_outlines(gains, verdict):
    found = [made_up((0.9, 0.8), (0.5, 0.5 + gain)) for gain in gains]
    outcome = claim._outcome(found)
    assert outcome.verdict is verdict
    assert dict(outcome.figures)["gain_near_outlines"] == pytest.approx(np.mean(gains))
    assert outcome.rows[2].cells[2].value == pytest.approx(-0.1)


def test_wrong_pixels_by_distance_by_hand():
    found = made_up((1, 1), (1, 1))
    truth = found.truth
    predicted = truth.copy()
    predicted[:, 9] = True  # all at distance 1 on one side of the outline, which are half of those
    predicted[:5, 13] = False  # columns 13 and 6 are at distance 4
    shares = claim._wrong_by_distance(dataclasses.replace(found.runs[0], predicted=predicted), truth)
    assert shares == pytest.approx([0.5, 0, 0, 5 / 40, 0, 0, 0, 0])
