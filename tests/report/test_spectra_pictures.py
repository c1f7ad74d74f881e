"""Pictures of spectra: every down-sampling has its row, its limit and its curves, and none is empty."""

import io

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle
from PIL import Image
from torch import nn

from convscope.inspection import down_samplings, shift_consistency
from convscope.report.figures import png
from convscope.report.spectra_pictures import draw_spectra, spectra_text


@pytest.fixture(scope="module")
def found():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, (2, 1), 1), nn.ReLU(), nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(256, 5)
    )
    image = torch.rand(1, 3, 32, 16)
    return down_samplings(network, image), shift_consistency(network, image)


def test_the_text_has_a_row_for_each(found):
    spectra, shifts = found
    lines = spectra_text(spectra, shifts).splitlines()
    assert len(lines) == 1 + len(spectra.steps) + 2
    assert lines[1].split()[:5] == ["0", "convolution", "2x1", "32", "x"]
    assert f"{spectra.steps[0].share_before:.1%}" in lines[1]
    assert lines[-1].startswith("Shifted by one pixel to 8 sides: the first class stays in")


def test_each_value_is_drawn_around_its_frequency_and_the_limit_where_it_is(found):
    spectra, shifts = found
    figure = draw_spectra(spectra, shifts)
    drawn = [axes for axes in figure.findobj(lambda part: hasattr(part, "images")) if axes.images]
    before = drawn[0]
    step = spectra.steps[0]
    left, right, bottom, top = before.images[0].get_extent()
    rows, columns = step.before.power.shape
    assert (left, right) == pytest.approx((-0.5 - 0.5 / columns, 0.5 - 0.5 / columns))
    assert (top, bottom) == pytest.approx((-0.5 - 0.5 / rows, 0.5 - 0.5 / rows))
    (box,) = before.findobj(lambda part: type(part) is Rectangle and part in before.patches)
    assert (box.get_width(), box.get_height()) == (1.0, 0.5)
    shown = np.asarray(before.images[0].get_array())
    assert np.isnan(shown[rows // 2, columns // 2])  # the mean, which is not in it
    assert np.nanmax(shown) == pytest.approx(0)
    assert np.asarray(Image.open(io.BytesIO(png(figure))).convert("L")).std() > 10
