"""The document's experiment: the library and the loops are the same computation."""

import numpy as np
import pytest
import torch

from convscope.data import cat
from convscope.errors import ShapeError
from convscope.experiments import compare_with_loops, convolve_by_loops, three_layers


@pytest.fixture(scope="module")
def small_cat():
    return np.ascontiguousarray(cat()[100:140, 140:190])


def test_loops_against_torch():
    rng = np.random.default_rng(0)
    image, kernels = rng.normal(size=(9, 11, 2)), rng.normal(size=(4, 3, 5, 2))
    ours = convolve_by_loops(image, kernels, padding=2, stride=3)
    theirs = torch.nn.functional.conv2d(
        torch.from_numpy(image).permute(2, 0, 1)[None],
        torch.from_numpy(kernels).permute(0, 3, 1, 2),
        padding=2,
        stride=3,
    )[0].permute(1, 2, 0)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12)


def test_the_pictures_are_the_maps_min_max_normalised(small_cat):
    result = three_layers(small_cat)
    for values, picture, (low, high) in zip(result.maps, result.pictures, result.ranges, strict=True):
        assert picture.shape == small_cat.shape
        assert (picture.min(), picture.max()) == (0, 255)
        expected = (values.permute(1, 2, 0).numpy() - low) / (high - low) * 255
        assert np.abs(picture - expected).max() <= 0.501


def test_the_maps_are_the_layers_before_their_activation(small_cat):
    result = three_layers(small_cat, seed=3)
    network = result.network
    pixels = torch.from_numpy(small_cat).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        hidden1 = torch.nn.functional.conv2d(pixels, network.hidden1.weight, padding=1)
        hidden2 = torch.nn.functional.conv2d(
            torch.where(hidden1 < 0, 0.1 * hidden1, hidden1), network.hidden2.weight, padding=1
        )
    torch.testing.assert_close(result.maps[0], hidden1[0])
    torch.testing.assert_close(result.maps[1], hidden2[0])
    assert float(hidden1.min()) < 0


def test_the_seed_decides(small_cat):
    assert three_layers(small_cat, 1).maps[2].equal(three_layers(small_cat, 1).maps[2])
    assert not three_layers(small_cat, 1).maps[2].equal(three_layers(small_cat, 2).maps[2])


def test_comparison_measures_and_agrees(small_cat):
    found = compare_with_loops(three_layers(small_cat), repeats=5)
    assert 0 < found.relative_difference < 1e-5
    assert found.fastest <= found.seconds <= found.slowest
    assert found.ratio == found.loops_seconds / found.seconds
    assert found.to_dict()["repeats"] == 5


@pytest.mark.parametrize(
    "photograph", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)]
)
def test_other_arrays_are_refused(photograph):
    with pytest.raises(ShapeError, match=r"give \(H, W, 3\) uint8"):
        three_layers(photograph)
