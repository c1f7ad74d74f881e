"""Measure the direct and the FFT method of `convscope.signal`, and fit the rates that `signal/cost.py` predicts from.

    python benchmarks/signal_methods.py            measure, fit, print the table of cost.py and what they cost us
    python benchmarks/signal_methods.py --check    measure, and judge the rates that cost.py has now

For every kind, dtype and shape both methods are timed (best of `REPEATS`), the rates are fitted to the relative
error by non-negative least squares, and the report says how often the prediction picks the slower method and how
much time that loses. Then it prints, for square kernels on a square image and for 1-D signals, the kernel size
from which the FFT is faster, measured and predicted.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import torch

from convscope.signal import cost
from convscope.signal.arrays import ArrayEngine
from convscope.signal.fourier import transform_shape
from convscope.signal.regions import Region, Shape, output_region
from convscope.signal.tensors import TensorEngine

REPEATS = 3
MAX_MACS = 4e8
ENGINES = {"array": ArrayEngine("benchmark"), "tensor": TensorEngine("benchmark")}
DTYPES = ("float32", "float64", "complex64", "complex128", "int8", "int64")
SHAPES: list[tuple[Shape, Shape]] = [
    *[
        ((n,), (m,))
        for n in (30, 300, 3000, 30_000, 300_000)
        for m in (3, 10, 20, 40, 100, 300, 1000, 3000)
        if m <= n
    ],
    *[((n, n), (m, m)) for n in (16, 64, 200, 512, 1024) for m in (2, 3, 5, 9, 15, 31, 63) if m <= n],
    *[((n, n, n), (m, m, m)) for n in (8, 24, 64) for m in (2, 3, 5, 9) if m <= n],
]


@dataclass(frozen=True)
class Timing:
    kind: str
    dtype: str
    f_shape: Shape
    g_shape: Shape
    region: Region
    direct: float
    fft: float

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, "1-D" if len(self.f_shape) == 1 else "N-D", self.dtype


def best_seconds(call: Callable[[], object]) -> float:
    call()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        count = 0
        while count == 0 or time.perf_counter() - start < 2e-4:
            call()
            count += 1
        seconds.append((time.perf_counter() - start) / count)
    return min(seconds)


def measure(kind: str, dtype: str, f_shape: Shape, g_shape: Shape, mode: str) -> Timing | None:
    region = output_region("benchmark", f_shape, g_shape, mode)
    if cost.direct_terms(f_shape, g_shape, region, dtype)[1] > MAX_MACS:
        return None
    rng = np.random.default_rng(0)
    f, g = (rng.uniform(-5, 5, shape).astype(dtype) for shape in (f_shape, g_shape))
    if kind == "tensor":
        f, g = torch.from_numpy(f), torch.from_numpy(g)
    engine = ENGINES[kind]
    shape = transform_shape(f_shape, g_shape, region)
    return Timing(
        kind, dtype, f_shape, g_shape, region,
        best_seconds(lambda: engine.direct(f, g, region)),
        best_seconds(lambda: engine.fft(f, g, region, shape)),
    )  # fmt: skip


def fit(rows: list[list[float]], seconds: list[float]) -> list[float]:
    """Non-negative rates with the least squared relative error."""
    weights = 1 / np.array(seconds)
    rates, _ = scipy.optimize.nnls(np.array(rows) * weights[:, None], np.ones(len(seconds)))
    return [float(f"{rate:.2g}") for rate in rates]


def fit_rates(timings: list[Timing]) -> dict[tuple[str, str, str], tuple[float, ...]]:
    rates = {}
    for key in dict.fromkeys(t.key for t in timings):
        group = [t for t in timings if t.key == key]
        direct = [[1.0, *cost.direct_terms(t.f_shape, t.g_shape, t.region, t.dtype)] for t in group]
        fft = [[1.0, cost.fft_terms(t.f_shape, t.g_shape, t.region)[1]] for t in group]
        rates[key] = (*fit(direct, [t.direct for t in group]), *fit(fft, [t.fft for t in group]))
    return rates


def report_choices(timings: list[Timing]) -> None:
    print("\nkind, axes, dtype     wrong choices   time lost to them   worst ratio")
    for key in dict.fromkeys(t.key for t in timings):
        group = [t for t in timings if t.key == key]
        chosen, best = [], []
        for t in group:
            predicted = cost.region_cost(t.f_shape, t.g_shape, t.region, kind=t.kind, dtype=t.dtype)
            chosen.append(t.fft if predicted.method == "fft" else t.direct)
            best.append(min(t.fft, t.direct))
        wrong = sum(c > b for c, b in zip(chosen, best, strict=True))
        lost = sum(chosen) / sum(best) - 1
        worst, at = max(
            (c / b, f"{t.f_shape} and {t.g_shape}") for c, b, t in zip(chosen, best, group, strict=True)
        )
        print(f"{' '.join(key):20} {wrong:4} of {len(group):3} {lost:18.1%} {worst:10.2f} at {at}")


def report_crossovers() -> None:
    print(
        "\nkernel size from which the FFT is faster (mode='same')\nkind    dtype     signal        measured  predicted"
    )
    for kind in ENGINES:
        for dtype in ("float32", "float64"):
            for f_shape in ((1000,), (100_000,), (64, 64), (512, 512)):
                print(f"{kind:7} {dtype:9} {f_shape!s:12} {_crossover(kind, dtype, f_shape)}")


def _crossover(kind: str, dtype: str, f_shape: Shape) -> str:
    measured = predicted = math.inf
    size, limit = 2.0, min(f_shape)
    while size <= limit and math.inf in (measured, predicted):
        m = int(size)
        timing = measure(kind, dtype, f_shape, (m,) * len(f_shape), "same")
        if timing is None:
            break
        if timing.fft < timing.direct:
            measured = min(measured, m)
        if cost.choose_method(f_shape, timing.g_shape, "same", kind=kind, dtype=dtype) == "fft":
            predicted = min(predicted, m)
        size = max(size + 1, size * 1.15)
    return f"{measured:10} {predicted:10}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the direct and the FFT method of convscope.signal")
    parser.add_argument(
        "--check", action="store_true", help="judge the rates in cost.py instead of fitting new ones"
    )
    check = parser.parse_args().check
    torch.set_grad_enabled(False)
    print(
        f"{_cpu_name()}, {torch.get_num_threads()} threads, numpy {np.__version__}, torch {torch.__version__}"
    )
    timings = [
        timing
        for kind in ENGINES
        for dtype in DTYPES
        for f_shape, g_shape in SHAPES
        if (timing := measure(kind, dtype, f_shape, g_shape, "full")) is not None
    ]
    if not check:
        rates = fit_rates(timings)
        for key, row in rates.items():
            print(f"    {key!r}: {row},".replace("'", '"'))
        cost.RATES.update(rates)
    report_choices(timings)
    report_crossovers()


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as info:
            lines = dict(line.split(":", 1) for line in info if ":" in line)
    except OSError:
        return platform.processor()
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    family = " ".join(f"{key} {fields[key]}" for key in ("cpu family", "model", "stepping") if key in fields)
    return f"{fields.get('model name', platform.machine())} ({family})"


if __name__ == "__main__":
    main()
