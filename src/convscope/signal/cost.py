"""Predicted seconds of the direct and of the FFT method, and the cheaper of the two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from convscope.errors import ShapeError
from convscope.signal.fourier import transform_shape
from convscope.signal.regions import (
    BOUNDARIES,
    Region,
    Shape,
    check_name,
    extension,
    mac_count,
    output_region,
)

__all__ = [
    "KINDS",
    "RATES",
    "MethodCost",
    "choose_method",
    "direct_terms",
    "fft_terms",
    "method_cost",
    "region_cost",
]

KINDS = ("array", "tensor")

_DTYPES = {
    **dict.fromkeys(("float16", "bfloat16", "float32"), "float32"),
    **dict.fromkeys(("int8", "uint8", "int16", "uint16"), "int8"),
    **dict.fromkeys(("bool", "int32", "uint32", "int64", "uint64"), "int64"),
    "float64": "float64",
    "complex64": "complex64",
    "complex128": "complex128",
    **dict.fromkeys(("longdouble", "float96", "float128"), "longdouble"),
    **dict.fromkeys(("clongdouble", "complex192", "complex256"), "clongdouble"),
}

_UNROLLED_TAPS = 11  # up to here np.convolve runs float loops without a call per output

# Seconds: per direct call, per step of its loop, per multiply-add; per FFT call, per point times log2(points).
# Fitted by benchmarks/signal_methods.py on an Intel Xeon of family 6, model 207 (Emerald Rapids) with
# 2 cores, numpy 2.4.6, torch 2.13.0, 2 threads. Only their ratios matter for the choice.
RATES: dict[tuple[str, str, str], tuple[float, ...]] = {
    ("array", "1-D", "float32"): (4.7e-06, 1.8e-08, 6.7e-11, 3.4e-05, 2.3e-09),
    ("array", "N-D", "float32"): (1.1e-05, 5.2e-06, 1e-09, 5e-05, 1.1e-09),
    ("array", "1-D", "float64"): (3.4e-06, 6.2e-09, 1.2e-10, 2.1e-05, 1.7e-09),
    ("array", "N-D", "float64"): (1.1e-05, 5e-06, 1.9e-09, 4.4e-05, 1.2e-09),
    ("array", "1-D", "complex64"): (5.7e-06, 2.1e-08, 2e-10, 4.3e-05, 4.5e-09),
    ("array", "N-D", "complex64"): (1e-05, 5e-06, 2e-09, 4.8e-05, 2.2e-09),
    ("array", "1-D", "complex128"): (3.1e-06, 2.1e-08, 2.5e-10, 2.3e-05, 2.9e-09),
    ("array", "N-D", "complex128"): (1.2e-05, 4.5e-06, 4.2e-09, 4e-05, 2.6e-09),
    ("array", "1-D", "int8"): (5.9e-06, 1.5e-09, 8e-10, 3.9e-05, 2.7e-09),
    ("array", "N-D", "int8"): (1.9e-05, 9.8e-06, 2.5e-10, 8.7e-05, 1.9e-09),
    ("array", "1-D", "int64"): (3.1e-06, 2e-09, 4.6e-10, 2.4e-05, 1.9e-09),
    ("array", "N-D", "int64"): (2.3e-05, 8.2e-06, 2e-09, 8.5e-05, 1.6e-09),
    ("tensor", "1-D", "float32"): (1e-05, 1.6e-08, 5.5e-11, 3.6e-05, 2e-09),
    ("tensor", "N-D", "float32"): (1.4e-05, 1.3e-05, 1.6e-10, 8.1e-05, 3.8e-10),
    ("tensor", "1-D", "float64"): (1.3e-05, 1.2e-08, 1.4e-10, 4.3e-05, 2.6e-09),
    ("tensor", "N-D", "float64"): (1.5e-05, 1.5e-05, 3.9e-10, 7.5e-05, 7e-10),
    ("tensor", "1-D", "complex64"): (8.1e-06, 1.6e-08, 2e-10, 3.5e-05, 8.3e-10),
    ("tensor", "N-D", "complex64"): (3.2e-05, 1.4e-05, 5.5e-10, 6.5e-05, 5e-10),
    ("tensor", "1-D", "complex128"): (1.5e-05, 2.7e-08, 4.1e-10, 5.5e-05, 1.9e-09),
    ("tensor", "N-D", "complex128"): (3.1e-06, 1.1e-05, 8.4e-10, 4.5e-05, 8.7e-10),
    ("tensor", "1-D", "int8"): (1.2e-05, 1.6e-09, 5e-10, 6.3e-05, 2.2e-09),
    ("tensor", "N-D", "int8"): (3.4e-05, 1.5e-05, 5.7e-11, 0.00012, 6.5e-10),
    ("tensor", "1-D", "int64"): (1.2e-05, 3e-09, 7.4e-10, 6.3e-05, 2.4e-09),
    ("tensor", "N-D", "int64"): (2.6e-05, 1.5e-05, 9.1e-10, 9.8e-05, 6.7e-10),
}


@dataclass(frozen=True)
class MethodCost:
    """What the two methods cost for one pair of shapes.

    `macs` counts the multiply-adds of the direct method exactly, `fft_points` the points of one transform of the
    FFT method; the seconds are predictions from rates measured on one CPU (see `benchmarks/signal_methods.py`).
    """

    macs: int
    fft_points: int
    direct_seconds: float
    fft_seconds: float

    @property
    def method(self) -> str:
        """The method predicted to be faster: 'direct' or 'fft'."""
        return "fft" if self.fft_seconds < self.direct_seconds else "direct"

    def to_dict(self) -> dict[str, Any]:
        """Return the cost as plain values for JSON."""
        return {**asdict(self), "method": self.method}


def method_cost(
    f_shape: Sequence[int],
    g_shape: Sequence[int],
    mode: str = "full",
    boundary: str = "fill",
    *,
    kind: str = "array",
    dtype: str = "float64",
) -> MethodCost:
    """Predict what the direct and the FFT method cost, without computing anything.

    Args:
        mode, boundary: as in `convolve`.
        kind: 'array' (NumPy) or 'tensor' (torch); their loops and FFTs run at different rates.
        dtype: the common dtype of the signals, by its NumPy or torch name.
    Raises:
        ShapeError: the shapes have different numbers of axes, an empty axis, or do not fit mode='valid'.
        UnknownNameError: a word that is not known.
    Example:
        >>> cost = method_cost((512, 512), (15, 15), mode="same")
        >>> cost.macs, cost.fft_points
        (58125376, 291600)
    """
    f_shape, g_shape = tuple(f_shape), tuple(g_shape)
    check_name("method_cost", "boundary", boundary, BOUNDARIES)
    check_name("method_cost", "kind", kind, KINDS)
    check_name("method_cost", "dtype", dtype, tuple(_DTYPES))
    if len(f_shape) != len(g_shape) or min(*f_shape, *g_shape, 1) < 1:
        raise ShapeError(
            f"shapes {f_shape} and {g_shape} cannot be convolved: "
            "give both the same number of axes, each of size 1 or more.",
            call="method_cost",
        )
    region = output_region("method_cost", f_shape, g_shape, mode)
    if boundary != "fill" and mode != "valid":
        needed, region = extension(region, g_shape)
        f_shape = tuple(len(axis) for axis in needed)
    return region_cost(f_shape, g_shape, region, kind=kind, dtype=dtype)


def choose_method(
    f_shape: Sequence[int],
    g_shape: Sequence[int],
    mode: str = "full",
    boundary: str = "fill",
    *,
    kind: str = "array",
    dtype: str = "float64",
) -> str:
    """Name the method that method='auto' takes for finite signals of these shapes: 'direct' or 'fft'.

    The arguments and errors are those of `method_cost`. Two things can still turn 'fft' into 'direct' once
    the values are known: a value that is not finite, and integers that an FFT might round wrongly.

    Example:
        >>> choose_method((512, 512), (3, 3)), choose_method((512, 512), (101, 101))
        ('direct', 'fft')
    """
    return method_cost(f_shape, g_shape, mode, boundary, kind=kind, dtype=dtype).method


def region_cost(f_shape: Shape, g_shape: Shape, region: Region, *, kind: str, dtype: str) -> MethodCost:
    """Predict the cost of one region of outputs, both signals being cropped to it."""
    dtype = _DTYPES[dtype]
    steps, macs = direct_terms(f_shape, g_shape, region, dtype)
    points, point_steps = fft_terms(f_shape, g_shape, region)
    if dtype.endswith("longdouble"):  # no FFT keeps its digits everywhere
        return MethodCost(macs, points, 0.0, math.inf)
    call, step, mac, fft_call, fft_point = RATES[kind, "1-D" if len(f_shape) <= 1 else "N-D", dtype]
    return MethodCost(macs, points, call + step * steps + mac * macs, fft_call + fft_point * point_steps)


def direct_terms(f_shape: Shape, g_shape: Shape, region: Region, dtype: str) -> tuple[int, int]:
    """Steps of the direct method's outer loop, and its multiply-adds."""
    outputs, taps = math.prod(region.size), min(math.prod(f_shape), math.prod(g_shape))
    if len(f_shape) > 1:
        steps = min(outputs, taps)
    elif taps <= _UNROLLED_TAPS and dtype in ("float32", "float64"):
        steps = 0
    else:
        steps = outputs
    return steps, mac_count(f_shape, g_shape, region)


def fft_terms(f_shape: Shape, g_shape: Shape, region: Region) -> tuple[int, float]:
    """Points of one transform, and points times log2(points)."""
    points = math.prod(transform_shape(f_shape, g_shape, region))
    return points, points * math.log2(max(points, 2))
