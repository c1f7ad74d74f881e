"""NaN: stopped at the step where it arises, with the images of its batch; or gone back to what was good."""

import math
import os
import re
import signal

import pytest
import torch
from faults import ended, start

from convscope.data import Batches
from convscope.errors import NonFiniteLossError
from convscope.training import Run, StepDone, TrainingInterrupted, Warned, loop, train
from convscope.training.checkpoint import Checkpoints
from convscope.training.optimizers import Optimizers


@pytest.fixture
def tmp_path(memory_folder):
    return memory_folder


class Poison:
    """Makes what a step computes with NaN at step number `at`, counted from 1 over the run, `times` times."""

    def __init__(self, monkeypatch, what, at, times=1):
        self.left = times
        step_of = loop.Training._step
        poison = self

        def step(training, batch, lr, epoch, number, stop):
            steps = epoch * len(training.batches) + number + 1
            poison.now = steps == at and poison.left > 0
            poison.left -= poison.now
            if poison.now:
                poison.index = batch.index
                if what == "input":
                    batch.images[0, 0, 3, 3] = math.nan
                if what == "weight":
                    with torch.no_grad():
                        next(training.network.parameters()).fill_(math.nan)
            return step_of(training, batch, lr, epoch, number, stop)

        monkeypatch.setattr(loop.Training, "_step", step)
        if what == "loss":
            loss_of = loop.loss_of

            def sick(recipe):
                healthy = loss_of(recipe)
                return lambda *given: healthy(*given) * (math.nan if getattr(poison, "now", False) else 1)

            monkeypatch.setattr(loop, "loss_of", sick)
        if what == "gradient":
            zero = Optimizers.zero_grad

            def zero_grad(optimizers):
                zero(optimizers)
                if poison.now:  # a hook that spoils what backward brings
                    parameter = next(
                        each for group in optimizers._all[0].param_groups for each in group["params"]
                    )
                    flat = {id(matrix): each for each, matrix in optimizers._flat}
                    parameter = flat.get(id(parameter), parameter)
                    handle = parameter.register_hook(lambda grad: (handle.remove(), grad * math.inf)[1])

            monkeypatch.setattr(Optimizers, "zero_grad", zero_grad)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("what", ["loss", "gradient", "input", "weight"])
def test_the_step_and_the_images_are_told(folder, quick, tmp_path, monkeypatch, what, optimizer):
    poison = Poison(monkeypatch, what, at=8)
    with pytest.raises(NonFiniteLossError) as caught:
        train(quick, data=folder, output=tmp_path / "run", optimizer=optimizer)
    text = str(caught.value)
    assert "in epoch 2 at step 3" in text
    numbers = re.search(r"images ([\d, ]+);", text)
    assert numbers is not None
    assert [int(each) for each in numbers[1].split(",")] == poison.index.tolist()
    images, grey = Run.open(tmp_path / "run").dataset("train"), (0.5, 0.5, 0.5)
    whole = Batches(images, 8, mean=grey, std=grey, shuffle=True)
    assert poison.index.tolist() == whole.order(1)[16:24].tolist()
    assert "keeps the weights of epoch 1" in text
    run = Run.open(tmp_path / "run")
    assert run.status == "diverged"
    for which in ("latest", "best"):
        assert all(bool(value.isfinite().all()) for value in run.network(which).state_dict().values())
    # What was wrong is gone: the run goes on to what it would have come to.
    assert weights(train(output=run.path, resume=True)) == weights(
        train(quick, data=folder, output=tmp_path / "other", optimizer=optimizer)
    )


def weights(run):
    return run.weights().read_bytes(), [row["loss"] for row in run.steps]


def test_weights_that_are_spoilt_after_the_step_name_its_images(folder, quick, tmp_path, monkeypatch):
    step_of = Optimizers.step

    def step(optimizers, lr):
        step_of(optimizers, lr)
        with torch.no_grad():
            optimizers._all[0].param_groups[0]["params"][0].fill_(math.inf)

    monkeypatch.setattr(Optimizers, "step", step)
    with pytest.raises(
        NonFiniteLossError, match=r"weights .* are no longer finite in .* after step 1, images \d+, "
    ):
        train(quick, data=folder, output=tmp_path / "run", batch_size=64)


@pytest.mark.parametrize("which", ["val", "test"])
def test_a_loss_that_is_nan_when_it_is_measured_is_never_the_best(
    folder, quick, tmp_path, monkeypatch, which
):
    measured = loop.evaluate
    seen = [0]

    def sick(*args, **named):
        found = measured(*args, **named)
        seen[0] += 1
        if seen[0] == (2 if which == "val" else 4):
            object.__setattr__(found, "loss", math.nan)
            object.__setattr__(found, "accuracy", 2.0)
        return found

    monkeypatch.setattr(loop, "evaluate", sick)
    with pytest.raises(NonFiniteLossError, match=r"the loss on the .* images is nan after epoch"):
        train(quick, data=folder, output=tmp_path / "run", validation_share=0.25)
    run = Run.open(tmp_path / "run")
    assert Checkpoints(run.path).best().position.best <= 1
    assert len(run.metrics) == (1 if which == "val" else 2)


@pytest.fixture
def rolling(folder, quick):
    return quick.replace(data=str(folder), on_divergence="rollback", checkpoint_every=2, average="ema")


def test_rollback_halves_the_rate_and_goes_on(rolling, tmp_path, monkeypatch):
    Poison(monkeypatch, "gradient", at=8)
    events = []
    run = train(rolling, output=tmp_path / "run", listener=events.append)
    warned = [event.message for event in events if isinstance(event, Warned)]
    assert len(warned) == 1
    assert "a gradient is not finite in epoch 2 at step 3" in warned[0]
    assert "going on from epoch 2 after step 1 with the learning rate times 0.5 (1 of 3 times)" in warned[0]
    assert run.status == "finished"
    assert [row["step"] for row in run.steps] == list(range(1, 16))
    plain = train(rolling, output=tmp_path / "plain")
    for row, other in zip(run.steps, plain.steps, strict=True):
        assert row["lr"] == pytest.approx(other["lr"] * (0.5 if row["step"] > 6 else 1))
    position = Checkpoints(run.path).latest().position
    assert (position.lr_scale, position.rollbacks) == (0.5, 1)


def test_rollback_gives_up_after_three_times(rolling, tmp_path, monkeypatch):
    Poison(monkeypatch, "loss", at=8, times=100)
    events = []
    with pytest.raises(
        NonFiniteLossError, match=r"keeps the weights of epoch 2 after step 1.*rate \(now 0.00025\)"
    ):
        train(rolling, output=tmp_path / "run", listener=events.append)
    warned = [event.message for event in events if isinstance(event, Warned)]
    assert [message[message.index("times") :] for message in warned] == [
        "times 0.5 (1 of 3 times).",
        "times 0.25 (2 of 3 times).",
        "times 0.125 (3 of 3 times).",
    ]
    assert Run.open(tmp_path / "run").status == "diverged"


@pytest.mark.parametrize("stop", [7, 8, 9, 12])
@pytest.mark.parametrize("how", ["asked", "killed"])
def test_a_run_that_was_rolled_back_resumes_bit_for_bit(rolling, tmp_path, monkeypatch, stop, how):
    """Each process finds the same NaN at step 8 with the whole rate, and none with half of it."""
    step_of = loop.Training._step

    def step(training, batch, lr, epoch, number, request):
        if training.at.lr_scale == 1 and epoch * len(training.batches) + number + 1 == 8:
            batch.images[0] = math.nan
        return step_of(training, batch, lr, epoch, number, request)

    monkeypatch.setattr(loop.Training, "_step", step)
    whole = train(rolling, output=tmp_path / "whole")

    def listener(event):

        if isinstance(event, StepDone) and 5 * (event.epoch - 1) + event.step == stop:
            os.kill(os.getpid(), signal.SIGTERM if how == "asked" else signal.SIGKILL)

    if how == "asked":
        with pytest.raises(TrainingInterrupted):
            train(rolling, output=tmp_path / "run", listener=listener)
    else:
        assert ended(start(lambda: train(rolling, output=tmp_path / "run", listener=listener))) == -9
    run = train(output=tmp_path / "run", resume=True)
    assert weights(run) == weights(whole)
    newest, other = (Checkpoints(each.path).latest() for each in (run, whole))
    assert (newest.path / "training.safetensors").read_bytes() == (
        other.path / "training.safetensors"
    ).read_bytes()
    assert (run.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    assert newest.position.rollbacks == other.position.rollbacks == 1
