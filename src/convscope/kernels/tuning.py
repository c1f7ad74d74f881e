"""Timing the routes of convolutions on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from convscope.kernels import tuned
from convscope.kernels.cases import Case, Operands
from convscope.kernels.layouts import error_of
from convscope.kernels.routes import candidates, forget, run

__all__ = ["Timing", "time_routes", "tune"]

_ROUNDS = 5


@dataclass(frozen=True)
class Timing:
    """What the routes of one case took, seconds; the rule's choice is the first."""

    case: Case
    seconds: Mapping[str, float]
    wrong: tuple[str, ...] = ()

    @property
    def best(self) -> str:
        """The fastest route."""
        return min(self.seconds, key=lambda name: self.seconds[name])

    def to_dict(self) -> dict[str, object]:
        """Return the timing as plain values."""
        case, seconds = self.case._asdict(), dict(self.seconds)
        return {"case": case, "seconds": seconds, "best": self.best, "wrong": list(self.wrong)}


def time_routes(case: Case, operands: Operands, rounds: int = _ROUNDS) -> Timing:
    """Time the routes of a case in turns, and keep the least time of each.

    A route whose result is not the first one's, within rounding, is left out and named in `wrong`.
    """
    names = candidates(case, operands)
    with torch.no_grad():
        results = {name: run(case, operands, name) for name in names}
        bound = 3e-2 if case.dtype == "bfloat16" else 1e-4
        wrong = tuple(n for n in names if not error_of(results[n], results[names[0]]) <= bound)
        names = [name for name in names if name not in wrong]
        del results
        seconds = dict.fromkeys(names, float("inf"))
        for _ in range(rounds):
            for name in names:
                start = time.perf_counter()
                run(case, operands, name)
                seconds[name] = min(seconds[name], time.perf_counter() - start)
    return Timing(case, seconds, wrong)


def tune(
    cases: Mapping[Case, Operands], rounds: int = _ROUNDS, listener: Callable[[Timing], None] | None = None
) -> list[Timing]:
    """Time every case's routes, keep the fastest on disk, and use them from now on.

    Raises:
        OutputError: the answers cannot be written.
    """
    timings = []
    for case, operands in cases.items():
        timings.append(time_routes(case, operands, rounds))
        if listener is not None:
            listener(timings[-1])
    tuned.keep({timing.case: timing.best for timing in timings})
    forget()
    return timings
