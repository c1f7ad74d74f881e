"""`convscope excite`: what it prints, draws and refuses."""

import json

import pytest
from PIL import Image

from convscope.cli.main import main
from convscope.training import Recipe, train


def answer(capsys, *command):
    code = main([str(part) for part in command])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def refusal(capsys, command):
    assert main(command.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_patches_as_text_json_and_picture(capsys, tmp_path):
    picture = tmp_path / "conv1.png"
    command = ("excite", "lenet5", "--layer", "conv1", "--images", 100, "--output", picture)
    text = answer(capsys, *command)
    assert text.startswith("conv1 (Conv2d): 6 of 6 filters, looked for in 100 images\n")
    assert "5 pixels along height and width, stride 1, padding 2" in text
    facts = json.loads(answer(capsys, *command, "--json", "--channels", "2,0"))
    assert [entry["channel"] for entry in facts["filters"]] == [2, 0]
    assert len(facts["filters"][0]["patches"]) == 9
    assert facts["made"] == []
    with Image.open(picture) as image:
        assert len(image.convert("RGB").getcolors(1 << 24)) > 50


def test_inputs_are_made(capsys, tmp_path):
    picture = tmp_path / "conv2.png"
    facts = json.loads(
        answer(
            capsys,
            *("excite", "lenet5", "--layer", "conv2", "--images", 50, "--channels", "0,3", "--synthesise"),
            *("--steps", 10, "--count", 3, "--output", picture, "--json"),
        )
    )
    assert [(made["channel"], len(made["scores"])) for made in facts["made"]] == [(0, 10), (3, 10)]
    assert facts["made"][0]["bounded"] is True
    assert picture.stat().st_size > 5000


def test_colour_networks_get_colour_images(capsys):
    facts = json.loads(
        answer(
            capsys,
            "excite",
            "resnet18",
            "--input",
            "3x32x32",
            "--layer",
            "layer1",
            "--images",
            10,
            "--count",
            1,
            "--json",
        )
    )
    assert facts["num_channels"] == 64
    assert facts["receptive_field"]["axes"][0]["size"] == 43


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder of a perceptron that saw the packaged images once."""
    recipe = Recipe(model="perceptron", epochs=1, batch_size=500)
    return train(recipe, output=tmp_path_factory.mktemp("runs") / "run")


def test_a_cell_of_the_confusion_matrix(capsys, run, tmp_path):
    told = run.evaluate()
    shirt, coat = told.classes.index("Shirt"), told.classes.index("Coat")
    inside = ((told.labels == shirt) & (told.predictions == coat)).nonzero().flatten().tolist()
    assert len(inside) >= 3
    picture = tmp_path / "cell.png"
    layer = next(name for name, module in run.network().named_modules() if hasattr(module, "weight"))
    facts = json.loads(
        answer(
            capsys, *("excite", run.path, "--layer", layer, "--cell", "Shirt:Coat", "--channels", coat),
            *("--json", "--output", picture),
        )
    )  # fmt: skip
    (entry,) = facts["filters"]
    assert {patch["image"] for patch in entry["patches"]} <= set(inside)
    assert {patch["label"] for patch in entry["patches"]} == {"Shirt"}
    assert facts["images"]["number"] == len(inside)
    assert picture.stat().st_size > 5000
    assert main(["excite", str(run.path), "--layer", layer, "--cell", "Shirt"]) == 2
    assert "give TRUE:PREDICTED" in capsys.readouterr().err
    assert main(["excite", str(run.path), "--layer", layer, "--cell", "Shirt:Coats"]) == 2
    assert "unknown class 'Coats': did you mean 'Coat'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("excite lenet5 --layer conv9", "unknown layer 'conv9': did you mean 'conv"),
        ("excite lenet5 --layer conv1 --channels 6", "channel 6 is outside layer 'conv1'"),
        ("excite lenet5 --layer conv1 --channels a", "--channels 'a' is no whole number"),
        ("excite lenet5 --layer conv1 --images 0", "--images is 0"),
        ("excite lenet5 --layer conv1 --count 0", "count is 0"),
        ("excite lenet5 --layer conv1 --steps 5", "--steps is for --synthesise"),
        ("excite lenet5 --layer conv1 --data nowhere", "nowhere"),
        ("excite lenet5 --layer conv1 --output x.jpg", "end its name with .png"),
        ("excite resnet18 --input 5x32x32 --layer layer1", "grey or colour"),
        ("excite lenet --layer conv1", "unknown model 'lenet'"),
        ("excite lenet5 --layer conv1 --cell a:b", "--cell is for a run"),
        ("excite lenet5", "--layer"),
    ],
)
def test_refusals(capsys, tmp_path, monkeypatch, command, message):
    monkeypatch.chdir(tmp_path)
    assert message in refusal(capsys, command)
    assert not list(tmp_path.iterdir())
