"""Deformable convolution, native: output and all gradients against the operator's own path in float64."""

import random

import pytest
import torch
from random_convolutions import BOUNDS, error_of, lay_out

from convscope import ops
from convscope.kernels import deformable, families, load, verdict

BATCH = 25  # settings a test
LAYOUTS = ("contiguous", "channels_last", "sliced", "transposed")
NAMES = "input", "offset", "weight", "bias", "mask"


def random_call(rng, dtype):
    """Operands (input, offset, weight, bias, mask) of any layout, and (stride, padding, dilation)."""

    def pair(*choices):
        return [rng.choice(choices) for _ in range(2)]

    groups, offset_groups = rng.choice((1, 1, 2, 4, 12)), rng.choice((1, 1, 2, 3, 6))
    channels = 12 * rng.choice((1, 1, 2, 3, 11))
    out_channels = groups * rng.choice((1, 2, 5, 9))
    kernel, stride, padding, dilation = pair(1, 2, 3, 3, 4), pair(1, 1, 2, 3), pair(0, 1, 2, 4), pair(1, 1, 2)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [max(1, span - 2 * p) + rng.choice((0, 1, 4, 9)) for span, p in zip(spans, padding, strict=True)]
    made = [(size[i] + 2 * padding[i] - spans[i]) // stride[i] + 1 for i in range(2)]
    batch, taps = rng.choice((1, 1, 2, 3)), offset_groups * kernel[0] * kernel[1]
    # Whole multiples of 1/64 or 1: float32 adds them exactly, so that floor finds the pixel that float64 finds.
    reach, unit = rng.choice((0, 0.5, 2, 30)), rng.choice((1, 64, 64))
    offset = (unit * reach * torch.randn(batch, 2 * taps, *made)).round() / unit
    if rng.random() < 0.2:
        offset *= 1e4
    operands = [
        torch.randn(batch, channels, *size),
        offset,
        torch.randn(out_channels, channels // groups, *kernel),
        torch.randn(out_channels) if rng.random() < 0.5 else None,
        torch.randn(batch, taps, *made) if rng.random() < 0.6 else None,
    ]
    laid_out = [
        None
        if each is None
        else lay_out(each.to(dtype), rng.choice(LAYOUTS) if each.ndim == 4 else "").requires_grad_()
        for each in operands
    ]
    return laid_out, (stride, padding, dilation)


def run(operands, settings):
    input, offset, weight, bias, mask = operands
    return ops.deform_conv2d(input, offset, weight, bias, *settings, mask)


@pytest.mark.parametrize("batch", range(14))
def test_random_settings_equal_float64(batch):
    assert verdict("deformable").passed == (load().handle is not None)
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        rng, dtype = random.Random(seed), torch.bfloat16 if seed % 3 == 0 else torch.float32
        torch.manual_seed(seed)
        operands, settings = random_call(rng, dtype)
        true = [None if each is None else each.detach().double().requires_grad_() for each in operands]
        output, truth = run(operands, settings), run(true, settings)
        assert (output.shape, output.dtype) == (truth.shape, dtype)
        grad = lay_out(torch.randn(truth.shape).to(dtype), rng.choice(LAYOUTS))
        output.backward(grad)
        truth.backward(grad.double())
        text = f"seed {seed}: {[None if each is None else tuple(each.shape) for each in operands]} {settings}"
        assert error_of(output.detach(), truth.detach()) < BOUNDS[dtype], text
        for name, mine, other in zip(NAMES, operands, true, strict=True):
            if mine is not None:
                assert error_of(mine.grad, other.grad) < BOUNDS[dtype], f"gradient of {name}, {text}"


def native_operands():
    torch.manual_seed(0)
    shapes = (2, 24, 9, 8), (2, 36, 9, 8), (6, 12, 3, 3), (6,), (2, 18, 9, 8)
    return [torch.randn(shape) for shape in shapes], ((1, 1), (1, 1), (1, 1))


@pytest.mark.parametrize("use_mask", [True, False])
def test_operators_are_well_registered(use_mask):
    (input, offset, weight, bias, mask), _ = native_operands()
    settings = 1, 1, 1, 1, 1, 1, 2, 2, use_mask
    operands = (
        input,
        weight,
        offset,
        mask if use_mask else torch.empty(0),
        bias if use_mask else torch.empty(0),
    )
    torch.library.opcheck(
        torch.ops.convscope.deform_conv2d, (*(each.requires_grad_() for each in operands), *settings)
    )
    plain = [each.detach() for each in operands]
    torch.library.opcheck(
        torch.ops.convscope.deform_conv2d_backward, (torch.randn(2, 6, 9, 8), *plain, *settings)
    )


def test_the_family_is_known_without_ops():
    assert "deformable" in families()


def results_of(operands, settings, threads):
    """The output and all gradients."""
    before = torch.get_num_threads()
    leaves = [each.clone().requires_grad_() for each in operands]
    try:
        torch.set_num_threads(threads)
        output = run(leaves, settings)
        return [output.detach(), *torch.autograd.grad(output, leaves, torch.ones_like(output))]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("elements", [1, 5000, 2**20])
@pytest.mark.parametrize("batch", [1, 2])
def test_results_do_not_depend_on_threads_or_chunks(elements, batch, monkeypatch):
    (input, offset, weight, bias, mask), settings = native_operands()
    operands = [input[:batch], offset[:batch], weight, bias, mask[:batch]]
    wanted = results_of(operands, settings, 1)
    monkeypatch.setattr(deformable, "_PATCH_ELEMENTS", elements)
    for threads in (1, 2, 5):
        once, again = (results_of(operands, settings, threads) for _ in range(2))
        for one, other, first in zip(once, again, wanted, strict=True):
            assert torch.equal(one, other)
            torch.testing.assert_close(one, first, rtol=1e-5, atol=1e-5)  # torch's products may differ


@pytest.mark.parametrize("where", ["under no_grad", "under autocast", "under inference_mode"])
def test_modes_change_nothing(where):
    operands, settings = native_operands()
    wanted = run(operands, settings)
    mode = {
        "under no_grad": torch.no_grad(),
        "under autocast": torch.autocast("cpu", torch.bfloat16),
        "under inference_mode": torch.inference_mode(),
    }[where]
    with mode:
        assert torch.equal(run(operands, settings), wanted)


def test_nan_in_an_offset_stays_in_its_place():
    (input, offset, weight, bias, mask), settings = native_operands()
    offset[0, 3, 2, 5] = torch.nan
    offset.requires_grad_()
    output = run((input, offset, weight, bias, mask), settings)
    wrong = output.isnan()
    assert wrong[0, :3, 2, 5].all()  # the group of channels that this offset moves
    assert wrong.sum() == 3
    output.sum().backward()
    assert offset.grad.isnan().nonzero().tolist() == [
        [0, 2, 2, 5]
    ]  # it weighs what the other axis's slope is
