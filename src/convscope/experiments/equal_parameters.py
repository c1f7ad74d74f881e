"""Networks of one kind made as large as another, so that what is compared is not the number of parameters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from convscope.experiments.learning import num_params

__all__ = ["least_width"]


def least_width(build: Callable[[int], nn.Module], wanted: int) -> int:
    """Return the least width with which a network has at least as many parameters as wanted; nothing is allocated.

    Example:
        >>> least_width(lambda width: nn.Linear(9, width), 45)
        5
    """
    width = 1
    with torch.device("meta"):
        while num_params(build(width)) < wanted:
            width += 1
    return width
