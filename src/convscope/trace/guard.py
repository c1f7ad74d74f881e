"""Leaving a network, and torch, exactly as they were."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = ["Mode", "unchanged"]

Mode = Literal["same", "train", "eval"]


@contextlib.contextmanager
def unchanged(network: nn.Module, mode: Mode, *, values: bool) -> Iterator[dict[int, tuple[Tensor, Tensor]]]:
    """Run a block on a network and undo what it changed: train/eval states, buffers, parameters, random states.

    Yields a dict into which the block puts, for a parameter it is about to change, the tensor and a copy.
    """
    states = [(module, module.training) for module in network.modules()]
    slots = [(module, dict(module._buffers), dict(module._parameters)) for module in network.modules()]
    copies: dict[int, tuple[Tensor, Tensor]] = {}
    if values:
        for buffer in network.buffers():
            copies[id(buffer)] = (buffer, buffer.detach().clone())
    random_states = _random_states()
    mha = torch.backends.mha.get_fastpath_enabled()
    try:
        # The fast path of attention is one opaque operator; the plain one shows its parts.
        torch.backends.mha.set_fastpath_enabled(False)
        if mode != "same":
            network.train(mode == "train")
        yield copies
    finally:
        torch.backends.mha.set_fastpath_enabled(mha)
        for module, training in states:
            module.training = training
        for module, buffers, parameters in slots:
            module._buffers.clear()
            module._buffers.update(buffers)
            module._parameters.clear()
            module._parameters.update(parameters)
        with torch.no_grad():
            for tensor, copy in copies.values():
                tensor.copy_(copy)
        _set_random_states(random_states)


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
