"""The processor, as far as kernels and figures depend on it."""

from __future__ import annotations

import functools
import os
import platform
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Processor", "processor"]


@dataclass(frozen=True)
class Processor:
    """A CPU by its name, and what it can do of what matters here."""

    name: str
    architecture: str
    cores: int
    features: tuple[str, ...]

    @property
    def native_bf16(self) -> bool:
        """Whether arithmetic in bfloat16 is an instruction, and so faster than in float32."""
        return "avx512_bf16" in self.features or "amx_bf16" in self.features or "bf16" in self.features

    @property
    def key(self) -> str:
        """A name for files that hold what was measured or tested on such a processor."""
        words = f"{self.name} {'bf16' if self.native_bf16 else ''} {self.cores}".split()
        return "-".join("".join(c for c in word if c.isalnum() or c in "._") for word in words).lower()


# Of the hundred or so that the kernel lists.
_OF_INTEREST = (
    "avx2",
    "fma",
    "avx512f",
    "avx512bw",
    "avx512_bf16",
    "avx512_fp16",
    "avx512_vnni",
    "amx_bf16",
    "bf16",
)


@functools.cache
def processor() -> Processor:
    """Describe this machine's processor, from the kernel's list where there is one.

    Example:
        >>> processor().cores >= 1
        True
    """
    fields: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    except OSError:
        pass  # not Linux
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in fields:
        name += f" family {fields['cpu family']} model {fields.get('model', '?')}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Processor(name, platform.machine(), cores, tuple(f for f in _OF_INTEREST if f in flags))
