"""Signals and their three operations by name, for people who type them."""

from __future__ import annotations

from convscope.errors import UnknownNameError, UsageError
from convscope.signal.sampled import Sampled
from convscope.signal.slide import Slide, slide_autocorrelation, slide_convolution, slide_cross_correlation
from convscope.signal.waveforms import exponential_decay, gaussian, ramp, rect, triangle

_SHORTEST_STEP = 1e-4
_LARGEST = 1e100  # so that no sum of products overflows

__all__ = ["WAVEFORMS", "named_signals", "slide_all"]

WAVEFORMS = {
    "rect": rect,
    "triangle": triangle,
    "ramp": ramp,
    "exponential_decay": exponential_decay,
    "gaussian": gaussian,
}


def named_signals(*texts: str, dt: float = 0.01) -> tuple[Sampled, ...]:
    """Read signals, each the name of a waveform or samples such as `1,2,0.5`.

    Waveforms are sampled every `dt`; samples lie `dt` apart as soon as a waveform stands beside them, and one
    time unit apart otherwise.

    Raises:
        UnknownNameError: neither a waveform's name nor numbers.
    Example:
        >>> [(len(signal), signal.dt) for signal in named_signals("1,2,3", "0.5")]
        [(3, 1.0), (1, 1.0)]
    """
    step = dt if any(text in WAVEFORMS for text in texts) else 1.0
    if step < _SHORTEST_STEP and dt > 0:
        raise UsageError(
            f"dt is {dt:g}; with a step below {_SHORTEST_STEP:g} a waveform has more samples than a picture or a "
            "page of numbers can hold. Use `convolve` on arrays for long signals.",
            call="signal",
        )
    return tuple(WAVEFORMS[text](dt=dt) if text in WAVEFORMS else _samples(text, step) for text in texts)


def _samples(text: str, dt: float) -> Sampled:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise UnknownNameError("signal", text, WAVEFORMS, call="signal") from None
    if not all(abs(value) < _LARGEST for value in values):
        raise UsageError(f"samples {text!r} must be finite numbers below {_LARGEST:g}.", call="signal")
    return Sampled(values, dt=dt)


def slide_all(f: Sampled, g: Sampled, t: float | None = None) -> tuple[Slide, Slide, Slide]:
    """Return convolution and cross-correlation of f and g and the autocorrelation of f, stopped at the shift t.

    Example:
        >>> [slide.commutes for slide in slide_all(*named_signals("1,2", "0,1,3"))]
        [True, False, True]
    """
    return slide_convolution(f, g, t), slide_cross_correlation(f, g, t), slide_autocorrelation(f, t)
