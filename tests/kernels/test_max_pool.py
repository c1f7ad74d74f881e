"""Max pooling, native: output and choice as PyTorch's, gradients against float64."""

import random

import pytest
import torch
import torch.nn.functional as F
from random_convolutions import BOUNDS, error_of, lay_out

from convscope.kernels import load, max_pool2d, verdict

BATCH = 25  # settings a test


def random_pooling(rng):
    """Shape and settings that fit; padding is at most half a window, as PyTorch asks."""
    while True:
        kernel = [rng.choice((1, 2, 3, 3, 4, 5)) for _ in range(2)]
        size = [rng.choice((1, 2, 5, 7, 8, 13, 16)) for _ in range(2)]
        stride = [rng.choice((1, 1, 2, 3)) for _ in range(2)]
        dilation = [rng.choice((1, 1, 1, 2)) for _ in range(2)]
        padding = [rng.choice((0, kernel[i] // 2)) for i in range(2)]
        if all(size[i] + 2 * padding[i] >= dilation[i] * (kernel[i] - 1) + 1 for i in range(2)):
            shape = (rng.choice((1, 2, 3)), rng.choice((1, 3, 8, 17, 32, 40)), *size)
            settings = kernel, stride, padding, dilation, rng.random() < 0.3
            # PyTorch sends the gradient of a window of nothing but padding to some other pixel.
            if F.max_pool2d(torch.zeros(shape), *settings).isfinite().all():
                return shape, settings


def check(seed, dtype):
    """Compare output and gradient; a third of the inputs are full of ties."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    shape, settings = random_pooling(rng)
    values = torch.randint(-2, 2, shape) if rng.random() < 0.3 else torch.randn(shape)
    layouts = ("contiguous", "channels_last", "sliced", "transposed")
    input = lay_out(values.to(dtype), rng.choice(layouts)).requires_grad_()
    true = input.detach().double().contiguous().requires_grad_()
    output, wanted = max_pool2d(input, *settings), F.max_pool2d(true, *settings)
    text = f"seed {seed}: {shape} {settings}"
    assert output.dtype == dtype
    assert torch.equal(output.double(), wanted), text
    grad = lay_out(torch.randn(wanted.shape).to(dtype), rng.choice(layouts))
    output.backward(grad)
    wanted.backward(grad.double())
    assert error_of(input.grad, true.grad) < BOUNDS[dtype], text


@pytest.mark.parametrize("batch", range(12))
def test_random_settings_equal_float64(batch):
    assert verdict("max_pool").passed == (load().handle is not None)
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        check(seed, torch.bfloat16 if seed % 3 == 0 else torch.float32)


@pytest.mark.parametrize("odd", [torch.nan, -torch.inf, torch.inf])
def test_nan_and_infinities_win_as_in_torch(odd):
    torch.manual_seed(0)
    input = torch.randn(2, 11, 9, 9)
    input[torch.rand_like(input) < 0.4] = odd
    mine, true = (input.clone().requires_grad_() for _ in range(2))
    settings = (3, 3), (2, 2), (1, 1), (1, 1), False
    output, wanted = max_pool2d(mine, *settings), F.max_pool2d(true, *settings)
    assert torch.equal(output.nan_to_num(7), wanted.nan_to_num(7))
    grad = torch.randn_like(wanted)
    output.backward(grad)
    wanted.backward(grad)
    torch.testing.assert_close(mine.grad, true.grad)


def test_operator_is_well_registered():
    input = torch.randn(2, 8, 9, 9, requires_grad=True)
    operator = torch.ops.convscope.max_pool2d.default
    torch.library.opcheck(operator, (input, [3, 3], [2, 2], [1, 1], [1, 1], False))


def test_reference_path_has_right_gradients():
    """In float64 PyTorch computes, through our operator; large windows too."""
    torch.manual_seed(0)
    input = torch.randn(1, 2, 6, 7).double().requires_grad_()
    settings = (3, 2), (2, 1), (1, 1), (1, 2), True
    assert torch.autograd.gradcheck(lambda x: max_pool2d(x, *settings), input)
    large = torch.randn(1, 1, 20, 20).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: max_pool2d(x, (17, 16), (1, 2)), large)


def test_windows_of_many_taps():
    for kernel in ((15, 17), (16, 16)):  # 255 taps, the most in a byte; 256
        input = torch.randn(2, 9, 24, 24, requires_grad=True)
        true = input.detach().clone().requires_grad_()
        output, wanted = max_pool2d(input, kernel, (1, 1)), F.max_pool2d(true, kernel, 1)
        assert torch.equal(output, wanted)
        output.sum().backward()
        wanted.sum().backward()
        torch.testing.assert_close(input.grad, true.grad)


def test_result_does_not_depend_on_threads():
    threads, found = torch.get_num_threads(), []
    x = torch.randn(3, 24, 20, 20, requires_grad=True)
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            y = max_pool2d(x, (3, 3), (1, 1), (1, 1))
            found.append((y, *torch.autograd.grad(y, x, torch.sin(y))))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, three) for one, three in zip(*found, strict=True))


def test_empty_batch_and_refusals():
    assert max_pool2d(torch.randn(0, 4, 6, 6), (2, 2), (2, 2)).shape == (0, 4, 3, 3)
    with pytest.raises(RuntimeError, match="pad should be at most half"):
        max_pool2d(torch.randn(1, 4, 6, 6), (2, 2), (2, 2), (2, 2))
