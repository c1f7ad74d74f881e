"""Two processes against one: the same losses step by step, the same figures; a lost process comes back."""

import json
import os
import subprocess
import sys

import pytest

from convscope.errors import UsageError
from convscope.training import Recipe, Run, train
from convscope.training.recipe_file import recipe_text
from convscope.training.team import team

FINISHED = 120


def torchrun(recipe_file, output, *arguments, environment=None):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, *arguments, "-m", "convscope", "train", str(recipe_file), "--output", str(output)],
        capture_output=True,
        text=True,
        timeout=FINISHED,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CONVSCOPE_PRECISION": "fp32", **(environment or {})},
    )


@pytest.fixture
def recipe(folder):
    return Recipe(
        model="small_vgg",
        data=str(folder),
        epochs=2,
        batch_size=14,
        optimizer="sgd",
        lr=0.05,
        horizontal_flip="random",
        crop_padding=2,
        mixup=0.4,
        checkpoint_every=2,
    )


@pytest.fixture
def recipe_file(recipe, tmp_path):
    (tmp_path / "recipe.toml").write_text(recipe_text(recipe))
    return tmp_path / "recipe.toml"


def test_two_processes_are_one(recipe, recipe_file, tmp_path):
    one = train(recipe, output=tmp_path / "one")
    result = torchrun(recipe_file, tmp_path / "two")
    assert result.returncode == 0, result.stderr
    two = Run.open(tmp_path / "two")
    assert len(one.steps) == len(two.steps) == 6
    for ours, theirs in zip(one.steps, two.steps, strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], abs=1e-5)
    for ours, theirs in zip(one.metrics, two.metrics, strict=True):
        assert theirs["acc@1"] == ours["acc@1"]
        assert theirs["val_loss"] == pytest.approx(ours["val_loss"], abs=1e-4)
    for value, other in zip(
        one.network().state_dict().values(), two.network().state_dict().values(), strict=True
    ):
        assert (value.double() - other.double()).abs().max() < 1e-3
    assert result.stdout.count("epoch 1/2") == 1  # one process speaks


def test_a_killed_process_is_started_again_and_the_run_goes_on(recipe, recipe_file, tmp_path):
    whole = torchrun(recipe_file, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    killer = tmp_path / "sitecustomize.py"
    killer.write_text(
        "import os\n"
        "if os.environ.get('RANK') == '1' and os.environ.get('TORCHELASTIC_RESTART_COUNT') == '0':\n"
        "    import convscope.training.loop as loop\n"
        "    step = loop.Training._step\n"
        "    def dying(self, batch, lr, epoch, number, *rest):\n"
        "        if (epoch, number) == (1, 1):\n"
        "            os.kill(os.getpid(), 9)\n"
        "        return step(self, batch, lr, epoch, number, *rest)\n"
        "    loop.Training._step = dying\n"
    )
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    result = torchrun(
        recipe_file, tmp_path / "killed", "--max-restarts", "2", environment={"PYTHONPATH": paths}
    )
    assert result.returncode == 0, result.stderr
    one, two = Run.open(tmp_path / "whole"), Run.open(tmp_path / "killed")
    assert two.status == "finished"
    assert json.dumps(one.steps) == json.dumps(two.steps)
    assert one.weights().read_bytes() == two.weights().read_bytes()


def test_half_an_environment(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with (
        pytest.raises(UsageError, match=r"MASTER_ADDR.* is missing; start with torchrun, or unset it"),
        team(),
    ):
        pass
