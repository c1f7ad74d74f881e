"""What this machine can do at most: arithmetic in matrix products, bytes in copies, both measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from convscope import kernels
from convscope.errors import UsageError

__all__ = ["Limits", "measure_limits", "measure_product_flops"]

_SIDES = (1024, 1536, 2048)  # of the matrices
_COPIED_AT_LEAST = 256 * 2**20
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True)
class Limits:
    """What no layer can exceed by much here, with the number of threads that torch has.

    `bf16_flops` is None where arithmetic in bfloat16 was not measured. Bytes count once read and once written.
    """

    fp32_flops: float
    bf16_flops: float | None
    bytes_per_second: float
    threads: int

    def seconds(self, macs: int, size_bytes: int, dtype: str) -> float:
        """Return the least time for so much arithmetic and traffic: the longer of the two.

        Example:
            >>> Limits(100e9, None, 10e9, 1).seconds(macs=50_000_000, size_bytes=40_000_000, dtype="float32")
            0.004
        """
        flops = self.bf16_flops if dtype == "bfloat16" and self.bf16_flops else self.fp32_flops
        return max(2 * macs / flops, size_bytes / self.bytes_per_second)

    def to_dict(self) -> dict[str, object]:
        """Return the limits as plain values."""
        return asdict(self)


def measure_limits(bf16: bool | None = None, rounds: int = 3) -> Limits:
    """Measure matrix products and copies now, with torch's threads.

    Args:
        bf16: whether to measure products in bfloat16; by default where the CPU has instructions for them.
        rounds: how often each is run; the best counts.
    Raises:
        UsageError: `rounds` below 1.
    Cost:
        At 100 GFLOP/s some 2 s, and 0.5 GB of memory: four times the last cache, twice.
    Example:
        >>> measure_limits(rounds=1).fp32_flops > 1e6
        True
    """
    if rounds < 1:
        raise UsageError(f"rounds is {rounds}; it must be at least 1.", call="measure_limits")
    if bf16 is None:
        bf16 = kernels.processor().native_bf16
    with torch.no_grad():
        return Limits(
            measure_product_flops(torch.float32, rounds),
            measure_product_flops(torch.bfloat16, rounds) if bf16 else None,
            _copied_bytes(rounds),
            torch.get_num_threads(),
        )


def measure_product_flops(dtype: torch.dtype, rounds: int = 3, sides: Sequence[int] = _SIDES) -> float:
    """Return the floating-point operations a second of the fastest product of square matrices, with torch's threads.

    Args:
        sides: of the matrices.
    Cost:
        2 * side**3 operations a product, `rounds` + 1 products of each.
    Example:
        >>> measure_product_flops(torch.float32, rounds=1, sides=(64,)) > 1e6
        True
    """
    best = 0.0
    for side in sides:
        left = torch.randn(side, side).to(dtype)
        right, made = torch.randn(side, side).to(dtype), torch.empty(side, side, dtype=dtype)
        seconds = least_seconds(lambda a=left, b=right, c=made: torch.mm(a, b, out=c), rounds)
        best = max(best, 2 * side**3 / seconds)
    return best


def _copied_bytes(rounds: int) -> float:
    size = max(4 * _last_cache_bytes(), _COPIED_AT_LEAST)
    source = torch.ones(size // 4)
    target = torch.empty_like(source)
    return 2 * size / least_seconds(lambda: target.copy_(source), rounds)


def least_seconds(action: Callable[[], object], rounds: int) -> float:
    """Return the least time of some rounds, after one that is not counted."""
    action()
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return best


def _last_cache_bytes() -> int:
    """Return the size of the largest cache that the kernel tells of, 0 if it tells of none."""
    sizes = [0]
    for path in _CACHES.glob("index*/size"):
        try:
            text = path.read_text("ascii").strip()
            sizes.append(int(text.rstrip("KM")) * {"K": 2**10, "M": 2**20}.get(text[-1:], 1))
        except (OSError, ValueError):
            continue
    return max(sizes)
