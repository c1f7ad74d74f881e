"""Leaving a network, and torch, exactly as they were."""

from __future__ import annotations

import contextlib
import gc
import random
import sys
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from convscope.trace.index import NetworkIndex

__all__ = ["Mode", "unchanged"]

Mode = Literal["same", "train", "eval"]


@contextlib.contextmanager
def unchanged(index: NetworkIndex, mode: Mode) -> Iterator[dict[int, tuple[Tensor, Tensor]]]:
    """Run a block on a network and undo what it changed: train/eval states, buffers, parameters, random states.

    Yields a dict into which the block puts, for a parameter or buffer it is about to change, the tensor and a copy.
    """
    states = [
        (module, module.training, dict(module._buffers), dict(module._parameters))
        for _, module in index.modules
    ]
    copies: dict[int, tuple[Tensor, Tensor]] = {}
    random_states = _random_states()
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    collecting = gc.isenabled()
    try:
        gc.disable()  # thousands of small records would set it off again and again
        # The fast path of attention is one opaque operator; the plain one shows its parts.
        torch.backends.mha.set_fastpath_enabled(False)
        if mode != "same":
            for _, module in index.modules:
                module.training = mode == "train"
        yield copies
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_attention)
        for module, training, buffers, parameters in states:
            module.training = training
            for now, before in ((module._buffers, buffers), (module._parameters, parameters)):
                if before or now:
                    now.clear()
                    now.update(before)  # type: ignore[arg-type]
        with torch.no_grad():
            for tensor, copy in copies.values():
                tensor.copy_(copy)
        _set_random_states(random_states)
        if collecting:
            gc.enable()


def _random_states() -> dict[str, Any]:
    states: dict[str, Any] = {"torch": torch.get_rng_state(), "random": random.getstate()}
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state_all()
    if (numpy := sys.modules.get("numpy")) is not None:
        states["numpy"] = numpy.random.get_state()
    return states


def _set_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    random.setstate(states["random"])
    if "cuda" in states:
        torch.cuda.set_rng_state_all(states["cuda"])
    if "numpy" in states:
        sys.modules["numpy"].random.set_state(states["numpy"])
