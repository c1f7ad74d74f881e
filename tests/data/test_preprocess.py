"""Preparation of pictures for published weights, against the numbers that torchvision's transforms gave."""

import hashlib

import numpy as np
import pytest
import torch

from convscope.data import cat, preprocess, visible_part
from convscope.errors import ShapeError, UsageError
from convscope.models import Preprocessing, published_weights

# Beginning of the SHA-256 of the uint8 pixels
# that torchvision 0.29.1's resize and centre_crop make of the packaged cat with
# Pillow 13, from benchmarks/parity/preprocessing.py.
TORCHVISION = {
    ("resnet18", "imagenet1k_v1"): "d2380d7104e4d7d5",
    ("resnet50", "imagenet1k_v2"): "054ba2d76cdca8fe",
    ("efficientnet_b0", "imagenet1k_v1"): "914a836f03cb3b67",
    ("efficientnet_b7", "imagenet1k_v1"): "5431869c1408c40f",
    ("convnext_tiny", "imagenet1k_v1"): "8af73753c0ef11f5",
    ("fcn_resnet50", "coco_with_voc_labels_v1"): "382d92bdb6413444",
}


def digest(pixels):
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize(("name", "weights"), TORCHVISION)
def test_the_pixels_are_torchvisions(name, weights):
    facts = published_weights(name, weights).preprocessing
    assert digest(visible_part(cat(), facts)) == TORCHVISION[name, weights]


def test_by_hand():
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    facts = Preprocessing(None, 2, "bilinear", (0.5, 0.25, 0.0), (0.5, 0.25, 1.0))
    found = preprocess(image, facts)
    wanted = torch.from_numpy(image[1:3, 2:4]).permute(2, 0, 1)[None] / 255
    torch.testing.assert_close(found[0, 0], (wanted[0, 0] - 0.5) / 0.5)
    torch.testing.assert_close(found[0, 1], (wanted[0, 1] - 0.25) / 0.25)
    torch.testing.assert_close(found[0, 2], wanted[0, 2])


@pytest.mark.parametrize("size", [(300, 451), (451, 300), (7, 900), (900, 7), (1, 1), (256, 256)])
def test_sizes(size):
    picture = np.zeros((*size, 3), np.uint8)
    assert visible_part(picture, Preprocessing(64, 56, "bicubic", (0.5,) * 3, (0.5,) * 3)).shape == (
        56,
        56,
        3,
    )
    resized = visible_part(picture, Preprocessing(64, None, "bilinear", (0.5,) * 3, (0.5,) * 3))
    assert min(resized.shape[:2]) == 64
    assert resized.shape[:2] == tuple(int(64 * side / min(size)) for side in size)


def test_grey_and_colour():
    one = Preprocessing(32, 32, "bilinear", (0.5,), (0.5,))
    assert preprocess(cat(), one).shape == (1, 1, 32, 32)
    three = preprocess(cat()[:, :, 0], Preprocessing(32, 32, "bilinear", (0.5,) * 3, (0.5,) * 3))
    assert three[0, 0].equal(three[0, 2])


def test_refusals():
    with pytest.raises(ShapeError, match="smaller than the crop of 512"):
        preprocess(cat(), Preprocessing(None, 512, "bilinear", (0.5,) * 3, (0.5,) * 3))
    with pytest.raises(UsageError, match="must be a numpy array"):
        preprocess("cat.png", Preprocessing(32, 32, "bilinear", (0.5,) * 3, (0.5,) * 3))
