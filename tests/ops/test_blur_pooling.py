"""Blur-pool: its filter by hand, its definition axis by axis, and the shift that it is made for."""

import numpy as np
import pytest
import torch
from witnesses import seeded

from convscope import ops
from convscope.errors import ShapeError, UnknownNameError, UsageError

BLUR = {1: ops.blur_pool1d, 2: ops.blur_pool2d, 3: ops.blur_pool3d}


@pytest.mark.parametrize(
    ("size", "taps"), [(1, [1]), (2, [1, 1]), (3, [1, 2, 1]), (4, [1, 3, 3, 1]), (5, [1, 4, 6, 4, 1])]
)
def test_filter_is_a_row_of_pascals_triangle(size, taps):
    spike = torch.zeros(1, 9)
    spike[0, 4] = sum(taps)
    expected = torch.zeros(9)
    expected[4 - size // 2 : 4 - size // 2 + size] = torch.tensor([float(tap) for tap in taps])
    assert ops.blur_pool1d(spike, size, 1).tolist() == [expected.tolist()]


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(("size", "stride"), [(3, 2), (4, 3), (2, 1)])
def test_is_a_separable_filter_and_a_stride(ndim, size, stride):
    x = seeded(2, 3, *(5, 8, 7)[:ndim], grad=False)
    row = np.poly1d([0.5, 0.5]) ** (size - 1)
    expected = np.pad(x.numpy(), [(0, 0)] * 2 + [((size - 1) // 2, size // 2)] * ndim, "reflect")
    for axis in range(2, 2 + ndim):
        expected = np.apply_along_axis(np.convolve, axis, expected, row.coeffs, "valid")
    expected = expected[(slice(None),) * 2 + (slice(None, None, stride),) * ndim]
    torch.testing.assert_close(BLUR[ndim](x, size, stride), torch.from_numpy(expected))


def test_unbatched_types_and_gradient():
    x = seeded(2, 4, 5)
    torch.testing.assert_close(ops.blur_pool2d(x), ops.blur_pool2d(x[None])[0])
    assert ops.blur_pool2d(x.bfloat16()).dtype == torch.bfloat16
    assert ops.blur_pool2d(x.to("meta"), (3, 5), (1, 2)).shape == (2, 4, 3)
    assert ops.blur_pool2d(x[:, :1, :1], 5).shape == (2, 1, 1)
    assert torch.autograd.gradcheck(ops.blur_pool2d, x, fast_mode=True)


def test_a_shift_changes_it_less_than_striding():
    x = seeded(1, 1, 33, 33, grad=False)
    moved = x.roll((0, 1), (2, 3))

    def change(call):
        return (call(moved) - call(x)).square().mean() / call(x).square().mean()

    assert change(lambda x: ops.blur_pool2d(x, 5)) < 0.6 * change(lambda x: x[..., ::2, ::2])


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda: ops.blur_pool2d(torch.ones(1, 4, 4, dtype=torch.uint8)),
            UsageError,
            "blur_pool2d: input is torch.uint8; a blur has fractions. Use input.float().",
        ),
        (
            lambda: ops.blur_pool2d(torch.ones(1, 4, 4), 0),
            ShapeError,
            "blur_pool2d: kernel_size is 0; it must be at least 1.",
        ),
        (
            lambda: ops.blur_pool1d(torch.ones(1, 4), padding_mode="circle"),
            UnknownNameError,
            "blur_pool1d: unknown padding mode 'circle': did you mean 'circular'? Known: 'zeros', 'constant', "
            "'reflect', 'replicate', 'circular', 'symmetric', 'linear'.",
        ),
        (
            lambda: ops.blur_pool3d(torch.ones(1, 4)),
            ShapeError,
            "blur_pool3d: input (1, 4) has 2 axes; give (N, C, depth, height, width), or "
            "(C, depth, height, width).",
        ),
    ],
)
def test_refusals(call, kind, text):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == text
