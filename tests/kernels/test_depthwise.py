"""Depthwise convolution, native: every window, layout and type against PyTorch in float64."""

import random

import pytest
import torch
from random_convolutions import check_operator

from convscope.kernels import depthwise_conv2d, load, verdict

BATCH = 25  # settings a test


@pytest.mark.parametrize("batch", range(24))
def test_random_settings_equal_float64(batch):
    assert verdict("depthwise").passed == (load().handle is not None)
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        channels = random.Random(seed).choice((1, 3, 8, 16, 17, 24, 40, 130))
        check_operator(
            depthwise_conv2d, seed, torch.bfloat16 if seed % 3 == 0 else torch.float32, channels, 1, 1
        )


def test_operator_is_well_registered():
    operands = torch.randn(2, 8, 9, 9, requires_grad=True), torch.randn(8, 1, 3, 3, requires_grad=True), None
    torch.library.opcheck(depthwise_conv2d, (*operands, [2, 1], [1, 1], [1, 1], 8))


def test_reference_path_has_right_gradients():
    """In float64 PyTorch computes, through our operator."""
    operands = [torch.randn(*shape).double().requires_grad_() for shape in ((1, 3, 5, 4), (3, 1, 3, 2), (3,))]
    settings = [2, 1], [1, 0], [1, 2], 3
    assert torch.autograd.gradcheck(lambda *each: depthwise_conv2d(*each, *settings), operands)


def test_result_does_not_depend_on_threads():
    input, weight = torch.randn(3, 24, 20, 20), torch.randn(24, 1, 3, 3)
    settings = [1, 1], [1, 1], [1, 1], 24
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = depthwise_conv2d(input, weight, None, *settings)
        torch.set_num_threads(3)
        three = depthwise_conv2d(input, weight, None, *settings)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, three)


def test_other_multipliers_go_to_torch():
    input, weight = torch.randn(1, 4, 6, 6), torch.randn(8, 1, 3, 3)
    output = depthwise_conv2d(input, weight, None, [1, 1], [1, 1], [1, 1], 4)
    torch.testing.assert_close(output, torch.conv2d(input, weight, None, 1, 1, 1, 4))


def test_empty_batch():
    assert depthwise_conv2d(
        torch.randn(0, 4, 6, 6), torch.randn(4, 1, 3, 3), None, [1, 1], [1, 1], [1, 1], 4
    ).shape == (0, 4, 6, 6)
