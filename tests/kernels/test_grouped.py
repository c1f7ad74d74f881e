"""Grouped convolution, native: every window, layout and type against PyTorch in float64."""

import random

import pytest
import torch
from random_convolutions import check_operator

from convscope.kernels import grouped_conv2d, load, verdict

BATCH = 25  # settings a test


@pytest.mark.parametrize("batch", range(24))
def test_random_settings_equal_float64(batch):
    assert verdict("grouped").passed == (load().handle is not None)
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        rng = random.Random(seed)
        group_in = rng.choice((1, 2, 3, 4, 5, 8, 16, 24, 32))
        group_out = group_in if rng.random() < 0.6 and group_in > 1 else rng.choice((2, 4, 6, 8, 11, 16, 32))
        dtype = torch.bfloat16 if seed % 3 == 0 else torch.float32
        check_operator(grouped_conv2d, seed, dtype, rng.choice((2, 3, 4, 7, 8)), group_in, group_out)


def test_operator_is_well_registered():
    operands = torch.randn(2, 8, 9, 9, requires_grad=True), torch.randn(8, 4, 3, 3, requires_grad=True), None
    torch.library.opcheck(grouped_conv2d, (*operands, [2, 1], [1, 1], [1, 1], 2))


def test_reference_path_has_right_gradients():
    """In float64 PyTorch computes, through our operator."""
    operands = [torch.randn(*shape).double().requires_grad_() for shape in ((1, 4, 5, 4), (6, 2, 3, 2), (6,))]
    settings = [2, 1], [1, 0], [1, 2], 2
    assert torch.autograd.gradcheck(lambda *each: grouped_conv2d(*each, *settings), operands)


def test_result_does_not_depend_on_threads():
    input, weight = torch.randn(3, 24, 20, 20), torch.randn(24, 4, 3, 3)
    settings = [1, 1], [1, 1], [1, 1], 6
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = grouped_conv2d(input, weight, None, *settings)
        torch.set_num_threads(3)
        three = grouped_conv2d(input, weight, None, *settings)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, three)


def test_large_groups_go_to_torch():
    input, weight = torch.randn(1, 80, 6, 6), torch.randn(8, 40, 3, 3)
    output = grouped_conv2d(input, weight, None, [1, 1], [1, 1], [1, 1], 2)
    torch.testing.assert_close(output, torch.conv2d(input, weight, None, 1, 1, 1, 2))


def test_empty_batch():
    assert grouped_conv2d(
        torch.randn(0, 4, 6, 6), torch.randn(4, 2, 3, 3), None, [1, 1], [1, 1], [1, 1], 2
    ).shape == (0, 4, 6, 6)
