"""Transform lengths of the FFT method, and when it provably keeps integers exact."""

from __future__ import annotations

import math
from functools import lru_cache

from convscope.signal.regions import Region, Shape

__all__ = ["fast_length", "integers_stay_exact", "transform_shape"]


@lru_cache(maxsize=1024)
def fast_length(size: int) -> int:
    """The smallest 2^a 3^b 5^c that is at least `size`; FFTs of such lengths have no slow prime factor."""
    best = 1 << max(size - 1, 0).bit_length()
    fives = 1
    while fives < best:
        odd = fives
        while odd < best:
            missing = -(-size // odd)
            best = min(best, odd << max(missing - 1, 0).bit_length())
            odd *= 3
        fives *= 5
    return best


def transform_shape(f_shape: Shape, g_shape: Shape, region: Region) -> Shape:
    """Transform lengths that keep the wanted outputs free of wrap-around; the others may overlap.

    A circular convolution of length L adds output k+L to output k. Over start .. stop-1 that adds nothing
    as soon as L >= stop and start + L >= N+M-1; L must also hold each signal.
    """
    return tuple(
        fast_length(max(n, m, start + size, n + m - 1 - start))
        for n, m, start, size in zip(f_shape, g_shape, region.start, region.size, strict=True)
    )


def integers_stay_exact(f_norm: float, g_norm: float, shape: Shape) -> bool:
    """Whether a float64 FFT convolution of integers is certain to round to the right integers.

    The largest error of an FFT convolution of length 2^n is below |f| |g| eps (12.7 n + 2.3), with |.| the
    Euclidean norm and eps = 2^-53 (C. Percival, Math. Comp. 72, 2003, theorem 5.1, to first order in eps). Five
    times that covers radices 3 and 5; a quarter instead of a half leaves room for rounding the bound itself.
    """
    return f_norm * g_norm * 2.0**-53 * (64 * math.log2(max(math.prod(shape), 2)) + 16) < 0.25
