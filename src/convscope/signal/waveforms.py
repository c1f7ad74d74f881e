"""The classic signals of a signals course, sampled.

All are sampled at whole multiples of `dt`, so any two of the same step lie on a common grid. At a jump the sample
is the mean of both sides, the value that a Fourier integral gives there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from convscope.errors import UsageError
from convscope.signal.sampled import Sampled

__all__ = ["exponential_decay", "gaussian", "ramp", "rect", "triangle"]

_ON_GRID = 1e-6  # a jump closer than this many steps to a sample lies on it


def rect(width: float = 1.0, *, center: float = 0.0, dt: float = 0.01) -> Sampled:
    """Sample the box of height 1 over center - width/2 .. center + width/2.

    With itself: rect * rect = triangle of half width `width` and height `width`, at 2 center.

    Raises:
        UsageError: an argument that is not finite, or not 0 < dt <= width.
    Example:
        >>> rect(width=1.0, dt=0.25).values
        array([0.5, 1. , 1. , 1. , 0.5])
    """
    _check("rect", dt, width=width, center=center)
    return _sample(lambda t: np.ones_like(t), center - width / 2, center + width / 2, dt, jumps=(0.5, 0.5))


def triangle(half_width: float = 1.0, *, center: float = 0.0, dt: float = 0.01) -> Sampled:
    """Sample the tent 1 - |t - center| / half_width, zero beyond.

    With itself, for u = |t - 2 center| / half_width: half_width (2/3 - u^2 + u^3/2) up to u = 1,
    half_width (2 - u)^3 / 6 from there to u = 2, zero beyond.

    Raises:
        UsageError: an argument that is not finite, or not 0 < dt <= half_width.
    Example:
        >>> triangle(dt=0.5).values
        array([0. , 0.5, 1. , 0.5, 0. ])
    """
    _check("triangle", dt, half_width=half_width, center=center)
    return _sample(lambda t: 1 - abs(t - center) / half_width, center - half_width, center + half_width, dt)


def ramp(width: float = 1.0, *, start: float = 0.0, dt: float = 0.01) -> Sampled:
    """Sample the rise from 0 at `start` to 1 at start + width, where it drops to 0.

    It has no mirror symmetry, so convolution and correlation with it differ to the eye. For s = t - start in
    units of `width`, its autocorrelation is width (1 - |s|)^2 (2 + |s|) / 6.

    Raises:
        UsageError: an argument that is not finite, or not 0 < dt <= width.
    Example:
        >>> ramp(dt=0.25).values
        array([0.  , 0.25, 0.5 , 0.75, 0.5 ])
    """
    _check("ramp", dt, width=width, start=start)
    return _sample(lambda t: (t - start) / width, start, start + width, dt, jumps=(1.0, 0.5))


def exponential_decay(
    rate: float = 1.0, *, start: float = 0.0, duration: float | None = None, dt: float = 0.01
) -> Sampled:
    """Sample exp(-rate (t - start)) from `start` on, zero before.

    With itself, for start = 0: t exp(-rate t). With another rate b: (exp(-a t) - exp(-b t)) / (b - a).

    Args:
        duration: where to stop; without it 37 / rate, where the decay has reached 1e-16.
    Raises:
        UsageError: an argument that is not finite, or not 0 < dt <= duration, or rate <= 0.
    Example:
        >>> exponential_decay(rate=math.log(2), duration=3, dt=1).values.round(3)
        array([0.5  , 0.5  , 0.25 , 0.125])
    """
    if not (math.isfinite(rate) and rate > 0):
        raise UsageError(
            f"rate={rate} must be finite and larger than 0, or nothing decays.", call="exponential_decay"
        )
    duration = 37 / rate if duration is None else duration
    _check("exponential_decay", dt, duration=duration, start=start)
    return _sample(lambda t: np.exp(-rate * (t - start)), start, start + duration, dt, jumps=(0.5, 1.0))


def gaussian(sigma: float = 1.0, *, mean: float = 0.0, reach: float = 9.0, dt: float = 0.01) -> Sampled:
    """Sample the normal density of standard deviation `sigma`: area 1, variance sigma^2.

    Two of them give the density whose mean and variance are the sums of theirs.

    Args:
        reach: where to stop, in standard deviations on both sides; at 9 the density is below 1e-17 of its peak.
    Raises:
        UsageError: an argument that is not finite, or not 0 < dt <= sigma, or reach <= 0.
    Example:
        >>> gaussian(dt=1).values[8:11].round(4)
        array([0.242 , 0.3989, 0.242 ])
    """
    _check("gaussian", dt, sigma=sigma, mean=mean)
    if not (math.isfinite(reach) and reach > 0):
        raise UsageError(
            f"reach={reach} must be finite and larger than 0. The usual value is 9.", call="gaussian"
        )

    def density(t: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * ((t - mean) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))

    return _sample(density, mean - reach * sigma, mean + reach * sigma, dt)


def _check(call: str, dt: float, **arguments: float) -> None:
    """Refuse numbers that are not finite, and a first argument (a width) that is not at least one step."""
    (name, width), (place, position) = arguments.items()
    if not (math.isfinite(width) and math.isfinite(position) and math.isfinite(dt) and 0 < dt <= width):
        raise UsageError(
            f"{name}={width}, {place}={position} and dt={dt} must be finite with 0 < dt <= {name}. "
            f"Choose dt well below {name}.",
            call=call,
        )


def _sample(
    function: Callable[[np.ndarray], np.ndarray],
    first: float,
    last: float,
    dt: float,
    jumps: tuple[float, float] = (1.0, 1.0),
) -> Sampled:
    """Evaluate at the multiples of dt in first .. last; `jumps` scale a sample that lies exactly on an end."""
    low, high = math.ceil(first / dt - _ON_GRID), math.floor(last / dt + _ON_GRID)
    values = function(dt * np.arange(low, high + 1))
    if abs(low - first / dt) <= _ON_GRID:
        values[0] *= jumps[0]
    if abs(high - last / dt) <= _ON_GRID:
        values[-1] *= jumps[1]
    return Sampled(values, dt, low * dt)
