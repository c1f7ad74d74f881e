"""Convolution of tensors. This module imports torch, so it is loaded only once an argument is a tensor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convscope.errors import UsageError
from convscope.signal.arrays import ArrayEngine
from convscope.signal.engine import Engine
from convscope.signal.regions import Region, Shape, output_terms, tap_overlaps

__all__ = ["TensorEngine"]

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_HALVES = (torch.float16, torch.bfloat16)
_COMPLEX = (torch.complex64, torch.complex128)
_SUPPORTED = (torch.bool, *_INTEGERS, *_HALVES, torch.float32, torch.float64, *_COMPLEX)


class TensorEngine(Engine):
    kind = "tensor"

    def promote(self, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        for name, signal in (("f", f), ("g", g)):
            if signal.dtype not in _SUPPORTED or signal.layout != torch.strided:
                raise UsageError(
                    f"{name} is a tensor of {signal.dtype} and {signal.layout}, which cannot be convolved. "
                    "Convert it to a dense tensor of bool, int, float or complex first.",
                    call=self.call,
                )
        if f.device != g.device:
            raise UsageError(
                f"f is on {f.device} and g on {g.device}. Move one of them, for example g.to(f.device).",
                call=self.call,
            )
        dtype = torch.promote_types(f.dtype, g.dtype)
        return f.to(dtype), g.to(dtype)

    def to_working(self, signal: Tensor) -> Tensor:
        if signal.dtype == torch.bool:
            return signal.long()
        return signal.float() if signal.dtype in _HALVES else signal

    def from_working(self, result: Tensor, like: Tensor) -> Tensor:
        return result.to(like.dtype)

    def dtype_name(self, signal: Tensor) -> str:
        return str(signal.dtype).removeprefix("torch.")

    def reverse(self, signal: Tensor) -> Tensor:
        return signal.flip(tuple(range(signal.ndim))).conj().resolve_conj()

    def zeros(self, shape: Shape, like: Tensor, fillvalue: Any = 0) -> Tensor:
        return like.new_full(shape, fillvalue)

    def take(self, signal: Tensor, indices: tuple[np.ndarray, ...]) -> Tensor:
        for axis, index in enumerate(indices):
            signal = signal.index_select(axis, torch.from_numpy(index).to(signal.device))
        return signal

    def is_integer(self, signal: Tensor) -> bool:
        return signal.dtype in _INTEGERS

    def is_finite(self, signal: Tensor) -> bool:
        return bool(torch.isfinite(signal).all())

    def norm(self, signal: Tensor) -> float:
        return float(signal.double().norm())

    def direct(self, f: Tensor, g: Tensor, region: Region) -> Tensor:
        if f.ndim == 1 and f.device.type == "cpu":
            # One call for all taps: measured 2x to 20x faster than tap by tap or torch's conv1d.
            return torch.from_numpy(ArrayEngine(self.call).direct(f.numpy(), g.numpy(), region))
        if math.prod(region.size) < min(f.numel(), g.numel()):
            return _output_by_output(f, g, region)
        return _tap_by_tap(f, g, region) if g.numel() <= f.numel() else _tap_by_tap(g, f, region)

    def fft(self, f: Tensor, g: Tensor, region: Region, shape: Shape) -> Tensor:
        integer = self.is_integer(f)
        inputs = (f.double(), g.double()) if integer else (f, g)
        if f.is_complex():
            product = torch.fft.fftn(inputs[0], shape) * torch.fft.fftn(inputs[1], shape)
            result = torch.fft.ifftn(product, shape)
        else:
            product = torch.fft.rfftn(inputs[0], shape) * torch.fft.rfftn(inputs[1], shape)
            result = torch.fft.irfftn(product, shape)
        for axis, (start, size) in enumerate(zip(region.start, region.size, strict=True)):
            result = result.narrow(axis, start, size)
        # By way of int64, so that a sum too large for a small integer wraps as it does in the direct method.
        return result.round().long().to(f.dtype) if integer else result.contiguous()

    def convolve(self, f: Tensor, g: Tensor, region: Region, method: str) -> Tensor:
        result = _Convolution.apply(self, f, g, region, method)
        assert isinstance(result, Tensor)
        return result


class _Convolution(torch.autograd.Function):
    """Convolution over a region. Both gradients are convolutions too, so they choose their method as well."""

    @staticmethod
    def forward(engine: TensorEngine, f: Tensor, g: Tensor, region: Region, method: str) -> Tensor:
        f, g = (signal.resolve_conj().resolve_neg() for signal in (f, g))
        return Engine.convolve(engine, f, g, region, method)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.engine, f, g, ctx.region, ctx.method = inputs
        ctx.save_for_backward(f, g)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        f, g = ctx.saved_tensors
        (grad,) = grad_outputs
        return (
            None,
            _gradient(ctx, grad, other=g, size=f.shape) if ctx.needs_input_grad[1] else None,
            _gradient(ctx, grad, other=f, size=g.shape) if ctx.needs_input_grad[2] else None,
            None,
            None,
        )


def _gradient(ctx: Any, grad: Tensor, other: Tensor, size: torch.Size) -> Tensor:
    """d/df[i] = sum_k grad[k] conj(g[k-i]): the gradient convolved with the other signal, reversed."""
    start = tuple(m - 1 - first for m, first in zip(other.shape, ctx.region.start, strict=True))
    return ctx.engine.convolve(grad, ctx.engine.reverse(other), Region(start, tuple(size)), ctx.method)


def _tap_by_tap(f: Tensor, g: Tensor, region: Region) -> Tensor:
    """Add each tap of g times the samples of f under it; measured no slower than torch's conv2d, up to 10x faster."""
    out = f.new_zeros(region.size)
    for tap, outputs, samples in tap_overlaps(tuple(f.shape), tuple(g.shape), region):
        out[outputs].addcmul_(f[samples], g[tap])
    return out


def _output_by_output(f: Tensor, g: Tensor, region: Region) -> Tensor:
    """Sum the products of each output; cheaper when the outputs are fewer than the taps."""
    out = f.new_empty(region.size)
    reversed_g = g.flip(tuple(range(g.ndim)))
    for output, samples, taps in output_terms(tuple(f.shape), tuple(g.shape), region):
        out[output] = (f[samples] * reversed_g[taps]).sum(dtype=f.dtype)
    return out
