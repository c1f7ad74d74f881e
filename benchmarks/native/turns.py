"""Configurations in turns, each in its own process, of which one works at a time."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["Worker", "quartiles", "ratio_of_medians", "relative_difference"]


class Worker:
    """A process that runs `worker.py` and does one thing at a time."""

    def __init__(self, *arguments: str, python: str = sys.executable, script: str = "worker.py") -> None:
        self.process = subprocess.Popen(
            [python, str(Path(__file__).parent / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str) -> Any:
        """Let the process do something; return its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def quartiles(seconds: list[float]) -> tuple[float, float, float]:
    """Return lower quartile, median, upper quartile."""
    if len(seconds) < 2:
        return seconds[0], seconds[0], seconds[0]
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return low, middle, high


def ratio_of_medians(slow: list[float], fast: list[float]) -> float:
    """Return how many times faster the second was."""
    return statistics.median(slow) / statistics.median(fast)


def relative_difference(mine: list[float], truth: list[float]) -> float:
    """Return the largest difference relative to the largest value."""
    return max(abs(a - b) for a, b in zip(mine, truth, strict=True)) / max(abs(b) for b in truth)
