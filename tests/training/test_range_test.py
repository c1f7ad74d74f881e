"""The range test: rates that rise by one factor, a suggestion that trains, an end where the loss grows away."""

import math

import pytest
import torch

from convscope.errors import UsageError
from convscope.training import Recipe, lr_range_test, train

RECIPE = Recipe(model="perceptron", batch_size=100, optimizer="sgd", epochs=1, weight_decay=0.0)


def test_rates_and_running_average():
    found = lr_range_test(RECIPE, lowest=1e-4, highest=1.0, steps=21)
    ratios = [after / before for before, after in zip(found.lrs, found.lrs[1:], strict=False)]
    assert ratios == pytest.approx([10 ** (4 / 20)] * len(ratios))
    weights = [0.1 * 0.9 ** (2 - at) for at in range(3)]
    mean = sum(w * loss for w, loss in zip(weights, found.losses, strict=False)) / sum(weights)
    assert found.smoothed[2] == pytest.approx(mean)


def test_the_first_step_is_trainings_own():
    """The loss before any step: that of the untrained network on the first batch, as training records it."""
    state = torch.get_rng_state()
    found = lr_range_test(RECIPE, steps=10)
    assert torch.equal(torch.get_rng_state(), state)
    import tempfile

    run = train(RECIPE, output=tempfile.mkdtemp() + "/run")
    assert found.losses[0] == pytest.approx(run.steps[0]["loss"], rel=1e-6)


def test_it_ends_where_the_loss_grows_away_and_suggests_a_rate_below():
    found = lr_range_test(RECIPE, highest=1e6, steps=60)
    assert found.diverged is not None
    assert found.suggested < found.diverged
    assert len(found.lrs) < 60
    assert all(map(math.isfinite, found.losses))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": 9}, "steps is 9"),
        ({"lowest": 0.0}, "lowest is 0.0"),
        ({"highest": 1e-9}, "rates must rise"),
    ],
)
def test_refusals(arguments, words):
    with pytest.raises(UsageError, match=words):
        lr_range_test(RECIPE, **arguments)
