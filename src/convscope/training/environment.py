"""The machine and the versions that a figure was measured with."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

import numpy
import torch

from convscope import __version__

__all__ = ["cpu_name", "environment"]


def cpu_name() -> str:
    """Return the processor's name as its maker writes it, with family and model where Linux tells them."""
    cpuinfo = Path("/proc/cpuinfo")
    facts: dict[str, str] = {}
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    if "model name" not in facts:
        return platform.processor() or platform.machine()
    return f"{facts['model name']} (family {facts.get('cpu family', '?')}, model {facts.get('model', '?')})"


def environment() -> dict[str, object]:
    """Return versions, processor, threads and the time, as plain values for JSON."""
    return {
        "convscope": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
