"""Every refusal says the call, the caller's numbers, the rule and the way out, in one line."""

import numpy as np
import pytest
import torch

from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.signal import autocorrelate, choose_method, convolve, correlate, method_cost, rect

ONE = np.ones(3)
REFUSALS = [
    (
        lambda: convolve(ONE, ONE, "ful"),
        UnknownNameError,
        "convolve: unknown mode 'ful': did you mean 'full'?",
    ),
    (
        lambda: correlate(ONE, ONE, boundary="warp"),
        UnknownNameError,
        "correlate: unknown boundary 'warp': did you mean 'wrap'",
    ),
    (
        lambda: autocorrelate(ONE, method="fftt"),
        UnknownNameError,
        "autocorrelate: unknown method 'fftt': did you mean 'fft'?",
    ),
    (
        lambda: convolve(ONE, torch.ones(3)),
        UsageError,
        "convolve: f is a ndarray and g a Tensor: a tensor goes with",
    ),
    (
        lambda: correlate(torch.ones(3), [1.0]),
        UsageError,
        "correlate: f is a Tensor and g a list: a tensor goes with",
    ),
    (
        lambda: convolve(ONE, np.ones((2, 2))),
        ShapeError,
        "convolve: f has 1 axes (shape (3,)) but g has 2 (shape (2, 2))",
    ),
    (
        lambda: convolve(np.ones((2, 5)), np.ones((3, 3)), "valid"),
        ShapeError,
        "f has shape (2, 5) and g (3, 3)",
    ),
    (
        lambda: convolve(ONE, np.ones(0)),
        ShapeError,
        "f has shape (3,) and g (0,). Give both at least one sample",
    ),
    (lambda: autocorrelate(np.ones(0)), ShapeError, "autocorrelate: an empty signal has no sums to form"),
    (
        lambda: convolve(["a"], ONE),
        UsageError,
        "convolve: f has dtype <U1, which is not a number. Convert it",
    ),
    (lambda: convolve(ONE, [None]), UsageError, "convolve: g has dtype object, which is not a number"),
    (lambda: convolve([[1], [1, 2]], ONE), UsageError, "convolve: f cannot be read as an array: "),
    (
        lambda: convolve(np.ma.ones(3), ONE),
        UsageError,
        "convolve: f is a masked array, and a convolution cannot skip",
    ),
    (
        lambda: convolve(rect(), rect()),
        UsageError,
        "convolve: f is a sampled signal with a time step. Call its method",
    ),
    (lambda: convolve(ONE, ONE, fillvalue="x"), UsageError, "convolve: fillvalue='x' is not a number"),
    (
        lambda: convolve(ONE, ONE, "same", "wrap", 2),
        UsageError,
        "fillvalue=2 has no effect with boundary='wrap'",
    ),
    (
        lambda: convolve([1], [2], fillvalue=0.5),
        UsageError,
        "convolve: fillvalue=0.5 is not a value of dtype int64",
    ),
    (lambda: convolve(np.uint8([1]), np.uint8([2]), fillvalue=256), UsageError, "not a value of dtype uint8"),
    (lambda: convolve(ONE, ONE, fillvalue=1j), UsageError, "fillvalue=1j is not a value of dtype float64"),
    (lambda: convolve([True], [True], fillvalue=2), UsageError, "fillvalue=2 is not a value of dtype bool"),
    (
        lambda: convolve(torch.ones(3).to_sparse(), torch.ones(3)),
        UsageError,
        "f is a tensor of torch.float32 and torch.sparse",
    ),
    (lambda: convolve(torch.ones(3), torch.ones(3, device="meta")), UsageError, "f is on cpu and g on meta"),
    (
        lambda: choose_method((3,), (3, 3)),
        ShapeError,
        "method_cost: shapes (3,) and (3, 3) cannot be convolved",
    ),
    (lambda: method_cost((3,), (0,)), ShapeError, "method_cost: shapes (3,) and (0,) cannot be convolved"),
    (
        lambda: choose_method((3,), (3,), kind="tensors"),
        UnknownNameError,
        "unknown kind 'tensors': did you mean 'tensor'?",
    ),
    (
        lambda: choose_method((3,), (3,), dtype="float23"),
        UnknownNameError,
        "unknown dtype 'float23': did you mean 'float32'",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), REFUSALS, ids=[text[:40] for _, _, text in REFUSALS])
def test_refusal(call, error, text):
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert text in message
    assert "\n" not in message


def test_fill_values_that_the_dtype_holds_are_taken():
    assert convolve(np.uint8([1]), np.uint8([1, 1]), fillvalue=2.0).tolist() == [3, 3]
    assert convolve([True], [True, True], fillvalue=True).tolist() == [True, True]
    assert np.isnan(convolve([1.0], [1.0, 1.0], fillvalue=np.nan)).all()
