"""The optimisers against torch's own, on the parameters as a person would group them by hand."""

import pytest
import torch
from torch import nn

from convscope.training import Recipe
from convscope.training.optimizers import Optimizers, is_in


def network():
    torch.manual_seed(3)
    layers = nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3),
        nn.Flatten(),
        nn.Linear(20, 3),
    )
    return layers.to(memory_format=torch.channels_last)


def learn(module, step, steps=3):
    images = torch.randn(6, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    for _ in range(steps):
        module.zero_grad()
        module(images).square().mean().backward()
        step()


def same(one, other):
    for (key, value), theirs in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(value, theirs, rtol=1e-6, atol=1e-7, msg=key)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_plain_optimisers_are_torchs(name):
    ours, theirs = network(), network()
    recipe = Recipe(optimizer=name, lr=0.05, weight_decay=0.1)
    optimizers = Optimizers(recipe, ours)
    if name == "sgd":
        reference = torch.optim.SGD(theirs.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=0.1)
    else:
        reference = torch.optim.AdamW(theirs.parameters(), 0.05, weight_decay=0.1)
    learn(ours, lambda: optimizers.step(0.05))
    learn(theirs, reference.step)
    same(ours, theirs)


def test_scales_of_biases_and_head_and_an_equal_share_of_decay():
    ours, theirs = network(), network()
    recipe = Recipe(
        optimizer="sgd", lr=0.05, momentum=0.5, weight_decay=0.1, bias_lr_scale=4.0, head_lr_scale=0.5
    )
    optimizers = Optimizers(recipe, ours, head=("5",))
    named = dict(theirs.named_parameters())
    reference = torch.optim.SGD(
        [
            {"params": [named["0.weight"], named["3.weight"]], "lr": 0.02, "weight_decay": 0.1},
            {
                "params": [named["1.weight"], named["1.bias"], named["3.bias"]],
                "lr": 0.08,
                "weight_decay": 0.025,
            },
            {"params": [named["5.weight"], named["5.bias"]], "lr": 0.01, "weight_decay": 0.2},
        ],
        momentum=0.5,
        nesterov=True,
    )
    learn(ours, lambda: optimizers.step(0.02))
    learn(theirs, reference.step)
    same(ours, theirs)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_takes_filters_as_matrices(layout):
    """torch's Muon on plain matrices: orthogonalised updates do not depend on the order of the columns."""
    ours = network().to(memory_format=layout)
    twin = network()
    matrices = [nn.Parameter(twin[at].weight.detach().flatten(1).clone()) for at in (0, 3)]
    reference = torch.optim.Muon(matrices, 0.03, momentum=0.6, weight_decay=0.1)
    rest = torch.optim.SGD(
        [*twin[1].parameters(), twin[3].bias, *twin[5].parameters()], 0.03, momentum=0.6, nesterov=True
    )

    def step():
        for matrix, at in zip(matrices, (0, 3), strict=True):
            matrix.grad = twin[at].weight.grad.flatten(1)
        reference.step()
        rest.step()
        with torch.no_grad():
            for matrix, at in zip(matrices, (0, 3), strict=True):
                twin[at].weight.copy_(matrix.view_as(twin[at].weight))

    recipe = Recipe(optimizer="muon", lr=0.03, momentum=0.6, weight_decay=0.1)
    optimizers = Optimizers(recipe, ours, head=("5",))
    learn(ours, lambda: optimizers.step(0.03))
    learn(twin, step)
    for (key, value), theirs in zip(ours.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(
            value, theirs, rtol=0.02, atol=2e-3, msg=key
        )  # torch's Muon works in bfloat16


def test_unit_filters_only_where_a_normalisation_follows():
    ours = network()
    before = ours[3].weight.detach().clone()
    Optimizers(Recipe(optimizer="sgd", unit_filters=True), ours)
    assert float(ours[0].weight.detach().flatten(1).norm(dim=1).square().mean()) == pytest.approx(1, rel=1e-5)
    assert torch.equal(ours[3].weight, before)


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_a_state_taken_up_goes_on_the_same(name):
    recipe = Recipe(optimizer=name, lr=0.05)
    one = network()
    optimizers = Optimizers(recipe, one, head=("5",))
    learn(one, lambda: optimizers.step(0.05), steps=2)
    two = network()
    two.load_state_dict(one.state_dict())
    taken = Optimizers(recipe, two, head=("5",))
    taken.load_tensors({key: value.clone() for key, value in optimizers.tensors().items()})
    learn(one, lambda: optimizers.step(0.05), steps=2)
    learn(two, lambda: taken.step(0.05), steps=2)
    for (key, value), other in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert torch.equal(value, other), key
    with pytest.raises((ValueError, KeyError)):
        taken.load_tensors({"0.99.momentum_buffer": torch.zeros(1)})


def test_what_the_network_never_learns_is_left_alone():
    ours = network()
    ours[0].weight.requires_grad_(False)
    before = ours[0].weight.detach().clone()
    optimizers = Optimizers(Recipe(optimizer="sgd", unit_filters=True, weight_decay=0.5), ours)
    learn(ours, lambda: optimizers.step(0.05))
    assert torch.equal(ours[0].weight, before)


def test_names_below_a_beginning():
    assert is_in("layer1", ["layer1"])
    assert is_in("layer1.0.weight", ["layer2", "layer1"])
    assert not is_in("layer10.weight", ["layer1"])
