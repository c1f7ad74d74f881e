"""The same values as NumPy and SciPy, over modes, dtypes, shapes and boundaries."""

import numpy as np
import pytest
import scipy.signal
import torch

from convscope.signal import autocorrelate, convolve, correlate

MODES = ("full", "same", "valid")
SHAPES = [
    ((7,), (3,)),
    ((3,), (7,)),  # swapped sizes
    ((6,), (4,)),  # even kernel
    ((5,), (5,)),
    ((1,), (4,)),
    ((40,), (17,)),
    ((6, 9), (3, 2)),
    ((3, 2), (6, 9)),
    ((5, 4), (5, 4)),
    ((12, 11), (9, 10)),  # fewer outputs than taps in 'valid'
    ((4, 5, 6), (2, 3, 4)),
    ((2, 3, 4), (4, 5, 6)),
    ((3, 2, 2, 3), (2, 2, 1, 3)),
]
DTYPES = (
    "bool",
    "uint8",
    "int16",
    "int64",
    "float16",
    "float32",
    "float64",
    "longdouble",
    "complex64",
    "complex128",
)
TOLERANCE = {"float16": 4e-3, "float32": 2e-6, "complex64": 2e-6}


def signals(dtype, *shapes, seed=0):
    rng = np.random.default_rng(seed)
    made = []
    for shape in shapes:
        values = rng.uniform(-4, 4, shape)
        if dtype.startswith("complex"):
            values = values + 1j * rng.uniform(-4, 4, shape)
        made.append((values > 1) if dtype == "bool" else values.astype("int64" if "int" in dtype else dtype))
    return [signal.astype(dtype) for signal in made]


def assert_same(actual, expected, dtype, scale=0.0):
    """Exactly for integers and booleans; else within the rounding of sums of the size `scale`."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    if expected.dtype.kind in "biu":
        np.testing.assert_array_equal(actual, expected)
    else:
        np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE.get(dtype, 1e-14) * scale)


def norms(f, g):
    return float(np.linalg.norm(f.astype(complex)) * np.linalg.norm(g.astype(complex)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", ["auto", "direct", "fft"])
@pytest.mark.parametrize("name", ["convolve", "correlate"])
def test_scipy_gives_the_same_for_every_mode_and_shape(name, method, dtype):
    ours, theirs = {
        "convolve": (convolve, scipy.signal.convolve),
        "correlate": (correlate, scipy.signal.correlate),
    }[name]
    for shapes in SHAPES:
        for mode in MODES:
            f, g = signals(dtype, *shapes)
            if dtype in ("bool", "float16", "longdouble"):  # SciPy's own loop lacks them
                expected = theirs(f.astype(float), g.astype(float), mode, method="direct")
                expected = (expected != 0) if dtype == "bool" else expected.astype(dtype)
            else:
                expected = theirs(f, g, mode, method="direct")
            assert_same(ours(f, g, mode, method=method), expected, dtype, norms(f, g))


@pytest.mark.parametrize("mode", MODES)
def test_numpy_gives_the_same_in_one_axis(mode):
    f, g = signals("complex128", (9,), (4,))
    np.testing.assert_allclose(convolve(f, g, mode), np.convolve(f, g, mode), rtol=1e-13)
    if mode != "same":  # NumPy's 'same' correlation is cut one sample later
        np.testing.assert_allclose(correlate(f, g, mode), np.correlate(f, g, mode), rtol=1e-13)


BOUNDARY_SHAPES = [
    ((5, 6), (3, 4)),
    ((4, 4), (2, 2)),
    ((2, 3), (7, 9)),  # the kernel reaches over several periods or reflections
    ((1, 2), (6, 5)),
    ((5, 1), (2, 12)),
    ((6, 5), (6, 5)),
]


@pytest.mark.parametrize("boundary", ["fill", "wrap", "symm"])
@pytest.mark.parametrize("method", ["direct", "fft"])
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64", "complex128"])
def test_scipy_gives_the_same_with_every_boundary(dtype, method, boundary):
    fillvalue = 3 if boundary == "fill" else 0
    for shapes in BOUNDARY_SHAPES:
        f, g = signals(dtype, *shapes)
        scale = norms(f, g) + 3 * np.abs(g).sum()
        for mode in ("full", "same"):
            expected = scipy.signal.convolve2d(f, g, mode, boundary, fillvalue)
            assert_same(convolve(f, g, mode, boundary, fillvalue, method), expected, dtype, scale)
        expected = scipy.signal.correlate2d(f, g, "full", boundary, fillvalue)
        assert_same(correlate(f, g, "full", boundary, fillvalue, method), expected, dtype, scale)


@pytest.mark.parametrize("boundary", ["fill", "wrap", "symm"])
def test_a_boundary_is_never_read_in_valid_mode(boundary):
    for shapes in (((5, 6), (3, 4)), ((2, 3), (7, 9)), ((6, 5), (6, 5))):
        f, g = signals("float64", *shapes)
        expected = scipy.signal.convolve2d(f, g, "valid", boundary)
        assert_same(convolve(f, g, "valid", boundary), expected, "float64", norms(f, g))
        expected = scipy.signal.correlate2d(f, g, "valid", boundary)
        assert_same(correlate(f, g, "valid", boundary), expected, "float64", norms(f, g))


@pytest.mark.parametrize("boundary", ["fill", "wrap", "symm"])
@pytest.mark.parametrize("kernel", [(3, 5), (4, 2), (3, 6)])
def test_same_correlation_is_cut_as_in_correlate_and_not_one_later_as_in_correlate2d(kernel, boundary):
    f, g = signals("float64", (6, 7), kernel)
    ours = correlate(f, g, "same", boundary)
    full = correlate(f, g, "full", boundary)
    start = [(size - 1) // 2 for size in kernel]
    np.testing.assert_allclose(ours, full[start[0] : start[0] + 6, start[1] : start[1] + 7], rtol=1e-13)
    if boundary == "fill":
        np.testing.assert_allclose(ours, scipy.signal.correlate(f, g, "same", method="direct"), rtol=1e-12)
    later = tuple(slice(size // 2, size // 2 + n) for size, n in zip(kernel, (6, 7), strict=True))
    np.testing.assert_allclose(full[later], scipy.signal.correlate2d(f, g, "same", boundary), rtol=1e-12)


@pytest.mark.parametrize(
    "pair", [("int32", "float32"), ("float32", "float64"), ("bool", "int8"), ("float32", "complex64")]
)
def test_mixed_dtypes_promote_as_in_numpy_and_torch(pair):
    (f,), (g,) = signals(pair[0], (5,)), signals(pair[1], (3,))
    assert convolve(f, g).dtype == np.result_type(f, g)
    tensors = torch.from_numpy(f), torch.from_numpy(g)
    assert convolve(*tensors).dtype == torch.promote_types(tensors[0].dtype, tensors[1].dtype)


def test_lists_and_single_numbers_are_read_as_scipy_reads_them():
    assert convolve(2, 3) == scipy.signal.convolve(2, 3) == 6
    assert correlate(2j, 3j) == scipy.signal.correlate(2j, 3j) == 6
    np.testing.assert_array_equal(convolve([[1, 2]], [[1.5]]), scipy.signal.convolve([[1, 2]], [[1.5]]))
    assert convolve(torch.tensor(2.0), torch.tensor(3.0)) == 6


@pytest.mark.parametrize("function", [convolve, correlate])
@pytest.mark.parametrize("shapes", [((0,), (2,)), ((2,), (0,)), ((0, 3), (2, 2)), ((2, 2), (0, 3))])
@pytest.mark.parametrize("mode", MODES)
def test_empty_signals_are_refused_and_accepted_as_in_scipy(mode, shapes, function):
    theirs = {convolve: scipy.signal.convolve, correlate: scipy.signal.correlate}[function]
    f, g = (np.ones(shape, np.float32) for shape in shapes)
    try:
        expected = theirs(f, g, mode, method="direct")
    except ValueError:
        with pytest.raises(ValueError):
            function(f, g, mode)
        with pytest.raises(ValueError):
            function(torch.from_numpy(f), torch.from_numpy(g), mode)
        return
    assert_same(function(f, g, mode), expected, "float32")
    assert function(torch.from_numpy(f), torch.from_numpy(g), mode).shape == expected.shape


def test_autocorrelation_is_the_correlation_with_itself():
    (f,) = signals("complex128", (6,))
    np.testing.assert_array_equal(autocorrelate(f), correlate(f, f))
    np.testing.assert_allclose(autocorrelate(f)[5], np.sum(np.abs(f) ** 2), rtol=1e-14)
    np.testing.assert_allclose(autocorrelate(f), autocorrelate(f)[::-1].conj(), rtol=1e-13)
    np.testing.assert_allclose(autocorrelate(f, "same", "wrap"), correlate(f, f, "same", "wrap"), rtol=1e-14)
