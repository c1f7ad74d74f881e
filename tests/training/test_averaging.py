"""Averages of weights against torch's own and against the formula step by step."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from convscope.training import Recipe
from convscope.training.averaging import WeightAverage


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def wander(module, step):
    with torch.no_grad():
        for at, value in enumerate(module.state_dict().values()):
            if value.is_floating_point():
                value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(100 * step + at)))


def test_ema_is_torchs():
    ours, theirs = network(), network()
    average = WeightAverage(Recipe(average="ema", average_decay=0.9), ours)
    reference = AveragedModel(theirs, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    reference.update_parameters(theirs)  # the first call copies
    for step in range(1, 8):
        wander(ours, step)
        wander(theirs, step)
        average.update(step, 100)
        reference.update_parameters(theirs)
    fast = {key: value.clone() for key, value in ours.state_dict().items()}
    with average.in_place():
        for key, value in ours.state_dict().items():
            if value.is_floating_point():
                torch.testing.assert_close(value, reference.module.state_dict()[key])
    assert all(torch.equal(value, fast[key]) for key, value in ours.state_dict().items())


def test_lookahead_pulls_and_ends_on_the_slow_weights():
    ours = network()
    average = WeightAverage(Recipe(average="lookahead", average_decay=0.8, average_every=2), ours)
    slow = ours[0].weight.detach().clone()
    for step in range(1, 7):
        wander(ours, step)
        fast = ours[0].weight.detach().clone()
        average.update(step, 6)
        if step in (2, 4):
            decay = 0.8**2 * (step / 6) ** 3
            slow = decay * slow + (1 - decay) * fast
            torch.testing.assert_close(ours[0].weight.detach(), slow)
        elif step == 6:
            torch.testing.assert_close(ours[0].weight.detach(), slow)
        else:
            assert torch.equal(ours[0].weight, fast)


@pytest.mark.parametrize("kind", ["none", "ema", "lookahead"])
def test_taken_up_where_it_was_left(kind):
    recipe = Recipe(average=kind, average_decay=0.7, average_every=2)
    one = network()
    average = WeightAverage(recipe, one)
    for step in (1, 2, 3):
        wander(one, step)
        average.update(step, 9)
    two = network()
    taken = WeightAverage(recipe, two)
    with average.in_place():
        two.load_state_dict(one.state_dict())
    taken.load_tensors({key: value.clone() for key, value in average.tensors().items()})
    two.load_state_dict(one.state_dict())
    for step in (4, 5, 6):
        wander(one, step)
        wander(two, step)
        average.update(step, 9)
        taken.update(step, 9)
    with average.in_place(), taken.in_place():
        for (key, value), other in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
            torch.testing.assert_close(value, other, rtol=0, atol=0, msg=key)
