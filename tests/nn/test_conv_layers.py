"""Convolution layers: torch's weights, keys and text; what only ours take; refusals."""

import copy

import pytest
import torch
import torch.nn.functional as F

from convscope import nn, ops
from convscope.errors import ShapeError, UnknownNameError, UsageError

SIZES = (9, 8, 7)
LAYERS = [(f"{kind}{ndim}d", ndim) for kind in ("Conv", "ConvTranspose") for ndim in (1, 2, 3)]


def pair(name, *arguments, **named):
    layers = []
    for module in (torch.nn, nn):
        torch.manual_seed(0)
        layers.append(getattr(module, name)(*arguments, **named))
    return layers


@pytest.mark.parametrize("more", [{}, {"stride": 2, "padding": 1, "groups": 2, "bias": False, "dilation": 2}])
@pytest.mark.parametrize(("name", "ndim"), LAYERS)
def test_same_seed_same_layer_as_torch(name, ndim, more):
    theirs, ours = pair(name, 4, 6, (3, 2, 3)[:ndim], **more)
    assert isinstance(ours, type(theirs))
    assert repr(ours) == repr(theirs)
    assert vars(ours).keys() >= vars(theirs).keys()
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)
    x = torch.randn(2, 4, *SIZES[:ndim])
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours(x[0]), theirs(x[0]))


@pytest.mark.parametrize(("name", "ndim"), LAYERS)
def test_state_dicts_load_both_ways(name, ndim):
    theirs, ours = getattr(torch.nn, name)(4, 6, 3), getattr(nn, name)(4, 6, 3)
    x = torch.randn(2, 4, *SIZES[:ndim])
    ours.load_state_dict(theirs.state_dict(), strict=True)
    torch.testing.assert_close(ours(x), theirs(x))
    other = getattr(nn, name)(4, 6, 3)
    theirs.load_state_dict(other.state_dict(), strict=True)
    torch.testing.assert_close(other(x), theirs(x))
    torch.testing.assert_close(copy.deepcopy(other)(x), theirs(x))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_torchs_padding_modes(mode):
    theirs, ours = pair("Conv2d", 3, 4, (3, 5), 1, (1, 2), 1, 1, True, mode)
    x = torch.randn(2, 3, 9, 8)
    torch.testing.assert_close(ours(x), theirs(x))
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_layers_pass_every_setting_to_the_function(ndim):
    sides = [(1, 2), (0, 1), (2, 0)][:ndim]
    settings = {"padding_mode": "constant", "padding_value": 2.0, "flip": True}
    layer = getattr(nn, f"Conv{ndim}d")(4, 6, (3, 2, 3)[:ndim], 2, sides, (1, 2, 1)[:ndim], 2, **settings)
    x = torch.randn(2, 4, *SIZES[:ndim])
    expected = getattr(ops, f"conv{ndim}d")(
        x, layer.weight, layer.bias, 2, sides, (1, 2, 1)[:ndim], 2, **settings
    )
    assert torch.equal(layer(x), expected)
    back = getattr(nn, f"ConvTranspose{ndim}d")(4, 6, (3, 2, 3)[:ndim], 2, sides, 1, 2, True, 2)
    expected = getattr(ops, f"conv_transpose{ndim}d")(x, back.weight, back.bias, 2, sides, 1, 2, 2)
    assert torch.equal(back(x), expected)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Conv1d(1, 2, 3, padding="full"), "Conv1d(1, 2, kernel_size=(3,), stride=(1,), padding=full)"),
        (
            nn.Conv2d(1, 2, 3, 2, [(0, 1), "same"], padding_mode="symmetric", flip=True),
            "Conv2d(1, 2, kernel_size=(3, 3), stride=(2, 2), padding=((0, 1), 'same'), "
            "padding_mode=symmetric, flip=True)",
        ),
        (
            nn.Conv2d(1, 2, 3, padding=[(1, 1), 2], padding_mode="constant", padding_value=0.5),
            "Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 2), padding_mode=constant, "
            "padding_value=0.5)",
        ),
        (
            nn.ConvTranspose2d(1, 2, 3, padding=[(0, 1), (1, 1)]),
            "ConvTranspose2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=((0, 1), (1, 1)))",
        ),
    ],
)
def test_text_of_what_only_ours_have(layer, text):
    assert repr(layer) == text


def test_placed_where_asked():
    layer = nn.Conv2d(3, 4, 3, device="meta", dtype=torch.bfloat16)
    assert layer.weight.device.type == "meta"
    assert layer.bias.dtype == torch.bfloat16


@pytest.mark.parametrize("output_size", [(10, 8), (2, 4, 10, 8), [10, 8]])
def test_output_size_as_in_torch(output_size):
    theirs, ours = pair("ConvTranspose2d", 3, 4, 3, 2, 1)
    x = torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(ours(x, output_size), theirs(x, list(output_size)))


def test_quantisations_entry_uses_our_padding():
    layer = nn.Conv2d(1, 1, 3, padding="full")
    x = torch.randn(1, 1, 4, 5)
    expected = F.conv2d(x, layer.weight * 2, padding=2)
    torch.testing.assert_close(layer._conv_forward(x, layer.weight * 2, None), expected)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda: nn.Conv2d(6, 8, 3, groups=4),
            ShapeError,
            "Conv2d: groups is 4; it must divide in_channels 6 and out_channels 8. Both allow 1 or 2.",
        ),
        (lambda: nn.Conv1d(0, 8, 3), ShapeError, "Conv1d: in_channels is 0; it must be at least 1."),
        (
            lambda: nn.Conv3d(1, 8, (3, 3)),
            ShapeError,
            "Conv3d: kernel_size (3, 3) has 2 entries; the input has 3 axes.",
        ),
        (
            lambda: nn.Conv2d(1, 8, 3, padding_mode="symetric"),
            UnknownNameError,
            "Conv2d: unknown padding mode 'symetric': did you mean 'symmetric'? Known: 'zeros', 'constant', "
            "'reflect', 'replicate', 'circular', 'symmetric', 'linear'.",
        ),
        (
            lambda: nn.Conv2d(1, 8, 3, padding_value=1.0),
            UsageError,
            "Conv2d: the padding value is 1.0, but mode 'zeros' reads none; use mode 'constant'.",
        ),
        (
            lambda: nn.ConvTranspose2d(1, 8, 3, output_padding=1),
            ShapeError,
            "ConvTranspose2d: output_padding along height is 1; it must be below max(stride, dilation) = "
            "max(1, 1) = 1.",
        ),
        (
            lambda: nn.ConvTranspose2d(1, 8, 3, 2)(torch.ones(1, 1, 4, 4), (9, 11)),
            ShapeError,
            "ConvTranspose2d: output_size (9, 11) cannot come of input (1, 1, 4, 4): it must be from (9, 9) "
            "to (10, 10).",
        ),
        (
            lambda: nn.ConvTranspose2d(1, 8, 3, 2)(torch.ones(1, 1, 4, 4), (9,)),
            ShapeError,
            "ConvTranspose2d: output_size (9,) has 1 entries; give 2, or all 4.",
        ),
    ],
)
def test_refusals(call, kind, text):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == text
