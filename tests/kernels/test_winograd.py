"""Winograd's 3x3 convolutions against PyTorch in float64: output, both gradients, groups, odd sizes."""

import random

import pytest
import torch
from random_convolutions import error_of, lay_out

from convscope.kernels import load, winograd

BOUND = 1e-5  # of the largest value; a direct sum is within 2e-6


@pytest.mark.parametrize("batch", range(12))
def test_random_convolutions_equal_float64(batch):
    library = load()
    if library.handle is None:
        pytest.skip(library.reason)
    for seed in range(batch * 25, (batch + 1) * 25):
        rng = random.Random(seed)
        torch.manual_seed(seed)
        groups = rng.choice((1, 1, 1, 2, 3))
        ins, outs = rng.choice(((1, 1), (3, 8), (17, 24), (40, 70), (64, 100)))
        if groups > 1:
            ins, outs = rng.choice((16, 32)), rng.choice((16, 48))
        padding = rng.choice((0, 1, 2)), rng.choice((0, 1, 2))
        size = rng.choice((3, 4, 7, 9, 14)), rng.choice((3, 5, 8, 17))
        shape, settings = (rng.choice((1, 2, 5)), groups * ins, *size), ((1, 1), padding, (1, 1), groups)
        input = lay_out(torch.randn(shape), rng.choice(("contiguous", "channels_last", "sliced")))
        weight = torch.randn(groups * outs, ins, 3, 3)
        assert winograd.takes(input, weight, *settings)
        bias = torch.randn(groups * outs) if rng.random() < 0.5 else None
        true = [each.double() for each in (input, weight)]
        truth = torch.conv2d(*true, None if bias is None else bias.double(), *settings)
        grad = torch.randn(truth.shape)
        true_gradients = torch.ops.aten.convolution_backward(
            grad.double(), *true, None, *settings[:3], False, (0, 0), groups, [True, True, False]
        )
        text = f"seed {seed}: {shape} {tuple(weight.shape)} {settings}"
        assert error_of(winograd.forward(library, input, weight, bias, settings), truth) < BOUND, text
        found = winograd.backward(library, grad, input, weight, settings, [True, True, False])
        assert error_of(found[0], true_gradients[0]) < BOUND, text
        assert error_of(found[1], true_gradients[1]) < BOUND, text


def test_many_channels_share_out_the_weights():
    """Sums too large to be kept once a thread."""
    library = load()
    if library.handle is None:
        pytest.skip(library.reason)
    input, weight, grad = torch.randn(2, 200, 9, 9), torch.randn(180, 200, 3, 3), torch.randn(2, 180, 9, 9)
    settings = (1, 1), (1, 1), (1, 1), 1
    true = torch.ops.aten.convolution_backward(
        grad.double(),
        input.double(),
        weight.double(),
        None,
        *settings[:3],
        False,
        (0, 0),
        1,
        [True, True, False],
    )
    found = winograd.backward(library, grad, input, weight, settings, [True, True, False])
    assert error_of(found[0], true[0]) < BOUND
    assert error_of(found[1], true[1]) < BOUND


def test_what_it_does_not_take():
    input, weight = torch.randn(1, 8, 9, 9), torch.randn(8, 8, 3, 3)
    unit = (1, 1)
    assert winograd.takes(input, weight, unit, unit, unit, 1)
    assert not winograd.takes(input, weight, (2, 1), unit, unit, 1)
    assert not winograd.takes(input, weight, unit, unit, (2, 2), 1)
    assert not winograd.takes(input, torch.randn(8, 8, 3, 2), unit, unit, unit, 1)
    assert not winograd.takes(input.bfloat16(), weight.bfloat16(), unit, unit, unit, 1)
    assert not winograd.takes(input, torch.randn(8, 2, 3, 3), unit, unit, unit, 4)
