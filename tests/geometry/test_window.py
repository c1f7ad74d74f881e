"""One sliding window, against loops written from its definition, numbers worked by hand, and scipy."""

import math
import random

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.errors import ShapeError, UsageError
from convscope.geometry import Window, pool_window

LARGEST = 40  # the longest input of the loops


def enumerate_windows(window, input_size):
    """Lay window after window over the padded input by the definition; a list of taps each."""
    before, after = window.pads(input_size)
    windows, start = [], -before
    while True:
        taps = [start + tap * window.dilation for tap in range(window.kernel_size)]
        fits = taps[-1] < input_size + after
        if window.ceil_mode and windows:
            # Sticking out is allowed to a window whose predecessor left something over.
            leftover = windows[-1][-1] < input_size + after - 1
            fits = start < input_size and (fits or leftover)
        elif window.ceil_mode:
            fits = taps[-1] - (window.stride - 1) < input_size + after
        if not fits:
            return windows
        windows.append(taps)
        start += window.stride


def draw_window(rng):
    kernel_size, dilation = rng.randint(1, 6), rng.randint(1, 3)
    span = dilation * (kernel_size - 1) + 1
    padding = rng.choice(
        [
            0,
            rng.randint(0, 4),
            (rng.randint(0, 4), rng.randint(0, 4)),
            "valid",
            "same",
            "full",
        ]
    )
    ceil_mode = rng.random() < 0.4
    if ceil_mode and not isinstance(padding, str):  # torch's rule speaks of paddings shorter than the kernel
        padding = (rng.randint(0, span - 1), rng.randint(0, span - 1))
    return Window(kernel_size, rng.randint(1, 5), padding, dilation, ceil_mode)


def sizes_of(window):
    """The output size of every input of 1 to LARGEST pixels, by the loops; 0 where nothing fits."""
    return {size: len(enumerate_windows(window, size)) for size in range(1, LARGEST + 1)}


def test_sizes_and_taps_are_those_of_the_loops():
    rng = random.Random(10)
    kinds = set()
    for _ in range(600):
        window, size = draw_window(rng), rng.randint(1, 16)
        expected = enumerate_windows(window, size)
        if not expected:
            with pytest.raises(ShapeError, match="kernel does not fit"):
                window.output_size(size)
            continue
        assert window.output_size(size) == len(expected), (window, size)
        assert [list(window.taps(index, size)) for index in range(len(expected))] == expected
        sticks_out = expected[-1][-1] >= window.padded(size).stop
        assert not sticks_out or window.ceil_mode
        kinds.add((window.padding if isinstance(window.padding, str) else "numbers", sticks_out))
    assert {("numbers", True), ("numbers", False), ("same", False), ("full", False)} <= kinds


def test_input_sizes_are_all_sizes():
    rng = random.Random(11)
    empty = 0
    for _ in range(600):
        window = draw_window(rng)
        outputs = sizes_of(window)
        for output_size in range(1, 5):
            expected = [size for size, outputs_of in outputs.items() if outputs_of == output_size]
            found = window.input_sizes(output_size)
            assert [size for size in found if size <= LARGEST] == expected, (window, output_size)
            empty += not expected
    assert empty > 20


def test_dropped_and_unread_pixels_are_those_of_the_loops():
    rng = random.Random(12)
    dropped = between = 0
    for _ in range(600):
        window, size = draw_window(rng), rng.randint(1, 16)
        windows = enumerate_windows(window, size)
        if not windows:
            continue
        read = {tap for taps in windows for tap in taps}
        unread = [pixel for pixel in range(size) if pixel not in read]
        behind = [pixel for pixel in range(size) if pixel > windows[-1][-1]]
        assert window.dropped_pixels(size) == len(behind), (window, size)
        assert list(window.unread_pixels(size)) == unread, (window, size)
        dropped += bool(behind)
        between += len(unread) > len(behind)
    assert min(dropped, between) > 50


def test_taps_are_where_the_gradient_lands():
    rng = random.Random(13)
    for _ in range(60):
        window, size = Window(rng.randint(1, 4), rng.randint(1, 4), rng.randint(0, 3), rng.randint(1, 3)), 12
        index = rng.randrange(window.output_size(size))
        signal = torch.zeros(1, 1, size, requires_grad=True)
        kernel = torch.ones(1, 1, window.kernel_size)
        output = torch.conv1d(signal, kernel, None, window.stride, window.padding[0], window.dilation)
        (gradient,) = torch.autograd.grad(output[0, 0, index], signal)
        landed = gradient[0, 0].nonzero().flatten().tolist()
        assert landed == [tap for tap in window.taps(index, size) if 0 <= tap < size]


@pytest.mark.parametrize(
    ("input_size", "kernel_size", "stride", "dilation", "outputs", "pads"),
    [
        # out = ceil(in/stride); total = max((out-1)*stride + span - in, 0); before = total // 2.
        (5, 3, 1, 1, 5, (1, 1)),
        (6, 4, 1, 1, 6, (1, 2)),
        (8, 3, 2, 1, 4, (0, 1)),
        (7, 3, 2, 1, 4, (1, 1)),
        (10, 5, 3, 1, 4, (2, 2)),
        (11, 4, 3, 1, 4, (1, 1)),
        (224, 7, 2, 1, 112, (2, 3)),
        (225, 7, 2, 1, 113, (3, 3)),
        (13, 6, 5, 1, 3, (1, 2)),  # the example of TensorFlow's guide, padded 1 before and 2 after
        (9, 2, 4, 1, 3, (0, 1)),
        (8, 2, 4, 1, 2, (0, 0)),  # max(1*4 + 2 - 8, 0) = 0: never a negative padding
        (10, 3, 2, 4, 5, (3, 4)),
    ],
)
def test_same_is_the_rule_of_tensorflow(input_size, kernel_size, stride, dilation, outputs, pads):
    window = Window(kernel_size, stride, "same", dilation)
    assert (window.output_size(input_size), window.pads(input_size)) == (outputs, pads)


@pytest.mark.parametrize(("input_size", "kernel_size"), [(1, 1), (5, 3), (3, 5), (8, 8), (17, 4)])
def test_full_and_valid_have_the_lengths_of_scipy(input_size, kernel_size):
    signal, kernel = np.ones(input_size), np.ones(kernel_size)
    full = scipy.signal.correlate(signal, kernel, "full", "direct")
    window = Window(kernel_size, padding="full")
    assert window.output_size(input_size) == len(full)
    # An all-ones correlation counts the taps inside the signal.
    inside = [
        sum(0 <= tap < input_size for tap in window.taps(index, input_size)) for index in range(len(full))
    ]
    assert inside == full.tolist()
    if kernel_size <= input_size:
        valid = scipy.signal.correlate(signal, kernel, "valid", "direct")
        assert Window(kernel_size, padding="valid").output_size(input_size) == len(valid)


def test_full_counts_the_holes_of_a_dilated_kernel():
    assert Window(3, padding="full", dilation=2).pads(5) == (4, 4)
    assert Window(3, padding="full", dilation=2).output_size(5) == 9
    assert Window(3, stride=2, padding="full").output_size(5) == 4


@pytest.mark.parametrize(
    ("window", "input_size", "outputs"),
    [
        (Window(5), 32, 28),  # LeNet-5, C1
        (Window(11, 4, 2), 224, 55),  # AlexNet's first layer
        (Window(7, 2, 3), 224, 112),  # the stem of ResNet
        (Window(3, 1, 1), 224, 224),  # VGG
        (Window(3, 1, 12, 12), 65, 65),  # an atrous layer of DeepLab
        (pool_window(3, 2), 55, 27),
        (pool_window(3, 2, ceil_mode=True), 112, 56),  # GoogLeNet's first pool
        (pool_window(3, 2, ceil_mode=True), 2, 1),  # shorter than the kernel, and still one window
        (pool_window(2, 2, ceil_mode=True), 7, 4),
        (pool_window(2, 2), 7, 3),
    ],
)
def test_published_sizes(window, input_size, outputs):
    assert window.output_size(input_size) == outputs


def test_ceil_mode_drops_a_window_that_would_start_behind_the_input():
    window = pool_window(2, 2, 1, ceil_mode=True)
    # Room 3 + 1 + 1 - 2 = 3 rounds up to 3 windows; the third would start at padded position 4 = 1 + 3.
    assert window.output_size(3) == 2
    assert "3 - 1: window 3 would start at 4, not before the end of the input at 1 + 3" in str(
        window.derivation(3)
    )


windows = st.builds(
    Window,
    kernel_size=st.integers(1, 9),
    stride=st.integers(1, 7),
    padding=st.one_of(
        st.integers(0, 8),
        st.tuples(st.integers(0, 8), st.integers(0, 8)),
        st.sampled_from(["same", "full", "valid"]),
    ),
    dilation=st.integers(1, 5),
    ceil_mode=st.booleans(),
)
quiet = settings(derandomize=True, deadline=None, max_examples=150)


@quiet
@given(windows, st.integers(1, 300))
def test_sizes_in_both_directions_agree(window, input_size):
    try:
        outputs = window.output_size(input_size)
    except ShapeError:
        return
    assert input_size in window.input_sizes(outputs)
    assert all(window.output_size(size) == outputs for size in window.input_sizes(outputs))


@quiet
@given(windows, st.integers(1, 100))
def test_derivations_end_on_their_value(window, input_size):
    try:
        derivation = window.derivation(input_size)
    except ShapeError:
        return
    assert derivation.value == window.output_size(input_size)
    assert derivation.steps[-1] == str(derivation.value)
    words = {"floor": math.floor, "ceil": math.ceil}
    corrected = len(derivation.steps) > 4  # a window that starts behind the input is taken back
    assert [eval(step, words) for step in derivation.steps[1:3]] == [derivation.value + corrected] * 2
    inverse = window.input_derivation(derivation.value)
    sizes = window.input_sizes(derivation.value)
    assert inverse.value == (sizes[0], sizes[-1])
    assert inverse.steps[-1] == (str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}")


@quiet
@given(windows, st.integers(1, 60))
def test_every_refused_input_is_told_the_smallest_that_fits(window, input_size):
    try:
        window.output_size(input_size)
    except ShapeError as error:
        smallest = int(str(error).removesuffix(".").rsplit(" ", 1)[1])
        assert window.output_size(smallest) == 1
        with pytest.raises(ShapeError):
            window.output_size(smallest - 1)


@quiet
@given(st.integers(1, 9), st.integers(1, 7), st.integers(1, 5), st.integers(1, 300))
def test_same_makes_the_rounded_up_quotient(kernel_size, stride, dilation, input_size):
    window = Window(kernel_size, stride, "same", dilation)
    before, after = window.pads(input_size)
    assert window.output_size(input_size) == -(-input_size // stride)
    assert 0 <= after - before <= 1


@pytest.mark.parametrize(
    ("window", "input_size", "text"),
    [
        (
            Window(7, 2, 3),
            224,
            """\
output_size = floor((input + before + after - dilation*(kernel_size-1) - 1) / stride) + 1
            = floor((224 + 3 + 3 - 1*(7-1) - 1) / 2) + 1
            = floor(223 / 2) + 1
            = 112""",
        ),
        (
            Window(3, 4, 1, 2),
            13,
            """\
output_size = floor((input + before + after - dilation*(kernel_size-1) - 1) / stride) + 1
            = floor((13 + 1 + 1 - 2*(3-1) - 1) / 4) + 1
            = floor(10 / 4) + 1
            = 3
(the last pixel of the input lies behind the last window: nothing reads it)""",
        ),
        (
            Window(2, 3, "same"),
            6,
            """\
output_size = floor((input + before + after - dilation*(kernel_size-1) - 1) / stride) + 1
            = floor((6 + 0 + 0 - 1*(2-1) - 1) / 3) + 1
            = floor(4 / 3) + 1
            = 2
(same: ceil(6/3) = 2 outputs need max((2-1)*3 + 2 - 6, 0) = 0 of padding: 0 before, 0 after)
(the last pixel of the input lies behind the last window: nothing reads it)""",
        ),
        (
            Window(3, 4, "full", ceil_mode=True),
            6,
            """\
output_size = ceil((input + before + after - dilation*(kernel_size-1) - 1) / stride) + 1
            = ceil((6 + 2 + 2 - 1*(3-1) - 1) / 4) + 1
            = ceil(7 / 4) + 1
            = 3 - 1: window 3 would start at 8, not before the end of the input at 2 + 6
            = 2
(full: dilation*(kernel_size-1) = 2 of padding on each side)
(the last pixel of the input lies behind the last window: nothing reads it)""",
        ),
        (
            Window(1, 5),
            9,
            """\
output_size = floor((input + before + after - dilation*(kernel_size-1) - 1) / stride) + 1
            = floor((9 + 0 + 0 - 1*(1-1) - 1) / 5) + 1
            = floor(8 / 5) + 1
            = 2
(the last 3 pixels of the input lie behind the last window: nothing reads them)""",
        ),
    ],
)
def test_derivation_text(window, input_size, text):
    assert str(window.derivation(input_size)) == text


@pytest.mark.parametrize(
    ("window", "output_size", "text"),
    [
        (
            Window(7, 2, 3),
            112,
            """\
input_size = (output - 1)*stride + dilation*(kernel_size-1) + 1 - before - after, up to stride-1 more
           = (112 - 1)*2 + 1*(7-1) + 1 - 3 - 3, up to 1 more
           = 223 to 224""",
        ),
        (
            Window(3, 2, "same"),
            4,
            """\
input_size = (output - 1)*stride + 1 to output*stride
           = (4 - 1)*2 + 1 to 4*2
           = 7 to 8""",
        ),
        (
            Window(2, 2, ceil_mode=True),
            4,
            """\
input_size = the sizes whose output size, rounded up, is 4
           = 7 to 8""",
        ),
        (
            Window(1, padding=1),
            2,
            """\
input_size = (output - 1)*stride + dilation*(kernel_size-1) + 1 - before - after, up to stride-1 more
           = (2 - 1)*1 + 1*(1-1) + 1 - 1 - 1, up to 0 more
           = none: no input of at least 1 pixel""",
        ),
    ],
)
def test_input_derivation_text(window, output_size, text):
    assert str(window.input_derivation(output_size)) == text


def test_derivation_is_plain_values():
    assert Window(3, 2).derivation(8).to_dict() == {
        "quantity": "output_size",
        "steps": [
            "floor((input + before + after - dilation*(kernel_size-1) - 1) / stride) + 1",
            "floor((8 + 0 + 0 - 1*(3-1) - 1) / 2) + 1",
            "floor(5 / 2) + 1",
            "3",
        ],
        "value": 3,
        "notes": ["the last pixel of the input lies behind the last window: nothing reads it"],
    }
    assert Window(3, 2).input_derivation(5).to_dict()["value"] == [11, 12]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Window(0), "kernel_size is 0; it must be at least 1."),
        (lambda: Window(3, stride=0), "stride is 0; it must be at least 1."),
        (
            lambda: Window(3, dilation=-1, axis="height"),
            "dilation along height is -1; it must be at least 1.",
        ),
        (lambda: Window(2.5), "kernel_size is 2.5; it must be a whole number."),
        (lambda: Window(True), "kernel_size is True; it must be a whole number."),
        (lambda: Window("3"), "kernel_size is '3'; it must be a whole number."),
        (lambda: Window(3, padding=-1), "padding is -1; it must be at least 0."),
        (
            lambda: Window(3, padding="some"),
            "unknown padding 'some': did you mean 'same'? Known: 'valid', 'same', 'full'.",
        ),
        (lambda: Window(3).output_size(0), "input size is 0; it must be at least 1."),
        (
            lambda: Window(3, axis="width").input_sizes(0),
            "output size along width is 0; it must be at least 1.",
        ),
        (
            lambda: Window(3, dilation=2, padding=1, axis="width").output_size(2),
            "kernel does not fit along width: dilation*(kernel_size-1)+1 = 2*(3-1)+1 = 5, but input + padding = "
            "2 + 1 + 1 = 4. Add 1 more padding, shorten the kernel, or give an input of at least 3.",
        ),
        (
            lambda: Window(5, stride=2, ceil_mode=True).output_size(2),
            "kernel does not fit: dilation*(kernel_size-1)+1 = 1*(5-1)+1 = 5, but input + padding = 2 + 0 + 0 = 2. "
            "Add 2 more padding, shorten the kernel, or give an input of at least 4.",
        ),
        (
            lambda: Window(3, axis="height").taps(3, 5),
            "output index along height is 3; an input of 5 gives 3 outputs, 0 to 2.",
        ),
        (lambda: Window(3).taps(-1, 5), "output index is -1; an input of 5 gives 3 outputs, 0 to 2."),
        (
            lambda: pool_window(3, 2, 2, axis="height"),
            "pooling padding along height is 2; it must be at most half the kernel, 3 // 2 = 1.",
        ),
        (
            lambda: pool_window(2, padding=(0, 2)),
            "pooling padding is 2; it must be at most half the kernel, 2 // 2 = 1.",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value) == message


def test_windows_are_values():
    assert Window(3, padding=1, axis="height") == Window(3, padding=(1, 1), axis="width")
    assert len({Window(3), Window(np.int64(3)), Window(3, stride=2)}) == 2
    with pytest.raises(AttributeError):
        Window(3).stride = 2
    assert pool_window(3) == Window(3, 3)
    assert pool_window(3, 2, "same").output_size(7) == 4
