"""Recipes: what they refuse, how they travel as TOML, the learning rate against torch's schedulers."""

import dataclasses
import inspect
import json
import tomllib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convscope.cli import train as command
from convscope.errors import UnknownNameError, UsageError
from convscope.training import Recipe, list_recipes, named_recipe
from convscope.training.recipe_file import parse_recipe, recipe_text

PLAIN = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_json_round_trip():
    recipe = Recipe(model="mlp", model_options={"hidden": [3, 4]}, lr=0.1)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))).to_dict() == recipe.to_dict()


@given(
    options=st.dictionaries(st.text(), PLAIN, max_size=3),
    data=st.text(min_size=1),
    lr=st.floats(1e-300, 1e300),
    freeze=st.lists(st.text(min_size=1), max_size=2),
)
def test_toml_round_trip(options, data, lr, freeze):
    recipe = Recipe(model_options=options, data=data, lr=lr, freeze=tuple(freeze), seed=2**63 - 1)
    text = recipe_text(recipe)
    assert parse_recipe(text, "here") == recipe
    assert tomllib.loads(text)["lr"] == lr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs = 3", "mine.toml: the recipe does not say its version; write `version = 1` on top."),
        ("version = 2", "mine.toml: the recipe is of version 2, this program reads version 1"),
        ("version = true", "mine.toml: the recipe is of version True"),
        ("version = 1\nepochs = 0", "mine.toml: Recipe: epochs is 0; it must be at least 1"),
        ("version = 1\nepoch = 3", "unknown field 'epoch': did you mean 'epochs'"),
        ("version = 1\nepochs = ", "mine.toml: no recipe in TOML: "),
        ("version = 1\nfreeze = 'head'", "freeze is 'head'; it must be a list of names"),
        ("version = 1\nmodel_options = 3", "model_options is 3; it must be a table"),
        ("version = 1\nmodel = 3", "model is 3; it must be a name"),
        ("version = 1\nhorizontal_flip = [1]", "unknown horizontal_flip [1]"),
    ],
)
def test_bad_files(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        named_recipe("mine.toml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(UsageError, match=r"recipe file .*cannot be read: No such file"):
        named_recipe(str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"recipe file .*cannot be read: .*utf-8"):
        named_recipe(str(tmp_path / "mine.toml"))


def test_every_field_has_a_flag():
    fields = {field.name for field in dataclasses.fields(Recipe)}
    flags = set(inspect.signature(command.run).parameters)
    assert fields - flags == {"model_options"}
    assert flags - fields == {"recipe", "model_option", "output", "resume", "report", "tensorboard", "json"}


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"epochs": 0}, UsageError, "Recipe: epochs is 0; it must be at least 1"),
        ({"batch_size": 2.5}, UsageError, "Recipe: batch_size is 2.5; it must be a whole number"),
        ({"lr": 0}, UsageError, "Recipe: lr is 0; it must be above 0 and finite"),
        ({"lr": float("inf")}, UsageError, "Recipe: lr is inf"),
        ({"lr": float("nan")}, UsageError, "Recipe: lr is nan"),
        ({"lr": "fast"}, UsageError, "Recipe: lr is 'fast'"),
        ({"momentum": 1}, UsageError, "momentum is 1; it must be at least 0 and below 1"),
        ({"label_smoothing": -0.1}, UsageError, "label_smoothing is -0.1"),
        ({"optimizer": "sdg"}, UnknownNameError, "unknown optimizer 'sdg': did you mean 'sgd'"),
        ({"schedule": "cos"}, UnknownNameError, "unknown schedule 'cos': did you mean 'cosine'"),
        ({"loss": "svm"}, UnknownNameError, "unknown loss 'svm'"),
        ({"loss": "hinge", "label_smoothing": 0.1}, UsageError, "the hinge loss has none"),
        ({"epoch": 3}, UnknownNameError, "unknown field 'epoch': did you mean 'epochs'"),
        ({"image_size": 0}, UsageError, "image_size is 0"),
        ({"seed": -1}, UsageError, "seed is -1"),
        ({"seed": 2**64}, UsageError, "seed is 18446744073709551616; it must be below 2**63"),
        ({"horizontal_flip": "no"}, UnknownNameError, "unknown horizontal_flip 'no': did you mean 'none'"),
        ({"accelerate": "no"}, UsageError, "accelerate is 'no'; it must be True or False"),
        ({"schedule": "step"}, UsageError, "milestones are [] with schedule 'step'"),
        ({"schedule": "step", "milestones": [0.5, 0.2]}, UsageError, "they must be rising shares"),
        ({"milestones": [0.5]}, UsageError, "milestones are [0.5] with schedule 'onecycle'"),
        ({"warmup": 0.1}, UsageError, "the schedule 'onecycle' has its own"),
        ({"freeze_epochs": 2}, UsageError, "freeze names nothing to freeze"),
        ({"validation_share": 1}, UsageError, "validation_share is 1; it must be at least 0 and below 1"),
        ({"color": 1.0}, UsageError, "color is 1.0"),
        ({"average": "swa"}, UnknownNameError, "unknown average 'swa'"),
        ({"momentum": 0.5}, UsageError, "momentum is 0.5; adamw has none"),
    ],
)
def test_refusals(changes, error, text):
    with pytest.raises(error) as caught:
        Recipe().replace(**changes)
    assert text in str(caught.value)


def test_named_recipes_are_known():
    assert {"document", "speedrun-90", "speedrun-94", "cifar-resnet18", "finetune"} <= set(list_recipes())
    for name in list_recipes():
        assert isinstance(named_recipe(name), Recipe)
    with pytest.raises(UnknownNameError, match="unknown recipe 'fashion-cn': did you mean 'fashion-cnn'"):
        named_recipe("fashion-cn")


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "constant", "linear", "step"])
def test_learning_rate_against_torch(schedule):
    steps, lr = 200, 0.3
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    lrs = torch.optim.lr_scheduler
    if schedule == "onecycle":
        # torch ends at initial/final_div_factor where ours ends at 0; its last step is the end of the curve.
        theirs = lrs.OneCycleLR(optimizer, lr, steps + 1, pct_start=50.5 / 201, final_div_factor=1e12)
    elif schedule == "cosine":
        theirs = lrs.CosineAnnealingLR(optimizer, steps)
    elif schedule == "linear":
        theirs = lrs.LinearLR(optimizer, 1.0, 1e-12, steps)
    elif schedule == "step":
        theirs = lrs.MultiStepLR(optimizer, [100, 150])
    else:
        theirs = lrs.ConstantLR(optimizer, factor=1)
    recipe = Recipe(lr=lr, schedule=schedule, milestones=(0.5, 0.75) if schedule == "step" else ())
    for step in range(steps):
        assert recipe.lr_at(step / steps) == pytest.approx(
            optimizer.param_groups[0]["lr"], rel=0.03, abs=1e-4
        )
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_warm_up_rises_and_the_rest_is_the_schedule(schedule):
    recipe = Recipe(lr=2.0, schedule=schedule, warmup=0.2)
    assert [recipe.lr_at(share) for share in (0.0, 0.1, 0.2)] == [0.0, 1.0, 2.0]
    plain = Recipe(lr=2.0, schedule=schedule)
    for share in (0.25, 0.5, 1.0):
        assert recipe.lr_at(0.2 + 0.8 * share) == pytest.approx(plain.lr_at(share))
