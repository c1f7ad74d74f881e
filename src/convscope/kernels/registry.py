"""The kernel families: which are there, and which of them have shown on this machine that they are right.

A family brings a check: it runs the kernels on small shapes and compares them with float64. The first use on a machine
runs it; the verdict is kept on disk for this processor, torch and library. A family that is wrong is switched off.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from convscope.download import cache_folder
from convscope.errors import OutputError
from convscope.files import make_folder, write_json
from convscope.kernels.cpu import processor
from convscope.kernels.library import Library, load, native

__all__ = ["Comparison", "Verdict", "families", "family", "native_for", "self_test", "verdict"]


@dataclass(frozen=True)
class Comparison:
    """One comparison: what was run, how far off it was, relative to the largest value, and how far it may be."""

    name: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        return self.error <= self.bound  # False for NaN


@dataclass(frozen=True)
class Verdict:
    """What a family's check said on this machine."""

    family: str
    passed: bool
    cases: int
    worst: str
    error: float
    bound: float

    def to_dict(self) -> dict[str, object]:
        """Return the verdict as plain values."""
        return asdict(self)


Check = Callable[[Library], Iterator[Comparison]]
_CHECKS: dict[str, Check] = {}


def family(name: str) -> Callable[[Check], Check]:
    """Register the check of a kernel family; decorates a generator of cases, which calls the library it is given."""

    def keep(check: Check) -> Check:
        _CHECKS[name] = check
        return check

    return keep


def families() -> tuple[str, ...]:
    """Return the names of the kernel families."""
    return tuple(_CHECKS)


def native_for(name: str, *tensors: Tensor | None) -> Library | None:
    """Return the library if it may compute this family for these tensors: CPU, float32 or bfloat16, all alike."""
    first = tensors[0]
    if first is None or first.dtype not in (torch.float32, torch.bfloat16):
        return None
    for tensor in tensors:
        if tensor is not None and (tensor.dtype != first.dtype or tensor.device.type != "cpu"):
            return None
    return native() if verdict(name).passed else None


@functools.cache
def verdict(name: str) -> Verdict:
    """Return whether a family can be trusted here, from disk or by testing it now."""
    library = load()
    if library.handle is None:
        return Verdict(name, False, 0, library.reason, 0.0, 0.0)
    path = _record(library)
    known = _read(path)
    if name in known:
        return known[name]
    result = _examine(name, library)
    try:
        kept = {**_read(path), name: result}  # another process may have added to it
        make_folder(path.parent)
        write_json(path, {key: each.to_dict() for key, each in kept.items()})
    except OutputError:
        pass  # a read-only home: the test runs again next time
    return result


def self_test(refresh: bool = False) -> list[Verdict]:
    """Return the verdict on every family, testing those that were not tested on this machine (`refresh`: all)."""
    if refresh:
        verdict.cache_clear()
        library = load()
        if library.handle is not None:
            _record(library).unlink(missing_ok=True)
    return [verdict(name) for name in families()]


def _examine(name: str, library: Library) -> Verdict:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            cases = list(_CHECKS[name](library))
        except AttributeError as error:  # the library was built before the family was written
            return Verdict(name, False, 0, f"not in this build, install again: {error}", 0.0, 0.0)
    worst = max(cases, key=lambda case: case.error / case.bound if case.error == case.error else float("inf"))
    passed = all(case.passed for case in cases)
    return Verdict(name, passed, len(cases), worst.name, worst.error, worst.bound)


def _record(library: Library) -> Path:
    return cache_folder("kernels") / f"{processor().key}-torch-{torch.__version__}-{library.digest}.json"


def _read(path: Path) -> dict[str, Verdict]:
    try:
        return {name: Verdict(**fields) for name, fields in json.loads(path.read_text("utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # none yet, or damaged: tested again
