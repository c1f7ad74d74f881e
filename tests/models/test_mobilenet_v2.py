"""MobileNetV2: figures, blocks, widths."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convscope.errors import UsageError
from convscope.models import MobileNetV2, create_seeded_model
from convscope.models.mobilenet_v2 import InvertedResidual
from convscope.models.options import scaled_width


def test_figures_and_layout(measured, layout_digest):
    assert measured("mobilenet_v2") == (3_504_872, 300_774_272)  # published: 0.301 G
    assert layout_digest("mobilenet_v2") == "e295766f30dc3336"
    assert layout_digest("mobilenet_v2", width_mult=0.75) == "388313dc6983a629"
    assert measured("mobilenet_v2_cifar") == (2_236_682, 87_976_448)


def test_which_halvings_the_small_stem_leaves_out(on_meta):
    def halvings(name):
        convs = [layer for layer in on_meta(name).modules() if isinstance(layer, nn.Conv2d)]
        return [(conv.groups == 1, conv.weight.shape[0]) for conv in convs if conv.stride == (2, 2)]

    assert halvings("mobilenet_v2") == [(True, 32), (False, 96), (False, 144), (False, 192), (False, 576)]
    assert halvings("mobilenet_v2_cifar") == [(False, 144), (False, 192), (False, 576)]


def test_a_block_and_its_gradients_are_its_formula():
    torch.manual_seed(0)
    block, maps = (
        InvertedResidual(4, 4, stride=1, expansion=3).eval(),
        (5 * torch.randn(2, 4, 6, 5)).requires_grad_(),
    )
    (widen, norm1, _), (deep, norm2, _), narrow, norm3 = block.conv
    for norm in (norm1, norm2):
        torch.nn.init.uniform_(norm.bias, 0.5, 1.0)  # away from the corner of ReLU6
    wide = norm1(F.conv2d(maps, widen.weight)).clamp(0, 6)
    wide = norm2(F.conv2d(wide, deep.weight, padding=1, groups=12)).clamp(0, 6)
    expected = maps + norm3(F.conv2d(wide, narrow.weight))
    torch.testing.assert_close(block(maps), expected)
    inputs = [maps, *block.parameters()]  # in-place operations must not have spoilt what these need
    found = torch.autograd.grad(block(maps).square().sum(), inputs)
    torch.testing.assert_close(found, torch.autograd.grad(expected.square().sum(), inputs))


def test_shortcuts_and_activations():
    for settings, shortcut in (((8, 8, 1, 6), True), ((8, 16, 1, 6), False), ((8, 8, 2, 6), False)):
        assert InvertedResidual(*settings).has_shortcut is shortcut
    kinds = [
        type(layer).__name__ for layer in InvertedResidual(8, 8, 1, 1).modules() if not [*layer.children()]
    ]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU6", "Conv2d", "BatchNorm2d"]  # the narrow end is linear


def test_widths_are_multiples_of_8_that_lose_at_most_a_tenth():
    for channels in range(8, 400, 4):
        for mult in (0.1, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4):
            width = scaled_width(channels, mult)
            assert width % 8 == 0
            assert width >= 0.9 * channels * mult
            assert width <= max(8, channels * mult + 8)


def test_any_size_is_taken():
    network = create_seeded_model("mobilenet_v2", 0).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 1, 50)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: MobileNetV2(width_mult=0), "MobileNetV2: width_mult is 0; it must be above 0 and finite."),
        (lambda: MobileNetV2(width_mult=float("nan")), "MobileNetV2: width_mult is nan; it must be above 0"),
        (lambda: MobileNetV2(dropout=1), "MobileNetV2: dropout is 1; it must be at least 0 and below 1."),
        (lambda: MobileNetV2(stem=3), "MobileNetV2: unknown stem 3: "),
        (lambda: InvertedResidual(4, 4, 3, 6), "InvertedResidual: stride is 3; it must be 1 or 2."),
        (lambda: InvertedResidual(4, 4, 1, 0), "InvertedResidual: expansion is 0; it must be at least 1."),
    ],
)
def test_refusals(call, text):
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value).startswith(text)
