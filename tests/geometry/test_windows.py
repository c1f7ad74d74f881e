"""Windows of several axes do, axis by axis, what one window does; builders check what a person typed."""

import random

import pytest

import convscope.geometry
from convscope.errors import ShapeError, UsageError
from convscope.geometry import AXIS_NAMES, TransposedWindow, Window, Windows, pool_window


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_each_axis_is_its_own_window(ndim):
    rng = random.Random(30 + ndim)
    for _ in range(100):
        kernel_size, stride, dilation = ([rng.randint(1, 3) for _ in range(ndim)] for _ in range(3))
        padding = [rng.choice([(0, 1), (2, 2), "same", "full", "valid"]) for _ in range(ndim)]
        padding = padding if ndim > 1 else padding[0]
        windows = Windows.of(ndim, kernel_size, stride, padding, dilation)
        alone = [
            Window(*settings)
            for settings in zip(
                kernel_size, stride, padding if ndim > 1 else [padding], dilation, strict=True
            )
        ]
        sizes = [rng.randint(7, 12) for _ in range(ndim)]

        def each(method, alone=alone, sizes=sizes):
            return tuple(getattr(window, method)(size) for window, size in zip(alone, sizes, strict=True))

        for method in ("pads", "output_size", "dropped_pixels", "input_sizes"):
            assert getattr(windows, method)(sizes) == each(method)
        assert windows.derivations(sizes) == each("derivation")
        assert windows.input_derivations(sizes) == each("input_derivation")
        assert windows.axes == tuple(alone)
        assert [window.axis for window in windows.axes] == list(AXIS_NAMES[ndim])
        assert (windows.ndim, windows.kernel_size, windows.stride, windows.dilation) == (
            ndim,
            tuple(kernel_size),
            tuple(stride),
            tuple(dilation),
        )


def test_one_number_stands_for_every_axis():
    assert Windows.of(3, 3, 2, 1, 2) == Windows.of(3, (3, 3, 3), [2, 2, 2], (1, 1, 1), (2,))
    assert Windows.of(2, 3, padding="same") == Windows.of(2, 3, padding=("same", "same"))
    assert Windows.of(2, 3, padding=(1, 2)).pads((9, 9)) == ((1, 1), (2, 2))
    assert Windows.of(1, 3, padding=(1, 2)).pads((9,)) == ((1, 2),)


def test_pool_takes_its_stride_from_its_kernel():
    assert Windows.pool(2, (2, 3)).stride == (2, 3)
    assert Windows.pool(2, (2, 3), 1).stride == (1, 1)
    assert Windows.pool(2, 3, 2, 1, ceil_mode=True).axes == (pool_window(3, 2, 1, ceil_mode=True),) * 2
    assert Windows.pool(2, 3, 2, ceil_mode=True).output_size((112, 113)) == (56, 56)


def test_transposed_windows():
    windows = Windows.transposed(2, (3, 4), 2, 1, (1, 0))
    assert windows.axes == (TransposedWindow(3, 2, 1, 1), TransposedWindow(4, 2, 1))
    assert windows.output_size((16, 16)) == (32, 32)
    assert windows.input_sizes((32, 31)) == (range(16, 17), range(0))
    assert windows.dropped_pixels((16, 16)) == (0, 0)
    assert windows.pads((1, 1)) == ((1, 1), (1, 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Windows.of(4, 3), "ndim is 4; windows have 1, 2 or 3 axes."),
        (lambda: Windows.of(0, 3), "ndim is 0; windows have 1, 2 or 3 axes."),
        (lambda: Windows.of(2, (3, 3, 3)), "kernel_size (3, 3, 3) has 3 entries; the input has 2 axes."),
        (lambda: Windows.of(2, 0), "kernel_size is 0; it must be at least 1."),
        (lambda: Windows.of(2, 3, 0), "stride is 0; it must be at least 1."),
        (lambda: Windows.of(2, 3, dilation=(1, 0)), "dilation is 0; it must be at least 1."),
        (lambda: Windows.of(2, 3, padding=-1), "padding is -1; it must be at least 0."),
        (
            lambda: Windows.of(2, 3, padding=(1, 1, 1, 1)),
            "padding (1, 1, 1, 1) has 4 entries for 2 axes; "
            "give one number for all, 2 numbers, or 2 (before, after) pairs.",
        ),
        (
            lambda: Windows.pool(2, (2, 4), padding=(1, 3)),
            "pooling padding along width is 3; it must be at most half the kernel, 4 // 2 = 2.",
        ),
        (
            lambda: Windows.transposed(2, 3, 2, output_padding=(0, 2)),
            "output_padding along width is 2; it must be below max(stride, dilation) = max(2, 1) = 2.",
        ),
        (
            lambda: Windows.transposed(3, 3, padding="same"),
            "padding 'same' along depth has no one meaning for a transposed window; give numbers.",
        ),
        (lambda: Windows.of(2, 3).output_size((5,)), "sizes (5,) have 1 axes; the window has 2."),
        (lambda: Windows.of(2, 3).input_sizes((5, 5, 5)), "sizes (5, 5, 5) have 3 axes; the window has 2."),
        (
            lambda: Windows.of(2, 3).output_size((5, 2)),
            "kernel does not fit along width: dilation*(kernel_size-1)+1 = 1*(3-1)+1 = 3, but input + padding = "
            "2 + 0 + 0 = 2. Add 1 more padding, shorten the kernel, or give an input of at least 3.",
        ),
        (
            lambda: Windows.of(2, 3).output_size((0, 5)),
            "input size along height is 0; it must be at least 1.",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(UsageError) as caught:
        call()
    assert isinstance(caught.value, ShapeError)
    assert str(caught.value) == message


def test_an_error_can_name_the_call_that_was_made():
    with pytest.raises(ShapeError) as caught:
        Windows.of(2, 0)
    assert str(caught.value.at("conv2d")) == "conv2d: kernel_size is 0; it must be at least 1."


def test_every_public_name_exists_and_is_documented():
    for name in convscope.geometry.__all__:
        value = getattr(convscope.geometry, name)
        if callable(value) and hasattr(value, "__module__") and value.__module__.startswith("convscope"):
            assert value.__doc__, name
