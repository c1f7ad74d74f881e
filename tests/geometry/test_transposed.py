"""Transposed windows, against loops, against where torch's results and gradients land, and by hand."""

import random

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.errors import ShapeError, UsageError
from convscope.geometry import TransposedWindow, Window


def draw(rng):
    stride, dilation = rng.randint(1, 4), rng.randint(1, 3)
    extra = rng.randint(0, max(stride, dilation) - 1)
    return TransposedWindow(rng.randint(1, 5), stride, rng.randint(0, 3), extra, dilation)


def fitting(rng, count):
    """That many random (window, input size) of which something is left."""
    while count:
        window, size = draw(rng), rng.randint(1, 7)
        try:
            window.output_size(size)
        except ShapeError:
            continue
        count -= 1
        yield window, size


def torch_result(window, signal):
    kernel = torch.ones(1, 1, window.kernel_size, dtype=signal.dtype)
    return F.conv_transpose1d(
        signal,
        kernel,
        None,
        window.stride,
        window.padding[0],
        window.output_padding,
        1,
        window.dilation,
    )


def test_writes_and_taps_are_each_others_inverse():
    for window, size in fitting(random.Random(20), 400):
        outputs = window.output_size(size)
        by_input = {
            (source, tap, output)
            for source in range(size)
            for tap, output in enumerate(window.writes(source, size))
            if 0 <= output < outputs
        }
        by_output = {
            (source, tap, output) for output in range(outputs) for source, tap in window.taps(output, size)
        }
        assert by_input == by_output, (window, size)


def test_taps_are_in_the_order_of_the_input():
    for window, size in fitting(random.Random(21), 100):
        for output in range(window.output_size(size)):
            pairs = window.taps(output, size)
            assert list(pairs) == sorted(set(pairs))


def test_writes_are_where_an_impulse_lands():
    for window, size in fitting(random.Random(22), 50):
        for source in range(size):
            impulse = torch.zeros(1, 1, size)
            impulse[..., source] = 1
            result = torch_result(window, impulse)[0, 0]
            assert len(result) == window.output_size(size)
            landed = [output for output in window.writes(source, size) if 0 <= output < len(result)]
            assert result.nonzero().flatten().tolist() == landed, (window, size)


def test_taps_are_where_the_gradient_lands():
    for window, size in fitting(random.Random(23), 12):
        signal = torch.zeros(1, 1, size, requires_grad=True)
        result = torch_result(window, signal)[0, 0]
        for output in range(len(result)):
            (gradient,) = torch.autograd.grad(result[output], signal, retain_graph=True)
            landed = gradient[0, 0].nonzero().flatten().tolist()
            assert landed == [source for source, _ in window.taps(output, size)], (window, size)


def test_it_transposes_the_sliding_window():
    # Input and output change sides: what window o of the convolution reads, input o of the transposed writes.
    rng = random.Random(24)
    for _ in range(200):
        kernel_size, stride, dilation = rng.randint(1, 5), rng.randint(1, 4), rng.randint(1, 3)
        padding = (rng.randint(0, 3), rng.randint(0, 3))
        window = Window(kernel_size, stride, padding, dilation)
        turned = TransposedWindow(kernel_size, stride, padding, 0, dilation)
        size = rng.randint(dilation * (kernel_size - 1) + 1, 20)
        outputs = window.output_size(size)
        for index in range(outputs):
            assert turned.writes(index, outputs) == window.taps(index, size)
        # output_padding tells apart the sizes that the stride rounds together.
        rounded = [
            TransposedWindow(kernel_size, stride, padding, extra, dilation).output_size(outputs)
            for extra in range(stride)
            if turned.full_result(outputs).stop - padding[1] + extra > 0
        ]
        assert rounded == list(window.input_sizes(outputs))


def test_input_sizes_are_all_sizes():
    rng = random.Random(25)
    empty = 0
    for _ in range(300):
        window = draw(rng)
        outputs = {}
        for size in range(1, 40):
            try:
                outputs[size] = window.output_size(size)
            except ShapeError:
                outputs[size] = None
        for output_size in range(1, 20):
            expected = [size for size, given_size in outputs.items() if given_size == output_size]
            assert list(window.input_sizes(output_size)) == expected, (window, output_size)
            empty += not expected
    assert empty > 100


def test_full_result_spans_every_write():
    for window, size in fitting(random.Random(26), 200):
        written = {output for source in range(size) for output in window.writes(source, size)}
        assert window.full_result(size) == range(min(written), max(written) + 1)


@pytest.mark.parametrize(
    ("window", "input_size", "outputs"),
    [
        (TransposedWindow(4, 2, 1), 16, 32),  # DCGAN's doubling
        (TransposedWindow(2, 2), 28, 56),  # U-Net's up-convolution
        (TransposedWindow(64, 32), 7, 256),  # FCN-32s, before its crop
        (TransposedWindow(3, 2, 1), 16, 31),
        (TransposedWindow(3, 2, 1, 1), 16, 32),
        (TransposedWindow(3, 2, (0, 1), 0), 16, 32),
        (TransposedWindow(3, 1, 0, 1, 2), 5, 10),
    ],
)
def test_published_sizes(window, input_size, outputs):
    assert window.output_size(input_size) == outputs


quiet = settings(derandomize=True, deadline=None, max_examples=150)
turned_windows = st.builds(
    lambda kernel_size, stride, padding, dilation, share: TransposedWindow(
        kernel_size, stride, padding, int(share * max(stride, dilation)), dilation
    ),
    st.integers(1, 9),
    st.integers(1, 7),
    st.tuples(st.integers(0, 5), st.integers(0, 5)),
    st.integers(1, 5),
    st.floats(0, 0.99),
)


@quiet
@given(turned_windows, st.integers(1, 300))
def test_derivations_end_on_their_value(window, input_size):
    try:
        derivation = window.derivation(input_size)
    except ShapeError:
        return
    assert derivation.value == window.output_size(input_size)
    assert derivation.steps[-1] == str(derivation.value)
    assert eval(derivation.steps[1]) == derivation.value
    inverse = window.input_derivation(derivation.value)
    assert eval(inverse.steps[1]) == input_size
    assert window.input_sizes(derivation.value) == range(input_size, input_size + 1)
    assert inverse.value == (input_size, input_size)


@pytest.mark.parametrize(
    ("derivation", "text"),
    [
        (
            TransposedWindow(3, 2, 1, 1).derivation(16),
            """\
output_size = (input-1)*stride - before - after + dilation*(kernel_size-1) + output_padding + 1
            = (16-1)*2 - 1 - 1 + 1*(3-1) + 1 + 1
            = 32
(kernel_size 3 is no multiple of stride 2: neighbouring outputs get unequal numbers of products (checkerboard))""",
        ),
        (
            TransposedWindow(3, 1, (0, 2), 0, 2).derivation(5),
            """\
output_size = (input-1)*stride - before - after + dilation*(kernel_size-1) + output_padding + 1
            = (5-1)*1 - 0 - 2 + 2*(3-1) + 0 + 1
            = 7""",
        ),
        (
            TransposedWindow(4, 2, 1).input_derivation(32),
            """\
input_size = (output + before + after - dilation*(kernel_size-1) - output_padding - 1) / stride + 1
           = (32 + 1 + 1 - 1*(4-1) - 0 - 1) / 2 + 1
           = 16""",
        ),
        (
            TransposedWindow(4, 2, 1).input_derivation(31),
            """\
input_size = (output + before + after - dilation*(kernel_size-1) - output_padding - 1) / stride + 1
           = (31 + 1 + 1 - 1*(4-1) - 0 - 1) / 2 + 1
           = none: the stride does not divide""",
        ),
        (
            TransposedWindow(5).input_derivation(2),
            """\
input_size = (output + before + after - dilation*(kernel_size-1) - output_padding - 1) / stride + 1
           = (2 + 0 + 0 - 1*(5-1) - 0 - 1) / 1 + 1
           = none: no input of at least 1 pixel""",
        ),
    ],
)
def test_derivation_text(derivation, text):
    assert str(derivation) == text


def test_the_checkerboard_note_is_true():
    for kernel_size in range(1, 7):
        for stride in range(1, 5):
            window = TransposedWindow(kernel_size, stride)
            size = 12
            middle = range(kernel_size, window.output_size(size) - kernel_size)
            products = {len(window.taps(output, size)) for output in middle}
            assert bool(window.derivation(size).notes) == (len(products) > 1), (kernel_size, stride)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TransposedWindow(0), "kernel_size is 0; it must be at least 1."),
        (
            lambda: TransposedWindow(3, axis="width", output_padding=-1),
            "output_padding along width is -1; it must be at least 0.",
        ),
        (
            lambda: TransposedWindow(3, 2, 1, 2),
            "output_padding is 2; it must be below max(stride, dilation) = max(2, 1) = 2.",
        ),
        (
            lambda: TransposedWindow(3, padding="same", axis="height"),
            "padding 'same' along height has no one meaning for a transposed window; give numbers.",
        ),
        (
            lambda: TransposedWindow(3, padding="full"),
            "padding 'full' has no one meaning for a transposed window; give numbers.",
        ),
        (
            lambda: TransposedWindow(3, 2, 2, axis="height").output_size(1),
            "nothing is left of the output along height: (input-1)*stride + span + output_padding = "
            "(1-1)*2 + 3 + 0 = 3, and the padding cuts 2 + 2 = 4. Use less padding or a larger input.",
        ),
        (lambda: TransposedWindow(3).output_size(0), "input size is 0; it must be at least 1."),
        (lambda: TransposedWindow(3).input_sizes(0), "output size is 0; it must be at least 1."),
        (lambda: TransposedWindow(3).writes(4, 4), "input index is 4; the input has 4 pixels."),
        (lambda: TransposedWindow(3).taps(6, 4), "output index is 6; an input of 4 gives 6 outputs, 0 to 5."),
    ],
)
def test_refusals(call, message):
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value) == message


def test_valid_is_no_padding():
    assert TransposedWindow(3, padding="valid") == TransposedWindow(3)


def test_the_checkerboard_note_is_there_exactly_when_outputs_differ():
    """Count the products of each output far from the borders; the note must agree for every setting."""
    for kernel in range(1, 7):
        for stride in range(1, 5):
            for dilation in range(1, 4):
                window = TransposedWindow(kernel, stride, dilation=dilation)
                middle = window.output_size(40) // 2
                counts = {len(window.taps(index, 40)) for index in range(middle - 8, middle + 8)}
                notes = window.derivation(40).notes
                assert (len(counts) > 1) == any("checkerboard" in note for note in notes), window
