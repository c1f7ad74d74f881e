"""GELU, native: against SciPy's normal distribution and PyTorch in float64."""

import random

import numpy
import pytest
import torch
import torch.nn.functional as F
from random_convolutions import lay_out, needs_kernels
from scipy.special import log_ndtr, ndtr

from convscope.kernels import gelu, load, verdict

BATCH = 50  # settings a test
LAYOUTS = ("contiguous", "channels_last", "sliced", "transposed")


def value(x):
    """GELU of an array in float64, exact in the tail as well."""
    return x * numpy.exp(log_ndtr(x))


def slope(x):
    """Its derivative."""
    return ndtr(x) + x * numpy.exp(-x * x / 2) / numpy.sqrt(2 * numpy.pi)


@needs_kernels
def test_every_value_is_as_exact_as_float32():
    assert verdict("gelu").passed == (load().handle is not None)
    x = torch.cat([torch.linspace(-5, 14, 1_000_001), torch.linspace(-1e-3, 1e-3, 1001)])
    exact = value(x.double().numpy())
    result = gelu(x).double().numpy()
    nonzero = exact != 0
    assert (abs(result - exact)[nonzero] / abs(exact)[nonzero]).max() < 1e-6
    assert (result[~nonzero] == 0).all()
    tail = torch.linspace(-40, -5, 200_001)
    assert abs(gelu(tail).double().numpy() - value(tail.double().numpy())).max() < 1e-11


def test_every_slope_is_as_exact_as_float32():
    x = torch.linspace(-40, 40, 1_000_001, requires_grad=True)
    gelu(x).sum().backward()
    assert abs(x.grad.double().numpy() - slope(x.detach().double().numpy())).max() < 4e-7


def test_extremes():
    x = torch.tensor([torch.inf, torch.nan, 3e38, -3e38, -14.0, 14.0, 0.0, *[1.0] * 10])
    assert gelu(x)[[0, 2, 3, 4, 5, 6]].tolist() == [torch.inf, x[2].item(), 0.0, 0.0, 14.0, 0.0]
    assert gelu(x).isnan().tolist() == x.isnan().tolist()


def check(seed, dtype):
    """Compare output and gradient for a random shape in random layouts, and see that the layout stays."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    shape = rng.choices((1, 2, 3, 5, 8, 17), k=4)
    input = lay_out((torch.randn(shape) * rng.choice((0.01, 1, 4))).to(dtype), rng.choice(LAYOUTS))
    grad = lay_out(torch.randn(shape).to(dtype), rng.choice(LAYOUTS))
    output = gelu(input.requires_grad_())
    output.backward(grad)
    x, g = input.detach().double().numpy(), grad.double().numpy()
    bound = {torch.float32: 1e-6, torch.bfloat16: 5e-3}[dtype]
    text = f"seed {seed}: {shape} {dtype} {input.stride()} {grad.stride()}"
    assert output.dtype == input.grad.dtype == dtype
    assert output.stride() == F.gelu(input).stride(), text
    exact = value(x)
    assert (abs(output.detach().double().numpy() - exact) <= bound * abs(exact) + 1e-11).all(), text
    assert (abs(input.grad.double().numpy() - g * slope(x)) <= bound * (abs(g) + 1e-3)).all(), text


@needs_kernels
@pytest.mark.parametrize("batch", range(8))
def test_random_settings_equal_float64(batch):
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        check(seed, torch.bfloat16 if seed % 3 == 0 else torch.float32)


def test_threads_and_size_change_nothing():
    """Above 16 MB results are written past the caches; shares end within a vector."""
    x, threads = torch.randn(4_300_003), torch.get_num_threads()
    parts = torch.cat([gelu(part) for part in x.split(10_007)])
    try:
        torch.set_num_threads(3)
        assert torch.equal(gelu(x), parts)
    finally:
        torch.set_num_threads(threads)


def test_operator_is_well_registered():
    operator = torch.ops.convscope.gelu.default
    for x in (torch.randn(3, 7), torch.randn(3, 8)[:, ::2], torch.randn(2, 5, 3).transpose(0, 1)):
        torch.library.opcheck(operator, (x.requires_grad_(),))


def test_other_types_go_to_pytorch():
    x = torch.randn(3, 5).double().requires_grad_()
    assert torch.equal(gelu(x), F.gelu(x))
    assert torch.autograd.gradcheck(gelu, (x,))
    assert gelu(torch.randn(0, 3)).shape == (0, 3)
