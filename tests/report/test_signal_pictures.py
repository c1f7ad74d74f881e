"""The flip-and-slide picture: what it says, that nothing is clipped, and what reaches the disk."""

import itertools
import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from convscope.errors import OutputError, UsageError
from convscope.report import signal_pictures
from convscope.report.signal_pictures import animate_flip_and_slide, draw_flip_and_slide
from convscope.signal import (
    Sampled,
    ramp,
    rect,
    slide_autocorrelation,
    slide_convolution,
    slide_cross_correlation,
)


@pytest.fixture(scope="module")
def slides():
    f, g = rect(1.5, dt=0.05), ramp(dt=0.05)
    return [slide_convolution(f, g), slide_cross_correlation(f, g), slide_autocorrelation(f)]


@pytest.fixture(scope="module")
def figure(slides):
    figure, columns = signal_pictures._build("test", slides, 100)
    for column, slide in zip(columns, slides, strict=True):
        column.show(slide)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return figure


def words(figure):
    """Every text that is drawn: titles, captions, legends, notes, and the ticks inside the limits."""
    found = []
    for axes in figure.axes:
        found += [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, *axes.get_legend().get_texts()]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            found += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [text for text in found if text.get_text().strip()]


def test_each_column_names_its_operation_shift_area_and_commutativity(figure, slides):
    text = "\n".join(text.get_text() for text in words(figure))
    assert [text.count(name) for name in ("Convolution", "Cross-correlation", "Autocorrelation")] == [1, 1, 1]
    errors = re.findall(r"Commutativity error (\S+): (.*)", text)
    assert [verdict for _, verdict in errors] == ["commutes", "does not commute", "commutes"]
    assert [float(error) for error, _ in errors] == [float(f"{s.commutativity_error:.2g}") for s in slides]
    for slide in slides:
        shift = f"{slide.t:.3f}".replace("-", "−")
        assert f"t = {shift}" in text
        assert f"area = {slide.integral:.3f}" in text


def test_the_curves_are_the_facts(figure, slides):
    rows = [figure.axes[0:3], figure.axes[3:6], figure.axes[6:9]]
    for place, slide in enumerate(slides):
        np.testing.assert_array_equal(rows[0][place].lines[0].get_ydata(), slide.f_values)
        f, moved = rows[1][place].lines[:2]
        np.testing.assert_array_equal(f.get_ydata(), slide.f_values)
        np.testing.assert_array_equal(moved.get_ydata(), slide.moved)
        area = rows[1][place].patches[0].get_xy()
        np.testing.assert_array_equal(area[: len(slide.tau), 1], slide.product)
        result, swapped, _, marker = rows[2][place].lines[:4]
        np.testing.assert_array_equal(result.get_ydata(), slide.result.values)
        np.testing.assert_array_equal(swapped.get_ydata(), slide.swapped.values)
        assert (marker.get_xdata()[0], marker.get_ydata()[0]) == (slide.t, slide.integral)


def test_no_text_is_small_or_leaves_the_page(figure):
    renderer = figure.canvas.get_renderer()
    page = figure.bbox
    for text in words(figure):
        assert text.get_fontsize() >= 9
        box = text.get_window_extent(renderer)
        assert page.x0 <= box.x0, text
        assert box.x1 <= page.x1, text
        assert page.y0 <= box.y0, text
        assert box.y1 <= page.y1, text


@pytest.mark.parametrize(
    "signal", [Sampled([-3.0, 1.0, -5.0], 1.0), Sampled([0.0], 0.1), Sampled([2e6, 1e6], 1e-3)]
)
def test_negative_zero_and_extreme_signals_stay_inside_their_axes(signal):
    slide = slide_cross_correlation(signal, signal)
    figure, (column,) = signal_pictures._build("test", [slide], 50)
    for t in slide.shifts(5):
        column.show(slide.at(t))
        overlap, result = figure.axes[1], figure.axes[2]
        low, high = overlap.get_ylim()
        assert low < slide.at(t).product.min()
        assert slide.at(t).product.max() < high
        low, high = result.get_ylim()
        assert low < slide.at(t).integral < high


def test_a_png_of_the_asked_resolution_is_written(slides, tmp_path):
    path = tmp_path / "slide.png"
    draw_flip_and_slide(slides[:1], path, dpi=60)
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("PNG", (270, 516))
    assert [entry.name for entry in tmp_path.iterdir()] == ["slide.png"]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_repeats_moves_and_keeps_white_white(slides, tmp_path, suffix):
    path = tmp_path / f"slide{suffix}"
    animate_flip_and_slide(slides[:2], path, frames=4, frames_per_second=20, dpi=60)
    with Image.open(path) as animation:
        assert (animation.n_frames, animation.info["loop"]) == (4, 0)
        frames = []
        for frame in range(4):
            animation.seek(frame)
            frames.append(np.asarray(animation.convert("RGB")).copy())
            assert animation.info["duration"] == 50
    for frame in frames:
        assert frame[0, 0].tolist() == [255, 255, 255]
    for earlier, later in itertools.pairwise(frames):
        changed = (earlier != later).any(axis=(1, 2))
        assert changed.any()
        assert not changed[: len(changed) // 3].any()  # the titles and the signals stand still


def test_a_frame_of_the_sweep_is_the_still_picture_at_that_shift(slides):
    figure, columns = signal_pictures._build("test", slides, 60)
    swept = list(signal_pictures._sweep(figure, columns, slides, 3, one_palette=False))[1]
    for column, slide in zip(columns, slides, strict=True):
        column.show(slide.at(slide.shifts(3)[1]))
        for artist in column.moving:
            artist.set_animated(False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    difference = np.asarray(canvas.buffer_rgba())[..., :3].astype(int) - np.asarray(swept).astype(int)
    assert (np.abs(difference).max(axis=-1) > 60).mean() < 0.002  # only where a moving line covers a frame


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda s, p: draw_flip_and_slide([], p / "a.png"), "draw_flip_and_slide: slides is empty"),
        (lambda s, p: animate_flip_and_slide([], p / "a.gif"), "animate_flip_and_slide: slides is empty"),
        (lambda s, p: animate_flip_and_slide(s, p / "a.mp4"), "does not end in .gif or .webp"),
        (lambda s, p: animate_flip_and_slide(s, p / "a.gif", frames=1), "frames=1 and frames_per_second=12"),
        (lambda s, p: animate_flip_and_slide(s, p / "a.gif", frames_per_second=0), "frames_per_second=0"),
    ],
)
def test_refusal(call, text, slides, tmp_path):
    with pytest.raises(UsageError, match=re.escape(text)) as caught:
        call(slides, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_way_is_an_output_error_and_stays(slides, tmp_path):
    (tmp_path / "slide.gif").mkdir()
    with pytest.raises(OutputError):
        animate_flip_and_slide(slides[:1], tmp_path / "slide.gif", frames=2, dpi=40)
    assert [entry.name for entry in tmp_path.iterdir()] == ["slide.gif"]
