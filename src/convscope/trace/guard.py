"""Leaving a network, and torch, exactly as they were."""

from __future__ import annotations

import contextlib
import gc
import random
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from convscope.trace.index import NetworkIndex

__all__ = ["Mode", "random_states", "set_random_states", "unchanged"]

Mode = Literal["same", "train", "eval"]


@contextlib.contextmanager
def unchanged(index: NetworkIndex, mode: Mode | Sequence[bool]) -> Iterator[dict[int, tuple[Tensor, Tensor]]]:
    """Run a block on a network and undo what it changed: train/eval states, buffers, parameters, random states.

    Yields a dict into which the block puts, for a parameter or buffer it is about to change, the tensor and a copy.

    Args:
        mode: of the whole network, or the train/eval state of each of its modules.
    """
    copies: dict[int, tuple[Tensor, Tensor]] = {}
    with contextlib.ExitStack() as undo:  # each step of the way back runs, whatever another one raises
        if gc.isenabled():
            undo.callback(gc.enable)
            gc.disable()  # thousands of small records would set it off again and again
        undo.callback(set_random_states, random_states())
        undo.callback(_put_back, copies)
        undo.callback(
            _restore, [(m, m.training, dict(m._buffers), dict(m._parameters)) for _, m in index.modules]
        )
        undo.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        # The fast path of attention is one opaque operator; the plain one shows its parts.
        torch.backends.mha.set_fastpath_enabled(False)
        if mode != "same":
            flags = [mode == "train"] * len(index.modules) if isinstance(mode, str) else mode
            for (_, module), flag in zip(index.modules, flags, strict=True):
                module.training = flag
        yield copies


def _restore(states: list[tuple[nn.Module, bool, dict[str, Any], dict[str, Any]]]) -> None:
    for module, training, buffers, parameters in states:
        if module.training is not training:
            module.training = training
        for now, before in ((module._buffers, buffers), (module._parameters, parameters)):
            # Of a scripted module it is a view that cannot be changed.
            if isinstance(now, dict) and (
                len(now) != len(before) or any(now.get(name) is not value for name, value in before.items())
            ):
                now.clear()
                now.update(before)


def _put_back(copies: dict[int, tuple[Tensor, Tensor]]) -> None:
    with torch.no_grad():
        for tensor, copy in copies.values():
            tensor.copy_(copy)


def random_states() -> dict[str, Any]:
    """Return the states of the generators of torch, Python and, if it is loaded, NumPy."""
    states: dict[str, Any] = {"torch": torch.get_rng_state(), "random": random.getstate()}
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state_all()
    if (numpy := sys.modules.get("numpy")) is not None:
        states["numpy"] = numpy.random.get_state()
    return states


def set_random_states(states: dict[str, Any]) -> None:
    """Set the generators to states that `random_states` returned."""
    torch.set_rng_state(states["torch"])
    random.setstate(states["random"])
    if "cuda" in states:
        torch.cuda.set_rng_state_all(states["cuda"])
    if "numpy" in states:
        sys.modules["numpy"].random.set_state(states["numpy"])
