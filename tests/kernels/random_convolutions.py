"""Random convolutions, and PyTorch in float64 as the witness of what the kernels make of them."""

import random

import pytest
import torch

from convscope import kernels

# For what holds of a native kernel and not of PyTorch's function that stands in for it.
needs_kernels = pytest.mark.skipif(
    kernels.load().handle is None, reason=f"there is no native kernel to test: {kernels.load().reason}"
)

# Of the largest value, or of 1: operands are of that size. PyTorch's own bfloat16 adds up in bfloat16.
BOUNDS = {torch.float32: 4e-6, torch.bfloat16: 1.2e-2 if kernels.load().handle else 0.1}


def error_of(result, truth):
    """How far a result is off, relative to the largest true value, or to 1 where sums cancel."""
    return float((result.double() - truth).abs().max() / truth.abs().max().clamp_min(1.0))


def lay_out(tensor, kind):
    """The same values in another layout: a slice of something larger, channels-last, expanded from one."""
    if kind == "channels_last":
        return tensor.contiguous(memory_format=torch.channels_last)
    if kind == "sliced":
        wide = torch.zeros(*tensor.shape[:-1], tensor.shape[-1] * 2, dtype=tensor.dtype)
        wide[..., ::2] = tensor
        return wide[..., ::2]
    if kind == "transposed":
        return tensor.transpose(2, 3).contiguous().transpose(2, 3)
    return tensor


def random_convolution(rng, groups, in_group, out_group):
    """Shapes and settings of a convolution that fits, tiny ones often."""
    while True:
        kernel = [rng.choice((1, 2, 3, 3, 4, 5, 7)) for _ in range(2)]
        size = [rng.choice((1, 2, 5, 7, 8, 13, 16, 22)) for _ in range(2)]
        stride = [rng.choice((1, 1, 2, 3)) for _ in range(2)]
        dilation = [rng.choice((1, 1, 1, 2, 3)) for _ in range(2)]
        padding = [rng.choice((0, 1, kernel[i] // 2, kernel[i] + 1)) for i in range(2)]
        if all(size[i] + 2 * padding[i] >= dilation[i] * (kernel[i] - 1) + 1 for i in range(2)):
            shape = (rng.choice((1, 1, 2, 3)), groups * in_group, *size)
            return shape, (groups * out_group, in_group, *kernel), (stride, padding, dilation, groups)


def check_operator(operator, seed, dtype, groups, in_group, out_group):
    """Compare an operator's output and three gradients with PyTorch's in float64, in random layouts."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    shape, weight_shape, settings = random_convolution(rng, groups, in_group, out_group)
    layouts = ("contiguous", "channels_last", "sliced", "transposed")
    input = lay_out(torch.randn(shape).to(dtype), rng.choice(layouts)).requires_grad_()
    weight = lay_out(torch.randn(weight_shape).to(dtype), rng.choice(layouts)).requires_grad_()
    bias = torch.randn(weight_shape[0]).to(dtype).requires_grad_() if rng.random() < 0.5 else None
    operands = [each for each in (input, weight, bias) if each is not None]
    true = [each.detach().double().requires_grad_() for each in operands]
    wanted = torch.nn.functional.conv2d(*true, *([None] if bias is None else []), *settings)
    output = operator(input, weight, bias, *settings)
    assert output.shape == wanted.shape
    assert output.dtype == dtype
    grad = lay_out(torch.randn(wanted.shape).to(dtype), rng.choice(layouts))
    output.backward(grad)
    wanted.backward(grad.double())
    text = f"seed {seed}: {shape} {weight_shape} {settings}"
    assert error_of(output.detach(), wanted.detach()) < BOUNDS[dtype], text
    for name, mine, truth in zip(("input", "weight", "bias"), operands, true, strict=False):
        assert error_of(mine.grad, truth.grad) < BOUNDS[dtype], f"gradient of {name}, {text}"
