"""VGG: figures, layout, batch norm, heads."""

import pytest
import torch
from torch import nn

from convscope.errors import ShapeError, UsageError
from convscope.models import VGG, create_model

# name: parameters, MACs, digest of torchvision's layout; torchvision publishes 7.609, 11.308, 15.470 and 19.632 GMACs.
TORCHVISION = {
    "vgg11": (132_863_336, 7_609_090_048, "5777e9251b20931c"),
    "vgg11_bn": (132_868_840, 7_609_090_048, "58f979cc1343c9fc"),
    "vgg13": (133_047_848, 11_308_466_176, "f3f1787c116c7529"),
    "vgg13_bn": (133_053_736, 11_308_466_176, "7e78a5957e621a0a"),
    "vgg16": (138_357_544, 15_470_264_320, "ad859f1dee5d5a49"),
    "vgg16_bn": (138_365_992, 15_470_264_320, "196d8b674ea8a544"),
    "vgg19": (143_667_240, 19_632_062_464, "c310a68658cc55c1"),
    "vgg19_bn": (143_678_248, 19_632_062_464, "fa4e7cf8778145e5"),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_figures_and_layout(measured, layout_digest, name):
    assert (*measured(name), layout_digest(name)) == TORCHVISION[name]


@pytest.mark.parametrize(
    ("name", "figures"),
    [("vgg11_bn_cifar", (9_228_362, 152_769_536)), ("vgg16_bn_cifar", (14_724_042, 313_201_664))],
)
def test_small_members(measured, name, figures):
    assert measured(name) == figures


@pytest.mark.parametrize(("name", "layers"), [("vgg11", 11), ("vgg13", 13), ("vgg16", 16), ("vgg19", 19)])
def test_the_name_counts_the_layers_with_weights(on_meta, name, layers):
    for member in (name, f"{name}_bn"):
        found = [layer for layer in on_meta(member).modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        assert len(found) == layers


def test_only_the_published_layouts_have_biases_before_batch_norm(on_meta):
    for name, has_bias in (("vgg16_bn", True), ("vgg16_bn_cifar", False)):
        kinds = [type(layer).__name__ for layer in on_meta(name).features[:3]]
        assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"]
        convs = [layer for layer in on_meta(name).features if isinstance(layer, nn.Conv2d)]
        assert {conv.bias is not None for conv in convs} == {has_bias}


@pytest.mark.parametrize("name", ["vgg11_bn_cifar", "vgg11"])
def test_smallest_image(name):
    network = create_model(name).eval()
    with torch.no_grad():
        network(torch.zeros(1, 3, 32, 40))
        with pytest.raises(
            ShapeError, match=r"VGG: an image of 31x64 pixels is too small; give at least 32x32\."
        ):
            network(torch.zeros(1, 3, 31, 64))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: VGG((1, 1, 2, 2)), "VGG: depths are (1, 1, 2, 2); give 5, each at least 1."),
        (lambda: VGG((1, 1, 2, 2, 0)), "VGG: depths is 0; it must be at least 1."),
        (lambda: VGG((1, 1, 1, 1, 1), head="dens"), "VGG: unknown head 'dens': did you mean 'dense'?"),
        (lambda: VGG((1, 1, 1, 1, 1), dropout=2), "VGG: dropout is 2; it must be at least 0 and below 1."),
    ],
)
def test_refusals(call, text):
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value).startswith(text)
