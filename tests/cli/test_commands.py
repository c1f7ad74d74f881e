"""Each command does its work, prints it as text and as JSON, and writes its pictures."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from convscope.cli.main import main
from convscope.data import cat_path
from convscope.training import Recipe, train


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run folder of a perceptron that saw the packaged images once."""
    recipe = Recipe(model="perceptron", epochs=1, batch_size=500)
    return train(recipe, output=tmp_path_factory.mktemp("runs") / "run").path


def answer(capsys, *arguments, code=0):
    assert main([str(argument) for argument in arguments]) == code
    return capsys.readouterr().out


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


def test_geometry_prints_derivation_and_size(capsys):
    out = answer(capsys, "geometry", "--input", 32, "--kernel", 5, "--padding", 2)
    assert "floor((32 + 2 + 2 - 1*(5-1) - 1) / 1) + 1" in out
    assert out.splitlines()[-1].endswith("= 32")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--input 224x320 --kernel 7 --stride 2 --padding 3", [112, 160]),
        ("--input 7 --kernel 3 --stride 2 --padding same", [4]),
        ("--input 10 --kernel 3 --dilation 2 --padding 0:1", [7]),
        ("--input 15 --kernel 3 --stride 2 --ceil-mode --padding 1", [8]),
        ("--input 16 --transposed --kernel 3 --stride 2 --padding 1 --output-padding 1", [32]),
        ("--input 8x9x10 --kernel 3", [6, 7, 8]),
        ("--input 8 --kernel 3 --padding 1x0:2", [8, 8]),
    ],
)
def test_geometry_settings(capsys, flags, expected):
    facts = json.loads(answer(capsys, "geometry", *flags.split(), "--json"))
    assert facts["output_size"] == expected
    assert [entry["value"] for entry in facts["derivations"]] == expected


def test_geometry_backwards_and_cost(capsys):
    out = answer(capsys, "geometry", "--output-size", 112, "--kernel", 7, "--stride", 2, "--padding", 3)
    assert "= 223 to 224" in out
    out = answer(
        capsys,
        "geometry",
        "--input",
        "32x32",
        "--kernel",
        5,
        "--in-channels",
        3,
        "--out-channels",
        6,
        "--no-bias",
    )
    assert "num_params = kernel * (in_channels/groups) * out_channels" in out
    assert "= 450" in out
    assert "(the same along height and width)" in out


def test_geometry_animation(capsys, tmp_path):
    answer(capsys, "geometry", "--input", "5x5", "--kernel", 3, "--animate", tmp_path / "window.gif")
    with Image.open(tmp_path / "window.gif") as animation:
        assert animation.n_frames == 9
    assert size_of(tmp_path / "window-strip.png")[0] > 300


def test_signal(capsys, tmp_path):
    out = answer(capsys, "signal", "rect", "ramp", "--dt", 0.1, "--output", tmp_path / "s.png")
    rows = [line.split() for line in out.splitlines()[1:]]
    assert [(row[0], row[-1]) for row in rows] == [
        ("convolution", "yes"),
        ("cross-correlation", "no"),
        ("autocorrelation", "yes"),
    ]
    assert size_of(tmp_path / "s.png")[0] > 900


def test_signal_of_samples(capsys):
    facts = json.loads(answer(capsys, "signal", "1,2,3", "0,1,0.5", "--json"))
    assert facts["slides"][0]["result"]["values"] == [0, 1, 2.5, 4, 1.5]


def test_look_at_the_cat(capsys, tmp_path):
    out = answer(capsys, "look", "--output", tmp_path / "maps.png")
    assert "hidden1 (Conv2d)" in out
    assert "1 x 3 x 300 x 451" in out
    assert size_of(tmp_path / "maps.png")[1] > 400


def test_look_at_a_run(capsys, run, tmp_path):
    facts = json.loads(answer(capsys, "look", cat_path(), "--run", run, "--json"))
    assert [layer["shape"] for layer in facts["layers"]] == [[1, 784], [1, 10]]
    trained = answer(capsys, "look", cat_path(), "--run", run)
    assert trained != answer(capsys, "look", cat_path(), "--run", run, "--initial")


def test_look_at_filters(capsys, tmp_path):
    facts = json.loads(
        answer(
            capsys,
            "look",
            "--model",
            "lenet5",
            "--layer",
            "conv2",
            "--filters",
            "--json",
            "--output",
            tmp_path / "f.png",
        )
    )
    assert facts["layers"][0]["shape"] == [16, 6, 5, 5]
    assert (tmp_path / "f.png").exists()


def test_train_eval_predict(capsys, tmp_path):
    folder = tmp_path / "run"
    out = answer(
        capsys,
        "train",
        "fashion-perceptron",
        "--epochs",
        1,
        "--batch-size",
        500,
        "--output",
        folder,
        "--seed",
        3,
    )
    assert out.splitlines()[0].startswith("perceptron epoch 1/1  train loss")
    assert "perceptron on fashion-mnist: accuracy" in out
    assert "seed = 3" in (folder / "recipe.toml").read_text()

    facts = json.loads(answer(capsys, "eval", folder, "--json", "--output", tmp_path / "eval"))
    assert facts["num_images"] == 2000
    assert len(facts["mistakes"]) == facts["num_mistakes"]
    assert facts["confusion"]["accuracy"] == facts["accuracy"] > 0.6
    assert sorted(path.name for path in (tmp_path / "eval").iterdir()) == ["confusion.png", "mistakes.png"]
    assert f"accuracy {facts['accuracy']:.2%} of 2000 images" in answer(capsys, "eval", folder)

    facts = json.loads(answer(capsys, "predict", folder, cat_path(), cat_path(), "--top", 2, "--json"))
    assert len(facts["predictions"]) == 2
    assert len(facts["predictions"][0]["top"]) == 2
    assert answer(capsys, "predict", folder, cat_path()).startswith(str(cat_path()))

    assert "accuracy" in answer(capsys, "train", "--resume", folder)


def test_json_output_is_json_alone(capsys, tmp_path):
    out = answer(
        capsys,
        "train",
        "--model",
        "perceptron",
        "--epochs",
        1,
        "--batch-size",
        1000,
        "--output",
        tmp_path / "r",
        "--json",
    )
    assert json.loads(out)["status"] == "finished"


def script(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "convscope", *arguments], capture_output=True, text=True, **options
    )


def test_help_names_the_commands_and_imports_no_torch():
    code = (
        "import sys\nfrom convscope.cli.main import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "print('torch' in sys.modules, 'numpy' in sys.modules, 'matplotlib' in sys.modules)"
    )
    for arguments in (["--help"], ["train", "--help"], ["--version"]):
        result = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        assert result.stdout.splitlines()[-1] == "False False False", arguments
    for command in ("demo", "look", "signal", "geometry", "train", "eval", "predict"):
        assert command in script("--help").stdout


def test_the_torch_test_can_fail():
    code = (
        "import sys\nfrom convscope.cli.main import main\n"
        "main(['look', '--model', 'lenet5'])\nprint('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "True"


def test_geometry_needs_no_torch():
    code = (
        "import sys\nfrom convscope.cli.main import main\n"
        "main(['geometry', '--input', '32'])\nprint('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "False"


def test_a_closed_pipe_is_no_failure():
    command = f"{sys.executable} -m convscope geometry --input 32 | true"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert result.returncode == 0
    assert result.stderr == ""
