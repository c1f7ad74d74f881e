"""Maps times a number for each channel of each image, native: against PyTorch in float64."""

import random

import pytest
import torch
from random_convolutions import BOUNDS, error_of, lay_out

from convscope.errors import ShapeError
from convscope.kernels import load, scale_maps, verdict

BATCH = 50  # settings a test
LAYOUTS = ("contiguous", "channels_last", "sliced", "transposed")


def check(seed, dtype):
    """Compare output and gradients for random shapes and layouts."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    channels = rng.choice((1, 3, 8, 12, 17, 64, 100, 260))
    shape = (rng.choice((1, 2, 3, 17)), channels, *rng.choices((1, 2, 5, 7, 13, 24), k=2))
    input = lay_out(torch.randn(shape).to(dtype), rng.choice(LAYOUTS)).requires_grad_(rng.random() < 0.8)
    scale = lay_out(torch.rand(*shape[:2], 1, 1).to(dtype), rng.choice(LAYOUTS)).requires_grad_()
    grad = lay_out(torch.randn(shape).to(dtype), rng.choice(LAYOUTS))
    operands = [input, scale]
    true = [t.detach().double().requires_grad_(t.requires_grad) for t in operands]
    output, wanted = scale_maps(*operands), true[0] * true[1]
    text = f"seed {seed}: {shape} {dtype}"
    assert output.dtype == dtype
    assert output.permute(0, 2, 3, 1).is_contiguous()
    assert error_of(output.detach(), wanted.detach()) < BOUNDS[dtype], text
    output.backward(grad)
    wanted.backward(grad.double())
    for mine, right in zip(operands, true, strict=True):
        assert (mine.grad is None) == (right.grad is None)
        if mine.grad is not None:
            assert mine.grad.shape == right.grad.shape
            assert error_of(mine.grad, right.grad) < BOUNDS[dtype], text


@pytest.mark.parametrize("batch", range(6))
def test_random_settings_equal_float64(batch):
    assert verdict("scale").passed == (load().handle is not None)
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        check(seed, torch.bfloat16 if seed % 3 == 0 else torch.float32)


def test_operator_is_well_registered():
    x, scale = torch.randn(2, 8, 5, 5, requires_grad=True), torch.rand(2, 8, 1, 1, requires_grad=True)
    torch.library.opcheck(torch.ops.convscope.scale_maps.default, (x, scale))


def test_reference_path_has_right_gradients():
    """In float64 PyTorch computes, through our operator."""
    x, scale = torch.randn(2, 3, 4, 3).double(), torch.rand(2, 3, 1, 1).double()
    assert torch.autograd.gradcheck(scale_maps, (x.requires_grad_(), scale.requires_grad_()))


@pytest.mark.parametrize("images", [1, 3])
def test_result_does_not_depend_on_threads(images):
    threads, found = torch.get_num_threads(), []
    x, scale = torch.randn(images, 24, 41, 40, requires_grad=True), torch.rand(images, 24, 1, 1)
    grad = torch.randn_like(x)
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            y = scale_maps(x, scale.requires_grad_())
            found.append((y, *torch.autograd.grad(y, (x, scale), grad)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, three) for one, three in zip(*found, strict=True))


def test_empty_batch_and_refusals():
    assert scale_maps(torch.randn(0, 4, 6, 6), torch.randn(0, 4, 1, 1)).shape == (0, 4, 6, 6)
    with pytest.raises(ShapeError, match=r"scale \(2, 1, 1, 1\) do not fit"):
        scale_maps(torch.randn(2, 4, 6, 6), torch.randn(2, 1, 1, 1))
