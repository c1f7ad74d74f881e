"""The demonstration, small: its facts agree with each other, its report holds everything and no script."""

import base64
import json
import re
from html.parser import HTMLParser

import pytest

from convscope.errors import OutputError, RunError
from convscope.experiments import demo_folder, take_tour
from convscope.report.demo_report import write_demo_report
from convscope.report.terminal import tour_text
from convscope.training import Recipe
from convscope.training.folder import hold_folder


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    quick = Recipe(model="perceptron", epochs=1, batch_size=1000)
    said = []
    tour = take_tour(
        tmp_path_factory.mktemp("demo"),
        mlp=quick,
        cnn=quick.replace(model="lenet5", batch_size=200, lr=5e-3),
        say=said.append,
    )
    assert len(said) == 3
    return tour


def test_the_facts_agree(tour):
    cnn = tour.networks.cnn
    assert tour.value.total == pytest.approx(float(tour.layers.maps[0][tour.value.at]), rel=1e-5)
    assert tour.confusion.accuracy == pytest.approx(cnn.evaluation.accuracy)
    assert tour.confusion.accuracy == pytest.approx(cnn.run.metrics[-1]["acc@1"])
    assert int(tour.confusion.counts.sum()) == len(tour.test_images) == 2000
    assert cnn.num_params == 61_706
    assert [pair.name for pair in tour.maps] == ["conv1", "conv2"] == [pair.name for pair in tour.kernels]
    for pair in tour.maps + tour.kernels:
        assert pair.before.shape == pair.after.shape
        assert not pair.before.equal(pair.after)
    for entry in tour.wrong:
        assert (
            entry.true
            == tour.test_images.classes[int(tour.test_images.labels[entry.index])]
            != entry.predicted
        )
    json.dumps(tour.to_dict())


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_report_is_one_file_without_scripts(tour, tmp_path):
    path = write_demo_report(tour, tmp_path)
    text = path.read_text("utf-8")
    parser = Tags()
    parser.feed(text)
    tags = [tag for tag, _ in parser.found]
    assert "script" not in tags
    assert "link" not in tags
    assert not [attrs for _, attrs in parser.found if any(name.startswith("on") for name in attrs)]
    pictures = [attrs for tag, attrs in parser.found if tag == "img"]
    assert len(pictures) == 7
    for attrs in pictures:
        kind, data = attrs["src"].split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
        assert attrs["alt"]
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text).replace("http-equiv", "")
    assert f"{tour.networks.cnn.num_params:,}" in text
    assert f"{tour.networks.cnn.evaluation.accuracy:.2%}" in text
    assert f"{tour.loops.ratio:,.0f}" in text
    anchors = [attrs["href"][1:] for tag, attrs in parser.found if tag == "a"]
    assert anchors == [attrs["id"] for tag, attrs in parser.found if tag == "section"]
    assert (
        json.loads((tmp_path / "facts.json").read_text())["confusion"]["accuracy"] == tour.confusion.accuracy
    )
    assert len(list(tmp_path.glob("*.png"))) == 7


def test_the_text_names_the_figures(tour):
    text = tour_text(tour)
    assert "times faster" in text
    assert f"{tour.networks.mlp.num_params:,}" in text
    assert "torch computed" in text


def test_a_demo_replaces_its_own_folder_only(tmp_path):
    with demo_folder(tmp_path / "demo") as folder:
        (folder / "cnn").mkdir()
        (folder / "cnn" / "old").write_text("")
    with demo_folder(tmp_path / "demo") as folder:
        assert sorted(path.name for path in folder.iterdir()) == [".convscope-demo", ".lock"]
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("dear")
    with pytest.raises(OutputError, match="holds files that no demo made"), demo_folder(foreign):
        pass
    assert (foreign / "thesis.txt").read_text() == "dear"


def test_two_demos_at_once(tmp_path):
    with demo_folder(tmp_path / "demo") as folder:
        (folder / "half").write_text("")
        with pytest.raises(RunError, match="in use by another process"), demo_folder(tmp_path / "demo"):
            pass
        assert (folder / "half").exists()
    with hold_folder(folder):
        pass
