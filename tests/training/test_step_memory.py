"""Out of memory: one line that says what a step needs, what is free and which batch size fits."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from faults import ended, start
from torch import nn

from convscope.errors import OutOfMemoryError
from convscope.models import create_model
from convscope.training import Run, loop, train
from convscope.training.memory import StepMemory, free_bytes, is_out_of_memory


@pytest.fixture
def tmp_path(memory_folder):
    return memory_folder


ERRORS = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
                 "tried to allocate 4 bytes. Error code 12 (Cannot allocate memory)"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    RuntimeError("could not create a memory object: out of memory"),
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("at", [1, 4, 8])
def test_a_step_without_memory(folder, quick, tmp_path, monkeypatch, error, at):
    def forward(network, inputs):
        calls.append(1)
        if len(calls) == at:
            raise error

    calls = []
    united = loop.Team.unite

    def unite(team, network):
        handle = united(team, network)
        handle.register_forward_pre_hook(
            lambda module, inputs: forward(module, inputs) if module.training else None
        )
        return handle

    monkeypatch.setattr(loop.Team, "unite", unite)
    monkeypatch.setattr(loop, "free_bytes", lambda: 600_000)
    with pytest.raises(OutOfMemoryError) as caught:
        train(quick, data=folder, output=tmp_path / "run", checkpoint_every=2)
    text = str(caught.value)
    assert re.fullmatch(
        r"train: there is no memory for a step of batch size 8: it needs about [\d,]+ bytes, 600,000 are free\. Start "
        r"(again|a new run) with (batch_size=\d+, which fits|a smaller image size or network).*\.",
        text,
    )
    if at == 1:
        assert not (tmp_path / "run").exists()  # nothing was learned, so the folder is free for the next try
        return
    run = Run.open(tmp_path / "run")
    assert run.status == "failed"
    assert f"{str(run.path)!r} keeps the weights of epoch {1 if at == 4 else 2} after step" in text
    monkeypatch.undo()
    whole = train(quick, data=folder, output=tmp_path / "whole", checkpoint_every=2)
    assert train(output=run.path, resume=True).weights().read_bytes() == whole.weights().read_bytes()


def test_other_errors_stay_as_they_are(folder, quick, tmp_path, monkeypatch):
    def step(*given):
        raise RuntimeError("a shape is wrong")

    monkeypatch.setattr(loop.Training, "_step", step)
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        train(quick, data=folder, output=tmp_path / "run")
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize("name", ["lenet5", "small_vgg", "resnet18"])
def test_the_estimate_covers_what_backward_holds(name):
    """All that autograd saved for backward, counted by torch's own hooks."""
    network = create_model(name, num_classes=10, in_channels=1).train()
    images = torch.randn(16, 1, 28, 28)
    saved = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: saved.setdefault(
            tensor.untyped_storage().data_ptr(), (tensor, tensor.untyped_storage().nbytes())
        )[0],
        lambda tensor: tensor,
    ):
        scores = network(images)
    parameters = {each.untyped_storage().data_ptr() for each in network.parameters()}
    held = sum(size for place, (_, size) in saved.items() if place not in parameters)
    needed = StepMemory.of(network, (1, 28, 28)).step_bytes(16)
    weights = sum(each.numel() * 4 for each in network.parameters())
    assert scores.shape == (16, 10)
    assert held <= needed - 3 * weights <= 3 * held


def test_a_step_needs_more_with_each_image():
    step = StepMemory.of(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), (3, 32, 32))
    assert step.fixed_bytes == 3 * 4 * (3 * 8 * 9 + 8)
    assert step.step_bytes(9) - step.step_bytes(8) == step.image_bytes
    for free in range(0, 10**7, 999_983):
        fits = step.largest_batch(free)
        assert fits == 0 or step.step_bytes(fits) <= free
        assert step.step_bytes(fits + 8) > free


def test_free_bytes_sees_the_limit_of_addresses(tmp_path):
    everything = free_bytes()
    assert everything is not None

    def limited():
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 50_000_000, resource.RLIM_INFINITY))
        free = free_bytes()
        assert free is not None
        assert free <= 100_000_000

    assert ended(start(limited)) == 0


LIMITED = """
import os, resource, sys
from pathlib import Path
import torch
from convscope.errors import OutOfMemoryError
from convscope.training import Recipe, loop, train

torch.set_num_threads(1)
data, output, batch_size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
recipe = Recipe(model="small_vgg", data=data, image_size=160, epochs=1, batch_size=batch_size, lr=2e-3)
train(recipe.replace(batch_size=4), output=output.with_name("warm"))  # what is loaded when first used
step_of = loop.Training._step

def step(*given):
    loop.Training._step = step_of
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 60_000_000, resource.RLIM_INFINITY))
    return step_of(*given)

loop.Training._step = step
try:
    train(recipe, output=output)
except OutOfMemoryError as error:
    print(error)
"""


def test_the_batch_size_that_is_told_does_fit(folder, tmp_path):
    """The kernel itself refuses: a process may have 60 MB more, first with too many images a step, then with as told.

    A process of its own each time: a fork of this one would find room in what earlier tests had freed.
    """

    def limited(batch_size, output):
        command = [sys.executable, "-c", LIMITED, str(folder), str(output), str(batch_size)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    text = limited(40, tmp_path / "a" / "run")
    found = re.search(
        r"needs about ([\d,]+) bytes, ([\d,]+) are free\. Start again with batch_size=(\d+),", text
    )
    assert found is not None, text
    assert int(found[1].replace(",", "")) > int(found[2].replace(",", ""))
    assert limited(int(found[3]), tmp_path / "b" / "run") == ""
    assert Run.open(tmp_path / "b" / "run").status == "finished"
