"""Padding as people write it: every accepted spelling, and every refusal on its text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.geometry import PADDING_WORDS, Window, as_int, as_ints, axis_padding, paddings


@pytest.mark.parametrize(
    ("padding", "normal"),
    [
        (0, (0, 0)),
        (2, (2, 2)),
        (np.int64(2), (2, 2)),
        ((0, 3), (0, 3)),
        ([1, 0], (1, 0)),
        ("valid", "valid"),
        ("same", "same"),
        ("full", "full"),
    ],
)
def test_padding_of_one_axis(padding, normal):
    assert axis_padding(padding) == normal
    assert axis_padding(normal) == normal


@pytest.mark.parametrize(
    ("padding", "ndim", "normal"),
    [
        (1, 3, ((1, 1),) * 3),
        ((1, 2), 2, ((1, 1), (2, 2))),  # as torch: one number an axis
        ((1, 2), 1, ((1, 2),)),  # the only meaning left on one axis
        (((1, 2),), 1, ((1, 2),)),
        (((1, 2),), 3, ((1, 2),) * 3),
        ((4,), 2, ((4, 4), (4, 4))),
        (((0, 1), (2, 3)), 2, ((0, 1), (2, 3))),
        ((1, (0, 2)), 2, ((1, 1), (0, 2))),
        ((1, 2, 3), 3, ((1, 1), (2, 2), (3, 3))),
        ("same", 2, ("same", "same")),
        (["same"], 2, ("same", "same")),
        (("same", (1, 2)), 2, ("same", (1, 2))),
        ([[1, 2], "full"], 2, ((1, 2), "full")),
    ],
)
def test_padding_of_several_axes(padding, ndim, normal):
    assert paddings(padding, ndim) == normal


@given(
    st.integers(1, 3).flatmap(
        lambda ndim: st.tuples(
            st.just(ndim),
            st.tuples(
                *[st.tuples(st.integers(0, 9), st.integers(0, 9)) | st.sampled_from(PADDING_WORDS)] * ndim
            ),
        )
    )
)
@settings(derandomize=True, deadline=None)
def test_a_normal_padding_stays_as_it_is(drawn):
    ndim, normal = drawn
    assert paddings(normal, ndim) == normal


def test_words_are_pads():
    assert Window(5, padding="valid").pads(9) == (0, 0)
    assert Window(5, padding="full").pads(9) == (4, 4)
    assert Window(5, padding="same").pads(9) == (2, 2)
    assert Window(5, padding=(1, 3)).pads(9) == (1, 3)
    assert Window(5, padding=(1, 3)).padded(9) == range(-1, 12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: axis_padding("sane"),
            UnknownNameError,
            "unknown padding 'sane': did you mean 'same'? Known: 'valid', 'same', 'full'.",
        ),
        (lambda: axis_padding(-1), ShapeError, "padding is -1; it must be at least 0."),
        (lambda: axis_padding((0, -2)), ShapeError, "padding after is -2; it must be at least 0."),
        (lambda: axis_padding((-2, 0)), ShapeError, "padding before is -2; it must be at least 0."),
        (lambda: axis_padding(1.0), ShapeError, "padding is 1.0; it must be a whole number."),
        (lambda: axis_padding(None), ShapeError, "padding is None; it must be a whole number."),
        (lambda: axis_padding(False), ShapeError, "padding is False; it must be a whole number."),
        (
            lambda: axis_padding((1, 2, 3)),
            ShapeError,
            "padding (1, 2, 3) has 3 entries for one axis; give one number, or a (before, after) pair.",
        ),
        (
            lambda: paddings((1, 2, 3), 2),
            ShapeError,
            "padding (1, 2, 3) has 3 entries for 2 axes; "
            "give one number for all, 2 numbers, or 2 (before, after) pairs.",
        ),
        (
            lambda: paddings((), 2),
            ShapeError,
            "padding () has 0 entries for 2 axes; give one number for all, 2 numbers, or 2 (before, after) pairs.",
        ),
        (
            lambda: paddings(("same", "vaild"), 2),
            UnknownNameError,
            "unknown padding 'vaild': did you mean 'valid'? Known: 'valid', 'same', 'full'.",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
    assert isinstance(caught.value, UsageError)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: as_int("stride", 0, at_least=1), "stride is 0; it must be at least 1."),
        (lambda: as_int("stride", "2", at_least=1), "stride is '2'; it must be a whole number."),
        (lambda: as_int("stride", True, at_least=1), "stride is True; it must be a whole number."),
        (
            lambda: as_ints("stride", (1, 2, 3), 2, at_least=1),
            "stride (1, 2, 3) has 3 entries; the input has 2 axes.",
        ),
        (lambda: as_ints("stride", (1, 0), 2, at_least=1), "stride is 0; it must be at least 1."),
    ],
)
def test_whole_number_refusals(call, message):
    with pytest.raises(ShapeError) as caught:
        call()
    assert str(caught.value) == message


def test_whole_numbers():
    assert as_int("n", np.int32(3), at_least=0) == 3
    assert type(as_int("n", np.int32(3), at_least=0)) is int
    assert as_ints("n", 3, 3, at_least=0) == as_ints("n", [3], 3, at_least=0) == (3, 3, 3)
