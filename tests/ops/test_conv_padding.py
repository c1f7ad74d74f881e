"""What torch's convolution lacks: unequal sides, strided `same`, `full`, padding modes, flip; and every refusal."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d, correlate2d
from witnesses import assert_same_with_gradients, convolve_by_loops, seeded

from convscope import ops
from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.geometry import Windows

CONV = {1: ops.conv1d, 2: ops.conv2d, 3: ops.conv3d}


@pytest.mark.parametrize(
    ("sizes", "kernel", "stride", "dilation", "padding", "explicit"),
    [
        # explicit: torch's order, last axis first. same: (ceil(n/s)-1)*s + span - n in all, the odd one after
        ((9, 12), (3, 3), 2, 1, "same", (0, 1, 1, 1)),
        ((8, 11), (2, 5), (3, 2), 1, "same", (2, 2, 0, 0)),
        ((8, 11), (4, 3), 1, (1, 3), "same", (3, 3, 1, 2)),
        ((8, 11), (2, 3), 2, (3, 1), "full", (2, 2, 3, 3)),
        ((8, 11), (3, 2), 2, 1, [(2, 0), (0, 3)], (0, 3, 2, 0)),
        ((8, 11), (3, 2), 1, 1, ["full", (0, 1)], (0, 1, 2, 2)),
        ((8, 11), (3, 2), 1, 1, [(1, 0), "valid"], (0, 0, 1, 0)),
    ],
)
def test_words_and_sides_are_explicit_padding(sizes, kernel, stride, dilation, padding, explicit):
    assert_same_with_gradients(
        lambda x, w, b: ops.conv2d(x, w, b, stride, padding, dilation),
        lambda x, w, b: F.conv2d(F.pad(x, explicit), w, b, stride, 0, dilation),
        seeded(2, 3, *sizes),
        seeded(4, 3, *kernel, seed=1),
        seeded(4, seed=2),
    )


def test_flat_pair_on_one_axis_is_before_and_after():
    x, w = seeded(1, 2, 7), seeded(3, 2, 3)
    torch.testing.assert_close(ops.conv1d(x, w, padding=(2, 0)), F.conv1d(F.pad(x, (2, 0)), w))


@pytest.mark.parametrize("mode", ops.PADDING_MODES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_modes_pad_and_then_convolve(ndim, mode):
    sizes, kernel, sides = (5, 6, 4)[:ndim], (3, 2, 3)[:ndim], [(1, 2), (0, 1), (2, 0)][:ndim]
    value = 0.5 if mode == "constant" else 0.0
    named = {"padding_mode": mode, "padding_value": value}
    assert_same_with_gradients(
        lambda x, w: CONV[ndim](x, w, None, 2, sides, **named),
        lambda x, w: CONV[ndim](ops.pad(x, sides, mode, value), w, None, 2),
        seeded(2, 2, *sizes),
        seeded(3, 2, *kernel, seed=1),
    )


def test_constant_of_zero_is_zeros():
    x, w = seeded(1, 1, 5, 6), seeded(1, 1, 3, 3)
    expected = ops.conv2d(x, w, padding=1)
    torch.testing.assert_close(ops.conv2d(x, w, padding=1, padding_mode="constant"), expected)
    assert not torch.equal(ops.conv2d(x, w, padding=1, padding_mode="constant", padding_value=1.0), expected)


@pytest.mark.parametrize(
    ("kernel", "mode"), [((3, 3), "full"), ((2, 4), "full"), ((3, 2), "valid"), ((3, 5), "same")]
)
def test_flip_is_the_convolution_of_mathematics(kernel, mode):
    image, weights = seeded(7, 9, grad=False), seeded(*kernel, grad=False)
    expected = torch.from_numpy(convolve2d(image, weights, mode))
    output = ops.conv2d(image[None], weights[None, None], padding=mode, flip=True)
    torch.testing.assert_close(output[0], expected)
    plain = ops.conv2d(image[None], weights[None, None], padding=mode)
    torch.testing.assert_close(plain[0], torch.from_numpy(correlate2d(image, weights, mode)))


def test_flip_turns_every_spatial_axis_and_its_gradient():
    for ndim in (1, 2, 3):
        axes = tuple(range(2, 2 + ndim))
        assert_same_with_gradients(
            lambda x, w, ndim=ndim: CONV[ndim](x, w, padding=1, groups=2, flip=True),
            lambda x, w, ndim=ndim, axes=axes: CONV[ndim](x, w.flip(axes), padding=1, groups=2),
            seeded(1, 4, *(5, 6, 4)[:ndim]),
            seeded(2, 2, *(3, 2, 3)[:ndim], seed=1),
        )


@pytest.mark.parametrize("mode", ["zeros", "replicate"])
def test_definition_with_everything_at_once(mode):
    x, w = seeded(1, 4, 7, 6), seeded(4, 2, 2, 3, seed=1)
    padded = ops.pad(x, [(2, 0), (0, 3)], mode)
    expected = convolve_by_loops(padded, w.flip((2, 3)), (2, 1), (1, 2), 2)
    output = ops.conv2d(x, w, None, (2, 1), [(2, 0), (0, 3)], (1, 2), 2, padding_mode=mode, flip=True)
    torch.testing.assert_close(output, expected)


def axis_settings():
    pair = st.tuples(st.integers(0, 4), st.integers(0, 4))
    padding = st.one_of(pair, st.integers(0, 4), st.sampled_from(["valid", "same", "full"]))
    return st.tuples(st.integers(1, 12), st.integers(1, 4), st.integers(1, 3), padding, st.integers(1, 3))


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.lists(axis_settings(), min_size=1, max_size=3))
def test_output_size_is_the_predicted_one(axes):
    sizes, kernel, stride, padding, dilation = zip(*axes, strict=True)
    ndim = len(axes)
    call = (torch.ones(1, 1, *sizes), torch.ones(1, 1, *kernel), None, stride, list(padding), dilation)
    try:
        predicted = Windows.of(ndim, kernel, stride, list(padding), dilation).output_size(sizes)
    except ShapeError:
        with pytest.raises(ShapeError, match=rf"^conv{ndim}d: kernel does not fit along"):
            CONV[ndim](*call)
    else:
        output = CONV[ndim](*call)
        assert tuple(output.shape[2:]) == predicted


X, W = torch.ones(1, 3, 8, 9), torch.ones(4, 3, 3, 3)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda: ops.conv2d(X, torch.ones(4, 3, 3, 7), dilation=2),
            ShapeError,
            "conv2d: kernel does not fit along width: dilation*(kernel_size-1)+1 = 2*(7-1)+1 = 13, "
            "but input + padding = 9 + 0 + 0 = 9. "
            "Add 4 more padding, shorten the kernel, or give an input of at least 13.",
        ),
        (
            lambda: ops.conv2d(torch.ones(1, 4, 8, 9), W),
            ShapeError,
            "conv2d: input (1, 4, 8, 9) has 4 channels, but weight (4, 3, 3, 3) with groups=1 reads 3*1 = 3. "
            "Give an input of 3 channels, or another weight.",
        ),
        (
            lambda: ops.conv2d(X, W, groups=3),
            ShapeError,
            "conv2d: groups is 3; it must divide in_channels 9 and out_channels 4. Both allow 1.",
        ),
        (lambda: ops.conv2d(X, W, groups=0), ShapeError, "conv2d: groups is 0; it must be at least 1."),
        (
            lambda: ops.conv2d(X, torch.ones(4, 3, 3)),
            ShapeError,
            "conv2d: weight (4, 3, 3) has 3 axes; it must have 4: (C_out, C_in/groups, K_h, K_w).",
        ),
        (
            lambda: ops.conv1d(X, torch.ones(4, 3, 3)),
            ShapeError,
            "conv1d: input (1, 3, 8, 9) has 4 axes; give (N, C, length), or (C, length).",
        ),
        (
            lambda: ops.conv2d(X, W, torch.ones(3)),
            ShapeError,
            "conv2d: bias (3,) must be (4,): one number for each output channel.",
        ),
        (
            lambda: ops.conv2d(X, W.double()),
            UsageError,
            "conv2d: input is torch.float32 and weight is torch.float64; convert one, as in "
            "input.to(weight.dtype), or run under torch.autocast.",
        ),
        (
            lambda: ops.conv2d(X.to("meta"), W.to("meta"), torch.ones(4, device="meta").half()),
            UsageError,
            "conv2d: input is torch.float32 and bias is torch.float16; convert one, as in "
            "input.to(bias.dtype), or run under torch.autocast.",
        ),
        (
            lambda: ops.conv2d(X, W, stride=0),
            ShapeError,
            "conv2d: stride is 0; it must be at least 1.",
        ),
        (
            lambda: ops.conv2d(X, W, padding="some"),
            UnknownNameError,
            "conv2d: unknown padding 'some': did you mean 'same'? Known: 'valid', 'same', 'full'.",
        ),
        (
            lambda: ops.conv2d(X, W, padding_mode="mirror_symmetric"),
            UnknownNameError,
            "conv2d: unknown padding mode 'mirror_symmetric': did you mean 'symmetric'? Known: 'zeros', "
            "'constant', 'reflect', 'replicate', 'circular', 'symmetric', 'linear'.",
        ),
        (
            lambda: ops.conv2d(X, W, padding_value=1.0),
            UsageError,
            "conv2d: the padding value is 1.0, but mode 'zeros' reads none; use mode 'constant'.",
        ),
        (
            lambda: ops.conv2d(torch.ones(1, 3, 1, 9), W, padding=1, padding_mode="linear"),
            ShapeError,
            "conv2d: mode 'linear' repeats from 2 pixels of the axis, but input (1, 3, 1, 9) has 1 along dim=2. "
            "Use mode 'zeros' or 'replicate'.",
        ),
        (
            lambda: ops.conv2d(X[..., :0], W, padding=2),
            ShapeError,
            "conv2d: input size along width is 0; it must be at least 1.",
        ),
    ],
)
def test_refusals(call, kind, text):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == text


def test_a_setting_met_before_is_still_checked():
    ops.conv2d(X, W, stride=1)
    with pytest.raises(ShapeError, match=r"^conv2d: stride is True; it must be a whole number\.$"):
        ops.conv2d(X, W, stride=True)
