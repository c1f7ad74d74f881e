"""Heads: what turns the last feature map into class scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor

from convscope.errors import ShapeError, UsageError
from convscope.geometry import as_int
from convscope.ops import global_avg_pool

__all__ = ["FlattenHead", "GlobalAveragePoolHead"]


class FlattenHead(torch.nn.Module):
    """Score a feature map by fully connected layers over all its values: flatten, (linear, activation) ..., linear.

    Every place has weights of its own, so the head is bound to one input size.

    Shapes:
        input (N, *in_shape); returns (N, num_classes)
    Args:
        in_shape: (C, H, W) of the feature map, or the number of its values.
        hidden: widths of the layers before the last; an `activation` follows each.
    Raises:
        ShapeError: a width below 1; from the call, a feature map with another number of values.
    Example:
        >>> head = FlattenHead((16, 5, 5), 10, hidden=(120, 84))
        >>> head.in_features, head.fc.in_features, head(torch.zeros(2, 16, 5, 5)).shape
        (400, 84, torch.Size([2, 10]))
    """

    def __init__(
        self,
        in_shape: int | Sequence[int],
        num_classes: int,
        hidden: Sequence[int] = (),
        *,
        activation: Callable[[], torch.nn.Module] = torch.nn.ReLU,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        try:
            if isinstance(in_shape, int):
                self.in_features = as_int("in_shape", in_shape, at_least=1)
            else:
                self.in_features = prod(as_int("in_shape", size, at_least=1) for size in in_shape)
            widths = [self.in_features, *(as_int("hidden", width, at_least=1) for width in hidden)]
            self.num_classes = as_int("num_classes", num_classes, at_least=1)
        except UsageError as error:
            raise error.at("FlattenHead") from error
        layers: list[torch.nn.Module] = []
        for width, following in pairwise(widths):
            layers += [torch.nn.Linear(width, following, bias, device, dtype), activation()]
        self.hidden = torch.nn.Sequential(*layers)
        self.fc = torch.nn.Linear(widths[-1], num_classes, bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Return the class scores of a batch of feature maps."""
        features = input.flatten(1)
        if features.shape[1] != self.in_features:
            raise ShapeError(
                f"input {tuple(input.shape)} has {features.shape[1]} values a sample; this head was built for "
                f"{self.in_features}. Resize the input, or pool it to one size before the head.",
                call="FlattenHead",
            )
        return self.fc(self.hidden(features))


class GlobalAveragePoolHead(torch.nn.Module):
    """Score a feature map by its channel means: global average pooling, then one fully connected layer.

    Takes every input size. The weights of a class, applied at each place before the mean, are its class
    activation map (Zhou et al., arXiv:1512.04150).

    Shapes:
        input (N, in_channels, *spatial); returns (N, num_classes)
    Raises:
        ShapeError: a width below 1; from the call, another number of channels.
    Source:
        Lin et al., Network in network, arXiv:1312.4400, section 3.2.
    Example:
        >>> head = GlobalAveragePoolHead(512, 10)
        >>> head(torch.zeros(2, 512, 7, 7)).shape, head(torch.zeros(2, 512, 9, 4)).shape
        (torch.Size([2, 10]), torch.Size([2, 10]))
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        try:
            self.in_channels = as_int("in_channels", in_channels, at_least=1)
            self.num_classes = as_int("num_classes", num_classes, at_least=1)
        except UsageError as error:
            raise error.at("GlobalAveragePoolHead") from error
        self.fc = torch.nn.Linear(in_channels, num_classes, bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Return the class scores of a batch of feature maps."""
        try:
            pooled = global_avg_pool(input)
        except UsageError as error:
            raise error.at("GlobalAveragePoolHead") from error
        if pooled.shape[1] != self.in_channels:
            raise ShapeError(
                f"input {tuple(input.shape)} has {pooled.shape[1]} channels; this head was built for "
                f"{self.in_channels}.",
                call="GlobalAveragePoolHead",
            )
        return self.fc(pooled)
