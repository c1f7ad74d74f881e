"""How far changes reach, against operators that are asked one pixel at a time."""

import itertools

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.geometry import Reach, Reads, Spans, TransposedWindow, Window, progressions


def reached(reads, input_size, output_size, changed):
    """The outputs that read any of the changed inputs, one by one."""
    changed = range(changed[0], changed[1] + 1)
    return [o for o in range(output_size) if any(tap in changed for tap in reads.inside(o, input_size))]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_windows(data):
    small = st.integers(1, 4)
    kernel, stride, dilation = (data.draw(small) for _ in range(3))
    padding = data.draw(st.integers(0, kernel // 2))
    size = data.draw(st.integers(dilation * (kernel - 1) + 1, 18))
    if data.draw(st.booleans()):
        window = Window(kernel, stride, padding, dilation)
    else:
        window = TransposedWindow(kernel, stride, 0, 0, dilation)
    reads, count = Reads.of(window, size), window.output_size(size)
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first, size - 1))
    expected = reached(reads, size, count, (first, last))
    found = Reach.of(reads, size, count).of_change((first, last))
    assert found == ((expected[0], expected[-1]) if expected else None)


def test_against_torch():
    """What differs in torch's own result after one pixel was changed."""
    cases = [(3, 1, 1, 1), (3, 2, 1, 1), (7, 2, 3, 1), (3, 1, 2, 2), (1, 2, 0, 1), (2, 3, 0, 1)]
    for (kernel, stride, padding, dilation), at in itertools.product(cases, range(13)):
        weight = torch.ones(1, 1, kernel)
        image = torch.zeros(1, 1, 13)
        image[0, 0, at] = 1
        changed = F.conv1d(image, weight, None, stride, padding, dilation)[0, 0].nonzero().flatten().tolist()
        window = Window(kernel, stride, padding, dilation)
        found = Reach.of(Reads.of(window, 13), 13, window.output_size(13)).of_change((at, at))
        assert found == ((changed[0], changed[-1]) if changed else None)


def test_other_readers():
    assert Reach.of(Reads.resized(4, 8, "linear"), 4, 8).of_change((1, 1)) == (1, 4)
    assert Reach.of(Reads.adaptive(5, 3), 5, 3).of_change((1, 1)) == (0, 1)
    assert Reach.of(Reads.padded(1, 4, 1, "reflect"), 4, 6).of_change((1, 1)) == (0, 2)


spans = st.tuples(st.integers(0, 11), st.integers(0, 11)).map(lambda pair: tuple(sorted(pair)))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(spans, spans), min_size=1, max_size=5))
def test_boxes_hold_their_spans_and_lie_inside(pairs):
    one, other = (Spans(tuple(each), 12) for each in zip(*pairs, strict=True))
    for cases in (one, other, one.joined(other)):
        for (first, last), start in zip(cases.spans, cases.starts, strict=True):
            assert 0 <= start <= first <= last < start + cases.length <= 12
        assert cases.whole == (cases.length == 12)
    for a, b, both in zip(one.spans, other.spans, one.joined(other).spans, strict=True):
        assert set(range(a[0], a[1] + 1)) | set(range(b[0], b[1] + 1)) <= set(range(both[0], both[1] + 1))


def test_spans_go_through_an_operator():
    window = Window(3, 2, 1)
    reach = Reach.of(Reads.of(window, 8), 8, 4)
    found = Spans(((0, 0), (3, 5)), 8).reached(reach, 4)
    assert found == Spans(((0, 0), (1, 3)), 4)
    unread = Reach.of(Reads.of(Window(1, 2), 4), 4, 2)
    assert Spans(((1, 1),), 4).reached(unread, 2).spans == ((0, 0),)


@given(st.lists(st.integers(0, 5), max_size=12))
def test_progressions_cover_their_numbers(numbers):
    found = [
        numbers[start] + step * place
        for start, count, step in progressions(numbers)
        for place in range(count)
    ]
    assert found == numbers
    assert all(step >= 0 for _, _, step in progressions(numbers))
