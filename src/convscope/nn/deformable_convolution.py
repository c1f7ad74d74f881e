"""Deformable convolution layers: with offsets given to them, and with offsets that they predict."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from convscope import ops
from convscope.errors import ShapeError, UsageError
from convscope.geometry import Padding, Windows, as_int, check_groups
from convscope.nn.convolution import Conv2d
from convscope.ops.plan import Sizes

__all__ = ["DeformConv2d", "DeformableConv2d"]


class _Deformed(nn.Module):
    """What the two layers share: settings, weight and bias, as `torchvision.ops.DeformConv2d` has them."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    padding: Padding

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes,
        padding: Padding,
        dilation: Sizes,
        groups: int,
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        try:
            check_groups(in_channels, out_channels, groups)
            windows = Windows.of(2, kernel_size, stride, padding, dilation)
        except UsageError as error:
            raise error.at(type(self).__name__) from error
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = windows.kernel_size, windows.stride, windows.dilation
        self.padding = padding
        shape = out_channels, in_channels // groups, *windows.kernel_size
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start weight and bias as torch's convolutions do."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)

    def _deform(self, input: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        settings = self.stride, self.padding, self.dilation
        return ops.deform_conv2d(input, offset, self.weight, self.bias, *settings, mask)

    def extra_repr(self) -> str:
        """Return channels and kernel, and what differs from the defaults."""
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        )
        text += f", padding={self.padding}" if self.padding else ""
        text += f", dilation={self.dilation}" if self.dilation != (1, 1) else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        return text + (", bias=False" if self.bias is None else "")


class DeformConv2d(_Deformed):
    """Slide learned kernels whose taps read where the caller's offsets move them: `ops.deform_conv2d`.

    Constructor, call and state-dict keys are those of `torchvision.ops.DeformConv2d`.

    Shapes:
        input (N, in_channels, H, W); offset (N, 2 * offset_groups * K_h * K_w, H_out, W_out), (height, width) pairs
        mask (N, offset_groups * K_h * K_w, H_out, W_out), or None
        returns (N, out_channels, H_out, W_out)
    Raises:
        ShapeError: groups that do not divide the channels, a setting out of its range; from the call, operands
            that do not fit together.
        UnknownNameError: an unknown padding word.
    Example:
        >>> layer = DeformConv2d(4, 6, 3, stride=2, padding=1)
        >>> layer(torch.zeros(1, 4, 9, 8), offset=torch.zeros(1, 18, 5, 4)).shape
        torch.Size([1, 6, 5, 4])
    """

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
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        settings = kernel_size, stride, padding, dilation, groups, bias
        super().__init__(in_channels, out_channels, *settings, device, dtype)

    def forward(self, input: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the feature maps of a batch."""
        return self._deform(input, offset, mask)


class DeformableConv2d(_Deformed):
    """A deformable convolution that predicts its offsets, and for v2 its mask, from its input.

    Takes the place of a `Conv2d`: the same arguments and call, and `weight` and `bias` under the same keys. It adds
    `offset`, a plain convolution of the same kernel, stride, padding and dilation, whose weight and bias start at 0.
    So v1 starts as the plain convolution of its weight. In v2 the mask is the sigmoid of what `offset` predicts,
    which starts at 0.5, as in the paper: it starts as half the plain convolution (bias apart).

    Shapes:
        input (N, in_channels, H, W); returns (N, out_channels, H_out, W_out)
        offset.weight (offset_groups * K_h * K_w * (3 if modulated else 2), in_channels, K_h, K_w): first the
            (height, width) pairs, then the masks
    Args:
        modulated: v2, with a mask.
        offset_groups: groups of input channels with offsets of their own.
    Raises:
        ShapeError: groups or offset groups that do not divide the channels, a setting out of its range; from the
            call, an input that does not fit.
        UnknownNameError: an unknown padding word.
    Source:
        Dai et al., arXiv:1703.06211, section 2.1 and figure 2; Zhu et al., arXiv:1811.11168, section 3.2, which
        also trains the added convolutions at a tenth of the learning rate.
    Example:
        >>> layer, image = DeformableConv2d(2, 4, 3, padding=1), torch.rand(1, 2, 5, 6)
        >>> plain = ops.conv2d(image, layer.weight, layer.bias, padding=1)
        >>> layer(image).shape, bool(torch.allclose(layer(image), plain, atol=1e-6))
        (torch.Size([1, 4, 5, 6]), True)
    """

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
        *,
        modulated: bool = False,
        offset_groups: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        settings = kernel_size, stride, padding, dilation, groups, bias
        super().__init__(in_channels, out_channels, *settings, device, dtype)
        try:
            self.offset_groups = as_int("offset_groups", offset_groups, at_least=1)
            if in_channels % offset_groups:
                raise ShapeError(
                    f"offset_groups is {offset_groups}; it must divide in_channels {in_channels}."
                )
        except UsageError as error:
            raise error.at(type(self).__name__) from error
        self.modulated = modulated
        self._offsets = 2 * offset_groups * math.prod(self.kernel_size)  # channels
        predicted = self._offsets * 3 // 2 if modulated else self._offsets
        settings = self.kernel_size, self.stride, self.padding, self.dilation
        self.offset = Conv2d(in_channels, predicted, *settings, device=device, dtype=dtype)
        self.reset_offsets()

    def reset_offsets(self) -> None:
        """Set what predicts the offsets to 0, as it starts: after code that initialises all convolutions."""
        for parameter in self.offset.parameters():
            nn.init.zeros_(parameter)

    def forward(self, input: Tensor) -> Tensor:
        """Return the feature maps of a batch."""
        if input.ndim != 4:  # `offset` takes an image without a batch
            raise ShapeError(
                f"input {tuple(input.shape)} has {input.ndim} axes; give 4: (N, C, height, width).",
                call=type(self).__name__,
            )
        predicted = self.offset(input)
        if not self.modulated:
            return self._deform(input, predicted, None)
        offset, mask = predicted.split([self._offsets, self._offsets // 2], dim=1)
        return self._deform(input, offset, mask.sigmoid())

    def extra_repr(self) -> str:
        """Return channels and kernel, and what differs from the defaults."""
        text = super().extra_repr() + (", modulated=True" if self.modulated else "")
        return text + (f", offset_groups={self.offset_groups}" if self.offset_groups != 1 else "")
