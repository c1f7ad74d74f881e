"""Sobel and the agreement with outlines, against scipy and numpy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from convscope.experiments import outline_agreement, sobel_magnitude


def test_sobel_is_scipys():
    pictures = torch.rand(3, 2, 9, 11, generator=torch.Generator().manual_seed(0))
    grey = pictures.mean(1).numpy()
    expected = [
        np.hypot(ndimage.sobel(each, 0, mode="nearest"), ndimage.sobel(each, 1, mode="nearest"))
        for each in grey
    ]
    np.testing.assert_allclose(sobel_magnitude(pictures)[:, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("margin", [0, 2])
def test_agreement_is_the_mean_correlation(margin):
    generator = torch.Generator().manual_seed(1)
    maps, edges = torch.randn(4, 3, 8, 9, generator=generator), torch.rand(4, 1, 8, 9, generator=generator)
    inner = np.s_[margin : 8 - margin, margin : 9 - margin]
    expected = []
    for image in range(4):
        there = edges[image, 0].numpy()[inner].ravel()
        for channel in range(3):
            values = maps[image, channel].numpy()[inner].ravel().astype(float)
            expected.append(np.corrcoef(np.abs(values - values.mean()), there)[0, 1])
    assert outline_agreement(maps, edges, margin) == pytest.approx(np.mean(expected), rel=1e-5)


def test_scale_sign_and_level_of_a_map_do_not_matter_and_nothing_to_see_counts_0():
    generator = torch.Generator().manual_seed(1)
    maps, edges = torch.randn(2, 1, 8, 8, generator=generator), torch.rand(2, 1, 8, 8, generator=generator)
    found = outline_agreement(maps, edges)
    assert outline_agreement(3 - 5 * maps, edges) == pytest.approx(found, rel=1e-4)
    assert outline_agreement(torch.zeros(2, 1, 8, 8), edges) == 0.0
    assert outline_agreement(maps, torch.ones(2, 1, 8, 8)) == 0.0


def test_an_edge_detector_agrees_more_than_the_picture():
    square = torch.zeros(1, 1, 20, 20)
    square[..., 5:15, 5:15] = 1
    edges = sobel_magnitude(square)
    assert outline_agreement(edges, edges) > 0.8 > 0.3 > outline_agreement(square, edges)
