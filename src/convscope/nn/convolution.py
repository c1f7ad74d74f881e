"""Convolution layers: torch's own modules, with every kind of padding and the flipped kernel.

The layers are subclasses of torch's, so that tools which look for `torch.nn.Conv2d` (counting, fusing, initialising)
find them, and weights, state-dict keys and text come from there. torch's constructor is called without padding,
because it refuses what only ours have; the padding is set afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from convscope import ops
from convscope.errors import ShapeError, UsageError
from convscope.geometry import Padding, Windows, as_ints, check_groups
from convscope.ops.padding import PaddingMode, check_padding_mode
from convscope.ops.plan import Sizes, check_axes

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class _Conv(torch.nn.Module):
    """What the convolution layers share; torch's class of the same rank comes next in line."""

    _ndim: ClassVar[int]
    _function: ClassVar[Callable[..., Tensor]]

    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Padding = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        *,
        padding_value: float = 0.0,
        flip: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        try:
            check_padding_mode(padding_mode, padding_value)
            check_groups(in_channels, out_channels, groups)
            windows = Windows.of(self._ndim, kernel_size, stride, padding, dilation)
        except UsageError as error:
            raise error.at(type(self).__name__) from error
        torch_init: Any = super().__init__
        settings = windows.kernel_size, windows.stride, 0, windows.dilation, groups, bias
        torch_init(in_channels, out_channels, *settings, device=device, dtype=dtype)
        self.padding = _as_torch_writes(windows)
        self.padding_mode = padding_mode
        self.padding_value = padding_value
        self.flip = flip

    def forward(self, input: Tensor) -> Tensor:
        """Return the feature maps of a batch, or of one sample."""
        return self._conv_forward(input, self.weight, self.bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # torch's quantisation calls this with weights of its own.
        return self._function(
            input,
            weight,
            bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            padding_mode=self.padding_mode,
            padding_value=self.padding_value,
            flip=self.flip,
        )

    def extra_repr(self) -> str:
        """Return torch's text, then what only our layers have."""
        value = f", padding_value={self.padding_value}" if self.padding_value else ""
        return super().extra_repr() + value + (", flip=True" if self.flip else "")


class Conv1d(_Conv, torch.nn.Conv1d):
    """Slide learned kernels over a signal: `ops.conv1d` with its weight and bias; see `Conv2d`.

    Example:
        >>> Conv1d(2, 4, 3, padding=(2, 0))(torch.zeros(1, 2, 9)).shape
        torch.Size([1, 4, 9])
    """

    _ndim = 1
    _function = staticmethod(ops.conv1d)


class Conv2d(_Conv, torch.nn.Conv2d):
    """Slide learned kernels over an image: `ops.conv2d` with its weight and bias.

    Is a `torch.nn.Conv2d`: the same weights from the same seed, the same state-dict keys. Also takes the
    padding, padding modes and `flip` of `ops.conv2d`, where the arguments are explained.

    Shapes:
        input (N, in_channels, H, W) or (in_channels, H, W)
        weight (out_channels, in_channels // groups, K_h, K_w); bias (out_channels,)
        returns (N, out_channels, H_out, W_out) or (out_channels, H_out, W_out)
    Raises:
        ShapeError: groups that do not divide the channels, a setting out of its range; from the call, an input
            that does not fit.
        UnknownNameError: an unknown padding word or mode.
    Example:
        >>> layer = Conv2d(3, 8, 3, stride=2, padding="same", padding_mode="symmetric")
        >>> layer, layer(torch.zeros(1, 3, 9, 8)).shape
        (Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=same, padding_mode=symmetric), \
torch.Size([1, 8, 5, 4]))
    """

    _ndim = 2
    _function = staticmethod(ops.conv2d)


class Conv3d(_Conv, torch.nn.Conv3d):
    """Slide learned kernels over a volume or a clip: `ops.conv3d` with its weight and bias; see `Conv2d`.

    Example:
        >>> Conv3d(1, 2, 3, padding="full")(torch.zeros(1, 1, 4, 5, 6)).shape
        torch.Size([1, 2, 6, 7, 8])
    """

    _ndim = 3
    _function = staticmethod(ops.conv3d)


class _ConvTranspose(torch.nn.Module):
    """What the transposed layers share; torch's class of the same rank comes next in line."""

    _ndim: ClassVar[int]
    _function: ClassVar[Callable[..., Tensor]]

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Padding = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        try:
            check_groups(in_channels, out_channels, groups)
            windows = Windows.transposed(self._ndim, kernel_size, stride, padding, output_padding, dilation)
            extra = as_ints("output_padding", output_padding, self._ndim, at_least=0)
        except UsageError as error:
            raise error.at(type(self).__name__) from error
        torch_init: Any = super().__init__
        settings = windows.kernel_size, windows.stride, 0, extra, groups, bias, windows.dilation
        torch_init(in_channels, out_channels, *settings, device=device, dtype=dtype)
        self.padding = _as_torch_writes(windows)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Return the enlarged feature maps of a batch, or of one sample.

        `output_size` asks for one of the sizes that the stride rounds together: the spatial ones, or the whole
        output shape. It stands in for `output_padding` in this call.
        """
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        return self._function(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )

    def _extra(self, input: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        ndim = self._ndim
        try:
            check_axes(ndim, input)
            if len(output_size) not in (ndim, input.ndim):
                raise ShapeError(
                    f"output_size {tuple(output_size)} has {len(output_size)} entries; "
                    f"give {ndim}, or all {input.ndim}."
                )
            wanted = tuple(output_size[-ndim:])
            windows = Windows.transposed(ndim, self.kernel_size, self.stride, self.padding, 0, self.dilation)
            least = windows.output_size(input.shape[-ndim:])
            most = tuple(size + step - 1 for size, step in zip(least, self.stride, strict=True))
            if not all(low <= size <= high for low, size, high in zip(least, wanted, most, strict=True)):
                raise ShapeError(
                    f"output_size {wanted} cannot come of input {tuple(input.shape)}: "
                    f"it must be from {least} to {most}."
                )
        except UsageError as error:
            raise error.at(type(self).__name__) from error
        return tuple(size - low for size, low in zip(wanted, least, strict=True))


class ConvTranspose1d(_ConvTranspose, torch.nn.ConvTranspose1d):
    """Let each sample write learned kernels: `ops.conv_transpose1d` with its weight; see `ConvTranspose2d`.

    Example:
        >>> ConvTranspose1d(2, 4, 4, stride=2, padding=1)(torch.zeros(1, 2, 9)).shape
        torch.Size([1, 4, 18])
    """

    _ndim = 1
    _function = staticmethod(ops.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose, torch.nn.ConvTranspose2d):
    """Let each pixel write learned kernels, and add them: `ops.conv_transpose2d` with its weight and bias.

    Is a `torch.nn.ConvTranspose2d`: the same weights from the same seed, the same state-dict keys. Also takes a
    (before, after) pair of padding an axis; it has no padding modes, as torch's has only zeros.

    Shapes:
        input (N, in_channels, H, W) or (in_channels, H, W)
        weight (in_channels, out_channels // groups, K_h, K_w); bias (out_channels,)
        returns (N, out_channels, H_out, W_out) or (out_channels, H_out, W_out)
    Raises:
        ShapeError: groups that do not divide the channels, a setting out of its range; from the call, an input
            that does not fit or an output size that cannot be.
    Example:
        >>> layer = ConvTranspose2d(8, 4, 3, stride=2, padding=1)
        >>> features = torch.zeros(1, 8, 5, 4)
        >>> layer(features).shape, layer(features, output_size=(10, 8)).shape
        (torch.Size([1, 4, 9, 7]), torch.Size([1, 4, 10, 8]))
    """

    _ndim = 2
    _function = staticmethod(ops.conv_transpose2d)


class ConvTranspose3d(_ConvTranspose, torch.nn.ConvTranspose3d):
    """Let each voxel write learned kernels: `ops.conv_transpose3d` with its weight; see `ConvTranspose2d`.

    Example:
        >>> ConvTranspose3d(2, 4, 2, stride=2)(torch.zeros(1, 2, 3, 4, 5)).shape
        torch.Size([1, 4, 6, 8, 10])
    """

    _ndim = 3
    _function = staticmethod(ops.conv_transpose3d)


def _as_torch_writes(windows: Windows) -> Any:
    """Return the padding in torch's form where it has one: a number an axis or a word for all of them."""
    words = [window.padding for window in windows.axes if isinstance(window.padding, str)]
    if len(words) == windows.ndim and len(set(words)) == 1:
        return words[0]
    pairs = windows.pads([1] * windows.ndim)
    if not words and all(before == after for before, after in pairs):
        return tuple(before for before, _ in pairs)
    return tuple(window.padding for window in windows.axes)
