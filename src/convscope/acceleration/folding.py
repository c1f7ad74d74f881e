"""Layers of an accelerated network in inference: batch norm folded into the weights, the activation with the product.

The folded weights are laid out by oneDNN for the size that comes in; they are made again when a parameter, a running
statistic or the input's size changes (`Folded.forget`, called by the accelerated network).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope import kernels

__all__ = [
    "Folded",
    "FoldedConvolution",
    "FoldedLinear",
    "computed_here",
    "fold",
    "fused_conv2d",
    "packed_weight",
]

_mkldnn = torch.ops.mkldnn
# An activation as oneDNN's operations take it: name, numbers, algorithm.
_FUSED: dict[str, tuple[str, list[float], str]] = {
    "none": ("none", [], ""),
    "relu": ("relu", [], ""),
    "relu6": ("hardtanh", [0.0, 6.0], ""),
    "silu": ("swish", [], ""),
    "hardswish": ("hardswish", [], ""),
    "gelu": ("gelu", [], "none"),
}
_PLAIN = {
    "none": lambda maps: maps,
    "relu": F.relu_,
    "relu6": lambda maps: F.relu6(maps, inplace=True),
    "silu": lambda maps: F.silu(maps, inplace=True),
    "hardswish": lambda maps: F.hardswish(maps, inplace=True),
    "gelu": kernels.gelu,
}


def _fusible(dtype: torch.dtype) -> bool:
    """Whether oneDNN's fused operations compute in a type here."""
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return False
    return dtype == torch.float32 or bool(_mkldnn._is_mkldnn_bf16_supported())


class Folded(nn.Module):
    """A layer with weights made from those of others."""

    def __init__(self) -> None:
        super().__init__()
        self._packed: dict[tuple[int, ...], Any] = {}

    def forget(self) -> None:
        """Make the weights again at the next call."""
        self._packed.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the made weights out of copies: oneDNN's layouts cannot be copied, and are made again."""
        return {**self.__dict__, "_packed": {}}


class FoldedConvolution(Folded):
    """A convolution, the batch norm after it, an addition and an activation, as one operation."""

    def __init__(
        self,
        layer: nn.Conv2d,
        settings: tuple[Any, ...],
        norm: nn.BatchNorm2d | None,
        activation: str,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.layer, self.settings, self.norm, self.activation, self.dtype = (
            layer,
            settings,
            norm,
            activation,
            dtype,
        )

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        input = kernels.channels_last(input.to(self.dtype))
        weight, bias = self._weights(input)
        if residual is not None:
            residual = residual.to(self.dtype)
        return fused_conv2d(input, weight, bias, self.settings, self.activation, residual)

    def _weights(self, input: Tensor) -> tuple[Tensor, Tensor | None]:
        key = tuple(input.shape)
        if key not in self._packed:
            self._packed.clear()
            weight, bias = self._folded()
            if not computed_here(input, weight, self.settings):
                weight = packed_weight(weight, self.settings, input.shape)
            self._packed[key] = weight, bias
        return self._packed[key]

    def _folded(self) -> tuple[Tensor, Tensor | None]:
        layer, norm = self.layer, self.norm
        weight, bias = layer.weight.detach(), layer.bias
        if norm is not None:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            statistics = norm.running_mean, norm.running_var, norm.eps
            weight, bias = fold(weight, bias, *statistics, norm.weight, norm.bias)
        return weight.to(self.dtype), None if bias is None else bias.detach().to(self.dtype)


def fused_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    settings: Sequence[Any],
    activation: str,
    residual: Tensor | None = None,
) -> Tensor:
    """Return activation(convolution + residual), in one operation where oneDNN has laid out the weight.

    Args:
        input: channels-last.
        weight: plain, or from `packed_weight`.
        settings: stride, padding, dilation, groups.
    """
    if not weight.is_mkldnn:
        maps = kernels.conv2d(input, weight, bias, *settings)
        if residual is not None:
            maps += residual
        return _PLAIN[activation](maps)
    stride, padding, dilation, groups = settings
    name, numbers, algorithm = _FUSED[activation]
    window = padding, stride, dilation, groups
    if residual is None:
        return _mkldnn._convolution_pointwise(input, weight, bias, *window, name, numbers, algorithm)
    residual = kernels.channels_last(residual)
    after = (None, [], None) if name == "none" else (name, numbers, algorithm)
    return _mkldnn._convolution_pointwise.binary(input, residual, weight, bias, *window, "add", 1.0, *after)


def computed_here(input: Tensor, weight: Tensor, settings: Sequence[Any]) -> bool:
    """Whether a kernel of ours and the activation apart are better than oneDNN's fused operation, or there is none."""
    if input.dtype not in (torch.float32, torch.bfloat16) or not _fusible(input.dtype):
        return True
    operands = kernels.Operands(input, weight, None, None, tuple(settings))  # pyright: ignore[reportArgumentType]
    route = kernels.choose(kernels.Case.of("forward", operands), operands)
    # A small depthwise window is bound by memory, where what is fused counts.
    return route in ("winograd", "grouped") or (route == "depthwise" and max(weight.shape[2:]) > 3)


def packed_weight(weight: Tensor, settings: Sequence[Any], shape: Sequence[int]) -> Tensor:
    """Return a weight as oneDNN lays it out for an input of this shape; others may cost another lay-out a call."""
    stride, padding, dilation, groups = settings
    return _mkldnn._reorder_convolution_weight(
        weight.contiguous(), padding, stride, dilation, groups, list(shape)
    )


def fold(
    weight: Tensor,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    gain: Tensor | None,
    shift: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the convolution that computes a convolution and the batch norm after it.

    Computed in float64, so that the result is the nearest float32 to the exact one.
    """
    scale = (variance.double() + eps).rsqrt()
    if gain is not None:
        scale = scale * gain.double()
    moved = ((0.0 if bias is None else bias.double()) - mean.double()) * scale
    if shift is not None:
        moved = moved + shift.double()
    folded = weight.double() * scale.reshape(-1, 1, 1, 1)
    return folded.to(weight.dtype).detach(), moved.to(weight.dtype).detach()


class FoldedLinear(Folded):
    """A linear layer, and the GELU after it, with weights that oneDNN has laid out."""

    def __init__(self, layer: nn.Linear, gelu: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer, self.gelu, self.dtype = layer, gelu, dtype

    def forward(self, input: Tensor) -> Tensor:
        input = input.to(self.dtype)
        rows = input.numel() // max(1, input.shape[-1])
        if not _fusible(self.dtype) or not rows:
            layer = self.layer
            bias = None if layer.bias is None else layer.bias.to(self.dtype)
            made = F.linear(input, layer.weight.to(self.dtype), bias)
            return kernels.gelu(made) if self.gelu else made
        weight, bias = self._weights(rows)
        name, algorithm = ("gelu", "none") if self.gelu else ("none", "")
        return _mkldnn._linear_pointwise(input.contiguous(), weight, bias, name, [], algorithm)

    def _weights(self, rows: int) -> tuple[Tensor, Tensor | None]:
        if (rows,) not in self._packed:
            self._packed.clear()
            weight, bias = self.layer.weight.detach().to(self.dtype), self.layer.bias
            packed = _mkldnn._reorder_linear_weight(weight, rows)
            self._packed[(rows,)] = packed, None if bias is None else bias.detach().to(self.dtype)
        return self._packed[(rows,)]
