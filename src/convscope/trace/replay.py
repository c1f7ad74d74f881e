"""All that a second run of a network needs to be the first one again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convscope.errors import UsageError
from convscope.trace.index import NetworkIndex

__all__ = ["Circumstances", "autocast_state"]


def autocast_state() -> tuple[bool, torch.dtype]:
    """Return whether operators on the CPU are cast, and to what."""
    return torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")


@dataclass(slots=True)
class Circumstances:
    """Input, random states, modes and settings of a run, and what came out of it.

    Attributes:
        args, kwargs: tensors of the trace's own.
        training: the train/eval state of each module.
        versions: of parameters and buffers after the run.
        results: the tensors that the network returned; () for a trace of a shape.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    random: dict[str, Any]
    training: tuple[bool, ...]
    autocast: tuple[bool, torch.dtype]
    versions: tuple[tuple[int, int], ...]
    results: tuple[Tensor, ...]

    def check(self, network: nn.Module) -> None:
        """Refuse a network whose weights or buffers are not those of the run.

        Raises:
            UsageError: they have changed since.
        """
        if self.versions != NetworkIndex(network).versions:
            raise UsageError(
                "the network's weights or buffers have changed since the trace; trace it again.", call="trace"
            )

    def check_results(self, results: Sequence[Tensor]) -> None:
        """Refuse a second run that came to something else: changes behind torch's back, other random numbers.

        Raises:
            UsageError: it returned other tensors.
        """
        same = len(results) == len(self.results) and all(
            a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True)
            for a, b in zip(results, self.results, strict=True)
        )
        if not same:
            raise UsageError(
                "the network computed something else when it ran again on the same input: it has changed since, or "
                "depends on more than input, weights and the random numbers of torch, Python and NumPy; trace it anew "
                "with `layers=` for what you want explained.",
                call="trace",
            )
