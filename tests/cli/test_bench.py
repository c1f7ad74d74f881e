"""`convscope bench`: text, JSON, exit codes, refusals."""

import json

import pytest

from convscope.acceleration import comparison
from convscope.cli.main import main
from convscope.kernels.routes import forget
from convscope.kernels.tuned import tuned

SMALL = "bench resnet18_cifar --batch-size 2 --size 16"


def answer(capsys, command, code=0):
    assert main(command.split()) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured


def test_text(capsys):
    captured = answer(capsys, f"{SMALL} --rounds 2")
    lines = captured.out.splitlines()
    assert captured.err == ""
    assert lines[0].startswith("ResNet on 2x3x16x16, ")
    assert lines[0].endswith("medians of 2 rounds, in turns")
    assert [line.split("  ")[0] for line in lines[2:6]] == [
        "training",
        "PyTorch",
        "PyTorch, channels-last",
        "accelerated",
    ]
    assert lines[7].startswith("inference ")
    assert "tuning" not in captured.out


def test_json(capsys):
    facts = json.loads(answer(capsys, f"{SMALL} --rounds 2 --no-train --precision fp32 --json").out)
    (contest,) = facts["contests"]
    assert (facts["dtype"], facts["tuned"], contest["mode"]) == ("float32", None, "inference")
    plain, _, accelerated = contest["variants"]
    assert len(plain["seconds"]) == 2
    assert accelerated["ratio"] == pytest.approx(plain["median"] / accelerated["median"])
    assert accelerated["images_per_second"] == pytest.approx(2 / accelerated["median"])
    assert accelerated["difference"] < 1e-3


def test_tune(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("CONVSCOPE_HOME", str(tmp_path))
    tuned.cache_clear()
    try:
        text = answer(capsys, f"{SMALL} --rounds 1 --tune --precision fp32").out
        (path,) = (tmp_path / "kernels").glob("routes-*.json")
        assert f"tuning: {len(json.loads(path.read_text()))} cases timed" in text
        assert f"kept in {path}" in text
    finally:
        tuned.cache_clear()
        forget()


def test_results_that_differ(capsys, monkeypatch):
    made = comparison._differences

    def wrong(mode, runners):
        return {**made(mode, runners), "accelerated": (0.5, None, None)}

    monkeypatch.setattr(comparison, "_differences", wrong)
    captured = answer(capsys, "bench lenet5 --batch-size 1 --rounds 1 --no-train --precision fp32", 1)
    assert "problem: accelerated, inference: the results are 5.0e-01 off" in captured.out
    assert captured.err.startswith("convscope: bench: ")


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("bench resnet18_cifr", "unknown model 'resnet18_cifr': did you mean 'resnet18_cifar'"),
        ("bench no_such_module:build", "there is no Python module 'no_such_module'"),
        ("bench lenet5 --rounds 0", "bench: rounds is 0; it must be at least 1"),
        ("bench lenet5 --batch-size 0", "--batch-size is 0; it must be at least 1"),
        ("bench lenet5 --precision fp8", "fp8"),
        ("bench torch.nn:ReLU --size 8", "bench: the network has no parameters to train"),
        ("bench torch.nn:Linear --size 8", "it must work without arguments"),
        ("bench", "network"),
    ],
)
def test_refusals(capsys, command, text):
    captured = answer(capsys, command, 2)
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert text.lower() in captured.err.lower()
