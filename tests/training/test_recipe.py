"""Recipes: what they refuse, how they travel as JSON, the learning rate against torch's schedulers."""

import json

import pytest
import torch

from convscope.errors import UnknownNameError, UsageError
from convscope.training import RECIPES, Recipe, named_recipe


def test_json_round_trip():
    recipe = Recipe(model="mlp", model_options={"hidden": [3, 4]}, lr=0.1)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))).to_dict() == recipe.to_dict()


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
        ({"horizontal_flip": "no"}, UsageError, "horizontal_flip is 'no'; it must be True or False"),
        ({"momentum": 0.5}, UsageError, "momentum is 0.5; adamw has none"),
    ],
)
def test_refusals(changes, error, text):
    with pytest.raises(error) as caught:
        Recipe().replace(**changes)
    assert text in str(caught.value)


def test_named_recipes_are_known():
    assert named_recipe("fashion-cnn") is RECIPES["fashion-cnn"]
    with pytest.raises(UnknownNameError, match="unknown recipe 'fashion-cn': did you mean 'fashion-cnn'"):
        named_recipe("fashion-cn")


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "constant"])
def test_learning_rate_against_torch(schedule):
    steps, lr = 200, 0.3
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    lrs = torch.optim.lr_scheduler
    if schedule == "onecycle":
        # torch ends at initial/final_div_factor where ours ends at 0; its last step is the end of the curve.
        theirs = lrs.OneCycleLR(optimizer, lr, steps + 1, pct_start=50.5 / 201, final_div_factor=1e12)
    elif schedule == "cosine":
        theirs = lrs.CosineAnnealingLR(optimizer, steps)
    else:
        theirs = lrs.ConstantLR(optimizer, factor=1)
    recipe = Recipe(lr=lr, schedule=schedule)
    for step in range(steps):
        assert recipe.lr_at(step / steps) == pytest.approx(
            optimizer.param_groups[0]["lr"], rel=0.03, abs=1e-4
        )
        optimizer.step()
        theirs.step()
