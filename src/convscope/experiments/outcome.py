"""What an experiment found: intervals, a table, charts, pictures and a verdict."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor

from convscope.errors import UsageError

__all__ = [
    "Chart",
    "Curve",
    "Interval",
    "Outcome",
    "PictureRow",
    "Row",
    "Verdict",
    "verdict_of_all",
    "verdict_on",
]

# Student's t that 95 % of values lie within, for 1 to 30 degrees of freedom.
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_Z95 = 1.96


class Verdict(StrEnum):
    """Whether a claim stood its test here."""

    HOLDS = "holds"
    FAILS = "does not hold here"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and its 95 % confidence interval; `low` and `high` equal the value where it is exact."""

    value: float
    low: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> Interval:
        """Return a value that was counted, not sampled."""
        return cls(value, value, value)

    @classmethod
    def of_mean(cls, values: Sequence[float]) -> Interval:
        """Return the mean of one value a seed, by Student's t; of a single seed nothing is known: without bounds.

        Raises:
            UsageError: no value.
        Example:
            >>> Interval.of_mean([1.0, 2.0, 3.0])
            Interval(value=2.0, low=-0.48..., high=4.48...)
        """
        if not values:
            raise UsageError("an interval needs at least one value.", call="Interval.of_mean")
        mean = statistics.fmean(values)
        if len(values) == 1:
            return cls(mean, -math.inf, math.inf)
        half = _student(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
        return cls(mean, mean - half, mean + half)

    @classmethod
    def of_gains(cls, ones: Sequence[float], others: Sequence[float]) -> Interval:
        """Return the mean of how much higher `ones` are than `others`, which came from the same seeds in this order.

        Example:
            >>> Interval.of_gains([0.75, 0.5], [0.5, 0.25])
            Interval(value=0.25, low=0.25, high=0.25)
        """
        return cls.of_mean([one - other for one, other in zip(ones, others, strict=True)])

    @classmethod
    def of_share(cls, hits: int, total: int) -> Interval:
        """Return a share of independent yes-or-no trials (Wilson, JASA 1927).

        Raises:
            UsageError: no trial, or more hits than trials.
        Example:
            >>> Interval.of_share(8, 10)
            Interval(value=0.8, low=0.49..., high=0.94...)
        """
        if not 0 <= hits <= total or total < 1:
            raise UsageError(f"{hits} of {total} is no share.", call="Interval.of_share")
        share, z2 = hits / total, _Z95**2
        middle = (share + z2 / (2 * total)) / (1 + z2 / total)
        half = _Z95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
        return cls(share, max(0.0, middle - half), min(1.0, middle + half))

    @property
    def is_exact(self) -> bool:
        """Tell whether the value was counted, not sampled."""
        return self.low == self.high

    def in_points(self) -> str:
        """Return a difference of shares as a text in percentage points, with its bounds.

        Example:
            >>> Interval(0.021, 0.004, 0.038).in_points(), Interval.of_mean([-0.05]).in_points()
            ('+2.1 points (0.4 to 3.8)', '-5.0 points (one seed)')
        """
        bounds = f"{100 * self.low:.1f} to {100 * self.high:.1f}" if math.isfinite(self.low) else "one seed"
        return f"{100 * self.value:+.1f} points ({bounds})"

    def to_dict(self) -> dict[str, float]:
        """Return value and bounds as plain values for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of an experiment's table: what it is about, and a cell for each column.

    A cell is a text, a whole number, an exact number, or an interval.
    """

    name: str
    cells: tuple[str | int | float | Interval, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """A named line of points (x, y); `band` holds (x, low, high)."""

    name: str
    points: tuple[tuple[float, float], ...]
    band: tuple[tuple[float, float, float], ...] = ()

    @classmethod
    def of_means(cls, name: str, values: Mapping[float, Sequence[float]]) -> Curve:
        """Return the means of one value a seed at each x, their 95 % intervals as the band.

        Example:
            >>> Curve.of_means("error", {1.0: [0.5], 2.0: [0.25]})
            Curve(name='error', points=((1.0, 0.5), (2.0, 0.25)), band=())
        """
        intervals = [(x, Interval.of_mean(each)) for x, each in values.items()]
        bounded = all(math.isfinite(each.low) for _, each in intervals)
        return cls(
            name,
            tuple((x, each.value) for x, each in intervals),
            tuple((x, each.low, each.high) for x, each in intervals) if bounded else (),
        )


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over one pair of axes.

    Attributes:
        log_x, log_y: the axis is to be logarithmic.
        percent: y is a share.
    """

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    log_x: bool = False
    log_y: bool = False
    percent: bool = False


@dataclass(frozen=True, eq=False)
class PictureRow:
    """Pictures that belong together, on one scale.

    Attributes:
        planes: (N, H, W) of numbers, or (N, H, W, 3) uint8 photographs.
        names: one a picture, or none.
    """

    title: str
    planes: Tensor
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Outcome:
    """What running an experiment gave.

    Attributes:
        columns: heads of the table, the first one that of the rows' names.
        percent: names of the columns whose numbers are shares.
        verdict, reason: the verdict and the figures that it rests on, in one sentence.
        figures: the same as single numbers by name, for those who compare.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    verdict: Verdict
    reason: str
    charts: tuple[Chart, ...] = ()
    pictures: tuple[PictureRow, ...] = ()
    percent: tuple[str, ...] = ()
    figures: tuple[tuple[str, float], ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return table, curves and verdict as plain values for JSON, without the pictures."""
        return {
            "verdict": str(self.verdict),
            "reason": self.reason,
            "percent": list(self.percent),
            "table": [
                dict(zip(self.columns, (row.name, *map(_plain, row.cells)), strict=True)) for row in self.rows
            ],
            "charts": [
                {
                    "title": chart.title,
                    "x": chart.x_label,
                    "y": chart.y_label,
                    "curves": {curve.name: [list(point) for point in curve.points] for curve in chart.curves},
                }
                for chart in self.charts
            ],
            "figures": dict(self.figures),
        }


def verdict_on(difference: Interval, margin: float = 0.0) -> Verdict:
    """Judge a claim that says a difference is positive.

    It holds where the whole interval lies above `margin`, does not where the whole interval lies below it, and is
    undecided otherwise.

    Example:
        >>> verdict_on(Interval.of_mean([0.020, 0.024, 0.022]))
        <Verdict.HOLDS: 'holds'>
        >>> verdict_on(Interval.of_mean([0.020, -0.024, 0.022]))
        <Verdict.UNDECIDED: 'undecided'>
    """
    if difference.low > margin:
        return Verdict.HOLDS
    return Verdict.FAILS if difference.high < margin else Verdict.UNDECIDED


def verdict_of_all(verdicts: Sequence[Verdict]) -> Verdict:
    """Judge a claim of several parts: it holds if each part does, and does not if one part does not.

    Example:
        >>> verdict_of_all([Verdict.HOLDS, Verdict.UNDECIDED])
        <Verdict.UNDECIDED: 'undecided'>
        >>> verdict_of_all([Verdict.FAILS, Verdict.UNDECIDED])
        <Verdict.FAILS: 'does not hold here'>
    """
    if Verdict.FAILS in verdicts:
        return Verdict.FAILS
    return Verdict.UNDECIDED if Verdict.UNDECIDED in verdicts else Verdict.HOLDS


def _student(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's distribution (Abramowitz & Stegun, 26.7.5, where there is no table)."""
    if freedom <= len(_T95):
        return _T95[freedom - 1]
    z = _Z95
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def _plain(cell: str | int | float | Interval) -> object:
    return cell.to_dict() if isinstance(cell, Interval) else cell
