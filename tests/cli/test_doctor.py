"""`convscope doctor`: text, JSON, exit codes, refusals."""

import json
import os
import subprocess
import sys

import pytest

from convscope import kernels
from convscope.acceleration import Limits, diagnosis, machine
from convscope.cli.main import main


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Limits that need no measuring."""
    monkeypatch.setattr(diagnosis, "measure_limits", lambda: Limits(50e9, None, 5e9, 1))


def answer(capsys, command, code=0):
    assert main(command.split()) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured


def test_the_machine(capsys):
    text = answer(capsys, "doctor").out
    heads = [line.split()[0] for line in text.splitlines()[:8] if not line.startswith(" ")]
    assert heads == ["CPU", "PyTorch", "OpenMP", "memory", "denormals", "kernels", "routes"]
    if kernels.load().handle is not None:
        for name in kernels.families():
            assert f"\n{name} " in text


def test_json_is_the_facts(capsys):
    facts = json.loads(answer(capsys, "doctor --json").out)
    assert facts["network"] is None
    assert facts["machine"] == json.loads(json.dumps(machine.describe_machine().to_dict()))


def test_a_network(capsys):
    captured = answer(capsys, "doctor --model resnet18_cifar --batch-size 2 --size 16")
    text = captured.out
    assert captured.err == ""
    assert "ResNet, one step of training on 2x3x16x16, accelerated: " in text
    assert "limits, measured now with 1 thread: float32 50 GFLOP/s, memory 5.0 GB/s" in text
    assert "59 convolutions" in text  # 20 layers, 3 passes each; the images want no gradient
    assert "\nPyTorch alone: " in text
    assert "\naccelerated: " in text


def test_inference_as_json(capsys):
    command = "doctor --model resnet18_cifar --batch-size 2 --size 16 --no-train --json"
    facts = json.loads(answer(capsys, command).out)["network"]
    assert facts["mode"] == "inference"
    assert facts["shape"] == [2, 3, 16, 16]
    assert sum(row["count"] for row in facts["rows"]) == 20
    assert {row["case"]["passing"] for row in facts["rows"]} == {"forward"}
    assert sum(row["total_seconds"] for row in facts["rows"]) == pytest.approx(facts["seconds"])


def test_the_networks_own_size(capsys):
    facts = json.loads(answer(capsys, "doctor --model lenet5 --batch-size 1 --json").out)["network"]
    assert facts["shape"] == [1, 1, 28, 28]


def test_a_wrong_kernel_is_named(capsys, monkeypatch):
    wrong = kernels.Verdict("dense", False, 6, "weight gradient, kernel (3, 3)", 0.25, 1e-4)
    monkeypatch.setattr(kernels, "self_test", lambda refresh=False: [wrong])
    captured = answer(capsys, "doctor", 1)
    expected = (
        "problem: the dense kernels are wrong here and switched off: weight gradient, kernel (3, 3) is off by"
    )
    assert expected in captured.out
    assert captured.err == "convscope: doctor: wrong kernels, switched off: dense.\n"
    assert json.loads(answer(capsys, "doctor --json", 1).out)["machine"]["verdicts"] == [wrong.to_dict()]


def test_refresh_tests_again(capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(kernels, "self_test", lambda refresh=False: asked.append(refresh) or [])
    answer(capsys, "doctor --refresh")
    answer(capsys, "doctor")
    assert asked == [True, False]


def test_without_kernels():
    """Switched off, they are absent and not wrong: the exit code is 0."""
    environment = {**os.environ, "CONVSCOPE_KERNELS": "off"}
    answers = []
    for flags in ([], ["--json"]):
        command = [sys.executable, "-m", "convscope", "doctor", *flags]
        answers.append(
            subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        )
    text, facts = answers[0], json.loads(answers[1])["machine"]
    assert "\nkernels    none: switched off by CONVSCOPE_KERNELS=off\n" in text
    assert "kernel family" not in text
    assert (facts["library"], facts["problems"]) == (None, [])


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("doctor --model resnet18_cifr", "unknown model 'resnet18_cifr': did you mean 'resnet18_cifar'"),
        ("doctor --model no_such_module:build", "there is no Python module 'no_such_module'"),
        ("doctor --model lenet5 --batch-size 0", "--batch-size is 0; it must be at least 1"),
        ("doctor --model resnet18_cifar --size -1", "--size is -1; it must be at least 1"),
        ("doctor --model alexnet --batch-size 1 --size 8", "doctor: "),
        ("doctor --model torch.nn:ReLU --size 8", "doctor: the network has no parameters to train"),
        ("doctor --batch-size 2", "are for a step of --model"),
        ("doctor --model lenet5 --batch-size two", "--batch-size"),
        ("doctor resnet18", "resnet18"),
    ],
)
def test_refusals(capsys, command, text):
    captured = answer(capsys, command, 2)
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert text in captured.err
