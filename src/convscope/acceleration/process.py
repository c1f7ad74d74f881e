"""What an accelerated process changes for all its tensors: how memory is given back, and denormal numbers."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from convscope import kernels
from convscope.kernels import keep_memory

__all__ = ["keep_memory", "prepare_process"]

_STEPS: list[contextlib.AbstractContextManager[None]] = []  # of optimisers, begun and not ended


def prepare_process() -> None:
    """Set the allocator, and count numbers below 1e-38 as zero, as arithmetic with them is 100 times slower."""
    if keep_memory():
        _move_states_apart()
    torch.set_flush_denormal(True)
    library = kernels.load()
    if library.handle is not None:  # in the other threads of the pool, which torch's word does not reach
        library.flush_denormals(torch.get_num_threads())


@functools.cache
def _move_states_apart() -> None:
    """Let optimisers make what they keep apart from the maps."""
    register_optimizer_step_pre_hook(_begin)
    register_optimizer_step_post_hook(_end)


def _begin(*_: Any) -> None:
    _STEPS.append(kernels.apart())
    _STEPS[-1].__enter__()


def _end(*_: Any) -> None:
    while _STEPS:
        _STEPS.pop().__exit__(None, None, None)
