"""Layers as an accelerated network runs them in training and wherever gradients are wanted.

Each holds the network's own layer and reads its parameters, buffers and mode when it runs, so that nothing is copied
and nothing can get out of step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from convscope import kernels
from convscope import nn as cnn
from convscope.errors import ShapeError

__all__ = [
    "Convolution",
    "Gelu",
    "InFloat32",
    "LayerNormalisation",
    "Linear",
    "MaxPool",
    "Normalisation",
    "Scaling",
    "convolution_settings",
    "pooling_settings",
    "to_input",
]


_LARGE = 1 << 20  # weights


def to_input(input: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a batch of images as the fused layers want it: channels-last, in the type of the arithmetic."""
    return kernels.channels_last(input.to(dtype))


class InFloat32(nn.Module):
    """A layer or function with float32 parameters of its own, among layers that compute in another type."""

    def __init__(self, call: Callable[..., Any]) -> None:
        super().__init__()
        self.call = call

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        def widened(each: Any) -> Any:
            return each.float() if isinstance(each, Tensor) and each.is_floating_point() else each

        return self.call(*map(widened, args), **{name: widened(each) for name, each in kwargs.items()})


def convolution_settings(layer: nn.Module) -> tuple[Any, ...] | None:
    """Return stride, padding, dilation and groups of a convolution that torch's operator computes; else None."""
    if type(layer) not in (nn.Conv2d, cnn.Conv2d):
        return None
    assert isinstance(layer, nn.Conv2d)
    if layer.padding_mode != "zeros" or getattr(layer, "flip", False):
        return None
    padding = layer.padding
    if isinstance(padding, str):
        left, right, top, bottom = layer._reversed_padding_repeated_twice
        if left != right or top != bottom:
            return None
        padding = (top, left)
    if len(padding) != 2 or not all(isinstance(each, int) for each in padding):
        return None
    if getattr(layer, "padding_value", 0.0):
        return None
    return tuple(layer.stride), tuple(padding), tuple(layer.dilation), layer.groups


class Convolution(nn.Module):
    """A convolution through the routes of `kernels.conv2d`."""

    def __init__(self, layer: nn.Conv2d, settings: tuple[Any, ...], dtype: torch.dtype) -> None:
        super().__init__()
        self.layer, self.settings, self.dtype = layer, settings, dtype

    def forward(self, input: Tensor) -> Tensor:
        layer, dtype = self.layer, self.dtype
        bias = layer.bias if layer.bias is None else layer.bias.to(dtype)
        return kernels.conv2d(input.to(dtype), layer.weight.to(dtype), bias, *self.settings)


def pooling_settings(layer: nn.Module) -> tuple[Any, ...] | None:
    """Return kernel, stride, padding, dilation as pairs, and ceil_mode, of max pooling as torch has it; else None."""
    if type(layer) not in (nn.MaxPool2d, cnn.MaxPool2d):
        return None
    assert isinstance(layer, nn.MaxPool2d)
    sizes = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    pairs = [(each, each) if isinstance(each, int) else each for each in sizes]
    plain = all(isinstance(e, tuple) and len(e) == 2 and all(isinstance(n, int) for n in e) for e in pairs)
    return (*pairs, layer.ceil_mode) if plain and not layer.return_indices else None


class MaxPool(nn.Module):
    """Max pooling that keeps a byte for each output where torch keeps eight."""

    def __init__(self, settings: tuple[Any, ...]) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, input: Tensor) -> Tensor:
        return kernels.max_pool2d(input, *self.settings)


class _LargeLinear(torch.autograd.Function):
    """A linear layer whose weights' gradient, the largest tensor of many a step, does not lengthen the kept memory."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        return nn.functional.linear(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        input, weight = ctx.saved_tensors
        grad = grads[0]
        rows = grad.flatten(0, -2) if grad.ndim > 1 else grad[None]
        of_input = grad @ weight if ctx.needs_input_grad[0] else None
        of_weight = of_bias = None
        if ctx.needs_input_grad[1]:
            with kernels.apart():
                of_weight = rows.t() @ input.reshape(len(rows), -1)
        if ctx.needs_input_grad[2]:
            of_bias = rows.sum(0)
        return of_input, of_weight, of_bias


class Linear(nn.Module):
    """A linear layer in the type of the arithmetic, over pixels by the routes of convolutions."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer, self.dtype = layer, dtype

    def forward(self, input: Tensor) -> Tensor:
        layer, dtype = self.layer, self.dtype
        weight, bias = layer.weight.to(dtype), layer.bias if layer.bias is None else layer.bias.to(dtype)
        if input.ndim != 4 or not input.numel():
            linear = _LargeLinear.apply if weight.numel() >= _LARGE else nn.functional.linear
            return linear(input.to(dtype), weight, bias)
        # At each pixel of maps: a 1x1 convolution, for which PyTorch has better products than for matrices.
        maps = input.to(dtype).permute(0, 3, 1, 2)
        made = kernels.conv2d(maps, weight[:, :, None, None], bias, (1, 1), (0, 0), (1, 1), 1)
        return made.permute(0, 2, 3, 1)


class Gelu(nn.Module):
    """GELU in its exact form."""

    def forward(self, input: Tensor) -> Tensor:
        return kernels.gelu(input)


class LayerNormalisation(nn.Module):
    """Layer normalisation over the last axis with the activation after it: a layer's, or a call's with eps alone."""

    def __init__(self, channels: int, source: nn.LayerNorm | float, activation: str) -> None:
        super().__init__()
        self.channels, self.source, self.activation = channels, source, activation

    def forward(self, input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        source = self.source
        if isinstance(source, nn.LayerNorm):
            weight, bias, eps = source.weight, source.bias, source.eps
        else:
            eps = source
        if input.shape[-1] != self.channels:
            raise ShapeError(
                f"the last axis of input {tuple(input.shape)} is normalised over {self.channels} channels; "
                "make them alike.",
                call="layer_norm",
            )
        if input.dtype == torch.float32 and self.activation == "none":
            # PyTorch's takes three quarters of the time of ours (benchmarks/native/operators.txt): ours is for
            # bfloat16, with float32 parameters as they are, and for what an activation follows.
            return nn.functional.layer_norm(input, (self.channels,), weight, bias, eps)
        return kernels.layer_norm_act(input, weight, bias, eps, self.activation)


class Normalisation(nn.Module):
    """Batch normalisation with the activation after it and the addition between them, where there are any."""

    def __init__(self, layer: nn.BatchNorm2d, activation: str) -> None:
        super().__init__()
        self.layer, self.activation = layer, activation

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        layer = self.layer
        momentum = layer.momentum
        assert momentum is not None
        if layer.training and layer.num_batches_tracked is not None:
            layer.num_batches_tracked.add_(1)
        if residual is not None and residual.dtype != input.dtype:
            residual = residual.to(input.dtype)
        return kernels.batch_norm_act(
            input,
            residual,
            layer.weight,
            layer.bias,
            layer.running_mean,
            layer.running_var,
            layer.training,
            momentum,
            layer.eps,
            self.activation,
        )


class Scaling(nn.Module):
    """A product; that of maps and a number for each channel of each image has gradients from one pass."""

    def forward(self, one: Any, other: Any) -> Any:
        if isinstance(one, Tensor) and isinstance(other, Tensor) and one.dtype == other.dtype:
            for maps, scale in ((one, other), (other, one)):
                if maps.ndim == 4 and maps.shape[2:].numel() > 1 and scale.shape == (*maps.shape[:2], 1, 1):
                    return kernels.scale_maps(maps, scale)
        return one * other
