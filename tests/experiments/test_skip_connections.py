"""U-Net with and without skip connections: what is trained on, what is tested on, and what is told."""

import importlib
import json

import numpy as np
import pytest
import torch

from convscope.errors import ShapeError, UsageError
from convscope.experiments import foreground_iou, skip_connections
from convscope.experiments.skip_connections import _Tiles, near_outlines
from convscope.models import create_seeded_model

TINY = {"width": 2, "depth": 2, "steps": 3, "batch_size": 2, "tile": 16}


def blobs(seed=0, shape=(32, 64)):
    """Bright squares on noise, numbered, and the squares' mask."""
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.integers(0, 3, (shape[0] // 8, shape[1] // 8)), np.ones((8, 8), int))
    return (mask > 0) * 60 + rng.normal(100, 10, shape), mask


def test_both_networks_of_each_seed_and_the_figures_of_their_predictions():
    heard = []
    result = skip_connections(*blobs(), seeds=[4, 7], listener=heard.append, **TINY)
    assert [(run.seed, run.skip) for run in result.runs] == [(4, True), (4, False), (7, True), (7, False)]
    assert heard == list(result.runs)
    assert result.truth.tolist() == (blobs()[1] != 0)[:, 32:].tolist()
    for run in result.runs:
        assert run.iou == foreground_iou(run.predicted, result.truth)
        edges = near_outlines(result.truth)
        assert run.edge_iou == foreground_iou(run.predicted[edges], result.truth[edges])
    assert result.iou(True) == pytest.approx((result.runs[0].iou + result.runs[2].iou) / 2)
    assert result.gains == (
        result.runs[0].iou - result.runs[1].iou,
        result.runs[2].iou - result.runs[3].iou,
    )
    assert {run.num_params for run in result.of(True)} != {run.num_params for run in result.of(False)}
    assert json.loads(json.dumps(result.to_dict()))["runs"][3]["seed"] == 7


def test_the_same_seed_gives_the_same_and_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    one, other = (skip_connections(*blobs(), seeds=[0], **TINY) for _ in range(2))
    assert torch.random.get_rng_state().equal(before)
    for first, second in zip(one.runs, other.runs, strict=True):
        assert (first.predicted == second.predicted).all()
        assert first.loss == second.loss


def test_seeds_decide_first_weights_and_tiles_and_both_networks_get_the_same_tiles(monkeypatch):
    module = importlib.import_module("convscope.experiments.skip_connections")
    asked, batches = [], []

    def create(name, seed, **options):
        asked.append((name, seed))
        return create_seeded_model(name, seed, **options)

    class Watched(_Tiles):
        def batch(self):
            batches.append(super().batch()[0])
            return super().batch()

    monkeypatch.setattr(module, "create_seeded_model", create)
    monkeypatch.setattr(module, "_Tiles", Watched)
    skip_connections(*blobs(), seeds=[4, 7], **TINY | {"steps": 1})
    assert asked == [("unet", 4), ("unet_no_skip", 4), ("unet", 7), ("unet_no_skip", 7)]
    assert batches[0].equal(batches[1])
    assert not batches[1].equal(batches[2])


def test_nothing_of_the_right_part_reaches_the_training():
    image, mask = blobs()
    other_image, other_mask = image.copy(), mask.copy()
    other_image[:, 32:] = 1000 - image[:, 32:]
    other_mask[:, 32:] = mask[::-1, 32:]
    one = skip_connections(image, mask, seeds=[0], **TINY)
    other = skip_connections(other_image, other_mask, seeds=[0], **TINY)
    for first, second in zip(one.runs, other.runs, strict=True):
        assert (first.loss, first.train_iou) == (second.loss, second.train_iou)
        assert (first.predicted != second.predicted).any()


def test_bright_squares_are_learned():
    settings = TINY | {"width": 4, "steps": 60, "batch_size": 4}
    result = skip_connections(*blobs(), seeds=[0], learning_rate=1e-2, **settings)
    assert result.of(True)[0].iou > 0.9


def test_tiles_are_turned_with_their_classes_and_come_from_everywhere():
    pixels = torch.arange(30.0).reshape(5, 6)
    tiles = _Tiles(pixels, pixels.long() + 100, 3000, 2, seed=0)
    images, targets = tiles.batch()
    assert images.shape == (3000, 1, 2, 2)
    assert (images[:, 0] + 100).equal(targets.float())
    assert len({tuple(tile) for tile in targets.flatten(1).tolist()}) == 4 * 5 * 8
    assert tiles.batch()[1].ne(targets).any()


def test_iou_and_outlines_by_hand():
    truth = np.zeros((3, 9), bool)
    truth[:, 4:] = True
    assert np.flatnonzero(near_outlines(truth)[1]).tolist() == [2, 3, 4, 5]
    assert foreground_iou(truth, np.roll(truth, 1, 1)) == pytest.approx(4 / 6)
    assert foreground_iou(~truth & truth, truth & ~truth) == 1.0


@pytest.mark.parametrize(
    ("image", "mask", "options", "error", "text"),
    [
        (*blobs(), {"tile": 33}, ShapeError, "tiles of 33x33 from the left 32 columns"),
        (*blobs(), {"split": 64}, ShapeError, "do not fit; give a smaller tile or another split"),
        (*blobs(), {"steps": 0}, ShapeError, "skip_connections: steps is 0; it must be at least 1"),
        (*blobs(), {"seeds": []}, UsageError, "no seed is given"),
        (blobs()[0], np.zeros((32, 64)), {}, UsageError, "the left part is all of one kind"),
        (blobs()[0], np.arange(64) * np.ones((32, 1)), {}, UsageError, "the right part is all of one kind"),
        (blobs()[0], np.zeros((32, 63)), {}, ShapeError, "the image is (32, 64), the mask (32, 63)"),
        (np.zeros((3, 32, 64)), np.zeros((3, 32, 64)), {}, ShapeError, "give two arrays (H, W) of one shape"),
    ],
)
def test_refusals(image, mask, options, error, text):
    with pytest.raises(error) as caught:
        skip_connections(image, mask, **{**TINY, "seeds": [0], **options})
    assert text in str(caught.value)
