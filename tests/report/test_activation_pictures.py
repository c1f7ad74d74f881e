"""Pictures of class activation: photograph, map over it, map and scale, on colours that say what they mean."""

import pytest
import torch
from matplotlib.text import Text
from torch import nn

from convscope.inspection import class_activation
from convscope.report.activation_pictures import (
    activation_alt_text,
    activation_text,
    draw_class_activation,
)
from convscope.report.figures import png


def found_by(relu, names=("$a$", "b")):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    return class_activation(network, torch.rand(2, 3, 14, 18), target=[0, 1], relu=relu, class_names=names)


@pytest.mark.parametrize("relu", [True, False])
def test_one_row_a_class(relu):
    found = found_by(relu)
    figure = draw_class_activation(found, image=1)
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 6
    for place in range(2):
        photograph, over, raw = panels[3 * place : 3 * place + 3]
        assert photograph.images[0].get_array().shape == (14, 18, 3)
        upsampled, plane = over.images[1], raw.images[0]
        assert torch.equal(torch.as_tensor(upsampled.get_array().data), found.upsampled()[1, place])
        assert torch.equal(torch.as_tensor(plane.get_array().data), found.maps[1, place])
        low, high = plane.get_clim()
        assert upsampled.get_clim() == (low, high)
        assert plane.get_cmap().name == ("viridis" if relu else "RdBu_r")
        assert low == (0 if relu else -high)
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert any(text.startswith("\\$a\\$\nscore ") for text in texts)
    assert "the map as it is, 12 x 16" in texts
    assert len(figure.axes) == 8  # a scale beside each map
    assert len(png(figure)) > 10_000


def test_a_map_of_zeros_has_a_scale():
    found = found_by(True)
    found.maps.zero_()
    assert len(png(draw_class_activation(found))) > 10_000
    assert "0 throughout" in activation_text(found)
    assert activation_alt_text(found).endswith("$a$: nowhere; b: nowhere")


def test_texts():
    found = found_by(False, ("a\x1b[31m", "b"))
    lines = activation_text(found, 1).splitlines()
    assert lines[0].startswith(
        "grad-cam of 1: the last 4 maps of 12x16 that everything passes before 2 (mean)"
    )
    assert lines[2].startswith("a?[31m")
    assert "image of 14 x 18 pixels" in activation_alt_text(found)
