"""Which library is loaded, what happens without one, and whether a wrong kernel is found out and left aside."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from convscope import kernels
from convscope.kernels import library as library_module
from convscope.kernels import registry
from convscope.kernels.registry import Comparison

ROOT = Path(__file__).parents[2]
WORK = """
import torch, convscope as cs
from convscope import kernels
print(kernels.load().instruction_set, "|", kernels.load().reason)
network = cs.accelerate(cs.create_model("resnet18_cifar"), "fp32")
images = torch.randn(2, 3, 32, 32)
network.train()(images).sum().backward()
with torch.no_grad():
    found = network.eval()(images)
    own = cs.decelerate(network)(images)
assert (found - own).abs().max() < 1e-3
print([verdict.passed for verdict in kernels.self_test()])
"""


def run(setting, home, code=WORK):
    environment = {
        **os.environ,
        "CONVSCOPE_KERNELS": setting,
        "CONVSCOPE_HOME": str(home),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("off", "switched off by CONVSCOPE_KERNELS=off"),
        ("of", "CONVSCOPE_KERNELS=of is none of off, avx512_bf16, avx512, avx2, baseline"),
    ],
)
def test_everything_works_without_a_library(setting, reason, tmp_path):
    first, verdicts = run(setting, tmp_path)
    assert first == f"None | {reason}"
    assert "True" not in verdicts


@pytest.mark.skipif("CONVSCOPE_KERNELS" in os.environ, reason="another library was asked for")
def test_where_there_is_a_compiler_there_is_a_library():
    """Else every test of a kernel would be left out, and nobody told."""
    if any(map(shutil.which, ("c++", "g++", "clang++"))):
        assert kernels.load().handle is not None, kernels.load().reason


@pytest.mark.skipif(kernels.load().handle is None, reason=kernels.load().reason)
def test_a_library_built_before_a_family_was_written(monkeypatch):
    """As after an update without a new installation: the family is left aside, and the reason told."""
    monkeypatch.setitem(registry._CHECKS, "newest", lambda library: iter([library.newest_of_all()]))
    monkeypatch.setitem(library_module._FUNCTIONS, "newest_of_all", "")
    found = registry._examine("newest", kernels.load())
    assert not found.passed
    assert "not in this build, install again: " in found.worst
    assert "convscope_newest_of_all" in found.worst


def test_the_baseline_library_works_too(tmp_path):
    if kernels.load().handle is None:
        pytest.skip(kernels.load().reason)
    first, verdicts = run("baseline", tmp_path)
    assert first == "baseline | "
    assert "False" not in verdicts


def test_no_compiler_is_no_error(tmp_path):
    """The build leaves the kernels out, with a warning."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not installed")
    environment = {**os.environ, "CXX": "/nonexistent/compiler", "CC": "/nonexistent/compiler"}
    environment.pop("CMAKE_GENERATOR", None)
    done = subprocess.run(
        [cmake, "-S", str(ROOT), "-B", str(tmp_path / "build")],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no C++ compiler; the native kernels are left out" in done.stderr
    assert not list((tmp_path / "build").rglob("*.so"))


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    """Verdicts kept in a folder of the test's own."""
    if kernels.load().handle is None:
        pytest.skip(kernels.load().reason)
    monkeypatch.setenv("CONVSCOPE_HOME", str(tmp_path))
    registry.verdict.cache_clear()
    yield tmp_path
    registry.verdict.cache_clear()


def test_a_wrong_kernel_is_switched_off_and_named(own_home, monkeypatch):
    def check(library):
        yield Comparison("right", 1e-7, 1e-6)
        yield Comparison("far off", 0.5, 1e-6)

    monkeypatch.setitem(registry._CHECKS, "depthwise", check)
    input, weight = torch.randn(1, 8, 6, 6), torch.randn(8, 1, 3, 3)
    settings = [1, 1], [1, 1], [1, 1], 8
    result = kernels.depthwise_conv2d(input, weight, None, *settings)
    assert torch.equal(result, torch.conv2d(input, weight, None, *settings))
    assert kernels.native_for("depthwise", input, weight) is None
    found = {verdict.family: verdict for verdict in kernels.self_test()}
    assert not found["depthwise"].passed
    assert (found["depthwise"].worst, found["depthwise"].error) == ("far off", 0.5)
    assert found["batch_norm"].passed
    # Kept on disk: the next process does not run it either.
    (record,) = (own_home / "kernels").glob("*.json")
    assert json.loads(record.read_text())["depthwise"]["passed"] is False
    # Testing again, now with a check that passes, trusts it again.
    monkeypatch.undo()
    monkeypatch.setenv("CONVSCOPE_HOME", str(own_home))
    assert all(verdict.passed for verdict in kernels.self_test(refresh=True))


def test_not_a_number_is_wrong():
    assert not Comparison("nan", float("nan"), 1.0).passed


@pytest.mark.parametrize("text", ["", "[]", '{"depthwise": 3}', '{"depthwise": {"passed": true}}'])
def test_a_damaged_record_is_made_again(own_home, text):
    kernels.verdict("depthwise")
    (record,) = (own_home / "kernels").glob("*.json")
    record.write_text(text)
    registry.verdict.cache_clear()
    assert kernels.verdict("depthwise").passed


def test_other_types_and_devices_are_torchs():
    plain = torch.randn(1, 4, 6, 6)
    for other in (plain.double(), plain.half(), plain.to("meta")):
        assert kernels.native_for("depthwise", other) is None
    assert kernels.native_for("depthwise", plain, plain.bfloat16()) is None
