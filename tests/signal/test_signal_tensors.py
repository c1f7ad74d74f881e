"""Tensors: the values of arrays, and gradients."""

import numpy as np
import pytest
import torch

from convscope.signal import autocorrelate, convolve, correlate

SHAPES = [((5,), (3,)), ((2,), (5,)), ((4, 3), (2, 2)), ((2, 2), (3, 5)), ((3, 3, 2), (2, 1, 2))]
DTYPES = [torch.bool, torch.uint8, torch.int32, torch.int64, torch.float32, torch.float64, torch.complex64]


@pytest.fixture(autouse=True)
def one_thread():
    """Many tiny operations: a second thread only waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tensor(shape, dtype=torch.float64, seed=0, requires_grad=False):
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(
        shape, dtype=torch.complex128 if dtype.is_complex else torch.float64, generator=generator
    )
    values = values > 0.5 if dtype == torch.bool else (8 * values - 2).to(dtype)
    return values.requires_grad_(requires_grad)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("method", ["auto", "direct", "fft"])
def test_tensors_and_arrays_give_the_same(method, dtype):
    for f_shape, g_shape in [*SHAPES, ((9, 8), (8, 8)), ((50,), (20,))]:
        f, g = tensor(f_shape, dtype), tensor(g_shape, dtype, seed=1)
        for mode, boundary in (("full", "fill"), ("same", "symm"), ("full", "wrap"), ("same", "fill")):
            for function in (convolve, correlate):
                actual = function(f, g, mode, boundary, method=method)
                expected = function(f.numpy(), g.numpy(), mode, boundary, method=method)
                assert isinstance(actual, torch.Tensor)
                assert actual.dtype == dtype
                np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_summed_in_single_precision(dtype):
    f, g = tensor((40,), dtype), tensor((20,), dtype, seed=1)
    assert torch.equal(convolve(f, g), convolve(f.float(), g.float()).to(dtype))


@pytest.mark.parametrize("method", ["direct", "fft"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_gradients_of_both_signals_and_their_gradients(shapes, dtype, method):
    f = tensor(shapes[0], dtype, requires_grad=True)
    g = tensor(shapes[1], dtype, seed=1, requires_grad=True)
    for function in (convolve, correlate):
        for mode, boundary in (("full", "fill"), ("same", "fill"), ("same", "symm"), ("full", "wrap")):

            def call(f, g, function=function, mode=mode, boundary=boundary):
                return function(f, g, mode, boundary, method=method)

            assert torch.autograd.gradcheck(call, (f, g), fast_mode=True)
            if mode == "same":
                assert torch.autograd.gradgradcheck(call, (f, g), fast_mode=True)


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_gradients_in_full_and_through_the_valid_mode_with_swapped_sizes(mode):
    f, g = tensor((2, 3), requires_grad=True), tensor((4, 5), seed=1, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f, g: correlate(f, g, mode), (f, g))
    assert torch.autograd.gradcheck(lambda f: autocorrelate(f, mode), (f,))


def test_gradients_reach_the_original_dtypes_and_views():
    f = tensor((4, 6), torch.float32, requires_grad=True)
    g = tensor((2, 3), torch.float64, seed=1, requires_grad=True)
    convolve(f.t()[::2], g, fillvalue=0.5, mode="same").sum().backward()
    assert f.grad is not None
    assert g.grad is not None
    assert (f.grad.dtype, g.grad.dtype) == (torch.float32, torch.float64)
    assert f.grad.abs().sum(0)[1::2].eq(0).all()
    assert f.grad.abs().sum(0)[::2].gt(0).all()


def test_only_the_wanted_gradient_is_formed_and_none_without_request():
    f, g = tensor((5,), requires_grad=True), tensor((3,))
    convolve(f, g).sum().backward()
    assert torch.allclose(f.grad, g.sum().expand(5))
    assert not convolve(f.detach(), g).requires_grad


def test_conjugated_and_transposed_views_are_read_as_they_look():
    f, g = tensor((4, 5), torch.complex64), tensor((3, 3), torch.complex64, seed=1)
    assert torch.allclose(convolve(f.conj(), g.t()), convolve(f.conj().resolve_conj(), g.t().contiguous()))
    line = f[0].conj()
    assert torch.allclose(
        convolve(line.imag + 0j, line), convolve(line.imag.resolve_neg() + 0j, line.resolve_conj())
    )
