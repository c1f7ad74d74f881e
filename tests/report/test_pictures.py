"""Pictures carry the facts they were given: colours at known places, titles, and no empty panel."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.data import ImageSet, cat
from convscope.errors import OutputError
from convscope.experiments import three_layers
from convscope.inspection import (
    confusion_matrix,
    explain_convolution,
    mistakes,
)
from convscope.report.figures import png, write_png
from convscope.report.pictures import (
    draw_confusion,
    draw_mistakes,
    draw_three_layers,
    draw_value,
)


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB"))


def texts(figure):
    """Every text in a figure, its subfigures and its axes."""
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def panels(figure):
    """The arrays shown in the figure's axes, in order."""
    return [
        axes.images[0].get_array()
        for axes in figure.findobj(lambda part: hasattr(part, "images"))
        if axes.images
    ]


def test_three_layers_shows_photograph_and_maps():
    photograph = np.ascontiguousarray(cat()[:60, :90])
    layers = three_layers(photograph)
    figure = draw_three_layers(layers)
    shown = panels(figure)
    assert [array.shape for array in shown] == [(60, 90, 3)] * 4
    assert np.array_equal(shown[0], photograph)
    assert all(
        np.array_equal(array, picture) for array, picture in zip(shown[1:], layers.pictures, strict=True)
    )
    assert pixels(figure).std() > 20


def test_the_value_picture_names_every_number():
    image = torch.arange(75.0).reshape(3, 5, 5)
    value = explain_convolution(image, torch.ones(1, 3, 3, 3), torch.tensor([0.25]), padding=1, at=(0, 2, 2))
    words = " ".join(texts(draw_value(value, np.zeros((5, 5, 3), np.uint8))))
    for entry in value.channels:
        assert f"{entry.total:+.4f}" in words
    assert "+0.2500 (bias)" in words
    assert f"{value.engine_value:+.6f}" in words


def test_confusion_shows_counts_and_accuracy():
    matrix = confusion_matrix(torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 1, 1, 1, 1]), ("a", "b"))
    words = texts(draw_confusion(matrix))
    assert {"a", "b", "3", "1", "accuracy 80.00% of 5 images"} <= set(words)


def test_mistakes_show_the_very_images():
    images = ImageSet(
        torch.arange(4, dtype=torch.uint8).reshape(4, 1, 1, 1).expand(4, 1, 3, 3),
        torch.tensor([0, 1, 0, 1]),
        ("a", "b"),
        "x",
    )
    wrong = mistakes(
        images.labels, torch.tensor([1, 1, 1, 0]), torch.tensor([0.5, 1, 0.9, 0.7]), images.classes
    )
    figure = draw_mistakes(images, wrong)
    assert [int(array[0, 0]) for array in panels(figure)] == [2, 3, 0]
    assert "a\ntaken for\nb 90%" in texts(figure)
    assert panels(draw_mistakes(images, ())) == []


def test_a_picture_is_written_whole_or_not_at_all(tmp_path):
    matrix = confusion_matrix(torch.tensor([0, 1]), torch.tensor([0, 1]), ("a", "b"))
    with pytest.raises(OutputError, match="does not exist"):
        write_png(draw_confusion(matrix), tmp_path / "no" / "x.png")
    path = write_png(draw_confusion(matrix), tmp_path / "x.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.png"]
