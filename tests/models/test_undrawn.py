"""Networks that draw nothing: every family builds, a file fills all of it, a head for other classes is still drawn."""

import warnings

import pytest
import torch

import convscope as cs
from convscope.models import HeadReplacedWarning, list_models, model_entry, save_weights
from convscope.models.undrawn import Undrawn


def factories():
    return {model_entry(name).factory.__module__.rsplit(".", 1)[-1]: name for name in reversed(list_models())}


@pytest.mark.parametrize("family", sorted(factories()))
def test_a_network_of_every_family_is_built_without_a_draw(family):
    name = factories()[family]
    drawn = cs.create_model(name)
    before = torch.get_rng_state()
    with Undrawn():
        network = cs.create_model(name)
    assert torch.get_rng_state().equal(before)
    for (key, wanted), (other, value) in zip(
        drawn.state_dict().items(), network.state_dict().items(), strict=True
    ):
        assert (key, wanted.shape, wanted.dtype) == (other, value.shape, value.dtype)
        assert bool(value.isfinite().all())


def test_only_draws_are_left_out():
    with Undrawn():
        tensor = torch.ones(4)
        assert torch.nn.init.constant_(tensor, 3.0).tolist() == [3.0] * 4
        assert torch.nn.init.normal_(tensor).tolist() == [0.0] * 4
        assert torch.nn.init.trunc_normal_(torch.ones(4), std=0.02).tolist() == [0.0] * 4
        assert torch.nn.BatchNorm2d(2).weight.tolist() == [1.0, 1.0]
    assert torch.nn.init.normal_(tensor).abs().min() > 0


def test_weights_are_those_of_the_file_and_nothing_is_drawn(tmp_path):
    torch.manual_seed(3)
    network = cs.create_model("resnet18_cifar")
    save_weights(network, tmp_path / "weights.safetensors")
    before = torch.get_rng_state()
    loaded = cs.create_model("resnet18_cifar", weights=tmp_path / "weights.safetensors")
    assert torch.get_rng_state().equal(before)
    for one, other in zip(network.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert one.equal(other)


def test_a_head_for_other_classes_is_drawn(tmp_path):
    network = cs.create_model("resnet18_cifar")
    save_weights(network, tmp_path / "weights.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeadReplacedWarning)
        loaded = cs.create_model("resnet18_cifar", 7, weights=tmp_path / "weights.safetensors")
    assert loaded.fc.weight.shape == (7, 512)
    assert float(loaded.fc.weight.detach().std()) > 0.01
    assert loaded.conv1.weight.equal(network.conv1.weight)
