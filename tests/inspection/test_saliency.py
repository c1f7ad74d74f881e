"""Saliency against captum, on networks where captum fails, and a network left as it was."""

import pytest
import torch
from attributed_networks import ZOO, Awkward, LeafInPlace, State, images_of, zoo_network
from captum.attr import Saliency
from torch import nn

import convscope as cs
from convscope.errors import ShapeError, UsageError
from convscope.inspection import saliency
from convscope.models import create_model


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("absolute", [True, False])
def test_equals_captum(name, absolute):
    network, images = zoo_network(name), images_of(ZOO[name], 2)
    targets = [1, 3]
    leaf = images.clone().requires_grad_()
    expected = Saliency(network).attribute(leaf, target=targets, abs=absolute).detach()
    found = saliency(network, images, targets, absolute)
    assert found.maps.shape == images.shape
    torch.testing.assert_close(found.maps, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    with torch.no_grad():
        scores = network(images)
    assert found.scores == pytest.approx([float(scores[0, 1]), float(scores[1, 3])], rel=1e-4, abs=1e-5)
    assert found.targets == (1, 3)


def test_the_default_target_is_the_highest_score():
    network, images = zoo_network("lenet5"), images_of(ZOO["lenet5"], 4)
    with torch.no_grad():
        best = network(images).argmax(1).tolist()
    assert saliency(network, images).targets == tuple(best)
    assert saliency(network, images, torch.tensor(best)).maps.equal(saliency(network, images).maps)


def test_where_captum_fails():
    """A first layer that changes the input, and a dict of score maps."""
    image = images_of((3, 4, 4))
    network = LeafInPlace().eval()
    with pytest.raises(RuntimeError, match="in-place"):
        Saliency(network).attribute(image.clone().requires_grad_(), target=0)
    found = saliency(network, image, 0, absolute=False)
    weight = network.layers[2].weight[0].detach().reshape(1, 3, 4, 4)
    torch.testing.assert_close(found.maps, weight * (image > 0))

    image = images_of((2, 8, 8))
    network = Awkward()
    with pytest.raises((AssertionError, AttributeError, TypeError, IndexError)):
        Saliency(network.eval()).attribute(image.clone().requires_grad_(), target=0)
    found = saliency(network.train(), image, 2, absolute=False)
    leaf = image.clone().requires_grad_()
    network.eval()(leaf)["out"][:, 2].sum().backward()
    torch.testing.assert_close(found.maps, leaf.grad)


@pytest.mark.parametrize("surroundings", [torch.no_grad, torch.inference_mode])
def test_frozen_networks_and_callers_without_gradients(surroundings):
    network, image = zoo_network("resnet20"), images_of(ZOO["resnet20"])
    expected = saliency(network, image, 1).maps
    network.requires_grad_(False)
    with surroundings():
        assert saliency(network, image.clone(), 1).maps.equal(expected)


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_as_it_was(fails):
    network = Awkward().train()
    network.head.eval()
    network.conv.requires_grad_(False)
    network.gate.weight.grad = torch.ones_like(network.gate.weight)
    image = images_of((2, 8, 8))
    before, given = State(network), image.clone()
    if fails:
        with pytest.raises(UsageError, match="target 9"):
            saliency(network, image, 9)
    else:
        saliency(network, image, 1)
    before.check()
    assert image.equal(given)
    assert image.grad is None
    assert not image.requires_grad


def test_results_show_what_they_hold():
    found = cs.saliency(zoo_network("lenet5"), images_of(ZOO["lenet5"], 2), (0, 1))
    assert found.planes.shape == (2, 28, 28)
    assert found.planes.equal(found.maps[:, 0])
    assert found.largest == float(found.maps.max())
    facts = found.to_dict()
    assert facts["method"] == found.method == "saliency"
    assert [entry["target"] for entry in facts["images"]] == [0, 1]
    assert facts["images"][0]["max"] == float(found.maps[0].max())
    assert "saliency, class 1" in str(found)
    assert "saliency, class 1" in found._repr_html_()


class Detached(nn.Module):
    def forward(self, image):
        return image.detach().flatten(1)


@pytest.mark.parametrize(
    ("network", "inputs", "target", "error", "text"),
    [
        (nn.Flatten(), torch.rand(1, 1, 2, 2), 4, UsageError, "target 4 is no class .* 4: 0 to 3"),
        (nn.Flatten(), torch.rand(1, 1, 2, 2), -1, UsageError, "target -1"),
        (nn.Flatten(), torch.rand(2, 1, 2, 2), [1], UsageError, "target names 1 classes for 2 images"),
        (nn.Flatten(), torch.rand(1, 1, 2, 2), "cat", UsageError, "target is 'cat'; give the number of a class"),
        (nn.Flatten(), torch.rand(1, 1, 2, 2), True, UsageError, "target is True"),
        (nn.Flatten(), torch.rand(1, 2, 2), 0, ShapeError, r"inputs have the shape \(1, 2, 2\); give images"),
        (nn.Flatten(), torch.rand(0, 1, 2, 2), 0, ShapeError, "give images"),
        (nn.Flatten(), torch.zeros(1, 1, 2, 2, dtype=torch.uint8), 0, UsageError, "inputs are of type uint8"),
        (nn.Flatten(0), torch.rand(1, 1, 2, 2), 0, UsageError, "class scores are"),
        ("resnet18", torch.rand(1, 1, 2, 2), 0, UsageError, "got a str and a Tensor"),
        (Detached(), torch.rand(1, 1, 2, 2), 0, UsageError, "no gradient leads from the scores back"),
        (nn.Conv2d(1, 1, 5), torch.rand(1, 1, 4, 4), 0, ShapeError, r"nearest input sizes that fit: \(1, 1, 5, 5\)"),
    ],
)  # fmt: skip
def test_refusals(network, inputs, target, error, text):
    with pytest.raises(error, match=text) as caught:
        saliency(network, inputs, target)
    assert str(caught.value).startswith("saliency: ")


def test_images_too_small_for_a_network_of_the_zoo():
    with pytest.raises(ShapeError, match="at least"):
        saliency(create_model("alexnet"), torch.rand(1, 3, 20, 20), 0)
