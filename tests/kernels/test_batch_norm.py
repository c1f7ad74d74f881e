"""Batch normalisation with residual and activation, native: against PyTorch in float64."""

import random

import pytest
import torch
import torch.nn.functional as F
from random_convolutions import BOUNDS, error_of, lay_out, needs_kernels

from convscope.errors import ShapeError, UnknownNameError
from convscope.kernels import batch_norm_act, load, verdict
from convscope.kernels.activations import ACTIVATIONS

BATCH = 25  # settings a test


def reference(input, residual, weight, bias, mean, variance, training, momentum, eps, activation):
    """PyTorch's own operators, one after the other."""
    output = F.batch_norm(input, mean, variance, weight, bias, training, momentum, eps)
    return ACTIVATIONS[activation](output if residual is None else output + residual)


def check(seed, dtype):
    """Compare output, running statistics and gradients for random settings."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    shape = (
        rng.choice((1, 2, 3, 5)),
        rng.choice((1, 3, 8, 12, 17, 64, 100, 260)),
        *rng.choices((1, 2, 5, 7, 13), k=2),
    )
    if shape[0] * shape[2] * shape[3] == 1:
        shape = (2, *shape[1:])
    training = rng.random() < 0.7
    activation = rng.choice(list(ACTIVATIONS))
    layouts = ("contiguous", "channels_last", "sliced", "transposed")
    spread, center = rng.choice(((1, 0), (3, 5), (0.01, 1)))
    input = lay_out((torch.randn(shape) * spread + center).to(dtype), rng.choice(layouts)).requires_grad_()
    residual = weight = bias = None
    if rng.random() < 0.5:
        residual = lay_out(torch.randn(shape).to(dtype), rng.choice(layouts)).requires_grad_(
            rng.random() < 0.8
        )
    if rng.random() < 0.8:
        weight = (torch.rand(shape[1]) + 0.5).requires_grad_()
        bias = torch.randn(shape[1]).requires_grad_(rng.random() < 0.8)
    running = [torch.randn(shape[1]), torch.rand(shape[1]) + 0.5]
    if training and rng.random() < 0.2:
        running = [None, None]
    operands = [input, residual, weight, bias]
    true = [None if t is None else t.detach().double().requires_grad_(t.requires_grad) for t in operands]
    true_running = [None if t is None else t.double() for t in running]
    settings = training, 0.3, 1e-3, activation
    output = batch_norm_act(*operands, *running, *settings)
    wanted = reference(*true, *true_running, *settings)
    text = f"seed {seed}: {shape} {settings} residual {residual is not None} spread {spread}"
    assert output.dtype == dtype
    assert output.permute(0, 2, 3, 1).is_contiguous()
    assert error_of(output.detach(), wanted.detach()) < BOUNDS[dtype], text
    for mine, right in zip(running, true_running, strict=True):
        if mine is not None:
            assert error_of(mine, right) < BOUNDS[torch.float32], f"running statistics, {text}"
    grad = lay_out(torch.randn(shape).to(dtype), rng.choice(layouts))
    with torch.no_grad():  # rounding may put a value on the other side of a kink
        grad[(reference(*true, *true_running, *settings[:-1], "none") - 6).abs() < 0.03] = 0
    output.backward(grad)
    wanted.backward(grad.double())
    steep = 1 / spread if training else 1.0  # the largest factor of normalisation
    for name, mine, right in zip(("input", "residual", "weight", "bias"), operands, true, strict=True):
        if mine is not None and mine.requires_grad:
            bound = BOUNDS[dtype] * (max(1.0, steep) if dtype == torch.bfloat16 else 1)
            assert error_of(mine.grad, right.grad) < bound, f"gradient of {name}, {text}"


@needs_kernels
@pytest.mark.parametrize("batch", range(24))
def test_random_settings_equal_float64(batch):
    assert verdict("batch_norm").passed == (load().handle is not None)
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        check(seed, torch.bfloat16 if seed % 3 == 0 else torch.float32)


@needs_kernels
@pytest.mark.parametrize("mean", [100.0, 1e4])
def test_a_mean_far_from_zero_costs_no_accuracy(mean):
    input = (torch.randn(8, 24, 30, 30) + mean).requires_grad_()
    true = input.detach().double().requires_grad_()
    running = torch.zeros(24), torch.ones(24)
    output = batch_norm_act(input, None, None, None, *running, True, 1.0, 1e-12)
    wanted = F.batch_norm(true, None, None, None, None, True, 0.0, 1e-12)
    assert error_of(output.detach(), wanted.detach()) < 1e-6
    torch.testing.assert_close(running[1].double(), true.detach().var((0, 2, 3)), rtol=1e-6, atol=0)
    torch.testing.assert_close(running[0].double(), true.detach().mean((0, 2, 3)), rtol=1e-7, atol=0)
    grad = torch.randn_like(output)
    output.backward(grad)
    wanted.backward(grad.double())
    assert error_of(input.grad, true.grad) < 1e-6


def test_many_values_a_channel_are_summed_well():
    input = torch.rand(4, 3, 300, 301)
    running = torch.zeros(3), torch.ones(3)
    batch_norm_act(input, None, None, None, *running, True, 1.0)
    torch.testing.assert_close(running[1].double(), input.double().var((0, 2, 3)), rtol=2e-7, atol=0)


@needs_kernels
def test_constant_channels_stay_finite():
    input = torch.full((2, 5, 4, 4), 3.7, requires_grad=True)
    bias = torch.arange(5.0)
    output = batch_norm_act(input, None, None, bias, None, None, True)
    assert torch.equal(output, bias.view(1, 5, 1, 1).expand_as(output))
    output.sum().backward()
    assert torch.isfinite(input.grad).all()


def test_silu_is_as_exact_as_its_type():
    x = torch.linspace(-80, 80, 40001).view(1, 1, -1, 1)
    identity = None, None, None, torch.zeros(1), torch.ones(1)
    result = batch_norm_act(x, *identity, False, 0.0, 0.0, "silu").double()
    truth = F.silu(x.double())
    assert ((result - truth).abs() / truth.abs().clamp_min(1e-30)).max() < 4e-7


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_goes_through(activation):
    x = torch.zeros(1, 9, 3, 3)
    x[0, 4, 1, 1] = torch.nan
    output = batch_norm_act(x, x, None, None, torch.zeros(9), torch.ones(9), False, 0.0, 0.0, activation)
    assert torch.equal(output.isnan(), x.isnan())


@pytest.mark.parametrize("activation", ["none", "relu", "silu"])
@pytest.mark.parametrize("with_residual", [False, True])
def test_operator_is_well_registered(activation, with_residual):
    x = torch.randn(2, 8, 5, 5, requires_grad=True)
    parameters = torch.rand(8, requires_grad=True), torch.randn(8, requires_grad=True)
    operator = torch.ops.convscope.batch_norm_act.default
    residual = torch.randn_like(x).requires_grad_() if with_residual else None
    torch.library.opcheck(operator, (x, residual, *parameters, None, None, 1e-5, activation))
    torch.library.opcheck(
        operator, (x, residual, *parameters, torch.zeros(8), torch.ones(8), 1e-5, activation)
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("training", [False, True])
def test_reference_path_has_right_gradients(activation, training):
    """In float64 PyTorch computes, through our operator."""
    torch.manual_seed(0)
    operands = [
        torch.randn(*shape).double().requires_grad_() for shape in ((2, 3, 4, 3), (2, 3, 4, 3), (3,), (3,))
    ]
    statistics = torch.zeros(3).double(), torch.ones(3).double()

    def call(*each):
        return batch_norm_act(*each, *statistics, training, 0.0, 1e-3, activation)

    assert torch.autograd.gradcheck(call, operands)
    assert torch.autograd.gradcheck(lambda x, w, b: call(x, None, w, b), [operands[0], *operands[2:]])


def test_result_does_not_depend_on_threads():
    threads, found = torch.get_num_threads(), []
    x = torch.randn(3, 24, 40, 40, requires_grad=True)
    residual, grad = torch.randn_like(x), torch.randn_like(x)
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            y = batch_norm_act(x, residual, None, None, None, None, True, activation="relu")
            found.append((y, *torch.autograd.grad(y, x, grad)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, three) for one, three in zip(*found, strict=True))


def test_empty_batch_and_refusals():
    empty = torch.randn(0, 4, 6, 6)
    assert batch_norm_act(empty, None, None, None, torch.zeros(4), torch.ones(4), False).shape == empty.shape
    one = torch.randn(1, 4, 1, 1)
    with pytest.raises(ShapeError, match="one value a channel"):
        batch_norm_act(one, None, None, None, None, None, True)
    with pytest.raises(ShapeError, match="make them alike"):
        batch_norm_act(one, one[:, :2], None, None, None, None, True)
    with pytest.raises(UnknownNameError, match="relu6"):
        batch_norm_act(one, None, None, None, None, None, True, activation="relu7")
