"""The pictures are read back: cells are found by their colour and counted, and their places follow the setting."""

import re
import time

import numpy as np
import pytest
from PIL import Image, ImageSequence
from scipy import ndimage

from convscope.errors import OutputError, ShapeError, UsageError
from convscope.geometry import Windows
from convscope.report import geometry_pictures
from convscope.report.geometry_pictures import ANIMATION_SUFFIXES, animate_windows
from convscope.report.window_painter import BEAM, FAINT, FRAME, INK, RING, STYLES, Painter, palette
from convscope.report.window_story import TRANSPOSED_WORDS, tell_story

CELL = 36  # of a small setting's frame
STILL_CELL = 22


def draw(windows, sizes, folder, name="out.gif", **settings):
    """Every frame as an array of colours, and the strip."""
    animation, strip = animate_windows(windows, sizes, folder / name, **settings)
    with Image.open(animation) as image:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
    with Image.open(strip) as image:
        return frames, np.asarray(image.convert("RGB"))


def is_colour(picture, colour):
    return (picture == list(bytes.fromhex(colour.lstrip("#")))).all(axis=-1)


def cells(picture, style, cell=CELL):
    """The (row, column) of every cell filled in this style, in cells from the topmost and leftmost of them."""
    labels, _ = ndimage.label(is_colour(picture, STYLES[style].fill))
    whole = (cell - 6) ** 2  # legend swatches and outlines are smaller
    boxes = [
        box
        for number, box in enumerate(ndimage.find_objects(labels), 1)
        if (labels[box] == number).sum() >= whole
    ]
    if not boxes:
        return []
    top, left = min(box[0].start for box in boxes), min(box[1].start for box in boxes)
    return sorted((round((box[0].start - top) / cell), round((box[1].start - left) / cell)) for box in boxes)


def count(picture, *styles, cell=CELL):
    return [len(cells(picture, style, cell)) for style in styles]


def grid(rows, columns):
    return [(row, column) for row in rows for column in columns]


def test_every_window_reads_its_taps(tmp_path):
    frames, _ = draw(Windows.of(2, 3, stride=2, padding=1), (7, 7), tmp_path)
    assert len(frames) == 16
    for number, frame in enumerate(frames):
        row, column = divmod(number, 4)
        inside = (3 - (row in (0, 3))) * (3 - (column in (0, 3)))
        assert count(frame, "tap", "outside tap") == [inside, 9 - inside]
        assert count(frame, "pixel") == [49 - inside]
        assert count(frame, "done", "now", "waiting") == [number, 1, 15 - number]
    assert cells(frames[5], "tap") == grid(range(3), range(3))


def test_the_window_stands_where_its_taps_are(tmp_path):
    frames, _ = draw(Windows.of(2, 3, stride=2), (7, 9), tmp_path)
    corners = []
    for frame in frames:
        rows, columns = np.nonzero(is_colour(frame, RING))
        corners.append((rows.min(), columns.min()))
    top, left = corners[0]
    # The output's ring stands right of the input's and no lower, so the leftmost ring pixel is the input's.
    columns = [(corner[1] - left) / CELL for corner in corners]
    assert columns == [2 * (number % 4) for number in range(12)]
    outputs_above = [(corner[0] - top) / CELL for corner in corners]
    assert outputs_above == [number // 4 for number in range(12)]


def test_holes_of_a_dilated_window_are_outlined_not_filled(tmp_path):
    frames, _ = draw(Windows.of(2, 3, dilation=2), (6, 6), tmp_path)
    frame = frames[0]
    assert cells(frame, "tap") == grid((0, 2, 4), (0, 2, 4))
    assert count(frame, "pixel", cell=CELL - 4) == [36 - 9]  # outlined cells are smaller, and still blue
    plain, _ = draw(Windows.of(2, 3), (6, 6), tmp_path, "plain.gif")
    dark = [is_colour(picture, STYLES["hole"].edge).sum() for picture in (frame, plain[0])]
    assert dark[0] - dark[1] > 16 * 4 * 2 * (CELL - 6)


def test_pixels_that_no_window_reads_are_marked(tmp_path):
    dropped, _ = draw(Windows.of(2, 3, stride=3), (8, 7), tmp_path)
    read, _ = draw(Windows.of(2, 3, stride=3), (6, 6), tmp_path, "read.gif")
    hatch = STYLES["unread"].hatch
    assert not is_colour(read[0], hatch).any()
    assert is_colour(dropped[0], hatch).sum() > 20 * (8 * 7 - 6 * 6)
    assert count(dropped[0], "pixel", "tap") == [36 - 9, 9]


def test_a_stride_longer_than_the_kernel_leaves_pixels_between(tmp_path):
    frames, _ = draw(Windows.of(2, 2, stride=4), (6, 6), tmp_path)
    assert len(frames) == 4
    assert cells(frames[0], "pixel") == grid((0, 1), (4, 5)) + grid((4, 5), (0, 1, 4, 5))


def test_padding_same_stands_after_the_input(tmp_path):
    frames, _ = draw(Windows.of(2, 3, stride=2, padding="same"), (4, 4), tmp_path)
    assert [count(frame, "tap", "outside tap") for frame in frames] == [[9, 0], [6, 3], [6, 3], [4, 5]]


def test_padding_full_meets_the_input_in_one_corner(tmp_path):
    frames, _ = draw(Windows.of(2, 3, padding="full"), (3, 3), tmp_path)
    assert len(frames) == 25
    assert [count(frames[number], "tap")[0] for number in (0, 12, 24)] == [1, 9, 1]


def test_ceil_mode_shows_the_cells_beyond_the_padding(tmp_path):
    frames, _ = draw(Windows.pool(2, 3, 2, 1, ceil_mode=True), (6, 6), tmp_path)
    assert len(frames) == 16
    assert count(frames[-1], "tap", "outside tap") == [1, 8]
    beyond = STYLES["beyond"].edge
    assert is_colour(frames[0], beyond).any()
    floor, _ = draw(Windows.pool(2, 3, 2, 1), (6, 6), tmp_path, "floor.gif")
    assert not is_colour(floor[0], beyond).any()


def test_a_signal_is_one_row_over_another(tmp_path):
    frames, strip = draw(Windows.of(1, 3, stride=2, padding=1), (9,), tmp_path)
    assert len(frames) == 5
    assert [count(frame, "tap", "outside tap", "done") for frame in frames] == [
        [2, 1, 0],
        [3, 0, 1],
        [3, 0, 2],
        [3, 0, 3],
        [2, 1, 4],
    ]
    assert cells(frames[1], "tap") == [(0, 0), (0, 1), (0, 2)]
    assert count(strip, "tap", cell=STILL_CELL) == [2 + 3 + 3 + 3 + 2]


def test_transposed_windows_write(tmp_path):
    frames, _ = draw(Windows.transposed(2, 3, 2, 1, 1), (3, 3), tmp_path)
    assert len(frames) == 9  # an input each
    seen = [count(frame, "source", "now", "cut now") for frame in frames]
    assert seen[0] == [1, 4, 5]
    assert seen[1:3] == [[1, 6, 3], [1, 6, 3]]
    assert seen[4] == seen[8] == [1, 9, 0]
    outlined = CELL - 4
    last = len(cells(frames[-1], "done", cell=outlined)) + len(cells(frames[-1], "now", cell=outlined))
    assert last == 36  # 6x6 outputs, the output padding among them
    for frame in (frames[0], frames[-1]):  # 11 cells of output padding, and 13 that the padding cuts
        assert is_colour(frame, STYLES["extra"].edge).sum() > 11 * 4 * (CELL - 6)
    assert is_colour(frames[-1], STYLES["cut"].hatch).sum() > 13 * 4 * (CELL - 6)


def test_transposed_dilated_windows_leave_holes(tmp_path):
    frames, _ = draw(Windows.transposed(1, 3, 1, 0, 0, 2), (3,), tmp_path)
    assert [cells(frame, "now") for frame in frames] == [[(0, 0), (0, 2), (0, 4)]] * 3
    gaps, _ = draw(Windows.transposed(1, 2, 3), (3,), tmp_path, "gaps.gif")
    assert is_colour(gaps[0], STYLES["unwritten"].hatch).any()


@pytest.mark.parametrize("windows", [Windows.of(2, 7, 2, 3), Windows.transposed(2, 4, 2, 1)])
def test_a_large_input_is_sampled_with_both_ends(windows, tmp_path, monkeypatch):
    captions = []
    monkeypatch.setattr(geometry_pictures, "_save", lambda frames, path, suffix: captions.append(len(frames)))
    story = tell_story(windows, (224, 224), 10)
    animate_windows(windows, (224, 224), tmp_path / "out.gif", frames_at_most=10)
    assert captions == [len(story.steps)]
    assert len(story.steps) <= 10
    end = 223 if story.words is TRANSPOSED_WORDS else 111
    assert "(0, 0)" in story.steps[0].caption[0]
    assert f"({end}, {end})" in story.steps[-1].caption[0]
    skip = int(re.fullmatch(r"1 window in (\d+) is shown, and the last", story.note)[1])
    assert f"{divmod(3 * skip, end + 1)}" in story.steps[3].caption[0]
    painter = Painter(story, FRAME, story.note)
    assert all(story.note in " ".join(lines) for lines in painter.captions.values())


def test_a_large_input_stays_small_and_quick(tmp_path):
    start = time.process_time()
    frames, strip = draw(Windows.of(2, 7, 2, 3), (224, 224), tmp_path)
    assert time.process_time() - start < 5
    assert len(frames) == 64
    assert frames[0].shape[1] < 1000
    assert (tmp_path / "out.gif").stat().st_size < 2_000_000
    assert max(strip.shape) <= 1500
    assert is_colour(frames[20], STYLES["tap"].fill).sum() > 150  # 7x7 taps of 2x2 pixels


def test_captions_and_title():
    story = tell_story(Windows.of(2, 3, 2, 1), (7, 7), 48)
    assert story.title.replace("\u00a0", " ") == "kernel 3x3, stride 2, padding 1, dilation 1: 7x7 -> 4x4"
    assert story.input.label == "input 7x7, padded to 9x9"
    assert story.steps[0].caption == (
        "output (0, 0) reads rows -1, 0, 1 and columns -1, 0, 1",
        "5 of 9 taps outside the input",
    )
    assert story.steps[6].caption == ("output (1, 2) reads rows 1, 2, 3 and columns 3, 4, 5", "")
    signal = tell_story(Windows.of(1, 7, 1, 0, 2), (13,), 48)
    assert signal.steps[0].caption[0] == "output 0 reads positions 0 to 12 by 2"
    single = tell_story(Windows.of(2, 1), (1, 1), 48)
    assert single.steps[0].caption[0] == "output (0, 0) reads row 0 and column 0"
    turned = tell_story(Windows.transposed(2, 3, 2, 1, 1), (4, 4), 48)
    assert turned.title.startswith(
        "transposed kernel 3x3, stride 2, padding 1, dilation 1, output padding 1:"
    )
    assert turned.output.label == "output 8x8, cut from 9x9"
    assert turned.steps[0].caption == (
        "input (0, 0) writes rows -1, 0, 1 and columns -1, 0, 1",
        "5 of 9 products cut",
    )


@pytest.mark.parametrize(
    ("windows", "words"),
    [
        (Windows.of(2, (3, 5), (1, 2)), "kernel 3x5, stride 1x2, padding 0,"),
        (Windows.of(2, 3, padding=((0, 1), (2, 1))), "padding 0+1 x 2+1,"),
        (Windows.of(2, (4, 3), (2, 3), "same"), "padding same (1+2 x 0+1),"),
        (Windows.of(2, 3, padding=("full", "valid")), "padding full x valid (2x0),"),
        (Windows.of(2, 3, padding=("same", 2)), "padding 1x2,"),
        (Windows.pool(2, 2, ceil_mode=True), "dilation 1, ceil mode:"),
    ],
)
def test_the_title_tells_every_setting(windows, words):
    assert words in tell_story(windows, (7, 8), 48).title


def test_the_legend_names_what_is_drawn_and_nothing_else():
    def words(windows, sizes):
        return tell_story(windows, sizes, 48).styles()

    assert words(Windows.of(2, 3), (5, 5)) == ["pixel", "tap", "waiting", "done", "now"]
    assert words(Windows.of(2, 3, 2, 1, 2), (6, 6)) == [
        "pixel",
        "padding",
        "unread",
        "tap",
        "outside tap",
        "hole",
        "waiting",
        "done",
        "now",
    ]
    assert words(Windows.transposed(1, 2, 2), (4,)) == ["pixel", "source", "waiting", "done", "now"]


@pytest.mark.parametrize(("windows", "stills"), [(4, 4), (5, 5), (6, 6), (20, 6)])
def test_the_strip_shows_up_to_six_stills(windows, stills, tmp_path):
    frames, strip = draw(Windows.of(1, 1), (windows,), tmp_path)
    assert len(frames) == windows
    assert count(strip, "now", cell=STILL_CELL) == [stills]
    done = count(strip, "done", cell=STILL_CELL)
    assert done == [sum(number * (windows - 1) // (stills - 1) for number in range(stills))]
    assert strip.shape[1] <= 1500


@pytest.mark.parametrize(
    ("name", "kind", "written"),
    [
        ("out.gif", "GIF", "out.gif"),
        ("out.webp", "WEBP", "out.webp"),
        ("out.png", "PNG", "out.png"),
        ("OUT.GIF", "GIF", "OUT.GIF"),
        ("out", "GIF", "out.gif"),
    ],
)
def test_the_suffix_chooses_the_format(name, kind, written, tmp_path):
    animation, strip = animate_windows(Windows.of(2, 2), (3, 3), str(tmp_path / name))
    assert animation == tmp_path / written
    assert strip == animation.with_name(f"{animation.stem}-strip.png")
    assert sorted(tmp_path.iterdir()) == sorted([animation, strip])
    with Image.open(animation) as image:
        assert (image.format, image.n_frames) == (kind, 4)
        for frame in ImageSequence.Iterator(image):
            assert count(np.asarray(frame.convert("RGB")), "tap") == [4]


def test_one_window_is_one_frame(tmp_path):
    for suffix in ANIMATION_SUFFIXES:
        frames, strip = draw(Windows.of(2, 1), (1, 1), tmp_path, f"out{suffix}")
        assert [count(frame, "tap", "now") for frame in frames] == [[1, 1]]
        assert count(strip, "tap", "now", cell=STILL_CELL) == [1, 1]


def test_the_palette_keeps_every_colour():
    # Pillow looks colours up by their upper bits: two that are close would silently become one.
    names = {
        name
        for style in STYLES.values()
        for name in (style.fill, style.hatch, style.edge, style.pale)
        if name
    }
    names |= {INK, FAINT, BEAM, RING}
    wanted = [tuple(bytes.fromhex(name[1:])) for name in sorted(names)]
    image = Image.new("RGB", (len(wanted), 1))
    image.putdata(wanted)
    kept = image.quantize(palette=palette(), dither=Image.Dither.NONE).convert("RGB")
    assert [kept.getpixel((x, 0)) for x in range(len(wanted))] == wanted


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda path: animate_windows(Windows.of(2, 3), (5, 5), "x.mp4"),
            UsageError,
            "animate_windows: cannot animate to '.mp4' ('x.mp4'); use .gif, .webp or .png.",
        ),
        (
            lambda path: animate_windows(Windows.of(2, 3), (5, 5), path / "x", frames_at_most=1),
            ShapeError,
            "frames_at_most is 1; it must be at least 2.",
        ),
        (
            lambda path: animate_windows(Windows.of(2, 3), (5,), path / "x"),
            ShapeError,
            "sizes (5,) have 1 axes; the window has 2.",
        ),
        (
            lambda path: animate_windows(Windows.of(2, 7), (9, 5), path / "x"),
            ShapeError,
            "kernel does not fit along width: dilation*(kernel_size-1)+1 = 1*(7-1)+1 = 7, but input + padding = "
            "5 + 0 + 0 = 5. Add 2 more padding, shorten the kernel, or give an input of at least 7.",
        ),
    ],
)
def test_refusals(call, error, message, tmp_path):
    with pytest.raises(error) as caught:
        call(tmp_path)
    assert str(caught.value) == message
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(OutputError, match=r"the folder '.*nowhere' does not exist; create it first\."):
        animate_windows(Windows.of(2, 3), (5, 5), tmp_path / "nowhere" / "out.gif")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing_of_either_file(tmp_path, monkeypatch):
    def fail(self, *_, **__):
        raise OSError(28, "No space left on device")

    (tmp_path / "out.gif").write_bytes(b"old")
    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OutputError, match="no space is left on the device"):
        animate_windows(Windows.of(2, 3), (5, 5), tmp_path / "out.gif")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("out.gif", b"old")]


def test_half_a_strip_is_removed_with_the_animation(tmp_path, monkeypatch):
    save = Image.Image.save

    def fail_late(self, file, *words, **settings):
        if settings.get("format") == "PNG":
            file.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(self, file, *words, **settings)

    monkeypatch.setattr(Image.Image, "save", fail_late)
    with pytest.raises(OutputError, match="no space is left on the device"):
        animate_windows(Windows.of(2, 3), (5, 5), tmp_path / "out.gif")
    assert not list(tmp_path.iterdir())


def test_a_strip_that_cannot_be_written_leaves_no_animation(tmp_path):
    (tmp_path / "out-strip.png").mkdir()
    with pytest.raises(OutputError, match="it is a folder; name a file"):
        animate_windows(Windows.of(2, 3), (5, 5), tmp_path / "out.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["out-strip.png"]


def test_a_volume_is_shown_depth_by_depth(tmp_path):
    windows = Windows.of(3, (3, 2, 2), padding=((1, 0), 0, 0))
    story = tell_story(windows, (3, 3, 4), 100)
    assert windows.output_size((3, 3, 4)) == (2, 2, 3)
    assert len(story.steps) == 2 * 2 * 3
    assert story.title.endswith("3x3x4\u00a0->\u00a02x2x3")
    captions = [step.caption[0] for step in story.steps]
    assert captions[0].startswith("depth 0 reads depths -1, 0, 1; in it output (0, 0) reads rows 0, 1")
    assert captions[6].startswith("depth 1 reads depths 0, 1, 2; in it output (0, 0)")
    assert captions[-1].startswith("depth 1 reads depths 0, 1, 2; in it output (1, 2)")
    assert story.note == ""
    frames, _ = draw(windows, (3, 3, 4), tmp_path)
    assert len(frames) == 12


def test_a_transposed_volume_names_the_depths_it_writes():
    story = tell_story(Windows.transposed(3, 2, 2, 1), (2, 2, 2), 100)
    assert len(story.steps) == 8
    assert (
        story.steps[0]
        .caption[0]
        .startswith("depth 0 writes depths -1, 0; in it input (0, 0) writes rows -1, 0")
    )
    assert story.steps[-1].caption[0].startswith("depth 1 writes depths 1, 2; in it input (1, 1)")


def test_of_a_large_volume_the_first_and_the_last_window_are_shown():
    story = tell_story(Windows.of(3, 3), (20, 30, 30), 24)
    assert len(story.steps) <= 24
    assert "depth 0 reads depths 0, 1, 2; in it output (0, 0)" in story.steps[0].caption[0]
    assert "depth 17 reads depths 17, 18, 19; in it output (27, 27)" in story.steps[-1].caption[0]
    assert story.note.startswith("some windows are shown")
