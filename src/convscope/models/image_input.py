"""What a network of the zoo says of an image that it cannot take."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from convscope.errors import ShapeError

__all__ = ["minimum_image_size", "takes_images"]

_LARGEST = 4096  # pixels a side, beyond which no smallest size is looked for
_Result = TypeVar("_Result")


def takes_images(forward: Callable[..., _Result]) -> Callable[..., _Result]:
    """Decorate the `forward` of a network so that a refusal names the network, its channels and its smallest image.

    Costs nothing while the network takes its input. The layers themselves refuse what does not fit, by geometry.

    Example:
        >>> class Two(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.conv = nn.Conv2d(3, 4, 5)
        ...
        ...     @takes_images
        ...     def forward(self, input):
        ...         return self.conv(input)
        >>> Two()(torch.zeros(1, 3, 4, 9))
        Traceback (most recent call last):
        convscope.errors.ShapeError: Two: an image of 4x9 pixels is too small; give at least 5x5.
    """

    @functools.wraps(forward)
    def checked(self: nn.Module, input: Tensor) -> _Result:
        try:
            return forward(self, input)
        except (ValueError, RuntimeError) as error:
            refusal = None if input.is_meta else _refusal(self, input)
            if refusal is None:
                raise
            raise refusal from error

    return checked


def minimum_image_size(network: nn.Module, channels: int) -> int | None:
    """Return the smallest square image that a network takes, in pixels a side, by running shapes alone.

    None where none up to 4,096 is taken.

    Example:
        >>> minimum_image_size(nn.Sequential(nn.Conv2d(3, 4, 7), nn.MaxPool2d(2)), 3)
        8
    """
    twins = {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }

    def takes(side: int) -> bool:
        image = torch.empty(1, channels, side, side, device="meta", dtype=_dtype(network))
        try:
            with torch.no_grad():
                torch.func.functional_call(network, twins, (image,))
        except (RuntimeError, ValueError):
            return False
        return True

    training = {module: module.training for module in network.modules()}
    network.eval()  # in training, batch norm refuses a single value a channel, whatever the image
    try:
        largest = 1
        while not takes(largest):
            largest *= 2
            if largest > _LARGEST:
                return None
        smallest = largest // 2 + 1 if largest > 1 else 1
        return next(side for side in range(smallest, largest + 1) if takes(side))
    finally:
        for module, mode in training.items():
            module.training = mode


def _refusal(network: nn.Module, input: Tensor) -> ShapeError | None:
    name = type(network).__name__
    if input.dim() != 4:
        return ShapeError(f"the input has the shape {tuple(input.shape)}; give (N, C, H, W).", call=name)
    weight = next((p for p in network.parameters() if p.dim() == 4), None)
    channels = None if weight is None else weight.shape[1]
    if channels is not None and input.shape[1] != channels:
        return ShapeError(
            f"the images have {input.shape[1]} channels, the network takes {channels}; convert them, or build it "
            f"with in_channels={input.shape[1]}.",
            call=name,
        )
    if channels is None:
        return None
    side = minimum_image_size(network, channels)
    height, width = input.shape[2:]
    if side is None or min(height, width) >= side:
        return None
    return ShapeError(
        f"an image of {height}x{width} pixels is too small; give at least {side}x{side}.", call=name
    )


def _dtype(network: nn.Module) -> torch.dtype:
    return next((p.dtype for p in network.parameters() if p.dtype.is_floating_point), torch.float32)
