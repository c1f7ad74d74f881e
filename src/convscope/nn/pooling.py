"""Pooling layers that torch.nn lacks: blur-pool, and max and average with every kind of padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from convscope import ops
from convscope.errors import UsageError
from convscope.geometry import Padding, Windows, as_ints
from convscope.ops.padding import PaddingMode, check_padding_mode
from convscope.ops.plan import Sizes

__all__ = [
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BlurPool1d",
    "BlurPool2d",
    "BlurPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
]


class _MaxPool(torch.nn.Module):
    _ndim: ClassVar[int]
    _function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Padding = 0,
        dilation: Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        _check_pool(self, kernel_size, stride, padding, dilation)
        torch_init: Any = super().__init__
        torch_init(kernel_size, stride, padding, dilation, return_indices, ceil_mode)

    def forward(self, input: Tensor) -> Tensor:
        """Return the largest value of each window; with `return_indices`, a pair with their places."""
        settings: Any = self
        return self._function(
            input,
            settings.kernel_size,
            settings.stride,
            settings.padding,
            settings.dilation,
            settings.ceil_mode,
            settings.return_indices,
        )


class MaxPool1d(_MaxPool, torch.nn.MaxPool1d):
    """Take the largest sample of each window: `ops.max_pool1d`; see `MaxPool2d`.

    Example:
        >>> MaxPool1d(2, padding="same")(torch.zeros(1, 2, 5)).shape
        torch.Size([1, 2, 3])
    """

    _ndim = 1
    _function = staticmethod(ops.max_pool1d)


class MaxPool2d(_MaxPool, torch.nn.MaxPool2d):
    """Take the largest pixel of each window: `ops.max_pool2d`, where the arguments are explained.

    Is a `torch.nn.MaxPool2d` that also takes (before, after) pairs and the words `valid`, `same`, `full`.

    Raises:
        ShapeError: a setting out of its range; from the call, a window that does not fit.
        UnknownNameError: an unknown padding word.
    Example:
        >>> MaxPool2d(3, stride=2, padding="same")(torch.zeros(1, 2, 5, 8)).shape
        torch.Size([1, 2, 3, 4])
    """

    _ndim = 2
    _function = staticmethod(ops.max_pool2d)


class MaxPool3d(_MaxPool, torch.nn.MaxPool3d):
    """Take the largest voxel of each window: `ops.max_pool3d`; see `MaxPool2d`.

    Example:
        >>> MaxPool3d(2, padding="same")(torch.zeros(1, 2, 3, 4, 5)).shape
        torch.Size([1, 2, 2, 2, 3])
    """

    _ndim = 3
    _function = staticmethod(ops.max_pool3d)


class _AvgPool(torch.nn.Module):
    _ndim: ClassVar[int]
    _function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        _check_pool(self, kernel_size, stride, padding, 1)
        torch_init: Any = super().__init__
        torch_init(kernel_size, stride, 0, ceil_mode, count_include_pad)
        # torch's 1-D layer knows no divisor, and its constructor no pairs.
        self.padding: Any = padding
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        """Return the average of each window."""
        settings: Any = self
        return self._function(
            input,
            settings.kernel_size,
            settings.stride,
            settings.padding,
            settings.ceil_mode,
            settings.count_include_pad,
            settings.divisor_override,
        )


class AvgPool1d(_AvgPool, torch.nn.AvgPool1d):
    """Average each window: `ops.avg_pool1d`; see `AvgPool2d`.

    Example:
        >>> AvgPool1d(2, padding="same")(torch.zeros(1, 2, 5)).shape
        torch.Size([1, 2, 3])
    """

    _ndim = 1
    _function = staticmethod(ops.avg_pool1d)


class AvgPool2d(_AvgPool, torch.nn.AvgPool2d):
    """Average each window: `ops.avg_pool2d`, where the arguments are explained.

    Is a `torch.nn.AvgPool2d` that also takes (before, after) pairs and the words `valid`, `same`, `full`.

    Raises:
        ShapeError: a setting out of its range; from the call, a window that does not fit.
        UnknownNameError: an unknown padding word.
    Example:
        >>> AvgPool2d(2, padding="same", count_include_pad=False)(torch.ones(1, 1, 3, 3)).tolist()
        [[[[1.0, 1.0], [1.0, 1.0]]]]
    """

    _ndim = 2
    _function = staticmethod(ops.avg_pool2d)


class AvgPool3d(_AvgPool, torch.nn.AvgPool3d):
    """Average each window: `ops.avg_pool3d`; see `AvgPool2d`.

    Example:
        >>> AvgPool3d(2, padding="same")(torch.zeros(1, 2, 3, 4, 5)).shape
        torch.Size([1, 2, 2, 2, 3])
    """

    _ndim = 3
    _function = staticmethod(ops.avg_pool3d)


class _BlurPool(torch.nn.Module):
    _ndim: ClassVar[int]
    _function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self, kernel_size: Sizes = 3, stride: Sizes = 2, *, padding_mode: PaddingMode = "reflect"
    ) -> None:
        super().__init__()
        try:
            check_padding_mode(padding_mode)
            self.kernel_size = as_ints("kernel_size", kernel_size, self._ndim, at_least=1)
            self.stride = as_ints("stride", stride, self._ndim, at_least=1)
        except UsageError as error:
            raise error.at(type(self).__name__) from error
        self.padding_mode: PaddingMode = padding_mode

    def forward(self, input: Tensor) -> Tensor:
        """Return the blurred and subsampled feature maps."""
        return self._function(input, self.kernel_size, self.stride, padding_mode=self.padding_mode)

    def extra_repr(self) -> str:
        """Return the settings as torch's layers write theirs."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding_mode={self.padding_mode}"


class BlurPool1d(_BlurPool):
    """Blur and subsample a signal: `ops.blur_pool1d`.

    Example:
        >>> BlurPool1d()(torch.zeros(1, 2, 9)).shape
        torch.Size([1, 2, 5])
    """

    _ndim = 1
    _function = staticmethod(ops.blur_pool1d)


class BlurPool2d(_BlurPool):
    """Blur and subsample feature maps: `ops.blur_pool2d`, where the arguments are explained. No parameters.

    Zhang puts it behind the layer that used to stride: conv, ReLU, BlurPool2d for a strided convolution;
    MaxPool2d(2, stride=1), BlurPool2d for max pooling.

    Raises:
        ShapeError: a setting below 1.
        UnknownNameError: an unknown padding mode.
    Source:
        Zhang, Making convolutional networks shift-invariant again, arXiv:1904.11486.
    Example:
        >>> BlurPool2d(5), BlurPool2d(5)(torch.zeros(1, 2, 9, 8)).shape
        (BlurPool2d(kernel_size=(5, 5), stride=(2, 2), padding_mode=reflect), torch.Size([1, 2, 5, 4]))
    """

    _ndim = 2
    _function = staticmethod(ops.blur_pool2d)


class BlurPool3d(_BlurPool):
    """Blur and subsample a volume or a clip: `ops.blur_pool3d`.

    Example:
        >>> BlurPool3d()(torch.zeros(1, 2, 4, 5, 6)).shape
        torch.Size([1, 2, 2, 3, 3])
    """

    _ndim = 3
    _function = staticmethod(ops.blur_pool3d)


def _check_pool(
    layer: _MaxPool | _AvgPool, kernel_size: Sizes, stride: Sizes | None, padding: Padding, dilation: Sizes
) -> None:
    try:
        Windows.pool(layer._ndim, kernel_size, stride, padding, dilation)
    except UsageError as error:
        raise error.at(type(layer).__name__) from error
