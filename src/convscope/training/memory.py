"""How much memory a training step needs and how much there is: which batch size fits."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from convscope.trace import trace

__all__ = ["StepMemory", "free_bytes", "is_out_of_memory"]

_WORDS = (
    "not enough memory",
    "defaultcpuallocator",
    "out of memory",
    "cannot allocate memory",
    "bad allocation",
)
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class StepMemory:
    """What a training step keeps in memory at its fullest: `fixed_bytes`, and `image_bytes` for each image."""

    fixed_bytes: int
    image_bytes: int

    @classmethod
    def of(cls, network: nn.Module, image_shape: tuple[int, int, int]) -> StepMemory:
        """Trace a network on the shapes of two images and of three (batch norm refuses one); nothing is allocated.

        Backward reads activations that forward made, so all of them are alive at once, and the gradients of the
        largest besides. Fixed are the parameters' gradients and up to two values of the optimiser for each.

        Shapes:
            image_shape (C, H, W)
        Raises:
            UsageError: the network cannot be traced on a shape.
        Example:
            >>> layer = nn.Conv2d(1, 2, 3, padding=1)  # 20 parameters; an image 64 values, its output 128
            >>> StepMemory.of(layer, (1, 8, 8))
            StepMemory(fixed_bytes=240, image_bytes=1536)
        """
        two, three = (
            trace(network, (number, *image_shape), mode="train").backward_bytes for number in (2, 3)
        )
        parameters = sum(each.numel() * each.element_size() for each in network.parameters())
        return cls(3 * parameters + max(0, 3 * two - 2 * three), max(1, three - two))

    def step_bytes(self, batch_size: int) -> int:
        """Return what a step of so many images needs.

        Example:
            >>> StepMemory(240, 1_000).step_bytes(8)
            8240
        """
        return self.fixed_bytes + batch_size * self.image_bytes

    def largest_batch(self, free: int) -> int:
        """Return how many images a step can have in `free` bytes, a multiple of 8 from 8 on; 0 if it can have none.

        Example:
            >>> step = StepMemory(240, 1_000)
            >>> step.largest_batch(20_000), step.largest_batch(3_500), step.largest_batch(900)
            (16, 3, 0)
        """
        fits = max(0, free - self.fixed_bytes) // self.image_bytes
        return fits if fits < 8 else fits - fits % 8


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory could not be had: Python's own, or what torch's allocators raise.

    Example:
        >>> is_out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate"))
        True
        >>> is_out_of_memory(RuntimeError("shape mismatch"))
        False
    """
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


def free_bytes() -> int | None:
    """Return how much memory this process can still have; None where nobody tells.

    The least of what the machine has, what the process's group may have, and what its own limit of addresses leaves.
    Memory that was freed and is kept for the next step is given back first.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    found = [_machine(), _group(), _addresses()]
    return min((max(0, each) for each in found if each is not None), default=None)


def _machine() -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _group() -> int | None:
    """Return what the control group leaves; files that it caches can be given up."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        own = Path("/proc/self/cgroup").read_text().splitlines()[-1].split(":", 2)[2].strip("/")
        left: list[int] = []
        for folder in {_CGROUP / own, _CGROUP}:
            limit = folder / "memory.max"
            if not limit.is_file() or limit.read_text().strip() == "max":
                continue
            facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            used = int((folder / "memory.current").read_text()) - int(facts.get("inactive_file", 0))
            left.append(int(limit.read_text()) - used)
        return min(left, default=None)
    return None


def _addresses() -> int | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return limit - pages * os.sysconf("SC_PAGE_SIZE")
    return None
