"""Pictures of what excites filters: readable from 1 row to 64, padding in grey, silent filters named."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from convscope.errors import UsageError
from convscope.inspection import ExcitingPatches, activation_maximisation, exciting_patches, filters
from convscope.report.excitement_pictures import draw_excitement, draw_made_input
from convscope.report.figures import png


def pixels_of(figure):
    with Image.open(io.BytesIO(png(figure))) as image:
        return np.array(image.convert("RGB"))


@pytest.mark.parametrize("rows", [1, 3, 17, 64, 70])
def test_a_row_a_filter(rows):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, rows, 3, padding=1))
    found = exciting_patches(network, torch.randn(10, 3, 9, 9), "0")
    figure = draw_excitement(found, filters(network, "0"))
    pixels = pixels_of(figure)
    assert pixels.shape[0] < 2.5 * pixels.shape[1]
    assert pixels.shape[1] < 4000
    texts = [text.get_text() for text in figure.texts]
    assert [text for text in texts if text.startswith("filter ")] == [
        f"filter {n}" for n in range(min(rows, 64))
    ]
    assert any("the first 64 of 70" in text for text in texts) is (rows == 70)


def test_padding_is_grey_and_silence_is_said():
    network = nn.Sequential(nn.Conv2d(1, 2, 5, padding=2))
    nn.init.zeros_(network[0].weight[1])
    nn.init.ones_(network[0].weight[0])
    inputs = torch.zeros(1, 1, 12, 12)
    inputs[0, 0, 0, 0] = 9.0
    found = exciting_patches(network, inputs, "0")
    figure = draw_excitement(found)
    pixels = pixels_of(figure)
    grey = (pixels == (214, 220, 226)).all(2)
    assert grey.sum() > 1000
    assert any("everywhere" in text.get_text() for text in figure.texts)


def test_made_inputs_beside_patches():
    network = nn.Sequential(nn.Conv2d(1, 2, 3))
    inputs = torch.randn(4, 1, 9, 9)
    made = [activation_maximisation(network, "0", 1, shape=(1, 9, 9), steps=5)]
    found = exciting_patches(network, inputs, "0")
    plain, with_made = (pixels_of(draw_excitement(found, None, given)) for given in ((), made))
    assert with_made.shape[1] > plain.shape[1] + 100
    assert pixels_of(draw_made_input(made[0])).std() > 10
    assert "<img" in found._repr_html_()


def test_nothing_to_draw():
    found = exciting_patches(nn.Sequential(nn.Conv2d(1, 2, 3)), torch.randn(4, 1, 9, 9), "0")
    none = ExcitingPatches(found.layer, found.kind, found.receptive_field, "", 4, 2, ())
    with pytest.raises(UsageError, match="no filter"):
        draw_excitement(none)
