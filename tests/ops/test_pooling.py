"""Max, average and Lp pooling: torch where it can, and a loop over the windows where it cannot."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from witnesses import assert_same_with_gradients, seeded, windows_of

from convscope import ops
from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.geometry import Windows

MAX = {1: ops.max_pool1d, 2: ops.max_pool2d, 3: ops.max_pool3d}
AVG = {1: ops.avg_pool1d, 2: ops.avg_pool2d, 3: ops.avg_pool3d}
LP = {1: ops.lp_pool1d, 2: ops.lp_pool2d, 3: ops.lp_pool3d}


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("ndim", "shape"),
    [
        (1, (2, 3, 11)),
        (1, (3, 11)),
        (2, (2, 3, 9, 12)),
        (2, (3, 9, 12)),
        (2, (0, 2, 5, 6)),
        (3, (2, 2, 5, 6, 7)),
        (3, (2, 5, 6, 7)),
    ],
)
def test_equal_torch(ndim, shape, ceil_mode):
    kernel, stride, half = (3, 2, 4)[:ndim], (2, 3, 2)[:ndim], (1, 1, 2)[:ndim]
    dilation = (2, 1, 1)[:ndim]
    name, x = f"pool{ndim}d", seeded(*shape)
    theirs = {kind: getattr(F, f"{kind}_{name}") for kind in ("max", "avg", "lp")}
    for ours, torchs, arguments in (
        (MAX[ndim], theirs["max"], (kernel, stride, half, dilation, ceil_mode)),
        (MAX[ndim], theirs["max"], (kernel[0], None, 1, 1, ceil_mode)),
        (AVG[ndim], theirs["avg"], (kernel, stride, half, ceil_mode, False)),
        (AVG[ndim], theirs["avg"], (kernel[0], None, 1, ceil_mode, True)),
        *(((AVG[ndim], theirs["avg"], (kernel, stride, half, ceil_mode, True, 5)),) if ndim > 1 else ()),
    ):
        assert_same_with_gradients(
            lambda x, f=ours, a=arguments: f(x, *a), lambda x, f=torchs, a=arguments: f(x, *a), x
        )
    if not ceil_mode:
        assert_same_with_gradients(
            lambda x: LP[ndim](x, 2, kernel[0], 2), lambda x: theirs["lp"](x, 2, kernel[0], 2), x
        )


def axis_settings():
    pair = st.tuples(st.integers(0, 2), st.integers(0, 2))
    padding = st.one_of(pair, st.integers(0, 2), st.sampled_from(["valid", "same", "full"]))
    return st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 4), padding, st.integers(1, 2))


@settings(derandomize=True, max_examples=120, deadline=None)
@given(st.lists(axis_settings(), min_size=1, max_size=2), st.booleans(), st.booleans(), st.booleans())
def test_every_window_by_a_loop(axes, ceil_mode, count_include_pad, dilated):
    sizes, kernel, stride, padding, dilation = zip(*axes, strict=True)
    ndim, padding = len(axes), list(padding)
    dilation = dilation if dilated else (1,) * ndim
    x = seeded(1, 1, *sizes, grad=False)
    try:
        windows = Windows.pool(ndim, kernel, stride, padding, dilation, ceil_mode=ceil_mode)
        outputs, pads = windows.output_size(sizes), windows.pads(sizes)
    except ShapeError as error:
        outputs, pads = f"max_pool{ndim}d: {error}", ()
    if isinstance(outputs, str):
        with pytest.raises(ShapeError) as caught:
            MAX[ndim](x, kernel, stride, padding, dilation, ceil_mode)
        assert str(caught.value) == outputs
        return
    largest, places = MAX[ndim](x, kernel, stride, padding, dilation, ceil_mode, return_indices=True)
    assert torch.equal(largest, MAX[ndim](x, kernel, stride, padding, dilation, ceil_mode))
    assert tuple(largest.shape[2:]) == outputs
    for place, values, _ in windows_of(x.numpy(), kernel, stride, pads, outputs, dilation):
        at = (0, 0, *place)
        assert largest[at].item() == max((value.item() for _, value in values), default=-torch.inf)
        if values:
            assert x.flatten()[places[at]] == largest[at]
    if dilated:
        return
    average = AVG[ndim](x, kernel, stride, padding, ceil_mode, count_include_pad)
    total = AVG[ndim](x, kernel, stride, padding, ceil_mode, count_include_pad, 1)
    norm = LP[ndim](x, 2, kernel, stride, ceil_mode, padding=padding)
    assert average.shape == total.shape == norm.shape == largest.shape
    for place, values, padded in windows_of(x.numpy(), kernel, stride, pads, outputs):
        at, summed = (0, 0, *place), sum(value.item() for _, value in values)
        assert total[at].item() == pytest.approx(summed, abs=1e-12)
        assert average[at].item() == pytest.approx(
            summed / (padded if count_include_pad else len(values)), abs=1e-12
        )
        assert norm[at].item() == pytest.approx(sum(value.item() ** 2 for _, value in values) ** 0.5)


def test_words_and_sides_by_hand():
    x = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0]])
    assert ops.max_pool1d(-x, 2, 2, (1, 0)).tolist() == [[-1.0, -2.0, -8.0]]
    assert ops.max_pool1d(-x, 3, 2, "full").tolist() == [[-1.0, -1.0, -4.0, -16.0]]
    assert ops.avg_pool1d(x, 2, 2, (1, 0)).tolist() == [[0.5, 3.0, 12.0]]
    assert ops.avg_pool1d(x, 2, 2, (1, 0), count_include_pad=False).tolist() == [[1.0, 3.0, 12.0]]
    assert ops.avg_pool1d(x, 2, 2, divisor_override=1).tolist() == [[3.0, 12.0]]
    assert ops.avg_pool1d(x, 2, 2, ceil_mode=True).tolist() == [[1.5, 6.0, 16.0]]
    assert ops.lp_pool1d(torch.tensor([[3.0, 4.0, 5.0]]), 2, 2, ceil_mode=True).tolist() == [[5.0, 5.0]]
    assert ops.lp_pool1d(-x, torch.inf, 2, padding="same").tolist() == [[2.0, 8.0, 16.0]]


def test_torch_lp_still_overcounts_the_last_window():
    """The day this fails, `lp_pool2d` may leave ceil_mode to torch."""
    ones = torch.ones(1, 1, 3, 3)
    assert F.lp_pool2d(ones, 2, 2, ceil_mode=True)[0, 0, 1, 1] == 2.0
    assert ops.lp_pool2d(ones, 2, 2, ceil_mode=True)[0, 0, 1, 1] == 1.0


@pytest.mark.parametrize("sides", [[(1, 0), (0, 2)], "same"])
def test_gradcheck(sides):
    x = seeded(1, 1, 5, 6)
    for call in (
        lambda x: ops.max_pool2d(x, (3, 4), 2, sides),
        lambda x: ops.avg_pool2d(x, (3, 4), 2, sides, True, False),
        lambda x: ops.lp_pool2d(x, 2, (3, 4), 2, True, padding=sides),
    ):
        assert torch.autograd.gradcheck(call, x, fast_mode=True)


def test_integers():
    x = torch.tensor([[[-4, -6], [-2, -9]]])
    assert ops.max_pool2d(x, 2, 2, "full").tolist() == [[[-4, -6], [-2, -9]]]
    assert ops.avg_pool2d(x, 2, 2).tolist() == F.avg_pool2d(x, 2, 2).tolist() == [[[-5]]]
    assert ops.avg_pool2d(x, 2, 2, [(0, 1), (0, 0)]).tolist() == [[[-5]]]


@pytest.mark.parametrize("padding", [1, "same", [(1, 0), (0, 1)]])
def test_meta_tensors_have_the_shape(padding):
    x = torch.ones(2, 3, 7, 8)
    for call in (
        lambda x: ops.max_pool2d(x, 3, 2, padding, ceil_mode=True),
        lambda x: ops.avg_pool2d(x, 3, 2, padding, count_include_pad=False),
        lambda x: ops.lp_pool2d(x, 2, 3, 2, True, padding=padding),
    ):
        assert call(x.to("meta")).shape == call(x).shape


X = torch.ones(1, 3, 8, 9)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda: ops.max_pool2d(X, 3, padding=2),
            ShapeError,
            "max_pool2d: pooling padding along height is 2; it must be at most half the kernel, 3 // 2 = 1.",
        ),
        (
            lambda: ops.avg_pool1d(X, 3),
            ShapeError,
            "avg_pool1d: input (1, 3, 8, 9) has 4 axes; give (N, C, length), or (C, length).",
        ),
        (
            lambda: ops.lp_pool3d(X, 2, 3, padding="sane"),
            UnknownNameError,
            "lp_pool3d: unknown padding 'sane': did you mean 'same'? Known: 'valid', 'same', 'full'.",
        ),
        (
            lambda: ops.lp_pool2d(X, 0, 3),
            UsageError,
            "lp_pool2d: norm_type is 0; it must be above 0.",
        ),
        (
            lambda: ops.avg_pool3d(X, 3, divisor_override=0),
            UsageError,
            "avg_pool3d: divisor_override is 0; nothing can be divided by it.",
        ),
    ],
)
def test_refusals(call, kind, text):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == text


def test_a_kernel_that_does_not_fit_names_the_axis():
    with pytest.raises(
        ShapeError, match=r"^max_pool2d: kernel does not fit along width: .* = 10, but .* = 9\."
    ):
        ops.max_pool2d(X, (3, 10))
