"""Padding against numpy.pad, also where torch refuses; linear extrapolation by hand; gradients."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from witnesses import seeded

from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.ops import PADDING_MODES, pad

NUMPY = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}
SIDES = {
    "none": [(0, 0), (0, 0)],
    "narrow": [(1, 2), (2, 0)],
    "as wide as the input": [(3, 3), (4, 4)],
    "wider than the input": [(7, 4), (0, 13)],
}


def by_numpy(x, pads, mode, value=0.0):
    constant = {"constant_values": value} if mode in ("zeros", "constant") else {}
    whole = [(0, 0)] * (x.ndim - len(pads)) + list(pads)
    return torch.from_numpy(np.pad(x.numpy(), whole, NUMPY.get(mode, mode), **constant))


@pytest.mark.parametrize("mode", [mode for mode in PADDING_MODES if mode != "linear"])
@pytest.mark.parametrize("pads", SIDES.values(), ids=SIDES)
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (2, 2, 3, 4), (2, 1, 2, 3, 4), (0, 2, 3, 4)])
def test_equals_numpy(mode, pads, shape):
    x, value = seeded(*shape, grad=False), 1.5 if mode == "constant" else 0.0
    assert torch.equal(pad(x, pads, mode, value), by_numpy(x, pads, mode, value))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.complex64])
@pytest.mark.parametrize("mode", [mode for mode in PADDING_MODES if mode != "linear"])
def test_every_type_keeps_its_values(mode, dtype):
    x = torch.tensor([[[0, 1, 1, 0, 1]]]).to(dtype)
    for pads in ([(2, 1)], [(6, 9)]):
        output = pad(x, pads, mode)
        assert output.dtype == dtype
        assert torch.equal(output, by_numpy(x, pads, mode))


@settings(derandomize=True, max_examples=150, deadline=None)
@given(
    st.sampled_from([mode for mode in PADDING_MODES if mode != "linear"]),
    st.lists(
        st.tuples(st.integers(1, 5), st.tuples(st.integers(0, 11), st.integers(0, 11))),
        min_size=1,
        max_size=3,
    ),
)
def test_any_width_equals_numpy(mode, axes):
    sizes, pads = zip(*axes, strict=True)
    x = torch.arange(float(np.prod(sizes))).reshape(1, 1, *sizes)
    assert torch.equal(pad(x, pads, mode), by_numpy(x, pads, mode))


def test_linear_continues_the_line_through_the_two_edge_pixels():
    x = torch.tensor([1.0, 3.0, 4.0])
    assert pad(x, [(3, 2)], "linear").tolist() == [-5.0, -3.0, -1.0, 1.0, 3.0, 4.0, 5.0, 6.0]
    # A plane goes on as a plane, corners too.
    row, column = torch.arange(-2.0, 7.0), torch.arange(-1.0, 8.0)
    plane = 2 * row[:, None] - 3 * column
    assert torch.equal(pad(plane[2:5, 1:6], [(2, 4), (1, 3)], "linear"), plane)


def test_linear_at_every_place_by_its_formula():
    x, (before, after) = seeded(2, 4, grad=False), (5, 3)
    output, last = pad(x, [(before, after)], "linear"), x.shape[1] - 1
    for row, place in itertools.product(range(2), range(-before, last + after + 1)):
        if place < 0:
            expected = x[row, 0] + place * (x[row, 1] - x[row, 0])
        elif place > last:
            expected = x[row, last] + (place - last) * (x[row, last] - x[row, last - 1])
        else:
            expected = x[row, place]
        torch.testing.assert_close(output[row, before + place], expected)


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("pads", [SIDES["narrow"], SIDES["wider than the input"]])
def test_gradcheck(mode, pads):
    assert torch.autograd.gradcheck(lambda x: pad(x, pads, mode), seeded(1, 1, 3, 4), fast_mode=True)


def test_spellings():
    x = torch.ones(2, 3, 4)
    assert pad(x, 1, ndim=1).shape == (2, 3, 6)
    assert pad(x, 1, ndim=3).shape == (4, 5, 6)
    assert pad(x, (1, 2)).shape == (2, 5, 8)
    assert pad(x, (1, 2), ndim=1).shape == (2, 3, 7)
    assert pad(x, [(0, 1), (2, 0)]).shape == (2, 4, 6)
    assert pad(x, 0, ndim=2) is x


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda: pad(torch.ones(3), [(1, 1)], "circle"),
            UnknownNameError,
            "pad: unknown padding mode 'circle': did you mean 'circular'? Known: 'zeros', 'constant', "
            "'reflect', 'replicate', 'circular', 'symmetric', 'linear'.",
        ),
        (
            lambda: pad(torch.ones(3), 1),
            ShapeError,
            "pad: padding 1 does not say how many axes it is for; give ndim, or a list of (before, after) "
            "pairs, one an axis.",
        ),
        (
            lambda: pad(torch.ones(3), "same", ndim=1),
            ShapeError,
            "pad: padding 'same' depends on a kernel, and here is none; give numbers.",
        ),
        (
            lambda: pad(torch.ones(3), [(1, 1), (1, 1)]),
            ShapeError,
            "pad: padding is for 2 axes; input (3,) has 1.",
        ),
        (
            lambda: pad(torch.ones(3), [(1, 1)], "reflect", 2.0),
            UsageError,
            "pad: the padding value is 2.0, but mode 'reflect' reads none; use mode 'constant'.",
        ),
        (
            lambda: pad(torch.ones(2, 0), [(1, 1)], "circular"),
            ShapeError,
            "pad: mode 'circular' repeats from 1 pixel of the axis, but input (2, 0) has 0 along dim=1. "
            "Use mode 'zeros' or 'constant'.",
        ),
        (
            lambda: pad(torch.ones(2, 4, dtype=torch.uint8), [(1, 1)], "linear"),
            UsageError,
            "pad: mode 'linear' leaves the range of the pixels; input is torch.uint8. Use input.float().",
        ),
        (
            lambda: pad(torch.ones(3), [(-1, 1)]),
            ShapeError,
            "pad: padding before is -1; it must be at least 0.",
        ),
    ],
)
def test_refusals(call, kind, text):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == text
