"""`convscope cam`: what it prints, draws and writes, for zoo names, run folders and own code, and refuses."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.cli.main import main
from convscope.data import cat, cat_path, normalise, preprocess
from convscope.inspection import class_activation, confusion_matrix, occlusion
from convscope.models import create_model, weights_info
from convscope.training import Recipe, Run, train


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    (tmp_path / "my_dense.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Dense(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.body, self.head = nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 5, 1)\n"
        "    def forward(self, x):\n"
        "        maps = self.head(torch.relu(self.body(x)))\n"
        "        return {'out': maps, 'twice': maps * 2}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("my_dense", None)


def answer(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def refusal(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert "Traceback" not in line
    return line


def test_a_network_of_the_zoo(capsys, tmp_path):
    picture, raw = tmp_path / "cam.png", tmp_path / "maps.npy"
    text = answer(
        capsys,
        *(
            "cam",
            "--model",
            "resnet18_cifar",
            "--input",
            "3x32x32",
            "--target",
            "3,5",
            "--output",
            picture,
            "--raw",
            raw,
        ),
    )
    lines = text.splitlines()
    assert lines[0].startswith("grad-cam of layer4: the last 512 maps of 4x4 that everything passes before ")
    assert lines[1].split() == ["class", "score", "map", "largest", "at", "pixel"]
    assert [line[:7] for line in lines[2:]] == ["class 3", "class 5"]
    maps = np.load(raw, allow_pickle=False)
    assert maps.shape == (2, 4, 4)
    with Image.open(picture) as image:
        assert image.width > 1000
        assert len(set(image.convert("L").resize((200, 200)).tobytes())) > 50
    facts = json.loads(
        answer(
            capsys,
            "cam",
            cat_path(),
            "--model",
            "resnet18_cifar",
            "--input",
            "3x32x32",
            "--target",
            "5",
            "--json",
        )
    )
    (entry,) = facts["images"][0]
    assert entry["max"] == pytest.approx(float(maps[1].max()), rel=1e-5)
    assert (facts["layer"], facts["map_size"], facts["image_size"]) == ("layer4", [4, 4], [32, 32])


@pytest.mark.parametrize("method", ["layer-cam", "score-cam"])
def test_methods_layers_and_signed_maps(capsys, tmp_path, method):
    picture = tmp_path / "cam.png"
    text = answer(
        capsys,
        *(
            "cam",
            "--model",
            "resnet20",
            "--method",
            method,
            "--layer",
            "layer2",
            "--signed",
            "--output",
            picture,
        ),
    )
    assert text.startswith(f"{method} of layer2\n")
    with Image.open(picture) as image:
        assert len(set(image.convert("L").resize((200, 200)).tobytes())) > 50


def test_a_run_folder_knows_its_classes(capsys, tmp_path):
    run = train(Recipe(model="small_vgg", epochs=1, batch_size=1000), output=tmp_path / "run").path
    facts = json.loads(answer(capsys, "cam", "--model", run, "--target", "Bag;Ankle boot", "--json"))
    opened = Run.open(run)
    assert [entry["name"] for entry in facts["images"][0]] == ["Bag", "Ankle boot"]
    assert [entry["class"] for entry in facts["images"][0]] == [
        opened.facts.classes.index(name) for name in ("Bag", "Ankle boot")
    ]
    assert "did you mean 'Bag'" in refusal(capsys, "cam", "--model", run, "--target", "bagg")
    a_cell_of_its_confusion_matrix(capsys, opened, tmp_path / "cell.png")


def a_cell_of_its_confusion_matrix(capsys, run, picture):
    told = run.evaluate()
    counts = confusion_matrix(told.labels, told.predictions, told.classes).counts.clone()
    true, said = divmod(int(counts.fill_diagonal_(0).argmax()), len(counts))
    names = [told.classes[true], told.classes[said]]
    cell = ":".join(names)
    expected = ((told.labels == true) & (told.predictions == said)).nonzero().flatten()
    expected = expected[told.confidences[expected].argsort(descending=True, stable=True)][:3].tolist()
    assert len(expected) == 3
    command = ("cam", "--model", run.path, "--cell", cell, "--images", 3, "--json")
    facts = json.loads(answer(capsys, *command, "--output", picture))
    assert facts["indices"] == expected
    images = run.dataset().subset(expected)
    with torch.no_grad():
        scores = run.network()(normalise(images.images, run.facts.mean, run.facts.std))
    for entry, score in zip(facts["images"], scores, strict=True):
        assert [each["name"] for each in entry] == names
        assert [each["score"] for each in entry] == pytest.approx(score[[true, said]].tolist(), abs=1e-4)
    with Image.open(picture) as drawn:
        assert drawn.height > 700
    assert "image" in answer(capsys, *command[:-1]).splitlines()[1]
    for arguments, words in (
        (("--cell", "Shirt"), "names no two classes"),
        (("--cell", "Shirt:Cot"), "did you mean 'Coat'"),
        (("--cell", cell, "--target", "1"), "leave the picture and --target out"),
        (("--cell", cell, "--images", 0), "--images is 0"),
        (("--cell", cell, "--method", "occlusion"), "--cell shows grad-cam, layer-cam, score-cam"),
        (("--cell", cell, "--input", "1x1x28x28"), "--cell shows grad-cam"),
    ):
        assert words in refusal(capsys, "cam", "--model", run.path, *arguments)
    assert "--cell is for a run" in refusal(capsys, "cam", "--model", "lenet5", "--cell", "a:b")


def test_own_code_with_a_dict_of_maps(own_code, capsys, tmp_path):
    command = ("cam", "--model", "my_dense:Dense", "--input", "1x3x40x60", "--target", "2")
    one = json.loads(answer(capsys, *command, "--json"))
    two = json.loads(answer(capsys, *command, "--json", "--output-of", "twice"))
    assert (one["output"], two["output"]) == ("out", "twice")
    assert two["images"][0][0]["score"] == pytest.approx(2 * one["images"][0][0]["score"], rel=1e-5)
    assert "unknown output 'thrice': did you mean 'twice'" in refusal(
        capsys, *command, "--output-of", "thrice"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--layer", "layr3"), "unknown layer 'layr3': did you mean 'layer3'"),
        (("--target", "10"), "target 10 is outside 0 to 9"),
        (("--target", "cat"), "unknown class 'cat'"),
        (("--target", "1;;2"), "--target '1;;2' has an empty class"),
        (("--method", "cam"), "unknown method 'cam'"),
        (("--output", "cam.jpg"), "end its name with .png"),
        (("--raw", "maps.png"), "end its name with .npy"),
        (("no_such_picture.png",), "no_such_picture.png"),
    ],
)
def test_refusals(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert words in refusal(capsys, "cam", "--model", "resnet20", "--input", "3x32x32", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_pictures_smaller_than_the_network_takes(capsys):
    line = refusal(capsys, "cam", "--model", "alexnet", "--input", "1x3x20x20")
    assert "20" in line
    assert "convscope cam" not in line


def test_no_model(capsys):
    assert "--model" in refusal(capsys, "cam")


def test_the_command_says_what_the_call_says(capsys):
    from convscope.data import cat, prepare
    from convscope.models import create_seeded_model

    facts = json.loads(answer(capsys, "cam", "--model", "resnet20", "--input", "3x32x32", "--json"))
    image = prepare(cat(), (0.0,) * 3, (1.0,) * 3, 3, (32, 32))
    found = class_activation(create_seeded_model("resnet20", 0).eval(), image)
    assert facts == json.loads(json.dumps(found.to_dict()))
    assert torch.equal(found.images, image)


@pytest.mark.parametrize("method", ["saliency", "integrated-gradients", "occlusion"])
def test_pixel_by_pixel(capsys, tmp_path, method):
    picture, raw = tmp_path / "pixels.png", tmp_path / "maps.npy"
    command = (
        "cam",
        "--model",
        "speed_cnn",
        "--weights",
        "default",
        "--target",
        "cat;dog",
        "--method",
        method,
    )
    facts = json.loads(answer(capsys, *command, "--output", picture, "--raw", raw, "--json"))
    assert [each["name"] for each in facts["classes"]] == ["cat", "dog"]
    assert [each["images"][0]["target"] for each in facts["classes"]] == [3, 5]
    network = create_model("speed_cnn", weights="default").eval()
    given = preprocess(cat(), weights_info(network).preprocessing)
    with torch.no_grad():
        scores = network(given)[0, [3, 5]].tolist()
    assert [each["images"][0]["score"] for each in facts["classes"]] == pytest.approx(scores, abs=1e-4)
    maps = np.load(raw, allow_pickle=False)
    assert maps.shape == ((2, 32, 32) if method == "occlusion" else (2, 3, 32, 32))
    if method == "occlusion":
        own = occlusion(network, given, [5], window=4)  # a seventh of 32
        np.testing.assert_allclose(maps[1], own.maps[0].numpy(), atol=1e-5)
    with Image.open(picture) as drawn:
        assert drawn.width > 1000
    assert "cat" in answer(capsys, *command)
    assert "not for" in refusal(capsys, *command, "--layer", "blocks")
    assert "did you mean 'cat'" in refusal(capsys, *command[:5], "--target", "catt", "--method", method)


def test_a_mistyped_method_is_told_the_nearest_of_all(capsys):
    line = refusal(capsys, "cam", "--model", "speed_cnn", "--method", "oclusion")
    assert "unknown method 'oclusion': did you mean 'occlusion'?" in line
    assert "'grad-cam'" in line


def test_flags_of_a_cell_are_refused_without_one(capsys):
    for flag in (("--images", 3), ("--data", "fashion-mnist")):
        assert "--data and --images are for --cell" in refusal(capsys, "cam", "--model", "lenet5", *flag)


def test_a_window_is_for_occlusion(capsys):
    for method in ("grad-cam", "saliency"):
        command = ("cam", "--model", "speed_cnn", "--window", 4, "--method", method)
        assert "--window is for occlusion" in refusal(capsys, *command)
