"""`convscope data`: what it prints, draws and refuses."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from convscope.cli.main import main
from convscope.data import cat, decode_image, load_dataset
from convscope.data.survey import survey_dataset
from convscope.report.dataset_pictures import draw_dataset
from convscope.report.figures import write_png


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVSCOPE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def answer(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr()


def refusal(capsys, code, *arguments):
    assert main([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    assert not captured.out
    (line,) = captured.err.splitlines()
    assert line.startswith("convscope: ")
    return line


def picture(path, value, size=(6, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes; one picture is broken, one file is none."""
    root = tmp_path / "pets"
    for name, count in (("cat", 8), ("dog", 5)):
        for index in range(count):
            picture(root / name / f"{index}.png", 51 * (name == "dog"))
    (root / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n, not more")
    (root / "dog" / "Thumbs.db").write_bytes(b"x")
    return root


def test_list(capsys, home):
    lines = answer(capsys, "data", "list").out.splitlines()
    assert [line.split()[0] for line in lines[1:7]] == [
        "cifar10",
        "cifar100",
        "fashion-mnist",
        "fashion-mnist-full",
        "mnist",
        "mnist-10k",
    ]
    facts = json.loads(answer(capsys, "data", "list", "--json").out)["datasets"]
    states = {entry["name"]: entry["state"] for entry in facts}
    assert states.pop("fashion-mnist") == "packaged"
    assert set(states.values()) == {"not fetched"}
    assert facts[0]["num_images"] == {"train": 50_000, "test": 10_000}
    assert facts[0]["folder"] == str(home / "data" / "cifar10")
    (home / "data" / "cifar10").mkdir(parents=True)
    (home / "data" / "cifar10" / "dataset.json").write_text("{}")
    facts = json.loads(answer(capsys, "data", "list", "--json").out)["datasets"]
    assert facts[0]["state"] == "fetched"


def test_fetch_refuses(capsys, tmp_path):
    assert "no data set given; name one of cifar10, " in refusal(capsys, 2, "data", "fetch")
    assert "did you mean 'cifar10'" in refusal(capsys, 2, "data", "fetch", "cifar-10")
    assert "ships with the package" in refusal(capsys, 2, "data", "fetch", "fashion-mnist")
    assert "fetch them in turn" in refusal(capsys, 2, "data", "fetch", "mnist", "cifar10", "--from", tmp_path)
    assert "holds no train.bin, test.bin" in refusal(
        capsys, 1, "data", "fetch", "cifar100", "--from", tmp_path
    )


def test_fetch_tells_the_folder(capsys, monkeypatch, tmp_path, home):
    asked = []

    def fetch(name, source, progress):
        asked.append((name, source))
        progress(1, 2)
        return home / name

    monkeypatch.setattr("convscope.data.fetching.fetch_dataset", fetch)
    monkeypatch.setattr("convscope.data.fetch_dataset", fetch, raising=False)
    assert answer(capsys, "data", "fetch", "mnist", "cifar10").out == f"{home}/mnist\n{home}/cifar10\n"
    found = answer(capsys, "data", "fetch", "mnist", "--from", tmp_path, "--json").out
    assert json.loads(found) == {"folders": [f"{home}/mnist"]}
    assert asked == [("mnist", None), ("cifar10", None), ("mnist", tmp_path)]


def test_show_a_named_set(capsys):
    images = load_dataset("fashion-mnist", "test")
    text = answer(capsys, "data", "show", "fashion-mnist", "--split", "test").out
    assert "fashion-mnist, test: 2,000 images of 1 x 28 x 28, 10 classes\n" in text
    values = images.images.double() / 255
    assert f"mean {values.mean():.4f}, std {values.std(correction=0):.4f} " in text
    assert "Ankle boot      200\n" in text
    facts = json.loads(answer(capsys, "data", "show", "fashion-mnist", "--split", "test", "--json").out)
    assert facts["class_counts"]["Ankle boot"] == 200
    assert facts == {**images.to_dict(), "split": "test", "resized": False}
    assert "fetch it once: convscope data fetch cifar10" in refusal(capsys, 1, "data", "show", "cifar10")


def test_show_a_folder_names_what_is_broken(capsys, folder):
    text = answer(capsys, "data", "show", folder).out
    assert "pets (without the held-out fifth, seed 0), train: 10 images of 3 x 6 x 8, 2 classes\n" in text
    assert "broken files: 1; files passed over, hidden or no picture: 1\n  cat/broken.png\n" in text
    facts = json.loads(answer(capsys, "data", "show", folder, "--json", "--size", "4x5").out)
    assert facts["skipped"] == ["cat/broken.png"]
    assert (facts["height"], facts["width"], facts["resized"]) == (4, 5, True)
    assert "3 numbers" in refusal(capsys, 2, "data", "show", folder, "--size", "1x2x3")
    shutil.rmtree(folder / "dog")
    assert "has one class only" in refusal(capsys, 1, "data", "show", folder)
    assert "no such folder" in refusal(capsys, 2, "data", "show", folder / "nowhere")


def test_pictures_of_several_sizes_are_brought_to_one(capsys, folder):
    picture(folder / "cat" / "large.png", 0, (30, 20))
    picture(folder / "cat" / "larger.png", 0, (40, 20))
    picture(folder / "cat" / "largest.png", 0, (50, 20))
    assert "images of 3 x 64 x 64, 2 classes (resized)" in answer(capsys, "data", "show", folder).out


def test_the_picture_holds_the_images_themselves(capsys, tmp_path):
    path = tmp_path / "grid.png"
    said = answer(capsys, "data", "show", "fashion-mnist", "--output", path, "--seed", 3)
    assert said.err == f"wrote {path}\n"
    survey = survey_dataset("fashion-mnist")
    drawn = decode_image(path)
    rows = survey.sample(12, 3)
    side, gap = 56, 4  # each pixel of 28 twice
    left, top = drawn.shape[1] - 16 - 12 * (side + gap), 48
    for row in (0, 4, 9):
        for column in (0, 11):
            y, x = top + row * (side + gap), left + column * (side + gap)
            cell = drawn[y : y + side, x : x + side]
            np.testing.assert_array_equal(
                cell,
                survey.images.picture(rows[row][column]).repeat(2, 0).repeat(2, 1)[..., None].repeat(3, 2),
            )
    for label, row in enumerate(rows):
        assert set(survey.images.labels[list(row)].tolist()) == {label}
        assert len(set(row)) == 12
    assert survey.sample(12, 3) == rows != survey.sample(12, 4)
    first = path.read_bytes()
    answer(capsys, "data", "show", "fashion-mnist", "--output", path, "--seed", 3)
    assert path.read_bytes() == first


HOSTILE = ["$x^{$", "<script>alert(1)", "red\x1b[31m\nline", "猫", "n" * 200, "-rf", "%s", "a\\frac"]


@pytest.mark.filterwarnings("error")
def test_names_of_unknown_origin(capsys, tmp_path):
    for index, name in enumerate(HOSTILE):
        for copy in range(3):
            picture(tmp_path / "odd" / name / f"{copy}\x1b[2J.png", 20 * index)
        (tmp_path / "odd" / name / "bad\x1b[2J.png").write_bytes(b"bad")
    out = answer(capsys, "data", "show", tmp_path / "odd", "--output", tmp_path / "odd.png").out
    assert "\x1b" not in out
    assert "red?[31m?line" in out
    assert decode_image(tmp_path / "odd.png").shape[1] < 1400
    facts = json.loads(answer(capsys, "data", "show", tmp_path / "odd", "--json").out)
    assert sorted(facts["classes"]) == sorted(HOSTILE)


def test_many_classes_and_large_images(tmp_path):
    for index in range(105):
        for copy in range(2):
            picture(tmp_path / "many" / f"{index:03}" / f"{copy}.png", index)
    survey = survey_dataset(tmp_path / "many")
    write_png(draw_dataset(survey, columns=2), tmp_path / "many.png")
    assert len(decode_image(tmp_path / "many.png")) == 48 + 100 * (48 + 4) + 16
    for index in range(2):
        for copy in range(2):
            (tmp_path / "large" / str(index)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(cat()).save(tmp_path / "large" / str(index) / f"{copy}.png")
    write_png(draw_dataset(survey_dataset(tmp_path / "large"), columns=2), tmp_path / "large.png")
    assert decode_image(tmp_path / "large.png").shape[1] < 600


def test_help_and_list_leave_torch_out():
    for arguments in ("['data', '--help']", "['data', 'list', '--json']"):
        program = f"import sys; from convscope.cli.main import main; main({arguments}); print('torch' in sys.modules)"
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert run.stdout.splitlines()[-1] == "False", arguments
