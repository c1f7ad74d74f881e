"""What oneDNN computed a convolution by: its own log, caught from the standard output of the process.

oneDNN prints its log from C, past Python's `sys.stdout`; while it is caught, file descriptor 1 is a temporary file.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import torch

__all__ = ["OneDnnCall", "onednn_calls", "onednn_log", "slow_calls"]

_PASSES = {"backward_data": "backward_input", "backward_weights": "backward_weight"}


@dataclass(frozen=True)
class OneDnnCall:
    """Convolutions of one shape that oneDNN ran: how often, by what, and in how much time together."""

    implementation: str
    passing: str
    dtype: str
    shape: str
    count: int
    seconds: float

    @property
    def slow(self) -> bool:
        """Whether this is a reference implementation, or a matrix product over copied patches.

        Example:
            >>> OneDnnCall("x64:gemm:jit", "forward", "f32", "mb1", 1, 0.1).slow
            True
            >>> OneDnnCall("brgconv:avx512_core", "forward", "f32", "mb1", 1, 0.1).slow
            False
        """
        parts = self.implementation.split(":")
        return parts[0].startswith("ref") or any(part.startswith("gemm") for part in parts)

    def to_dict(self) -> dict[str, object]:
        """Return the call as plain values."""
        return asdict(self)


def onednn_calls(log: str) -> list[OneDnnCall]:
    """Read the convolutions in oneDNN's log, those of one shape and implementation together, the longest first.

    Example:
        >>> log = "onednn_verbose,v1,primitive,exec,cpu,convolution,ref:any,forward_training,src:f16:a,,alg,mb2_ic3,1.5"
        >>> [(call.implementation, call.passing, call.seconds) for call in onednn_calls(log)]
        [('ref:any', 'forward', 0.0015)]
    """
    found: dict[tuple[str, str, str, str], tuple[int, float]] = {}
    for line in log.splitlines():
        fields = line.split(",")
        # The time of day may stand before `primitive`, where the environment asks for it.
        if not line.startswith("onednn_verbose,") or "exec" not in fields:
            continue
        kind = fields[fields.index("exec") + 1 :]
        if len(kind) < 7 or kind[1] != "convolution":
            continue
        _, _, implementation, propagation, tensors, *_, shape, milliseconds = kind
        try:
            seconds = float(milliseconds) / 1e3
        except ValueError:
            continue  # a line that was cut
        dtype = tensors.removeprefix("src:").partition(":")[0]
        passing = _PASSES.get(propagation, "forward" if propagation.startswith("forward") else propagation)
        key = (implementation, passing, dtype, shape)
        count, before = found.get(key, (0, 0.0))
        found[key] = count + 1, before + seconds
    calls = [OneDnnCall(*key, count, seconds) for key, (count, seconds) in found.items()]
    return sorted(calls, key=lambda call: -call.seconds)


def slow_calls(calls: Iterable[OneDnnCall]) -> list[OneDnnCall]:
    """Return the calls that fell to a reference implementation or to a matrix product over copied patches."""
    return [call for call in calls if call.slow]


@contextlib.contextmanager
def onednn_log() -> Iterator[list[OneDnnCall]]:
    """Collect the convolutions that oneDNN runs in the block; the list is filled when the block ends.

    Nothing else should write to standard output meanwhile, from any thread: it would be lost.

    Example:
        >>> with onednn_log() as calls:
        ...     _ = torch.nn.Conv2d(3, 8, 3)(torch.zeros(1, 3, 8, 8))
        >>> all(call.seconds >= 0 for call in calls)
        True
    """
    calls: list[OneDnnCall] = []
    with tempfile.TemporaryFile() as file:
        with _standard_output_to(file.fileno()), _verbose():
            yield calls
        file.seek(0)
        calls += onednn_calls(file.read().decode("utf-8", "replace"))


def _verbose() -> contextlib.AbstractContextManager[object]:
    mkldnn = torch.backends.mkldnn
    return mkldnn.verbose(mkldnn.VERBOSE_ON) if mkldnn.is_available() else contextlib.nullcontext()


@contextlib.contextmanager
def _standard_output_to(descriptor: int) -> Iterator[None]:
    _flush()
    try:
        kept = os.dup(1)
    except OSError:  # standard output is closed
        kept = -1
    os.dup2(descriptor, 1)
    try:
        yield
    finally:
        _flush()
        if kept >= 0:
            os.dup2(kept, 1)
            os.close(kept)
        else:
            os.close(1)


def _flush() -> None:
    """Write what Python and C hold back for standard output."""
    if sys.stdout is not None:
        sys.stdout.flush()
    with contextlib.suppress(OSError, AttributeError):  # a C library that is not found by this name
        ctypes.CDLL(None).fflush(None)
