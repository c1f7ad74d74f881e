"""What kernels need of tensors around a call: channels-last copies, empty results, a comparison with the truth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["channels_last", "empty_maps", "error_of", "pointer"]


def channels_last(input: Tensor) -> Tensor:
    """Return maps laid out (N, H, W, C), the same tensor if it is.

    Not `is_contiguous`: sizes of 1 make a tensor channels-last by that word whose channels do not lie together.
    """
    if input.permute(0, 2, 3, 1).is_contiguous():
        return input
    return input.contiguous(memory_format=torch.channels_last)


def empty_maps(like: Tensor, shape: Sequence[int]) -> Tensor:
    """Return channels-last maps without values, of the type of `like`."""
    # Not a view: what comes next may be done in place.
    return torch.empty(tuple(shape), dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def pointer(tensor: Tensor | None) -> int | None:
    """Return a tensor's address for a C call."""
    return None if tensor is None else tensor.data_ptr()


def error_of(result: Tensor, truth: Tensor) -> float:
    """Return how far a result is off, relative to the largest true value."""
    if result.numel() == 0:
        return 0.0
    scale = truth.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    return float((result.double() - truth.double()).abs().max() / scale)
