"""Thousands of steps as a curve that a picture can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["CurvePoint", "loss_curve"]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Some steps that follow each other: the last one's number, their least, mean and greatest loss, the last rate."""

    step: int
    low: float
    mean: float
    high: float
    lr: float


def loss_curve(steps: Sequence[Mapping[str, Any]], num_points: int = 120) -> tuple[CurvePoint, ...]:
    """Gather a run's steps into at most `num_points` groups of equal size (the last may be smaller).

    Example:
        >>> rows = [{"step": n, "loss": 1 / n, "lr": 0.1} for n in range(1, 5)]
        >>> [(point.step, point.low, point.mean) for point in loss_curve(rows, num_points=2)]
        [(2, 0.5, 0.75), (4, 0.25, 0.29166666666666663)]
    """
    size = max(1, math.ceil(len(steps) / num_points))
    points: list[CurvePoint] = []
    for start in range(0, len(steps), size):
        group = steps[start : start + size]
        losses = [float(row["loss"]) for row in group]
        mean = sum(losses) / len(losses)
        points.append(CurvePoint(group[-1]["step"], min(losses), mean, max(losses), float(group[-1]["lr"])))
    return tuple(points)
