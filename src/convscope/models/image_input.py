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
_EXACT = 512  # up to here also sizes alone that fit, as before a fully connected layer
_Result = TypeVar("_Result")


def takes_images(forward: Callable[..., _Result]) -> Callable[..., _Result]:
    """Decorate the `forward` of a network so that a refusal names the network, its channels and its smallest image.

    Costs nothing while the network takes its input. The layers themselves refuse what does not fit, by geometry. A
    network for images of one size has it in `image_shape`, (C, H, W).

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
            refusal = None if input.is_meta else _refusal(self, input, error)
            if refusal is None:
                raise
            raise refusal from error

    return checked


def minimum_image_size(network: nn.Module, channels: int) -> int | None:
    """Return the smallest square image that a network takes, in pixels a side, by running shapes alone.

    A network that takes one size alone, as fully connected layers do, is asked for each up to 512. None where none up
    to 4,096 is taken.

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
                return next(filter(takes, range(1, _EXACT + 1)), None)
        smallest = largest // 2 + 1 if largest > 1 else 1
        return next(filter(takes, range(smallest, largest + 1)))
    finally:
        for module, mode in training.items():
            module.training = mode


def _refusal(network: nn.Module, input: Tensor, error: Exception) -> ShapeError | None:
    """Return what is wrong with the images, None where `error` is about something else."""
    name = type(network).__name__
    if input.dim() != 4:
        return ShapeError(f"the input has the shape {tuple(input.shape)}; give (N, C, H, W).", call=name)
    channels, *size = _image_shape(network)
    if channels is None:
        return None
    if input.shape[1] != channels:
        return ShapeError(
            f"the images have {input.shape[1]} channels, the network takes {channels}; convert them, or build it "
            f"with in_channels={input.shape[1]}.",
            call=name,
        )
    if "more than 1 value per channel" in str(error):  # torch's batch norm
        return ShapeError(
            f"a batch of shape {tuple(input.shape)} leaves a batch norm one value a channel in training; give two "
            "images or more, or larger ones, or call eval().",
            call=name,
        )
    height, width = input.shape[2:]
    if size:
        if [height, width] == size:
            return None
        return ShapeError(
            f"an image of {height}x{width} pixels; the network takes images of {size[0]}x{size[1]}. Resize it, or "
            f"build the network with image_size=({height}, {width}).",
            call=name,
        )
    side = minimum_image_size(network, channels)
    if side is None or min(height, width) >= side:
        return None
    return ShapeError(
        f"an image of {height}x{width} pixels is too small; give at least {side}x{side}.", call=name
    )


def _image_shape(network: nn.Module) -> tuple[int | None, ...]:
    """Return the channels, None if they are not known, and for a network of one image size height and width."""
    shape: tuple[int, ...] | None = getattr(network, "image_shape", None)
    if shape is not None:
        return shape
    weight = next((p for p in network.parameters() if p.dim() == 4), None)
    return (None if weight is None else weight.shape[1],)


def _dtype(network: nn.Module) -> torch.dtype:
    return next((p.dtype for p in network.parameters() if p.dtype.is_floating_point), torch.float32)
