"""Direct or FFT: what each costs, which is chosen, and what a choice may never change."""

import json
import time

import numpy as np
import pytest
import torch

from convscope.errors import UsageError
from convscope.signal import choose_method, convolve, correlate, method_cost
from convscope.signal.fourier import fast_length, integers_stay_exact
from convscope.signal.regions import Region, crop, mac_count

KINDS = [np.asarray, torch.from_numpy]


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("shapes", [((7,), (3,)), ((3,), (8,)), ((4, 5), (2, 3)), ((2, 2), (3, 5))])
def test_macs_are_the_products_that_the_definition_has(shapes, mode):
    # A convolution of ones has at each output the number of products that were summed.
    f, g = (np.ones(shape, int) for shape in shapes)
    assert method_cost(*shapes, mode).macs == convolve(f, g, mode).sum()


def test_macs_with_a_boundary_count_every_tap_of_every_output():
    assert method_cost((4, 5), (3, 2), "same", "wrap").macs == 4 * 5 * 3 * 2
    assert mac_count((3,), (2,), Region((-5,), (4,))) == 0


def test_both_signals_are_cut_to_the_samples_that_a_region_reads():
    # 3 outputs in the middle of 3 and 1001 samples: each reads 3 taps, together 5 of the 1001.
    f_slices, g_slices, inner, _ = crop((3,), (1001,), Region((500,), (3,)))
    assert (f_slices, g_slices) == ((slice(0, 3),), (slice(498, 503),))
    assert inner == Region((2,), (3,))


def test_transform_lengths_are_the_smallest_without_a_large_prime_factor():
    def smooth(n):
        for p in (2, 3, 5):
            while n % p == 0:
                n //= p
        return n == 1

    for size in (1, 2, 7, 11, 97, 121, 1000, 1025, 4097, 65537):
        assert fast_length(size) == next(n for n in range(size, 2 * size + 1) if smooth(n))


@pytest.mark.parametrize("kind", ["array", "tensor"])
@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "complex64", "complex128", "int8", "int64"]
)
def test_large_kernels_go_through_the_fft_and_a_few_taps_of_a_long_line_do_not(kind, dtype):
    for shape in ((20_000,), (256, 256), (40, 40, 40)):
        assert choose_method(shape, tuple(n // 2 for n in shape), kind=kind, dtype=dtype) == "fft"
    if not dtype.startswith("complex"):
        assert choose_method((20_000,), (3,), kind=kind, dtype=dtype) == "direct"


def test_the_choice_is_right_where_it_matters():
    rng = np.random.default_rng(0)
    for f_shape, g_shape in (((256, 256), (41, 41)), ((200_000,), (3,))):
        f, g = rng.standard_normal(f_shape), rng.standard_normal(g_shape)
        seconds = {}
        for method in ("direct", "fft"):
            start = time.perf_counter()
            convolve(f, g, method=method)
            seconds[method] = time.perf_counter() - start
        assert choose_method(f_shape, g_shape) == min(seconds, key=seconds.__getitem__)


def test_cost_is_plain_data_with_the_choice():
    cost = method_cost((64, 64), (9, 9), "same", dtype="float32")
    facts = json.loads(json.dumps(cost.to_dict()))
    assert facts["macs"] == cost.macs
    assert facts["method"] == cost.method == choose_method((64, 64), (9, 9), "same", dtype="float32")


def test_extended_precision_never_loses_its_digits_to_an_fft():
    f = np.ones(4000, np.longdouble) / 3
    assert choose_method(f.shape, f.shape, dtype=f.dtype.name) == "direct"


@pytest.mark.parametrize("to_kind", KINDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("shape", [(3000,), (80, 90)])
def test_auto_does_not_smear_a_value_that_is_not_finite(shape, bad, to_kind):
    f, g = np.ones(shape), np.ones(tuple(n // 2 for n in shape))
    kind = "array" if to_kind is np.asarray else "tensor"
    assert choose_method(f.shape, g.shape, kind=kind) == "fft"
    f[(0,) * f.ndim] = bad
    touched = np.zeros(np.add(f.shape, g.shape) - 1, bool)
    touched[tuple(slice(n) for n in g.shape)] = True
    for function, expected in ((convolve, touched), (correlate, touched)):
        actual = np.asarray(function(to_kind(f), to_kind(g)))
        np.testing.assert_array_equal(~np.isfinite(actual), expected)
        assert np.isnan(np.asarray(function(to_kind(f), to_kind(g), method="fft"))).all()


@pytest.mark.parametrize("to_kind", KINDS)
def test_an_infinite_tap_stays_inside_its_overlap(to_kind):
    f, g = np.ones((6, 6)), np.ones((2, 2))
    g[0, 0] = np.inf
    actual = np.asarray(convolve(to_kind(f), to_kind(g), method="direct"))
    assert np.isinf(actual[:6, :6]).all()
    assert np.isfinite(actual[6]).all()
    assert np.isfinite(actual[:, 6]).all()


@pytest.mark.parametrize("to_kind", KINDS)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64"])
def test_integers_are_exact_and_wrap_with_either_method(dtype, to_kind):
    rng = np.random.default_rng(0)
    f, g = (rng.integers(0, 120, shape).astype(dtype) for shape in ((90, 80), (41, 40)))
    expected = convolve(f.astype(object).astype(int), g.astype(int), method="direct").astype(dtype)
    for method in ("auto", "fft", "direct"):
        np.testing.assert_array_equal(np.asarray(convolve(to_kind(f), to_kind(g), method=method)), expected)


@pytest.mark.parametrize("to_kind", KINDS)
def test_integers_too_large_for_an_exact_fft_are_summed_directly_or_refused(to_kind):
    f = np.full(2000, 2**29 + 1)
    assert choose_method(f.shape, f.shape, dtype="int64") == "fft"
    expected = (2**29 + 1) ** 2 * 2000 % 2**64
    actual = int(convolve(to_kind(f), to_kind(f))[1999]) % 2**64
    assert actual == expected
    with pytest.raises(
        UsageError, match=r"^convolve: method='fft' cannot be certain to keep these integers exact: .*"
    ):
        convolve(to_kind(f), to_kind(f), method="fft")


def test_the_bound_for_exact_integers_holds_with_room_to_spare():
    rng = np.random.default_rng(0)
    for size, largest in ((1000, 2**16), (4374, 2**15), (10_000, 2**14)):
        f, g = rng.integers(-largest, largest, (2, size))
        shape = (fast_length(2 * size),)
        assert integers_stay_exact(float(np.linalg.norm(f)), float(np.linalg.norm(g)), shape)
        spectrum = np.fft.rfft(f, shape[0]) * np.fft.rfft(g, shape[0])
        error = np.abs(np.fft.irfft(spectrum, shape[0])[: 2 * size - 1] - np.convolve(f, g)).max()
        assert error < 0.05
