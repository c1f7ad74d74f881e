"""A network's first layer, native: every window, layout and type against PyTorch in float64."""

import random

import pytest
import torch
from random_convolutions import check_operator

from convscope.kernels import load, stem_conv2d, verdict

BATCH = 25  # settings a test


@pytest.mark.parametrize("batch", range(8))
def test_random_settings_equal_float64(batch):
    assert verdict("stem").passed == (load().handle is not None)
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        rng = random.Random(seed)
        dtype = torch.bfloat16 if seed % 3 == 0 else torch.float32
        out_channels = rng.choice((1, 5, 8, 16, 19, 24, 32, 64))
        check_operator(stem_conv2d, seed, dtype, 1, rng.choice((1, 2, 3, 3, 4)), out_channels)


def test_operator_is_well_registered():
    operands = torch.randn(2, 3, 9, 9, requires_grad=True), torch.randn(8, 3, 3, 3, requires_grad=True), None
    torch.library.opcheck(stem_conv2d, (*operands, [2, 1], [1, 1], [1, 1], 1))


def test_reference_path_has_right_gradients():
    """In float64 PyTorch computes, through our operator."""
    operands = [torch.randn(*shape).double().requires_grad_() for shape in ((1, 3, 5, 4), (6, 3, 3, 2), (6,))]
    settings = [2, 1], [1, 0], [1, 2], 1
    assert torch.autograd.gradcheck(lambda *each: stem_conv2d(*each, *settings), operands)


def test_gradient_does_not_depend_on_threads():
    """Up to rounding: every thread sums for itself, in an order that depends on their number alone."""
    input, weight = torch.randn(3, 3, 40, 40), torch.randn(24, 3, 3, 3, requires_grad=True)

    def gradient(threads):
        torch.set_num_threads(threads)
        (result,) = torch.autograd.grad(
            stem_conv2d(input, weight, None, [1, 1], [1, 1], [1, 1], 1).sum(), weight
        )
        return result

    threads = torch.get_num_threads()
    try:
        one, three, again = gradient(1), gradient(3), gradient(3)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(three, again)
    torch.testing.assert_close(one, three)


def test_many_channels_go_to_torch():
    input, weight = torch.randn(1, 5, 6, 6), torch.randn(8, 5, 3, 3)
    output = stem_conv2d(input, weight, None, [1, 1], [1, 1], [1, 1], 1)
    torch.testing.assert_close(output, torch.conv2d(input, weight, None, 1, 1, 1, 1))


def test_empty_batch():
    assert stem_conv2d(
        torch.randn(0, 3, 6, 6), torch.randn(4, 3, 3, 3), None, [1, 1], [1, 1], [1, 1], 1
    ).shape == (0, 4, 6, 6)
