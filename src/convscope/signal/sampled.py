"""Continuous signals, known at equally spaced times."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from convscope.errors import ShapeError, UsageError
from convscope.signal.convolution import convolve, correlate
from convscope.signal.operands import is_tensor
from convscope.signal.regions import output_region

__all__ = ["Sampled"]


@dataclass(frozen=True, eq=False)
class Sampled:
    """Hold a continuous signal by its values at the times start, start + dt, start + 2 dt, ...

    The signal is zero outside its samples. The methods approximate the integrals of the continuous operations
    by sums times `dt` and keep track of the times: where a signal jumps, the error falls as dt; where it has
    kinks only, as dt^2; for smooth signals faster than any power of dt.

    Args:
        values: one axis; an array, or a tensor, which keeps its gradients.
        dt: the time step, larger than 0.
        start: the time of the first value.
    Raises:
        ShapeError: the values have no axis, more than one, or no entry.
        UsageError: dt or start is not a finite number, or dt is not positive.
    Example:
        >>> box = Sampled([1.0, 1.0], dt=0.5, start=-0.25)
        >>> box.times
        array([-0.25,  0.25])
        >>> twice = box.convolve(box)
        >>> twice.values, twice.start
        (array([0.5, 1. , 0.5]), -0.5)
    """

    values: Any
    dt: float
    start: float = 0.0

    def __post_init__(self) -> None:
        values = self.values if is_tensor(self.values) else np.asarray(self.values)
        if values.ndim != 1 or values.shape[0] == 0:
            raise ShapeError(
                f"values have shape {tuple(values.shape)}, but a sampled signal has one axis "
                "with at least one value. Pass a 1-D array or tensor.",
                call="Sampled",
            )
        if not (math.isfinite(self.dt) and self.dt > 0 and math.isfinite(self.start)):
            raise UsageError(
                f"dt={self.dt} and start={self.start}: both must be finite and dt larger than 0. "
                "Give dt as the time between two samples.",
                call="Sampled",
            )
        object.__setattr__(self, "values", values)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def times(self) -> np.ndarray:
        """The time of each value."""
        return self.start + self.dt * np.arange(len(self))

    @property
    def stop(self) -> float:
        """The time of the last value."""
        return self.start + self.dt * (len(self) - 1)

    def convolve(self, other: Sampled, mode: str = "full", method: str = "auto") -> Sampled:
        """Approximate h(t) = integral f(tau) g(t - tau) dtau for this f and another g.

        Raises:
            UsageError: the two time steps differ.
        """
        self._check_step("convolve", other)
        values = convolve(self.values, other.values, mode, method=method) * self.dt
        return Sampled(
            values, self.dt, self.start + other.start + self.dt * self._skipped("convolve", other, mode)
        )

    def correlate(self, other: Sampled, mode: str = "full", method: str = "auto") -> Sampled:
        """Approximate h(t) = integral f(tau) conj(g(tau - t)) dtau for this f and another g.

        `h` is large at the shift t that brings g onto f. In the notation f ⋆ g (t) = integral f(tau) g(t + tau) dtau
        this is g ⋆ f.

        Raises:
            UsageError: the two time steps differ.
        """
        self._check_step("correlate", other)
        values = correlate(self.values, other.values, mode, method=method) * self.dt
        return Sampled(
            values, self.dt, self.start - other.stop + self.dt * self._skipped("correlate", other, mode)
        )

    def autocorrelate(self, mode: str = "full", method: str = "auto") -> Sampled:
        """Approximate h(t) = integral f(tau) conj(f(tau - t)) dtau: the energy at t = 0, symmetric about it."""
        return self.correlate(self, mode, method)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain numbers and lists; a complex value becomes a (real, imaginary) pair."""
        values = self.values.detach().cpu().numpy() if is_tensor(self.values) else self.values
        if np.iscomplexobj(values):
            values = np.stack([values.real, values.imag], axis=-1)
        return {"values": values.tolist(), "dt": self.dt, "start": self.start}

    def _skipped(self, call: str, other: Sampled, mode: str) -> int:
        return output_region(call, (len(self),), (len(other),), mode).start[0]

    def _check_step(self, call: str, other: Sampled) -> None:
        if not math.isclose(self.dt, other.dt, rel_tol=1e-9):
            raise UsageError(
                f"f has time step dt={self.dt} and g dt={other.dt}, but both must be sampled alike. "
                "Sample one of them again with the other's dt.",
                call=call,
            )
