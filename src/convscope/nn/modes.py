"""The train/eval state of a network, lent and given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluating"]


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put every module in evaluation mode, and each back into its own mode afterwards, also on an error.

    Example:
        >>> network = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(3).eval())
        >>> with evaluating(network):
        ...     print([module.training for module in network])
        [False, False]
        >>> [module.training for module in network]
        [True, False]
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
