"""Stochastic depth: in training, residual branches are left out sample by sample."""

from __future__ import annotations

import torch
from torch import Tensor

from convscope.errors import UsageError

__all__ = ["StochasticDepth"]


class StochasticDepth(torch.nn.Module):
    """In training, set whole samples to zero with probability `p` and divide the others by 1 - p.

    On the residual branch of a block this leaves out the block, sample by sample ("row mode"). In evaluation
    it returns its input.

    Shapes:
        input (N, ...); returns the same
    Raises:
        UsageError: `p` outside [0, 1).
    Source:
        Huang, Sun, Liu, Sedra & Weinberger, arXiv:1603.09382.
    Example:
        >>> kept = StochasticDepth(0.5)(torch.ones(64, 3)).unique(dim=0)
        >>> kept.tolist()
        [[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]]
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise UsageError(f"p is {p}; it must be at least 0 and below 1.", call="StochasticDepth")
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        """Return the samples that stay, made larger, and zeros."""
        if not self.training or not self.p:
            return input
        keep = input.new_empty((input.shape[0], *[1] * (input.ndim - 1))).bernoulli_(1 - self.p)
        return input * keep.div_(1 - self.p)

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p:.4g}"
