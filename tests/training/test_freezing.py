"""Freezing and fine-tuning: what stays, what learns, and from when."""

import pytest
import torch

from convscope.errors import UnknownNameError, UsageError
from convscope.models import create_seeded_model, save_weights
from convscope.training import Recipe, train


@pytest.fixture
def recipe(folder):
    return Recipe(model="small_vgg", data=str(folder), epochs=2, batch_size=16, lr=5e-3)


def changed(run):
    before, after = run.network("initial").state_dict(), run.network().state_dict()
    return {key for key, value in after.items() if not torch.equal(value, before[key])}


def test_a_frozen_backbone_keeps_weights_and_statistics(recipe, tmp_path):
    run = train(recipe.replace(freeze=["backbone"]), output=tmp_path / "run")
    assert changed(run) == {"classifier.fc.weight", "classifier.fc.bias"}


def test_it_thaws(recipe, tmp_path):
    run = train(recipe.replace(freeze=["backbone"], freeze_epochs=1), output=tmp_path / "run")
    assert "features.0.weight" in changed(run)
    assert "features.1.running_mean" in changed(run)


def test_layers_by_name(recipe, tmp_path):
    run = train(recipe.replace(freeze=["features.0", "features.1"]), output=tmp_path / "run")
    assert not {key for key in changed(run) if key.startswith(("features.0.", "features.1."))}
    assert "features.3.weight" in changed(run)


def test_unknown_layers_and_nothing_left(recipe, tmp_path):
    with pytest.raises(UnknownNameError, match=r"unknown layer to freeze 'feature': did you mean 'features'"):
        train(recipe.replace(freeze=["feature"]), output=tmp_path / "run")
    with pytest.raises(UsageError, match="freezes every parameter"):
        train(recipe.replace(freeze=["features", "classifier"]), output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_of_another_head(recipe, tmp_path):
    """A file for ten classes: the backbone is taken over, the head is the seed's."""
    ten = create_seeded_model("small_vgg", 7, num_classes=10, in_channels=3)
    save_weights(ten, tmp_path / "ten.safetensors", {"model": "small_vgg"})
    with pytest.warns(UserWarning, match="head"):
        run = train(
            recipe.replace(weights=str(tmp_path / "ten.safetensors"), epochs=1), output=tmp_path / "run"
        )
    start = run.network("initial").state_dict()
    assert torch.equal(start["features.0.weight"], ten.state_dict()["features.0.weight"])
    assert start["classifier.fc.weight"].shape == (2, 64)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_frozen_run_goes_on_to_the_same_bytes(recipe, tmp_path, steps):
    from test_train import stop_after

    from convscope.training import TrainingInterrupted

    recipe = recipe.replace(freeze=["features"], freeze_epochs=1, average="ema", optimizer="muon")
    whole = train(recipe, output=tmp_path / "whole")
    with pytest.raises(TrainingInterrupted):
        train(recipe, output=tmp_path / "part", listener=stop_after(steps))
    resumed = train(output=tmp_path / "part", resume=True)
    assert resumed.weights().read_bytes() == whole.weights().read_bytes()
