"""The sum of the definition, written as a slow loop, against both kinds, both methods and every boundary."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.signal import convolve, correlate


def sample(f, position, boundary, fillvalue):
    """f at any position, by walking back into the array one period or reflection at a time."""
    inside = []
    for i, n in zip(position, f.shape, strict=True):
        if boundary == "fill" and not 0 <= i < n:
            return fillvalue
        while not 0 <= i < n:
            if boundary == "wrap":
                i += n if i < 0 else -n
            else:
                i = -1 - i if i < 0 else 2 * n - 1 - i
        inside.append(i)
    return f[tuple(inside)]


def convolve_by_loop(f, g, boundary="fill", fillvalue=0):
    out = np.zeros([n + m - 1 for n, m in zip(f.shape, g.shape, strict=True)], complex)
    for k in np.ndindex(out.shape):
        for j in np.ndindex(g.shape):
            position = tuple(a - b for a, b in zip(k, j, strict=True))
            out[k] += g[j] * sample(f, position, boundary, fillvalue)
    return out


@pytest.mark.parametrize("boundary", ["fill", "wrap", "symm"])
@pytest.mark.parametrize(
    "shapes", [((4,), (3,)), ((2,), (7,)), ((3, 4), (2, 3)), ((2, 3), (5, 4)), ((2, 3, 2), (3, 2, 4))]
)
def test_both_kinds_and_methods_equal_the_sum_of_the_definition(shapes, boundary):
    rng = np.random.default_rng(1)
    f, g = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape) for shape in shapes)
    fillvalue = 1.5 - 2j if boundary == "fill" else 0
    expected = convolve_by_loop(f, g, boundary, fillvalue)
    expected_correlation = convolve_by_loop(f, np.flip(g).conj(), boundary, fillvalue)
    for method, to_kind in itertools.product(("direct", "fft", "auto"), (np.asarray, torch.from_numpy)):
        arguments = {"boundary": boundary, "fillvalue": fillvalue, "method": method}
        actual = np.asarray(convolve(to_kind(f), to_kind(g), **arguments))
        np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-12)
        actual = np.asarray(correlate(to_kind(f), to_kind(g), **arguments))
        np.testing.assert_allclose(actual, expected_correlation, rtol=1e-11, atol=1e-12)


def test_a_convolution_worked_on_paper():
    # 1 2 3 flipped over 4 5: 1*4, 1*5 + 2*4, 2*5 + 3*4, 3*5
    np.testing.assert_array_equal(convolve([1, 2, 3], [4, 5]), [4, 13, 22, 15])
    # not flipped, lags -1 .. 2: 1*5, 1*4 + 2*5, 2*4 + 3*5, 3*4
    np.testing.assert_array_equal(correlate([1, 2, 3], [4, 5]), [5, 14, 23, 12])


sizes = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    sizes, st.sampled_from(["full", "same"]), st.sampled_from(["fill", "wrap", "symm"]), st.integers(0, 99)
)
def test_convolution_is_linear_commutes_and_correlation_reverses_when_swapped(axes, mode, boundary, seed):
    rng = np.random.default_rng(seed)
    f_shape, g_shape = zip(*axes, strict=True)
    f, f2, g = rng.standard_normal(f_shape), rng.standard_normal(f_shape), rng.standard_normal(g_shape)
    together = convolve(2 * f - f2, g, mode, boundary)
    apart = 2 * convolve(f, g, mode, boundary) - convolve(f2, g, mode, boundary)
    np.testing.assert_allclose(together, apart, atol=1e-11)
    np.testing.assert_allclose(convolve(f, g), convolve(g, f), atol=1e-12)
    np.testing.assert_allclose(correlate(f, g), np.flip(correlate(g, f)), atol=1e-12)
    np.testing.assert_allclose(
        convolve(f, g, mode, boundary, method="fft"),
        convolve(f, g, mode, boundary, method="direct"),
        atol=1e-11,
    )
