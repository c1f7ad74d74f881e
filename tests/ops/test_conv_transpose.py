"""Transposed convolution against torch, the transpose that gives it its name, and unequal sides."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from witnesses import assert_same_with_gradients, seeded

from convscope import ops
from convscope.errors import ShapeError, UsageError
from convscope.geometry import Windows

OURS = {1: ops.conv_transpose1d, 2: ops.conv_transpose2d, 3: ops.conv_transpose3d}
TORCH = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@pytest.mark.parametrize(
    ("input_shape", "weight_shape", "arguments"),
    [
        ((2, 3, 7), (3, 4, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
        ((3, 7), (3, 4, 3), {"dilation": 2}),
        ((2, 4, 5, 6), (4, 3, 4, 3), {"stride": (2, 3), "padding": (1, 0), "groups": 2}),
        ((2, 4, 5, 6), (4, 1, 3, 3), {"stride": 2, "output_padding": (1, 0), "groups": 4}),
        ((0, 4, 5, 6), (4, 2, 2, 2), {"stride": 2}),
        ((4, 5, 6), (4, 2, 2, 3), {"dilation": (1, 2), "padding": 1}),
        ((1, 2, 3, 4, 5), (2, 3, 2, 3, 1), {"stride": (1, 2, 3), "padding": (0, 1, 0)}),
    ],
)
def test_equals_torch(input_shape, weight_shape, arguments):
    ndim = len(weight_shape) - 2
    assert_same_with_gradients(
        lambda x, w, b: OURS[ndim](x, w, b, **arguments),
        lambda x, w, b: TORCH[ndim](x, w, b, **arguments),
        seeded(*input_shape),
        seeded(*weight_shape, seed=1),
        seeded(weight_shape[1] * arguments.get("groups", 1), seed=2),
    )


def test_argument_order_is_torchs():
    x, w, b = seeded(1, 4, 5, 6), seeded(4, 1, 3, 3), seeded(4)
    rest = (2, 1, 1, 4, 2)  # stride, padding, output_padding, groups, dilation
    torch.testing.assert_close(ops.conv_transpose2d(x, w, b, *rest), F.conv_transpose2d(x, w, b, *rest))


@pytest.mark.parametrize("sides", [[(0, 2), (1, 1)], [(2, 1), (0, 1)], [(3, 0), (0, 0)]])
def test_unequal_sides_cut_the_full_result(sides):
    (top, bottom), (left, right) = sides

    def cut(x, w, b):
        full = F.conv_transpose2d(x, w, b, 2, 0, 1)
        return full[..., top : full.shape[-2] - bottom, left : full.shape[-1] - right]

    assert_same_with_gradients(
        lambda x, w, b: ops.conv_transpose2d(x, w, b, 2, sides, 1),
        cut,
        seeded(2, 3, 4, 5),
        seeded(3, 2, 3, 4, seed=1),
        seeded(2, seed=2),
    )


def test_is_the_transpose_of_the_convolution():
    # <conv(x), y> = <x, conv_transpose(y)> for every x and y, with unequal sides too
    w, arguments = seeded(4, 3, 3, 2), {"stride": 2, "padding": [(1, 0), (0, 1)]}
    x = seeded(1, 3, 8, 9)
    convolved = ops.conv2d(x, w, None, **arguments)
    y = seeded(*convolved.shape, seed=3)
    back = ops.conv_transpose2d(y, w, None, **arguments)
    extra = tuple(size - less for size, less in zip(x.shape[2:], back.shape[2:], strict=True))
    back = ops.conv_transpose2d(y, w, None, output_padding=extra, **arguments)
    torch.testing.assert_close((convolved * y).sum(), (x * back).sum())


def test_gradcheck():
    operands = seeded(1, 2, 3, 4), seeded(2, 1, 3, 2, seed=1), seeded(2, seed=2)
    assert torch.autograd.gradcheck(
        lambda x, w, b: ops.conv_transpose2d(x, w, b, 2, [(1, 0), (0, 1)], groups=2), operands, fast_mode=True
    )


@settings(derandomize=True, max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 6),
            st.integers(1, 4),
            st.integers(1, 3),
            st.tuples(st.integers(0, 4), st.integers(0, 4)),
            st.integers(0, 2),
            st.integers(1, 3),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_output_size_is_the_predicted_one(axes):
    sizes, kernel, stride, padding, extra, dilation = zip(*axes, strict=True)
    ndim = len(axes)
    x, w = torch.ones(1, 1, *sizes), torch.ones(1, 1, *kernel)
    try:
        predicted = Windows.transposed(ndim, kernel, stride, padding, extra, dilation).output_size(sizes)
    except ShapeError as error:
        predicted = f"conv_transpose{ndim}d: {error}"
    if isinstance(predicted, str):
        with pytest.raises(ShapeError) as caught:
            OURS[ndim](x, w, None, stride, padding, extra, 1, dilation)
        assert str(caught.value) == predicted
    else:
        output = OURS[ndim](x, w, None, stride, padding, extra, 1, dilation)
        assert tuple(output.shape[2:]) == predicted


X, W = torch.ones(1, 4, 5, 6), torch.ones(4, 3, 3, 3)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda: ops.conv_transpose2d(X[:, :3], W),
            ShapeError,
            "conv_transpose2d: input (1, 3, 5, 6) has 3 channels, but weight (4, 3, 3, 3) reads 4. "
            "Give an input of 4 channels, or another weight.",
        ),
        (
            lambda: ops.conv_transpose2d(X, W, groups=3),
            ShapeError,
            "conv_transpose2d: groups is 3; it must divide in_channels 4 and out_channels 9. Both allow 1.",
        ),
        (
            lambda: ops.conv_transpose2d(X, W[0]),
            ShapeError,
            "conv_transpose2d: weight (3, 3, 3) has 3 axes; it must have 4: (C_in, C_out/groups, K_h, K_w).",
        ),
        (
            lambda: ops.conv_transpose2d(X, W, padding="same"),
            ShapeError,
            "conv_transpose2d: padding 'same' along height has no one meaning for a transposed window; "
            "give numbers.",
        ),
        (
            lambda: ops.conv_transpose2d(X, W, stride=2, output_padding=2),
            ShapeError,
            "conv_transpose2d: output_padding along height is 2; it must be below max(stride, dilation) = "
            "max(2, 1) = 2.",
        ),
        (
            lambda: ops.conv_transpose2d(X, W.double()),
            UsageError,
            "conv_transpose2d: input is torch.float32 and weight is torch.float64; convert one, as in "
            "input.to(weight.dtype), or run under torch.autocast.",
        ),
    ],
)
def test_refusals(call, kind, text):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == text
