"""The window sliding over the padded input, as an animation and as a strip of stills."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from convscope.errors import UsageError
from convscope.files import atomic_path
from convscope.geometry import Windows, as_int
from convscope.report.window_painter import FRAME, STILL, Painter
from convscope.report.window_story import Step, tell_story

__all__ = ["ANIMATION_SUFFIXES", "animate_windows"]

ANIMATION_SUFFIXES = (".gif", ".webp", ".png")

FRAME_MS, LAST_FRAME_MS = 450, 1800
STILLS = 6


def animate_windows(
    windows: Windows,
    input_size: Sequence[int],
    path: str | os.PathLike[str],
    *,
    frames_at_most: int = 64,
) -> tuple[Path, Path]:
    """Draw each window where it reads (transposed: where it writes), as an animation and a strip of stills.

    Args:
        windows: of a convolution, a pooling or a transposed convolution. Of three axes, height and width are drawn,
            one depth after the other; the caption says which depths the window meets.
        input_size: pixels along each axis.
        path: the animation; its suffix chooses GIF, WebP or animated PNG, and without one it is `.gif`.
        frames_at_most: with more windows than this, one in so many is drawn, and always the first and last.
    Returns:
        The paths of the animation and of `<stem>-strip.png` beside it.
    Raises:
        UsageError: a suffix of another format.
        ShapeError: the window does not fit the input.
        OutputError: a file cannot be written; what stood in its place stays.
    Example:
        >>> import tempfile
        >>> animation, strip = animate_windows(Windows.of(2, 3), (5, 5), Path(tempfile.mkdtemp(), "k3"))
        >>> animation.name, strip.name
        ('k3.gif', 'k3-strip.png')
    """
    animation = _with_known_suffix(Path(path))
    strip = animation.with_name(f"{animation.stem}-strip.png")
    story = tell_story(windows, tuple(input_size), as_int("frames_at_most", frames_at_most, at_least=2))
    painter = Painter(story, FRAME, story.note)
    frames = [painter.page([step]) for step in story.steps]
    stills = Painter(story, STILL).page(_evenly(story.steps, STILLS))
    with atomic_path(animation) as animation_file, atomic_path(strip) as strip_file:
        _save(frames, animation_file, animation.suffix.lower())
        stills.save(strip_file, format="PNG", optimize=True)
    return animation, strip


def _with_known_suffix(path: Path) -> Path:
    if not path.suffix:
        return path.with_name(path.name + ".gif")
    if path.suffix.lower() not in ANIMATION_SUFFIXES:
        raise UsageError(
            f"cannot animate to {path.suffix!r} ({str(path)!r}); use {', '.join(ANIMATION_SUFFIXES[:-1])} "
            f"or {ANIMATION_SUFFIXES[-1]}.",
            call="animate_windows",
        )
    return path


def _save(frames: Sequence[Image.Image], path: Path, suffix: str) -> None:
    durations = [FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS]
    first, rest = frames[0], list(frames[1:])
    if suffix == ".gif":
        first.save(path, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=False)
    elif suffix == ".webp":
        colour = [frame.convert("RGB") for frame in frames]
        colour[0].save(
            path,
            "WEBP",
            save_all=True,
            append_images=colour[1:],
            duration=durations,
            loop=0,
            lossless=True,
            quality=30,
            method=2,
        )
    else:
        first.save(path, "PNG", save_all=True, append_images=rest, duration=durations, loop=0)


def _evenly(steps: Sequence[Step], count: int) -> list[Step]:
    if len(steps) <= count:
        return list(steps)
    return [steps[number * (len(steps) - 1) // (count - 1)] for number in range(count)]
