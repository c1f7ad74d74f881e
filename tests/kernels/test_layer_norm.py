"""Layer normalisation over the last axis with an activation, native: against PyTorch in float64."""

import random

import pytest
import torch
import torch.nn.functional as F
from random_convolutions import BOUNDS, error_of, lay_out, needs_kernels

from convscope.errors import ShapeError, UnknownNameError
from convscope.kernels import layer_norm_act, load, verdict
from convscope.kernels.activations import ACTIVATIONS

BATCH = 50  # settings a test
LAYOUTS = ("contiguous", "channels_last", "sliced", "transposed")


def reference(input, weight, bias, eps, activation):
    """PyTorch's own operators, one after the other."""
    return ACTIVATIONS[activation](F.layer_norm(input, input.shape[-1:], weight, bias, eps))


def check(seed, dtype):
    """Compare output and gradients for random settings, weight and bias apart."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    channels = rng.choice((1, 2, 3, 7, 8, 9, 16, 17, 31, 64, 96, 100, 260, 2500))
    shape = (rng.choice((1, 2, 3)), *rng.choices((1, 2, 5, 13), k=2), channels)
    activation = rng.choice(list(ACTIVATIONS))
    spread, center = rng.choice(((1, 0), (3, 5), (0.1, 1)))
    input = lay_out((torch.randn(shape) * spread + center).to(dtype), rng.choice(LAYOUTS)).requires_grad_()
    weight = (torch.rand(channels) + 0.5).requires_grad_(rng.random() < 0.8) if rng.random() < 0.8 else None
    bias = torch.randn(channels).requires_grad_(rng.random() < 0.8) if rng.random() < 0.8 else None
    operands = [input, weight, bias]
    true = [None if t is None else t.detach().double().requires_grad_(t.requires_grad) for t in operands]
    output = layer_norm_act(*operands, 1e-3, activation)
    wanted = reference(*true, 1e-3, activation)
    text = f"seed {seed}: {shape} {activation} {dtype} spread {spread} {weight is None} {bias is None}"
    assert output.dtype == dtype
    assert output.is_contiguous()
    assert error_of(output.detach(), wanted.detach()) < BOUNDS[dtype], text
    grad = lay_out(torch.randn(shape).to(dtype), rng.choice(LAYOUTS))
    with torch.no_grad():  # rounding may put a value on the other side of a kink
        before = reference(*true, 1e-3, "none")
        grad[((before - 6).abs() < 0.03) | (before.abs() < 1e-4)] = 0
    output.backward(grad)
    wanted.backward(grad.double())
    for name, mine, right in zip(("input", "weight", "bias"), operands, true, strict=True):
        if mine is not None and mine.requires_grad:
            assert mine.grad.dtype == mine.dtype
            assert error_of(mine.grad, right.grad) < BOUNDS[dtype], f"gradient of {name}, {text}"


@needs_kernels
@pytest.mark.parametrize("batch", range(10))
def test_random_settings_equal_float64(batch):
    assert verdict("layer_norm").passed == (load().handle is not None)
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        check(seed, torch.bfloat16 if seed % 3 == 0 else torch.float32)


@needs_kernels
@pytest.mark.parametrize("mean", [100.0, 1e4, -3e5])
@pytest.mark.parametrize("channels", [3, 96, 1000])
def test_a_mean_far_from_zero_costs_no_accuracy(mean, channels):
    input = (torch.randn(50, channels) + mean).requires_grad_()
    true = input.detach().double().requires_grad_()
    output, wanted = (layer_norm_act(input, eps=1e-12), reference(true, None, None, 1e-12, "none"))
    assert error_of(output.detach(), wanted.detach()) < 1e-6
    grad = torch.randn_like(output)
    output.backward(grad)
    wanted.backward(grad.double())
    assert error_of(input.grad, true.grad) < 2e-6


def test_first_channels_far_from_the_others_cost_no_accuracy():
    """The statistics start from the first few."""
    input = torch.randn(20, 768)
    input[:, :16] += 1e5
    other = torch.randn(20, 768) + 1e5
    other[:, 0] = 0
    for each in (input, other):
        wanted = reference(each.double(), None, None, 1e-6, "none")
        assert error_of(layer_norm_act(each, eps=1e-6), wanted) < 1e-6


def test_constant_rows_stay_finite():
    input = torch.full((6, 37), 3.7, requires_grad=True)
    bias = torch.arange(37.0)
    output = layer_norm_act(input, None, bias)
    assert torch.equal(output, bias.expand_as(output))
    output.sum().backward()
    assert torch.isfinite(input.grad).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_stays_in_its_row(activation):
    x = torch.randn(5, 19)
    x[2, 7] = torch.nan
    rows = layer_norm_act(x, activation=activation).isnan()
    assert rows[2].all()
    assert not rows[[0, 1, 3, 4]].any()


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
def test_operator_is_well_registered(activation):
    x = torch.randn(2, 5, 12, requires_grad=True)
    parameters = torch.rand(12, requires_grad=True), torch.randn(12, requires_grad=True)
    operator = torch.ops.convscope.layer_norm_act.default
    torch.library.opcheck(operator, (x, *parameters, 1e-5, activation))
    torch.library.opcheck(operator, (x.detach().transpose(0, 1), None, None, 1e-5, activation))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_reference_path_has_right_gradients(activation):
    """In float64 PyTorch computes, through our operator."""
    torch.manual_seed(0)
    operands = [torch.randn(*shape).double().requires_grad_() for shape in ((2, 3, 4), (4,), (4,))]
    assert torch.autograd.gradcheck(lambda *each: layer_norm_act(*each, 1e-3, activation), operands)
    assert torch.autograd.gradcheck(lambda x: layer_norm_act(x, activation=activation), operands[:1])


@needs_kernels
def test_result_does_not_depend_on_threads():
    threads, found = torch.get_num_threads(), []
    x, weight = torch.randn(1003, 40, requires_grad=True), torch.rand(40, requires_grad=True)
    grad = torch.randn_like(x)
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            y = layer_norm_act(x, weight)
            found.append((y, *torch.autograd.grad(y, (x, weight), grad)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, three) for one, three in zip(*found, strict=True))


def test_large_results_are_streamed_right():
    """Above 16 MB they are written past the caches."""
    x = torch.randn(60_000, 80, requires_grad=True)
    true = x.detach().clone().requires_grad_()
    output, wanted = layer_norm_act(x), F.layer_norm(true, (80,))
    torch.testing.assert_close(output, wanted)
    grad = torch.randn_like(x)
    output.backward(grad)
    wanted.backward(grad)
    torch.testing.assert_close(x.grad, true.grad)


def test_empty_and_refusals():
    assert layer_norm_act(torch.randn(0, 4), torch.ones(4)).shape == (0, 4)
    with pytest.raises(ShapeError, match=r"weight is \(3,\), the last axis of input \(2, 4\)"):
        layer_norm_act(torch.randn(2, 4), torch.ones(3))
    with pytest.raises(UnknownNameError, match="gelu"):
        layer_norm_act(torch.randn(2, 4), activation="gelv")
