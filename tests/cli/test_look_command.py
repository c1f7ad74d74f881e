"""`convscope look` for the zoo, runs and own code: maps, comparisons, epochs, spectra, files and terminals."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.cli import screen
from convscope.cli.main import main
from convscope.data import cat, cat_path, preprocess
from convscope.errors import UsageError
from convscope.models import create_seeded_model, published_weights, save_weights
from convscope.models.preprocessing import Preprocessing, WeightsInfo
from convscope.training import Recipe, Run, train
from convscope.training.checkpoint import Checkpoints, Position


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Five epochs of a small network on two classes, of which the checkpoints of the last two stay."""
    root = tmp_path_factory.mktemp("look")
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 8)):
        for name, level in (("dark", 40), ("light", 200)):
            place = root / "data" / split / name
            place.mkdir(parents=True)
            for index in range(count):
                noise = generator.integers(-30, 30, (28, 28))
                Image.fromarray((level + noise).astype(np.uint8)).save(place / f"{index}.png")
    recipe = Recipe(model="lenet5", data=str(root / "data"), epochs=5, batch_size=8, keep_checkpoints=2)
    train(recipe, output=str(root / "run"))
    return root / "run"


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    (tmp_path / "own_look_networks.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(3, 4, 3, stride=2)\n"
        "        for parameter in self.parameters():\n"
        "            parameter.requires_grad_(False)\n"
        "    def forward(self, image):\n"
        "        return {'out': torch.relu_(self.conv(image))}\n"
        "class Flat(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Linear(16, 3))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("own_look_networks", None)


def answer(capsys, *command):
    code = main([str(part) for part in ("look", *command)])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def facts(capsys, *command):
    return json.loads(answer(capsys, *command, "--json"))


def refusal(capsys, *command):
    assert main([str(part) for part in ("look", *command)]) in (1, 2)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert captured.err.count("\n") == 1
    return captured.err


def picture_of(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")), image.text["Description"]


def test_network_and_picture_are_told_apart(capsys, tmp_path, run):
    one = answer(capsys, "lenet5", cat_path())
    assert one == answer(capsys, cat_path(), "lenet5") == answer(capsys, cat_path(), "--model", "lenet5")
    assert "conv1 (Conv2d)" in one
    trained = answer(capsys, run, "cat")
    assert trained == answer(capsys, "--run", run) == answer(capsys, "--model", run) != one


def test_own_code_with_functional_and_in_place_layers(capsys, own_code):
    (conv,) = facts(capsys, "own_look_networks:Net", "--input", "1x3x64x64")["layers"]
    assert conv["shape"] == [1, 4, 31, 31]
    assert conv["min"] < 0  # the ReLU after it works in place
    relu, out = facts(capsys, "own_look_networks:Net", "--layers", "relu,output")["layers"]
    assert relu["min"] == out["min"] == 0
    assert relu["shape"] == [1, 4, 149, 225]  # the cat's own size
    answer(capsys, "own_look_networks:Net", "--layers", "relu", "--output", "relu.png")
    pixels, alt = picture_of("relu.png")
    assert "relu (relu): 4 maps of 149 x 225: dark 0" in alt
    assert pixels.std() > 20


def test_own_code_that_takes_no_pictures(capsys, own_code):
    (layer,) = facts(capsys, "own_look_networks:Flat", "--input", "2x16")["layers"]
    assert layer["shape"] == [2, 3]
    assert "is no picture" in refusal(capsys, "own_look_networks:Flat", cat_path(), "--input", "2x16")
    assert "none of the layers has maps" in refusal(
        capsys, "own_look_networks:Flat", "--input", "2x16", "--output", "flat.png"
    )
    assert not (own_code / "flat.png").exists()


def test_a_network_with_published_weights_gets_its_preparation(capsys):
    (layer,) = facts(capsys, "resnet18", "--layers", "conv1")["layers"]
    network = create_seeded_model("resnet18", 0).eval()
    with torch.no_grad():
        expected = network.conv1(preprocess(cat(), published_weights("resnet18").preprocessing))
    assert layer["shape"] == [1, 64, 112, 112]
    assert layer["max"] == pytest.approx(float(expected.max()), rel=1e-5)
    (layer,) = facts(capsys, "resnet18", "--layers", "conv1", "--size", "64")["layers"]
    assert layer["shape"] == [1, 64, 32, 32]
    (layer,) = facts(capsys, "resnet18", "--layers", "conv1", "--size", "64x96")["layers"]
    assert layer["shape"] == [1, 64, 32, 48]
    (layer,) = facts(capsys, "lenet5", "--layers", "conv1", "--size", "40")["layers"]
    assert layer["shape"] == [1, 6, 36, 36]


def test_a_large_photograph_is_not_taken_whole(capsys, tmp_path):
    with Image.open(cat_path()) as small:
        small.convert("RGB").resize((2000, 1500)).save(tmp_path / "large.jpg")
    first, *_ = facts(capsys, "random_filters", tmp_path / "large.jpg")["layers"]
    assert first["shape"] == [1, 3, 300, 400]


def test_all_maps_of_what_is_named_are_drawn_a_choice_of_the_rest(capsys, tmp_path):
    out = answer(capsys, "resnet18", "--size", "64", "--output", tmp_path / "choice.png")
    assert "A picture shows 5 of 58 layers, the last before each change of size" in out
    _, alt = picture_of(tmp_path / "choice.png")
    assert "512 maps of 2 x 2" in alt
    answer(capsys, "resnet18", "--size", "64", "--layers", "all", "--output", tmp_path / "all.png")
    pixels, alt = picture_of(tmp_path / "all.png")
    assert alt.count("maps of") == 58
    assert pixels.shape[0] > 5000


def test_random_beside_given_weights(capsys, tmp_path):
    network = create_seeded_model("resnet18", 5)
    facts_of = Preprocessing(64, 64, "bilinear", (0.5,) * 3, (0.25,) * 3)
    network.weights_info = WeightsInfo("published by us", (), facts_of)
    save_weights(network, tmp_path / "w.safetensors")
    command = (
        "resnet18",
        "--weights",
        tmp_path / "w.safetensors",
        "--compare",
        "random",
        "--layers",
        "conv1,layer4",
    )
    conv, layer = facts(capsys, *command, "--seed", 7)["films"]
    assert [frame["name"] for frame in conv["frames"]] == ["random, seed 7", "w.safetensors"]
    random = create_seeded_model("resnet18", 7).eval()
    with torch.no_grad():
        expected = random.conv1(preprocess(cat(), facts_of))
    assert conv["frames"][0]["max"] == pytest.approx(float(expected.max()), rel=1e-5)
    assert layer["shape"] == [512, 2, 2]
    out = answer(capsys, *command, "--output", tmp_path / "two.png")
    assert "root mean square" in out
    _, alt = picture_of(tmp_path / "two.png")
    assert "(random, seed 0, " in alt
    (bank,) = facts(capsys, *command[:-2], "--layers", "conv1", "--filters")["films"]
    assert (bank["noun"], bank["shape"]) == ("kernels", [64, 3, 7, 7])


def test_a_run_before_and_after_and_over_its_epochs(capsys, run, tmp_path):
    before, after = facts(capsys, run, "--compare", "initial", "--layers", "conv1")["films"][0]["frames"]
    assert (before["name"], after["name"]) == ("before training", "epoch 5")
    (initial,) = facts(capsys, run, "--initial", "--layers", "conv1")["layers"]
    assert before["max"] == pytest.approx(initial["max"])
    found = facts(capsys, run, "cat", "--over-epochs", "--layers", "conv2")
    kept = found["epochs"]
    assert kept[0] == 0
    assert kept[-2:] == [4, 5]
    assert [frame["name"] for frame in found["films"][0]["frames"]] == [
        "before training" if epoch == 0 else f"epoch {epoch}" for epoch in kept
    ]
    out = answer(capsys, run, "cat", "--over-epochs", "--output", tmp_path / "film.png")
    assert f"The weights of epochs {', '.join(map(str, kept))} of 5 are kept" in out
    pixels, alt = picture_of(tmp_path / "film.png")
    assert "(before training, " in alt
    assert pixels.std() > 20


def test_snapshots_of_every_epoch(capsys, run, tmp_path):
    found = facts(capsys, run, "--over-epochs")
    assert found["epochs"] == [0, 1, 2, 3, 4, 5]
    assert [film["layer"] for film in found["films"]] == ["conv1", "conv2"]
    assert len(found["films"][0]["frames"]) == 6
    out = answer(capsys, run, "--over-epochs", "--layers", "conv2", "--output", tmp_path / "film.png")
    assert "Snapshots of epochs 0 to 5, of one held-out image (dark)" in out
    (bank,) = facts(capsys, run, "--over-epochs", "--filters")["films"]
    assert bank["shape"][0] == 6
    # Layers without snapshots are shown at the epochs whose weights are kept, of the packaged cat.
    assert facts(capsys, run, "--over-epochs", "--layers", "pool")["epochs"][-2:] == [4, 5]


def test_spectra(capsys, tmp_path):
    command = ("resnet18", "--size", "64", "--spectra")
    out = answer(capsys, *command, "--output", tmp_path / "spectra.png")
    assert out.splitlines()[0].split()[:2] == ["layer", "operator"]
    assert out.splitlines()[1].startswith("conv1")
    assert "Shifted by one pixel to 8 sides: the first class stays in" in out
    with Image.open(tmp_path / "spectra.png") as image:
        assert min(image.size) > 1000
    found = facts(capsys, *command)
    assert found["down_samplings"][0]["layer"] == "conv1"
    assert len(found["shifts"]["changes"]) == 8


class Terminal:
    """Standard output as a terminal of some kind."""

    def __init__(self, stream, encoding="utf-8"):
        self.stream, self.encoding = stream, encoding

    def isatty(self):
        return True

    def __getattr__(self, name):
        return getattr(self.stream, name)


@pytest.mark.parametrize(
    ("variables", "code"),
    [({"COLORTERM": "truecolor", "TERM": "xterm-256color"}, "38;2;"), ({"TERM": "xterm-256color"}, "38;5;")],
)
def test_half_blocks_in_a_terminal(capsys, monkeypatch, tmp_path, variables, code):
    monkeypatch.delenv("COLORTERM", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))
    out = answer(capsys, "lenet5", "--layers", "conv1")
    assert f"\x1b[{code}" in out
    assert "▀" in out
    assert "conv1 (Conv2d): 6 maps of 28 x 28" in out
    assert "▀" not in answer(capsys, "lenet5", "--output", tmp_path / "x.png")
    assert "▀" not in answer(capsys, "lenet5", "--json")
    assert "Linear" in answer(capsys, "mlp")  # it has no maps: the table is enough


def test_no_half_blocks_where_there_is_no_terminal_unless_asked(capsys, monkeypatch):
    monkeypatch.delenv("COLORTERM", raising=False)
    assert "▀" not in answer(capsys, "lenet5", "--layers", "conv1")
    assert "\x1b[38;5;" in answer(capsys, "lenet5", "--layers", "conv1", "--terminal")


def test_terminals_that_cannot(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout, "ascii"))
    assert "▀" not in answer(capsys, "lenet5", "--layers", "conv1")
    assert "has no half blocks; use --output" in refusal(capsys, "lenet5", "--terminal")
    monkeypatch.setattr(sys, "stdout", None)
    assert screen.screen_colours(True, None) is None


def test_terminals_without_colours(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))
    monkeypatch.delenv("COLORTERM", raising=False)
    monkeypatch.setenv("TERM", "dumb")
    assert "▀" not in answer(capsys, "lenet5", "--layers", "conv1")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("lenet5 resnet18", "2 networks are named, lenet5 and resnet18; give one"),
        ("lenet5 --model resnet18", "2 networks are named"),
        ("a.png b.png", "2 pictures are named, a.png and b.png; give one"),
        ("lenet", "did you mean 'lenet5'"),
        ("missing.jpg", "missing.jpg"),
        ("lenet5 --compare random", "--compare needs --weights"),
        ("no.module:net --compare random", "--compare is for a run folder"),
        ("lenet5 --over-epochs", "--over-epochs is for a run folder"),
        ("lenet5 --spectra --filters", "--filters and --spectra exclude each other"),
        ("lenet5 --spectra --terminal", "leave --terminal and --layers out"),
        ("lenet5 --spectra --layers features.0", "leave --terminal and --layers out"),
        ("lenet5 --spectra --compare random", "exclude each other"),
        ("lenet5 --compare trained", "trained"),
        ("lenet5 --size 0", "--size is '0'; give 1 to 16384 pixels"),
        ("lenet5 --size 1x2x3", "--size is '1x2x3'"),
        ("lenet5 --output x.jpg", "end its name with .png"),
        ("resnet18 --layers layer9", "did you mean 'layer4'"),
        ("no.such.module:net", "there is no Python module"),
        ("alexnet --size 20", "alexnet"),
        ("random_filters --spectra", "no operator of the network has a larger stride"),
    ],
)
def test_refusals(capsys, tmp_path, monkeypatch, command, words):
    monkeypatch.chdir(tmp_path)
    assert words.lower() in refusal(capsys, *command.split()).lower()
    assert list(tmp_path.iterdir()) == []


def test_an_epoch_that_is_not_kept(run):
    opened = Run.open(run)
    kept = opened.kept_epochs()
    assert [path.exists() for path in kept.values()] == [True] * len(kept)
    missing = next(epoch for epoch in range(1, 9) if epoch not in kept)
    with pytest.raises(UsageError, match=rf"epoch {missing} is not kept: .* has the weights of epochs 0, "):
        opened.network(missing)


def test_a_run_that_was_stopped_in_an_epoch_says_where(run, tmp_path):
    stopped = tmp_path / "run"
    shutil.copytree(run, stopped)
    newest = Run.open(stopped).weights()
    Checkpoints(stopped).save(
        999, lambda place: shutil.copyfile(newest, place), {}, Position(epoch=5, step=2)
    )
    opened = Run.open(stopped)
    assert (Run.open(run).place, opened.place) == ("epoch 5", "epoch 6 after step 2")
    assert max(opened.kept_epochs()) == 5
