"""The report of a run: it is whole, needs nothing else, its links lead somewhere, and hostile names stay text."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.data import load_dataset
from convscope.inspection import Scale, scale_of
from convscope.report.charts import Axis, Line, bar_chart, line_chart
from convscope.report.run_report import write_run_report
from convscope.report.strips import plane_strips, thumbnail
from convscope.training import Recipe, review, train

HOSTILE = '<script>alert("x")</script> & \'"><img src=x onerror=y>'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two epochs on a folder of three classes, one with a name like an attack."""
    root = tmp_path_factory.mktemp("pictures")
    for split, count in (("train", 20), ("test", 30)):
        images = load_dataset("fashion-mnist", split)
        for label, name in ((1, "trouser"), (8, "bag"), (6, HOSTILE.replace("/", "|"))):
            place = root / split / name
            place.mkdir(parents=True)
            for index in (images.labels == label).nonzero().flatten()[:count].tolist():
                Image.fromarray(images.picture(index)).save(place / f"{index}.png")
    recipe = Recipe(model="lenet5", epochs=2, batch_size=8, data=str(root))
    return train(recipe, output=tmp_path_factory.mktemp("runs") / "run")


class Elements(HTMLParser):
    """What a browser would see: elements with their attributes, and that each is closed."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page(run, tmp_path):
    text = write_run_report(run, tmp_path / "report.html").read_text("utf-8")
    page = Elements(text)
    assert page.open == []
    kinds = {tag for tag, _ in page.found}
    assert not kinds & {"script", "iframe", "link", "object", "form"}
    assert HOSTILE.replace("/", "|") not in text
    assert not any(name.startswith("on") for _, attributes in page.found for name in attributes)
    images = [attributes for tag, attributes in page.found if tag == "img"]
    assert all(entry["alt"] and entry["src"].startswith("data:image/png;base64,") for entry in images)
    for entry in images[:5]:
        with Image.open(io.BytesIO(base64.b64decode(entry["src"].split(",")[1]))) as picture:
            picture.load()
    anchors = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(anchors) == len(set(anchors))
    links = [attributes["href"] for tag, attributes in page.found if tag == "a"]
    assert {link.removeprefix("#") for link in links} <= set(anchors)
    for heading in ("Learning curves", "Most wrong", "Most unsure", "Filters and feature maps", "Recipe"):
        assert heading in text


def test_each_cell_opens_its_images(run, tmp_path):
    found = review(run)
    text = write_run_report(run, tmp_path / "report.html", found.images, found.evaluation).read_text("utf-8")
    for row, counts in enumerate(found.confusion.counts.tolist()):
        for column, count in enumerate(counts):
            panel = re.search(rf'<div class="cell" id="cell-{row}-{column}">(.*?)</div></div>', text, re.S)
            assert (panel is not None) == (count > 0)
            if panel:
                assert panel[1].count("<img") == min(count, 24)
                assert ("more are not shown" in panel[1]) == (count > 24)
                first = found.cell(row, column)[0]
                assert f"test image {first}," in panel[1]
                assert int(found.evaluation.labels[first]) == row
                assert int(found.evaluation.predictions[first]) == column


def test_the_review_agrees_with_the_run(run):
    found = review(run)
    assert found.evaluation.accuracy == run.metrics[-1]["acc@1"]
    assert found.steps_per_epoch == 8
    assert found.curve[-1].step == 16
    assert found.best == max(
        ((row["epoch"], row["acc@1"]) for row in run.metrics), key=lambda entry: entry[1]
    )
    assert sum(found.phase_shares.values()) == pytest.approx(1)
    assert [film.names for film in found.maps] == [("before training", "epoch 1", "epoch 2")] * 2
    assert {"epochs", "model", "data", "batch_size"} == set(found.changed)


def test_damaged_snapshots_are_told(run, tmp_path):
    place = run.path / "snapshots" / "epoch-001.safetensors"
    whole = place.read_bytes()
    place.write_bytes(b"no")
    try:
        text = write_run_report(run, tmp_path / "report.html").read_text("utf-8")
    finally:
        place.write_bytes(whole)
    assert "epoch-001.safetensors" in text


def test_curves_stand_where_their_numbers_say():
    points = [(0.0, 1.0), (1.0, 3.0), (2.0, 2.0)]
    svg = line_chart("t", [Line("a", points)], Axis("x", low=0, high=2), Axis("y", low=1, high=3))
    drawn = [tuple(map(float, pair.split(","))) for pair in re.search(r'points="([^"]+)"', svg)[1].split()]
    assert drawn[1][0] == pytest.approx((drawn[0][0] + drawn[2][0]) / 2, abs=0.11)
    assert drawn[2][1] == pytest.approx((drawn[0][1] + drawn[1][1]) / 2, abs=0.11)
    assert drawn[1][1] < drawn[0][1]
    bars = bar_chart("t", [(0, 1, 0.0)], Axis("x", low=0, high=1), Axis("y", low=0, high=1))
    assert 'height="0.0"' in bars


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0], [0.0, 0.0]])
def test_curves_of_few_or_equal_numbers(values):
    svg = line_chart(
        "t", [Line("a", list(enumerate(values)))], Axis("x", whole=True), Axis("y", percent=True)
    )
    assert "nan" not in svg


def test_strips_put_zero_in_the_middle_and_keep_the_scale():
    values = torch.tensor([-2.0, 0.0, 2.0]).reshape(3, 1, 1).expand(3, 2, 2)
    png, width = plane_strips(values, scale_of([values]), 16)
    with Image.open(io.BytesIO(png)) as picture:
        colours = np.asarray(picture.convert("RGBA"))
    assert width == 8
    assert colours[0, 0, 2] > 80 > colours[0, 0, 0]
    assert min(colours[0, 3, :3]) > 240
    assert colours[0, 6, 0] > 80 > colours[0, 6, 2]
    assert colours[0, 2, 3] == 0
    rgb, _ = plane_strips(torch.zeros(2, 3, 2, 2), Scale(-1.0, 1.0, -1.0, 1.0), 16)
    with Image.open(io.BytesIO(rgb)) as picture:
        assert picture.getpixel((0, 0)) == (128, 128, 128)


def test_thumbnails_are_small():
    assert Image.open(io.BytesIO(thumbnail(np.zeros((300, 200, 3), np.uint8)))).size == (43, 64)
