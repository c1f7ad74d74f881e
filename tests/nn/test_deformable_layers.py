"""Deformable convolution layers: settings that reach the function, keys, offsets that start at 0 and learn."""

import pytest
import torch
from torch import nn as tnn

from convscope import nn, ops
from convscope.errors import ShapeError, UnknownNameError

MORE = {"stride": (1, 2), "padding": (1, 2), "dilation": (2, 1), "groups": 2}


def test_given_offsets_pass_with_every_setting_to_the_function():
    layer = nn.DeformConv2d(4, 6, (3, 2), **MORE)
    x, offset, mask = torch.randn(2, 4, 7, 6), torch.randn(2, 24, 5, 5), torch.rand(2, 12, 5, 5)
    given = (1, 2), (1, 2), (2, 1)
    expected = ops.deform_conv2d(x, offset, layer.weight, layer.bias, *given, mask)
    torch.testing.assert_close(layer(x, offset, mask), expected)
    torch.testing.assert_close(
        layer(x, offset), ops.deform_conv2d(x, offset, layer.weight, layer.bias, *given)
    )


def test_state_dict_keys_and_types():
    layer = nn.DeformConv2d(4, 6, 3, dtype=torch.float64)
    assert {key: (*value.shape,) for key, value in layer.state_dict().items()} == {
        "weight": (6, 4, 3, 3),
        "bias": (6,),
    }
    assert layer.weight.dtype == torch.float64
    assert list(nn.DeformConv2d(4, 6, 3, bias=False).state_dict()) == ["weight"]
    for modulated, channels in ((False, 36), (True, 54)):
        made = nn.DeformableConv2d(4, 6, 3, modulated=modulated, offset_groups=2, groups=2, device="meta")
        assert {key: (*value.shape,) for key, value in made.state_dict().items()} == {
            "weight": (6, 2, 3, 3),
            "bias": (6,),
            "offset.weight": (channels, 4, 3, 3),
            "offset.bias": (channels,),
        }


def test_starts_as_torchs_convolution():
    """The same numbers from the same seed."""
    torch.manual_seed(0)
    plain = tnn.Conv2d(4, 6, 3, groups=2)
    for kind in (nn.DeformConv2d, nn.DeformableConv2d):
        torch.manual_seed(0)
        layer = kind(4, 6, 3, groups=2)
        assert layer.weight.equal(plain.weight)
        assert layer.bias.equal(plain.bias)


@pytest.mark.parametrize("modulated", [False, True])
def test_untrained_offsets_give_the_plain_convolution_or_half_of_it(modulated):
    layer = nn.DeformableConv2d(4, 6, 3, **MORE, modulated=modulated, offset_groups=2)
    plain = tnn.Conv2d(4, 6, 3, **MORE)
    plain.load_state_dict({key: value for key, value in layer.state_dict().items() if "offset" not in key})
    x = torch.randn(2, 4, 9, 8)
    with torch.no_grad():
        if modulated:
            plain.weight.mul_(0.5)
        torch.testing.assert_close(layer(x), plain(x))


@pytest.mark.parametrize("modulated", [False, True])
def test_what_is_predicted_moves_and_weighs_the_taps(modulated):
    layer = nn.DeformableConv2d(4, 6, (3, 2), **MORE, modulated=modulated, offset_groups=2)
    nn_init = tnn.init.normal_
    nn_init(layer.offset.weight)
    nn_init(layer.offset.bias)
    x = torch.randn(2, 4, 9, 8)
    predicted = torch.nn.functional.conv2d(x, layer.offset.weight, layer.offset.bias, (1, 2), (1, 2), (2, 1))
    offset, mask = predicted[:, :24], torch.sigmoid(predicted[:, 24:]) if modulated else None
    expected = ops.deform_conv2d(x, offset, layer.weight, layer.bias, (1, 2), (1, 2), (2, 1), mask)
    torch.testing.assert_close(layer(x), expected)
    layer(x).square().sum().backward()
    assert all(bool(parameter.grad.abs().sum() > 0) for parameter in layer.parameters())
    layer.reset_offsets()
    assert not any(parameter.any() for parameter in layer.offset.parameters())


def test_offsets_learn_where_a_shifted_image_is():
    """The kernel is one pixel; the answer lies 0.75 pixels to the right of it."""
    torch.manual_seed(0)
    layer = nn.DeformableConv2d(1, 1, 1, bias=False)
    layer.weight.requires_grad_(False).fill_(1)
    x = torch.linspace(0, 1, 12).square().expand(1, 1, 12, 12)
    with torch.no_grad():
        target = 0.25 * x[..., :-1] + 0.75 * x[..., 1:]
    optimiser = torch.optim.Adam(layer.offset.parameters(), lr=0.05)
    for _ in range(100):
        optimiser.zero_grad()
        loss = (layer(x)[..., :-1] - target).square().mean()
        loss.backward()
        optimiser.step()
    moved = layer.offset(x)[0, :, 6, 4:10]
    assert moved[1].tolist() == pytest.approx([0.75] * 6, abs=0.1)


def test_padding_words():
    layer = nn.DeformableConv2d(2, 3, (2, 4), stride=2, padding="same")
    x = torch.randn(1, 2, 7, 6)
    torch.testing.assert_close(layer(x), ops.conv2d(x, layer.weight, layer.bias, 2, "same"))


def test_text():
    assert repr(nn.DeformConv2d(4, 6, 3)) == "DeformConv2d(4, 6, kernel_size=(3, 3), stride=(1, 1))"
    text = repr(nn.DeformableConv2d(4, 6, (3, 2), **MORE, bias=False, modulated=True, offset_groups=4))
    assert text.splitlines()[1].strip() == (
        "4, 6, kernel_size=(3, 2), stride=(1, 2), padding=(1, 2), dilation=(2, 1), groups=2, bias=False, "
        "modulated=True, offset_groups=4"
    )


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.DeformConv2d(4, 6, 3, groups=4), ShapeError, "DeformConv2d: groups is 4; it must divide"),
        (lambda: nn.DeformConv2d(4, 6, 0), ShapeError, "DeformConv2d: kernel_size is 0"),
        (
            lambda: nn.DeformableConv2d(4, 6, 3, padding="sane"),
            UnknownNameError,
            "DeformableConv2d: unknown padding 'sane': did you mean 'same'",
        ),
        (
            lambda: nn.DeformableConv2d(4, 6, 3, offset_groups=3),
            ShapeError,
            "DeformableConv2d: offset_groups is 3; it must divide in_channels 4.",
        ),
        (
            lambda: nn.DeformableConv2d(4, 6, 3, offset_groups=0),
            ShapeError,
            "DeformableConv2d: offset_groups is 0; it must be at least 1.",
        ),
        (
            lambda: nn.DeformConv2d(4, 6, 3)(torch.zeros(1, 4, 5, 5), torch.zeros(1, 9, 3, 3)),
            ShapeError,
            "deform_conv2d: offset (1, 9, 3, 3) has 9 channels",
        ),
        *(
            (
                lambda modulated=modulated: nn.DeformableConv2d(4, 6, 3, modulated=modulated)(
                    torch.zeros(4, 5, 5)
                ),
                ShapeError,
                "DeformableConv2d: input (4, 5, 5) has 3 axes; give 4: (N, C, height, width).",
            )
            for modulated in (False, True)
        ),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(text)
