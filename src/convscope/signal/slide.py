"""The facts of the flip-and-slide picture: what is multiplied, and what it adds up to, at one shift.

The three operations, for real signals:

    convolution         f * g (t) = integral f(tau) g(t - tau) dtau        g is flipped, then shifted
    cross-correlation   f ⋆ g (t) = integral f(tau) g(t + tau) dtau        g is shifted only
    autocorrelation     f ⋆ f (t) = integral f(tau) f(t + tau) dtau

As t grows, g(t - tau) moves right over f and g(t + tau) left. `Sampled.correlate` shifts the other way, so
f ⋆ g is `g.correlate(f)`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from convscope.display import Shown
from convscope.errors import UsageError
from convscope.signal.operands import is_tensor
from convscope.signal.sampled import Sampled

__all__ = ["Slide", "slide_autocorrelation", "slide_convolution", "slide_cross_correlation"]

Operation = Literal["convolution", "cross-correlation", "autocorrelation"]

_VISIBLE = 1e-3  # of the peak: less than a line's width in a picture
_COMMUTES_BELOW = 1e-9  # far above rounding, far below any difference that a picture could show


@dataclass(frozen=True, eq=False)
class Slide(Shown):
    """One operation on two signals, stopped at the shift t.

    `tau` is the common time axis, the same for every t; `f_values`, `g_values`, `moved` (g at t - tau or t + tau)
    and `product` (f times moved) are values on it, and `integral` is the area of the product. `result` is the
    operation at all shifts and `swapped` the same with f and g exchanged; `commutativity_error` is
    max |result - swapped| / max |result|.
    """

    operation: Operation
    f: Sampled
    g: Sampled
    result: Sampled
    swapped: Sampled
    commutativity_error: float
    t: float
    tau: np.ndarray
    f_values: np.ndarray
    g_values: np.ndarray
    moved: np.ndarray
    product: np.ndarray
    integral: float

    @property
    def commutes(self) -> bool:
        """Whether exchanging f and g changes nothing but rounding."""
        return self.commutativity_error < _COMMUTES_BELOW

    @property
    def direction(self) -> int:
        """Which way the moved copy goes as t grows: 1 to later times (convolution), -1 to earlier ones."""
        return 1 if self.operation == "convolution" else -1

    @property
    def value_range(self) -> tuple[float, float]:
        """The smallest and largest of f, of g, and of any product of the two, zero included."""
        f, g = (np.array([0.0, signal.values.min(), signal.values.max()]) for signal in (self.f, self.g))
        values = np.concatenate([f, g, np.outer(f, g).ravel()])
        return float(values.min()), float(values.max())

    @property
    def result_range(self) -> tuple[float, float]:
        """The smallest and largest value of the result, zero included."""
        return float(min(0.0, self.result.values.min())), float(max(0.0, self.result.values.max()))

    @property
    def tau_view(self) -> tuple[float, float]:
        """The first and the last tau where f, g or a moved copy that meets f can be seen in a picture."""
        (f_first, f_last), (g_first, g_last) = _visible(self.f), _visible(self.g)
        length = g_last - g_first
        return min(f_first - length, g_first), max(f_last + length, g_last)

    @property
    def result_view(self) -> tuple[float, float]:
        """The first and the last shift where the result or the swapped one can be seen in a picture."""
        first, second = _visible(self.result), _visible(self.swapped)
        return min(first[0], second[0]), max(first[1], second[1])

    def at(self, t: float) -> Slide:
        """The same operation at another shift; t is rounded to a whole number of steps."""
        grid = self.result
        reach = 1e6 * (grid.stop - grid.start + grid.dt)  # beyond it, counting steps would round
        if not grid.start - reach <= t <= grid.stop + reach:  # false for NaN too
            raise UsageError(
                f"the shift t is {t}; {self.operation} has results from {grid.start:g} to {grid.stop:g}. "
                "Give a t near them.",
                call="slide",
            )
        t = grid.start + grid.dt * round((t - grid.start) / grid.dt)
        moved = _read(self.g, t - self.direction * self.tau)
        product = self.f_values * moved
        return replace(self, t=t, moved=moved, product=product, integral=float(product.sum() * self.f.dt))

    def shifts(self, count: int) -> np.ndarray:
        """`count` shifts, evenly from the first to the last one whose result can be seen."""
        return np.linspace(*_visible(self.result), count)

    def to_dict(self) -> dict[str, Any]:
        """Return every curve as plain values for JSON."""
        arrays = ("tau", "f_values", "g_values", "moved", "product")
        return {
            "operation": self.operation,
            "t": self.t,
            "integral": self.integral,
            "commutativity_error": self.commutativity_error,
            "commutes": self.commutes,
            "direction": self.direction,
            **{name: getattr(self, name).tolist() for name in arrays},
            **{name: getattr(self, name).to_dict() for name in ("f", "g", "result", "swapped")},
        }


def slide_convolution(f: Sampled, g: Sampled, t: float | None = None) -> Slide:
    """Flip g, slide it over f, and stop at the shift t.

    Args:
        t: the shift; without it, the first at which the result reaches half of its largest magnitude.
    Raises:
        UsageError: complex signals, different time steps, or times that are not whole steps apart.
    Example:
        >>> from convscope.signal.waveforms import ramp, rect
        >>> slide = slide_convolution(rect(dt=0.1), ramp(dt=0.1), t=0.5)
        >>> round(slide.integral, 3), slide.commutes
        (0.475, True)
    """
    f, g = _real("slide_convolution", f), _real("slide_convolution", g)
    _check_grid("slide_convolution", f, g)
    return _slide("convolution", f, g, f.convolve(g), g.convolve(f), t)


def slide_cross_correlation(f: Sampled, g: Sampled, t: float | None = None) -> Slide:
    """Slide g over f as it is, and stop at the shift t; arguments and errors as in `slide_convolution`.

    Example:
        >>> from convscope.signal.waveforms import ramp, rect
        >>> slide = slide_cross_correlation(rect(dt=0.1), ramp(dt=0.1), t=0.5)
        >>> round(slide.integral, 3), slide.commutes
        (0.475, False)
    """
    f, g = _real("slide_cross_correlation", f), _real("slide_cross_correlation", g)
    _check_grid("slide_cross_correlation", f, g)
    return _slide("cross-correlation", f, g, g.correlate(f), f.correlate(g), t)


def slide_autocorrelation(f: Sampled, t: float | None = None) -> Slide:
    """Slide a signal over itself, and stop at the shift t; arguments and errors as in `slide_convolution`.

    Example:
        >>> from convscope.signal.waveforms import rect
        >>> slide = slide_autocorrelation(rect(dt=0.1), t=-0.5)
        >>> round(slide.integral, 3), slide.commutes
        (0.5, True)
    """
    f = _real("slide_autocorrelation", f)
    return _slide("autocorrelation", f, f, f.autocorrelate(), f.autocorrelate(), t)


def _slide(
    operation: Operation, f: Sampled, g: Sampled, result: Sampled, swapped: Sampled, t: float | None
) -> Slide:
    tau = _time_axis(f, g)
    slide = Slide(
        operation=operation,
        f=f,
        g=g,
        result=result,
        swapped=swapped,
        commutativity_error=_relative_difference(result, swapped),
        t=result.start,
        tau=tau,
        f_values=_read(f, tau),
        g_values=_read(g, tau),
        moved=np.zeros_like(tau),
        product=np.zeros_like(tau),
        integral=0.0,
    )
    return slide.at(_half_rise(result) if t is None else t)


def _time_axis(f: Sampled, g: Sampled) -> np.ndarray:
    """Steps from f.start that hold f, g, and every position of the moved copy that touches f."""
    g_first = round((g.start - f.start) / f.dt)
    first = min(1 - len(g), g_first)
    last = max(len(f) + len(g) - 2, g_first + len(g) - 1)
    return f.start + f.dt * np.arange(first, last + 1)


def _visible(signal: Sampled) -> tuple[float, float]:
    """The time before the first and the time after the last value above a thousandth of the peak."""
    magnitude = np.abs(signal.values)
    above = np.flatnonzero(magnitude > _VISIBLE * magnitude.max())
    first, last = (above[0], above[-1]) if len(above) else (0, len(signal) - 1)
    times = signal.times
    return float(times[max(first - 1, 0)]), float(times[min(last + 1, len(signal) - 1)])


def _read(signal: Sampled, times: np.ndarray) -> np.ndarray:
    """The values at times that lie on the signal's grid; zero outside its samples."""
    index = np.rint((times - signal.start) / signal.dt).astype(int)
    inside = (index >= 0) & (index < len(signal))
    return np.where(inside, signal.values[np.clip(index, 0, len(signal) - 1)], 0.0)


def _relative_difference(first: Sampled, second: Sampled) -> float:
    steps = round((max(first.stop, second.stop) - min(first.start, second.start)) / first.dt)
    times = min(first.start, second.start) + first.dt * np.arange(steps + 1)
    largest = float(np.max(np.abs(first.values)))
    difference = float(np.max(np.abs(_read(first, times) - _read(second, times))))
    return difference / largest if largest > 0 else difference


def _half_rise(result: Sampled) -> float:
    magnitude = np.abs(result.values)
    return float(result.times[np.argmax(magnitude >= magnitude.max() / 2)])


def _real(call: str, signal: Sampled) -> Sampled:
    values = signal.values.detach().cpu().numpy() if is_tensor(signal.values) else signal.values
    if np.iscomplexobj(values):
        raise UsageError(
            f"a signal of dtype {values.dtype} has two curves where the picture has one. "
            "Pass its real part, imaginary part or magnitude.",
            call=call,
        )
    return replace(signal, values=values.astype(np.float64))


def _check_grid(call: str, f: Sampled, g: Sampled) -> None:
    steps = (g.start - f.start) / f.dt
    if abs(steps - round(steps)) > 1e-6:
        raise UsageError(
            f"f starts at {f.start} and g at {g.start}, which is {steps:.6g} steps of dt={f.dt} apart; "
            "a whole number is needed to multiply sample by sample. Move one of the starts.",
            call=call,
        )
