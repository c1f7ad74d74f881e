"""Everything that can be handed in wrongly: one line, the numbers, the way out, the exit code, nothing written."""

import os
import signal
import struct
import subprocess
import sys
import time
import zlib

import pytest
from PIL import Image

from convscope.cli.main import main
from convscope.data import cat_path, load_dataset
from convscope.training import Recipe, train
from convscope.training.folder import hold_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(
        Recipe(model="perceptron", epochs=1, batch_size=1000), output=tmp_path_factory.mktemp("runs") / "run"
    ).path


def refusal(capsys, code, *arguments):
    """Run a command that must fail with this code and return its one line."""
    assert main([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("convscope: ")
    assert "Traceback" not in line
    return line


def bomb(path):
    """A PNG that says it is 9000 x 9000, and is, in a few kilobytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 9000, 9000, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(9001 * 9000), 9)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def bad_pictures(folder):
    """(file, exit code, words of the message)."""
    good = cat_path().read_bytes()
    contents = {
        "empty.png": b"",
        "page.jpg": b"<html><body>no picture</body></html>",
        "half.png": good[: len(good) // 2],
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    bomb(folder / "bomb.png")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    return [
        ("missing.png", 2, "missing.png"),
        ("folder.png", 2, "folder"),
        ("pipe.png", 1, "pipe.png"),
        ("empty.png", 1, "0 bytes"),
        ("page.jpg", 1, "page.jpg"),
        ("half.png", 1, "half.png"),
        ("bomb.png", 1, "9,000 x 9,000"),
    ]


def test_bad_pictures(capsys, tmp_path, run):
    for name, code, words in bad_pictures(tmp_path):
        for command in (["look"], ["predict", run]):
            assert words in refusal(capsys, code, *command, tmp_path / name), name


def test_one_bad_picture_among_good_ones(capsys, tmp_path, run):
    (tmp_path / "empty.png").write_bytes(b"")
    assert "empty.png" in refusal(capsys, 1, "predict", run, cat_path(), tmp_path / "empty.png")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            "geometry --input 4 --kernel 7",
            "geometry: kernel does not fit along length: dilation*(kernel_size-1)+1 = 1*(7-1)",
        ),
        ("geometry --input 4x9 --kernel 7", "along height"),
        ("geometry --input 32 --stride 0", "stride is 0; it must be at least 1"),
        ("geometry --input 32 --stride=-2", "stride is -2; it must be at least 1"),
        ("geometry --input 32 --padding=-1", "padding is -1; it must be at least 0"),
        ("geometry --input 32 --padding sam", "unknown padding 'sam': did you mean 'same'?"),
        ("geometry --input 32 --padding 1:2:3", "--padding '1:2:3' has 3 sides"),
        ("geometry --input abc", "--input 'abc' is no whole number"),
        ("geometry --input 32 --output-size 3", "give either --input or --output-size"),
        ("geometry", "give either --input or --output-size"),
        ("geometry --input 32x32 --in-channels 6", "--in-channels and --out-channels together"),
        (
            "geometry --input 9 --in-channels 6 --out-channels 8 --groups 4",
            "groups is 4; it must divide in_channels 6",
        ),
        ("geometry --input 9 --groups 7", "--groups, --bias and --batch-size need --in-channels"),
        ("geometry --input 9 --no-bias", "--groups, --bias and --batch-size need --in-channels"),
        ("geometry --input 9 --output-padding 1", "is for --transposed windows"),
        (
            "geometry --input 9 --transposed --output-padding 1",
            "must be below max(stride, dilation) = max(1, 1) = 1",
        ),
        ("geometry --input 9 --animate x.mp4", "x.mp4"),
        ("geometry --input 9 --kernel 3.5", "--kernel-size '3.5' is no whole number"),
        ("geometry --inptu 9", "--inptu"),
        ("geomtry --input 9", "geometry"),
        ("look --model lenet", "unknown model 'lenet': did you mean 'lenet5'"),
        ("look --layer hiden1", "unknown layer 'hiden1': did you mean 'hidden1'"),
        ("look --run nowhere --model mlp", "give --model or --run, not both"),
        ("look --initial", "--initial is for --run"),
        ("look x.png --filters", "filters do not depend on a picture"),
        ("look --run x --seed 1", "--seed is for the random weights of --model"),
        ("look --layers hidden1,", "has an empty name"),
        ("look --seed 99999999999999999999", "must be below 2**63"),
        ("signal ramp rect --at nan", "the shift t is nan"),
        ("signal ramp rect --at 1e300", "the shift t is 1e+300; convolution has results from"),
        ("train --seed 99999999999999999999", "must be below 2**63"),
        ("train --model random_filters", "random_filters returns"),
        ("train --model small_vgg --crop-padding 60000", "crop_padding is 60000"),
        ("train --momentum 0.5", "adamw has none"),
        ("signal rect rump", "unknown signal 'rump': did you mean 'ramp'"),
        ("signal rect ramp --dt 0", "dt=0.0 must be finite with 0 < dt"),
        ("signal rect ramp --dt 1e-9", "samples"),
        ("signal 1e308,1 10", "below 1e+100"),
        ("signal 1,nan 2", "must be finite numbers"),
        ("train fashion-cn", "unknown recipe 'fashion-cn': did you mean 'fashion-cnn'"),
        ("train --model lenet", "unknown model 'lenet'"),
        ("train --data fashion-mnits --model mlp", "did you mean 'fashion-mnist'"),
        ("train --epochs 0", "epochs is 0; it must be at least 1"),
        ("train --epochs many", "many"),
        ("train --lr -1", "lr is -1"),
        ("train --loss svm", "unknown loss 'svm'"),
        ("train --optimizer adam", "did you mean 'adamw'"),
        ("train --resume a --epochs 3", "give --resume alone"),
        ("predict", "no run and no picture given"),
    ],
)
def test_misuse(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert words.lower() in refusal(capsys, 2, *arguments.split()).lower()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["eval"], ["predict"], ["look", "--run"], ["train", "--resume"]])
def test_no_run_folder(capsys, tmp_path, command):
    pictures = [cat_path()] if command == ["predict"] else []
    line = refusal(capsys, 1, *command, tmp_path, *pictures)
    assert "is no run folder: it has no recipe.toml. Make one with `convscope train --output`" in line


def pictures(folder, classes, count=3):
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.new("L", (12, 12), 20 * index).save(folder / name / f"{index}.png")


def test_bad_data_folders(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for split in ("train", "test"):
        pictures(tmp_path / "one" / split, ["cat"])
        pictures(tmp_path / "hollow" / split, ["cat", "dog"])
        pictures(tmp_path / "good" / split, ["cat", "dog"])
    for path in (tmp_path / "hollow" / "train" / "dog").iterdir():
        path.unlink()
    before = sorted(tmp_path.rglob("*"))
    for name, words in (("empty", "empty"), ("one", "one class"), ("hollow", "dog")):
        line = refusal(capsys, 1, "train", "--model", "perceptron", "--data", name, "--output", "run")
        assert words in line
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "good" / "train" / "cat" / "0.png").write_bytes(b"broken")
    assert "0.png" in refusal(
        capsys, 1, "train", "--model", "perceptron", "--data", "good", "--output", "run"
    )


def test_outputs_that_cannot_be_written(capsys, tmp_path, run):
    (tmp_path / "file").write_text("mine")
    for arguments in (
        ["look", "--model", "lenet5", "--output", tmp_path / "file" / "x.png"],
        ["train", "--model", "perceptron", "--output", tmp_path / "file"],
        ["train", "--model", "perceptron", "--output", tmp_path / "file" / "run"],
        ["eval", run, "--output", tmp_path / "file"],
        ["demo", "--output", tmp_path / "file"],
        ["signal", "--output", tmp_path / "no" / "x.png"],
        ["geometry", "--input", "5", "--animate", tmp_path / "no" / "x.gif"],
    ):
        assert main([str(argument) for argument in arguments]) == 1, arguments
        err = capsys.readouterr().err
        assert "cannot write" in err
        assert len(err.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_run_folder_in_use_or_taken(capsys, run):
    with hold_folder(run):
        assert "is in use by another process" in refusal(capsys, 1, "train", "--resume", run)
    assert "holds a run already" in refusal(capsys, 1, "train", "--model", "perceptron", "--output", run)


def test_a_full_disk_leaves_no_half_run(tmp_path):
    """The kernel stops files at 100 kB: the weights of an MLP do not fit."""
    code = (
        "import resource, sys\nfrom convscope.cli.main import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "sys.exit(main(['train', '--model', 'mlp', '--epochs', '1', '--output', sys.argv[1]]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "the file would exceed the size limit" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_seen_before_training(capsys, tmp_path, monkeypatch):
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 5000))
    line = refusal(capsys, 1, "train", "--model", "perceptron", "--output", tmp_path / "run")
    assert "5,000 bytes free, the run's files need about" in line
    assert list(tmp_path.iterdir()) == []


def test_divergence_says_step_and_exits_1(capsys, tmp_path):
    arguments = [
        "train",
        "--model",
        "perceptron",
        "--optimizer",
        "sgd",
        "--lr",
        "1e38",
        "--schedule",
        "constant",
    ]
    assert main([*arguments, "--output", str(tmp_path / "run")]) == 1
    line = capsys.readouterr().err
    assert "the loss is" in line
    assert "at step" in line
    assert (tmp_path / "run" / "LATEST").exists()


def test_ctrl_c_saves_and_exits_130(tmp_path):
    command = [sys.executable, "-m", "convscope", "train", "--model", "perceptron", "--epochs", "5000"]
    with subprocess.Popen(
        [*command, "--output", str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the first epoch is done
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, err = process.communicate(timeout=60)
        assert time.monotonic() - began < 30
    assert process.returncode == 130
    assert "stopped by SIGINT" in err
    assert len(err.splitlines()) == 1
    assert (tmp_path / "run" / "LATEST").exists()


def test_class_names_from_disk_cannot_steer_the_terminal(capsys, tmp_path):
    images = load_dataset("fashion-mnist", "test")
    for split in ("train", "test"):
        for label, name in enumerate(("\x1b[31mred", "<b>bold")):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for index in (images.labels == label).nonzero().flatten()[:4].tolist():
                Image.fromarray(images.picture(index)).save(folder / f"{index}.png")
    out = str(tmp_path / "run")
    assert (
        main(
            [
                "train",
                "--model",
                "perceptron",
                "--epochs",
                "1",
                "--data",
                str(tmp_path / "data"),
                "--output",
                out,
            ]
        )
        == 0
    )
    assert main(["eval", out]) == 0
    assert main(["predict", out, str(cat_path())]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_odd_names_in_pictures_and_on_odd_terminals(tmp_path):
    """Class names that look like formulas or tags, file names the terminal cannot spell, no standard output."""
    images = load_dataset("fashion-mnist", "test")
    for split in ("train", "test"):
        for label, name in enumerate(("$\\bad{$", "<b>&", "가방")):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for index in (images.labels == label).nonzero().flatten()[:4].tolist():
                Image.fromarray(images.picture(index)).save(folder / f"{index}.png")
    out = str(tmp_path / "run")
    recipe = Recipe(model="perceptron", epochs=1, data=str(tmp_path / "data"))
    train(recipe, output=out)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    picture = tmp_path / "é.png"
    picture.write_bytes(cat_path().read_bytes())
    for command in (["eval", out, "--output", str(tmp_path / "eval")], ["predict", out, str(picture)]):
        result = subprocess.run(
            [sys.executable, "-m", "convscope", *command], capture_output=True, text=True, env=environment
        )
        assert result.returncode == 0, result.stderr
        assert "Traceback" not in result.stderr
    assert (tmp_path / "eval" / "mistakes.png").exists()


def test_no_standard_output():
    command = f"{sys.executable} -m convscope geometry --input 32 >&-"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert result.returncode == 0
    assert result.stderr == ""


def test_a_device_is_not_replaced(capsys, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    line = refusal(capsys, 1, "look", "--model", "lenet5", "--output", tmp_path / "pipe.png")
    assert "it is no regular file" in line


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("widths=[8,16", "train: --model-option 'widths=[8,16': the value is no TOML: "),
        ("widths", "train: --model-option is 'widths'; it must be name=value."),
    ],
)
def test_model_options_that_are_no_toml(capsys, tmp_path, option, words):
    arguments = ["train", "fashion-cnn", "--model-option", option, "--output", str(tmp_path / "run")]
    assert main(arguments) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
