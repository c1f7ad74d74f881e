"""How near a training comes to what the machine can do."""

from __future__ import annotations

from functools import cache

import torch
from torch import nn

from convscope.acceleration import acceleration_of, measure_product_flops
from convscope.errors import UsageError
from convscope.trace import trace

__all__ = ["images_per_second_limit"]

_FLOPS_A_MAC = 6  # a product and a sum, forward, and twice backward: for the input and for the weights


def images_per_second_limit(network: nn.Module, input_shape: tuple[int, int, int]) -> float | None:
    """Return how many images a second this machine could train on if all were one large matrix product.

    The layers' MACs count, 6 floating-point operations each for forward and backward; what the machine can do is
    measured in matrix products of the type that the network runs in, once in a process. Nothing random is drawn.

    Args:
        input_shape: (C, H, W) of an image.
    Returns:
        None for a network whose operators cannot be counted, or that has no MACs.
    Cost:
        About a tenth of a second, once; then some milliseconds for the count.
    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
        >>> (images_per_second_limit(network, (1, 28, 28)) or 0) > 1000
        True
    """
    try:
        macs = trace(network, (1, *input_shape), mode="eval").macs
    except UsageError:
        return None
    if not macs:
        return None
    found = acceleration_of(network)
    dtype = torch.float32 if found is None else found.dtype
    return product_flops(dtype, torch.get_num_threads()) / (_FLOPS_A_MAC * macs)


@cache
def product_flops(dtype: torch.dtype, threads: int) -> float:
    """Return the floating-point operations a second of a matrix product with this many threads, as torch has now."""
    with torch.random.fork_rng(devices=[]):
        return measure_product_flops(dtype, rounds=3, sides=(1024,))
