"""Kill it any time: the run loses at most the steps since its last checkpoint, and goes on bit for bit."""

import contextlib
import errno
import hashlib
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from faults import DIED, Faults, dying, ended, failing, start

from convscope.errors import OutputError
from convscope.files import write_bytes
from convscope.training import Run, StepDone, train
from convscope.training.checkpoint import Checkpoints, Position


@pytest.fixture
def tmp_path(memory_folder):
    return memory_folder


def save(path, number, *, best=False):
    """Save a checkpoint whose content says its number; the best one so far is the one before, unless it is."""
    tensors = {"optimizer.0.0.momentum_buffer": torch.full((3,), float(number))}
    weights = safetensors.torch.save({"weight": torch.full((2,), float(number))})
    position = Position(step=number, best=0.5, best_step=number if best else 1)
    Checkpoints(path, keep=2).save(
        number, lambda file: write_bytes(file, weights), tensors, position, best=best
    )


def first(path):
    return None, 1, False


def later(path):
    """The fifth save of a run that keeps two: the third goes, the first stays as the best."""
    for number in range(1, 5):
        save(path, number, best=number == 1)
    return 4, 5, False


def best(path):
    """A save that becomes the best, with what a killed process left: half of this very checkpoint, and a temporary."""
    for number in range(1, 4):
        save(path, number, best=number == 1)
    left = path / "checkpoints" / ".step-000004.tmp-1"
    left.mkdir()
    (left / "weights.safetensors").write_bytes(b"half")
    (path / "checkpoints" / "step-000004").mkdir()
    (path / "checkpoints" / "step-000004" / "weights.safetensors").write_bytes(b"half")
    return 3, 4, True


def is_sound(path, old, new):
    """Check that the old or the new checkpoint loads whole, and the best one; then that a run goes on from there."""
    found = Checkpoints(path).latest(lambda message: None)
    number = found.position.step
    assert number in (old, new)
    assert float(found.training_tensors()["optimizer.0.0.momentum_buffer"][0]) == number
    assert float(safetensors.torch.load_file(found.weights)["weight"][0]) == number
    assert Checkpoints(path).best().position.step in (1, new)
    Checkpoints(path, keep=2).go_on_from(found)
    assert Checkpoints(path).latest(pytest.fail).position.step == number
    assert Checkpoints(path).best().position.step == found.position.best_step
    save(path, number + 1)
    kept = {path.name for path in (path / "checkpoints").iterdir()}
    assert f"step-{number + 1:06d}" in kept
    assert kept <= {f"step-{each:06d}" for each in (1, number, number + 1)} | {
        f"step-{found.position.best_step:06d}"
    }
    assert Checkpoints(path).latest(pytest.fail).position.step == number + 1


def at_each_call(history, folder, act, run):
    """Let the save fail at its first call, its second, ... until it goes through; return how many calls it made."""
    (folder / "before").mkdir()
    old, new, is_best = history(folder / "before")
    for at in range(1, 500):
        path = folder / "run"
        shutil.copytree(folder / "before", path)
        faults = Faults(at, act)
        with faults.here():

            def work(faults=faults, path=path):
                faults.armed = True
                save(path, new, best=is_best)

            through = run(work, faults)
        if old is None and not Checkpoints(path).exist():
            save(path, new)  # nothing was there, and nothing is in the way
        is_sound(path, old, new)
        shutil.rmtree(path)
        if through:
            return at - 1
    raise AssertionError("the save never went through")


@pytest.mark.parametrize("history", [first, later, best])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_save_that_fails_at_its_nth_call(tmp_path, history, code):
    def run(work, faults):
        try:
            work()
        except OutputError:
            pass
        finally:
            faults.armed = False
        return faults.count < faults.at

    assert at_each_call(history, tmp_path, failing(code), run) > 30


@pytest.mark.parametrize("history", [first, later, best])
def test_a_process_that_dies_at_the_nth_call_of_a_save(tmp_path, history):
    def run(work, faults):
        code = ended(start(work))
        assert code in (0, DIED)
        return code == 0

    assert at_each_call(history, tmp_path, dying, run) > 30


def test_what_is_flushed_before_a_name_is_given(tmp_path):
    """Each file is on the disk before the folder has its name, and the name before LATEST points to it."""
    faults = Faults(0, dying)
    with faults.here():
        faults.armed = True
        save(tmp_path, 1)
        faults.armed = False
    steps = [(name, what) for name, what in faults.log if name in ("fsync", "rename", "replace")]
    names = [name if name == "fsync" else (name, Path(what).name[:6]) for name, what in steps]
    place = names.index(("rename", ".step-"))
    assert names[:place].count("fsync") >= 7  # three files and the folder's names after each; then the folder
    assert names[place - 1] == "fsync"
    assert names[place + 1] == "fsync"
    assert [each[1] for each in names[place:] if each[0] == "replace"] == [".LATES"]
    assert names[-1] == "fsync"


def digest(path):
    """Return the checksums of all that a run came to, and its position; but for the times, which are none of it."""
    newest = Checkpoints(path).latest(pytest.fail)
    newest.position.sizes.pop("times.jsonl")
    files = [newest.weights, newest.path / "training.safetensors", path / "metrics.jsonl"]
    files.append(Checkpoints(path).best().weights)
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files], newest.position


@pytest.mark.parametrize(("optimizer", "kills_in_all"), [("sgd", 45), ("muon", 15)])
def test_sixty_kills_change_nothing(folder, quick, tmp_path, optimizer, kills_in_all):
    """Six kills a run, while it computes, measures and saves, some while it starts; then it goes on to its end."""
    recipe = quick.replace(
        data=str(folder), epochs=2, optimizer=optimizer, average="ema", checkpoint_every=1, lr=0.02
    )
    telling, told = os.pipe()

    def work(path):
        def listener(event):
            if isinstance(event, StepDone):
                os.write(told, b".")

        if path.exists() and Checkpoints(path).exist():
            train(output=path, resume=True, listener=listener)
        else:
            train(recipe, output=path, listener=listener)
        os.write(told, b".")  # also of a run that had no step left

    work(tmp_path / "first")  # here, so that the children have what is loaded when first used
    began = time.monotonic()
    work(tmp_path / "whole")
    whole, seconds = digest(tmp_path / "whole"), time.monotonic() - began
    os.read(telling, 1000)
    draw, kills, runs = random.Random(1), 0, 0
    while kills < kills_in_all:
        runs += 1
        path, ends = tmp_path / f"run{runs}", 0
        while True:
            child = start(lambda path=path: work(path))
            if ends < 6:
                if kills % 10:  # else while it starts
                    os.read(telling, 1)
                time.sleep(draw.uniform(0, seconds / 4))
                os.kill(child, signal.SIGKILL)
            code = ended(child)
            assert code in (0, -signal.SIGKILL)
            os.set_blocking(telling, False)
            with contextlib.suppress(BlockingIOError):
                os.read(telling, 1000)
            os.set_blocking(telling, True)
            if code == 0:
                break
            ends, kills = ends + 1, kills + 1
        assert digest(path) == whole
        assert Run.open(path).status == "finished"
        assert not list(path.rglob("*tmp*"))
        shutil.rmtree(path)
