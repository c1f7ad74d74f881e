"""ConvNeXt: figures, blocks, stochastic depth."""

import pytest
import torch
import torch.nn.functional as F

from convscope.errors import ShapeError, UsageError
from convscope.models import ConvNeXt, create_model
from convscope.models.convnext import ConvNeXtBlock, LayerNorm2d
from convscope.nn import StochasticDepth

# name: parameters, MACs, digest of torchvision's layout, stochastic depth of the last block; torchvision publishes
# 4.456, 8.684, 15.355 and 34.361 GMACs.
TORCHVISION = {
    "convnext_tiny": (28_589_128, 4_455_531_264, "ac589408e040fe58", 0.1),
    "convnext_small": (50_223_688, 8_683_712_256, "82df16682c0a5d9f", 0.4),
    "convnext_base": (88_591_464, 15_354_729_472, "b07d8a2ef502f4c3", 0.5),
    "convnext_large": (197_767_336, 34_361_433_600, "e438613ea5502dba", 0.5),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_figures_layout_and_stochastic_depth(measured, layout_digest, on_meta, name):
    layers = [layer.p for layer in on_meta(name).modules() if isinstance(layer, StochasticDepth)]
    assert (*measured(name), layout_digest(name), layers[-1]) == TORCHVISION[name]
    assert layers == pytest.approx([index / (len(layers) - 1) * layers[-1] for index in range(len(layers))])


def test_small_member(measured, on_meta):
    assert measured("convnext_tiny_cifar") == (27_825_802, 1_452_559_872)
    network = on_meta("convnext_tiny_cifar")
    assert network.features[0](torch.empty(1, 3, 32, 32, device="meta")).shape == (1, 96, 32, 32)
    assert network.features(torch.empty(1, 3, 32, 32, device="meta")).shape == (1, 768, 4, 4)


def test_a_block_is_its_formula():
    torch.manual_seed(0)
    block, maps = ConvNeXtBlock(4, layer_scale=0.5), torch.randn(2, 4, 9, 8)
    depthwise, _, norm, widen, _, narrow, _ = block.block
    pixels = F.conv2d(maps, depthwise.weight, depthwise.bias, padding=3, groups=4).movedim(1, -1)
    mean = pixels.mean(-1, keepdim=True)
    pixels = (pixels - mean) / (pixels.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    wide = pixels @ widen.weight.T + widen.bias
    wide = wide * 0.5 * (1 + torch.erf(wide / 2**0.5))
    residual = (wide @ narrow.weight.T + narrow.bias).movedim(-1, 1)
    torch.testing.assert_close(block(maps), maps + 0.5 * residual)
    assert norm.eps == 1e-6


def test_layer_norm_looks_at_each_pixel_alone():
    torch.manual_seed(0)
    layer, maps = LayerNorm2d(5, eps=1e-6), torch.randn(2, 5, 3, 4)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    pixel = maps[1, :, 2, 3]
    expected = (pixel - pixel.mean()) / (pixel.var(unbiased=False) + 1e-6).sqrt() * layer.weight + layer.bias
    torch.testing.assert_close(layer(maps)[1, :, 2, 3], expected)


def test_a_block_that_is_left_out_returns_its_input():
    torch.manual_seed(0)
    block, maps = ConvNeXtBlock(4, 1.0, drop_prob=0.999), torch.randn(4, 4, 5, 4)
    assert block(maps).equal(maps)
    assert not block.eval()(maps).equal(maps)


def test_smallest_image():
    network = ConvNeXt((1, 1, 1, 1), (8, 8, 8, 8)).eval()
    with torch.no_grad():
        network(torch.zeros(1, 3, 32, 40))
        with pytest.raises(
            ShapeError, match=r"ConvNeXt: an image of 31x64 pixels is too small; give at least 32x32"
        ):
            network(torch.zeros(1, 3, 31, 64))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: ConvNeXt((3, 3, 9), (8, 8, 8, 8)),
            "ConvNeXt: depths are (3, 3, 9); give four, each at least 1.",
        ),
        (lambda: ConvNeXt((1, 1, 1, 0), (8, 8, 8, 8)), "ConvNeXt: depths is 0; it must be at least 1."),
        (lambda: ConvNeXt((1, 1, 1, 1), (8, 8, 8, 8, 8)), "ConvNeXt: widths are (8, 8, 8, 8, 8); give four"),
        (
            lambda: create_model("convnext_tiny", stochastic_depth_prob=1.0),
            "ConvNeXt: stochastic_depth_prob is 1.0; it must be at least 0 and below 1.",
        ),
        (lambda: create_model("convnext_tiny", stem="patches"), "ConvNeXt: unknown stem 'patches': "),
    ],
)
def test_refusals(call, text):
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value).startswith(text)
