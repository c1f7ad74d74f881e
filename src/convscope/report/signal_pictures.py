"""The flip-and-slide picture: convolution, cross-correlation and autocorrelation side by side.

Draws the facts of `convscope.signal.Slide`; nothing is computed here but places on the page.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from convscope.errors import UsageError
from convscope.files import atomic_path
from convscope.report.figures import BLUE, INK, ORANGE, TEAL, png_path
from convscope.signal import Slide

__all__ = ["animate_flip_and_slide", "draw_flip_and_slide"]

_F, _G, _PRODUCT, _RESULT, _SWAPPED = BLUE, ORANGE, TEAL, INK, "#E6A817"
_MUTED, _GRID = "#55616D", "#E8EBEE"
_GOOD, _BAD = "#00694C", "#A8320A"
_SIZE, _SMALL, _LARGE = 10.5, 9.5, 14  # points
_FEW_SAMPLES = 60  # up to here each sample is marked

_FORMULAS = {
    "convolution": r"$(f * g)(t) = \int f(\tau)\, g(t - \tau)\, d\tau$",
    "cross-correlation": r"$(f \star g)(t) = \int f(\tau)\, g(t + \tau)\, d\tau$",
    "autocorrelation": r"$(f \star f)(t) = \int f(\tau)\, f(t + \tau)\, d\tau$",
}
_MOVED = {
    "convolution": r"$g(t - \tau)$",
    "cross-correlation": r"$g(t + \tau)$",
    "autocorrelation": r"$f(t + \tau)$",
}
_RESULTS = {
    "convolution": ("f * g", "g * f"),
    "cross-correlation": (r"f \star g", r"g \star f"),
    "autocorrelation": (r"f \star f", r"f \star f"),
}
# In the texts that change with t no mathtext: parsing it would take most of the time of an animation.
_VALUES = {"convolution": "(f ∗ g)", "cross-correlation": "(f ⋆ g)", "autocorrelation": "(f ⋆ f)"}
_ARROWS = {1: "→", -1: "←"}

_FORMATS = {".gif": "GIF", ".webp": "WEBP"}


def draw_flip_and_slide(slides: Sequence[Slide], path: str | os.PathLike[str], *, dpi: int = 150) -> None:
    """Draw slides side by side as a PNG: the signals, the moved copy with the product, the result.

    Args:
        slides: one column each, usually convolution, cross-correlation and autocorrelation.
        path: the file to write; what stands there is replaced once the picture is complete.
    Raises:
        UsageError: no slides.
        OutputError: the file cannot be written.
    Example:
        >>> import tempfile
        >>> from convscope.signal import ramp, rect, slide_convolution, slide_cross_correlation
        >>> path = Path(tempfile.mkdtemp()) / "slide.png"
        >>> draw_flip_and_slide([slide_convolution(rect(), ramp()), slide_cross_correlation(rect(), ramp())], path)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    figure, columns = _build("draw_flip_and_slide", slides, dpi)
    for column, slide in zip(columns, slides, strict=True):
        column.show(slide)
    with atomic_path(png_path(path)) as temporary:
        figure.savefig(temporary, format="png")


def animate_flip_and_slide(
    slides: Sequence[Slide],
    path: str | os.PathLike[str],
    *,
    frames: int = 60,
    frames_per_second: float = 12,
    dpi: int = 90,
) -> None:
    """Draw the same picture with t sweeping from the first overlap to the last, as a GIF or WebP that repeats.

    Args:
        path: the file to write; its suffix, .gif or .webp, names the format.
        frames: pictures in one sweep, at least 2.
    Raises:
        UsageError: no slides, fewer than 2 frames, a speed that is not positive, or another suffix.
        OutputError: the file cannot be written.
    Example:
        >>> import tempfile
        >>> from convscope.signal import ramp, rect, slide_convolution
        >>> path = Path(tempfile.mkdtemp()) / "slide.gif"
        >>> animate_flip_and_slide([slide_convolution(rect(), ramp())], path, frames=3)
        >>> with Image.open(path) as animation:
        ...     animation.n_frames
        3
    """
    image_format = _FORMATS.get(Path(path).suffix.lower())
    if image_format is None:
        raise UsageError(
            f"{str(path)!r} does not end in .gif or .webp. Choose one of the two.",
            call="animate_flip_and_slide",
        )
    if frames < 2 or not frames_per_second > 0:
        raise UsageError(
            f"frames={frames} and frames_per_second={frames_per_second}: "
            "a sweep needs at least 2 frames and a speed above 0.",
            call="animate_flip_and_slide",
        )
    figure, columns = _build("animate_flip_and_slide", slides, dpi)
    pictures = list(_sweep(figure, columns, slides, frames, one_palette=image_format == "GIF"))
    options = {"lossless": True} if image_format == "WEBP" else {}
    with atomic_path(path) as temporary:
        pictures[0].save(
            temporary,
            format=image_format,
            save_all=True,
            append_images=pictures[1:],
            duration=round(1000 / frames_per_second),
            loop=0,
            **options,
        )


def _sweep(
    figure: Figure, columns: list[_Column], slides: Sequence[Slide], frames: int, one_palette: bool
) -> Iterator[Image.Image]:
    """Draw what stands still once, and over it the moving artists of each frame."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)
    sweeps = [slide.shifts(frames) for slide in slides]

    def picture(frame: int) -> Image.Image:
        canvas.restore_region(background)
        for column, slide, shifts in zip(columns, slides, sweeps, strict=True):
            column.show(slide.at(shifts[frame]))
            for artist in column.moving:
                artist.draw(canvas.get_renderer())
        return Image.fromarray(np.array(canvas.buffer_rgba())).convert("RGB")

    if not one_palette:
        yield from map(picture, range(frames))
        return
    paint = _Palette(picture(frames // 2)).paint
    yield from (paint(picture(frame)) for frame in range(frames))


class _Palette:
    """One set of 255 colours for all frames, so that nothing flickers and still areas cost no bytes.

    They are the most frequent colours of one picture as they are: white stays white, and each line keeps its
    colour. (Pillow's own quantizer averages the colours, and its search for the nearest one is approximate.)
    The 256th entry is left for the transparency with which a GIF says "as before".
    """

    def __init__(self, picture: Image.Image) -> None:
        codes, counts = np.unique(_codes(picture), return_counts=True)
        self._codes = codes[np.argsort(-counts)[:255]]
        self._colors = _colors(self._codes)
        self._nearest = np.full(1 << 24, -1, np.int16)  # by colour code; filled as colours appear

    def paint(self, picture: Image.Image) -> Image.Image:
        codes = _codes(picture)
        new = np.unique(codes[self._nearest[codes] < 0])
        distances = ((_colors(new)[:, None].astype(int) - self._colors) ** 2).sum(axis=-1)
        self._nearest[new] = distances.argmin(axis=1)
        painted = Image.fromarray(self._nearest[codes].astype(np.uint8))
        painted.putpalette(self._colors.tobytes())
        return painted


def _codes(picture: Image.Image) -> np.ndarray:
    """Each pixel's colour as one number."""
    red, green, blue = np.moveaxis(np.asarray(picture).astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def _colors(codes: np.ndarray) -> np.ndarray:
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1).astype(np.uint8)


class _Column:
    """The three panels of one operation; `show` sets what depends on t."""

    def __init__(self, panels: Iterable[Axes], slide: Slide) -> None:
        signals, overlap, result = panels
        _draw_signals(signals, slide)
        _draw_result(result, slide)
        (still,) = overlap.plot(
            slide.tau, slide.f_values, **_dots(slide.tau), color=_F, lw=2, animated=True, label=r"$f(\tau)$"
        )
        (self._moved,) = overlap.plot([], [], **_dots(slide.tau), color=_G, lw=2, animated=True)
        self._moved.set_label(f"{_MOVED[slide.operation]} {_ARROWS[slide.direction]}")
        (self._area,) = overlap.fill([], [], color=_PRODUCT, alpha=0.35, lw=0, animated=True, label="product")
        overlap.set_xlabel(r"$\tau$")
        _span(overlap, slide.tau_view, slide.value_range)
        _legend(overlap)
        self._shift = _note(overlap, "left", _MUTED)
        self._integral = _note(overlap, "right", _GOOD)
        (self._stem,) = result.plot([], [], color=_PRODUCT, lw=1.6, animated=True)
        (self._marker,) = result.plot([], [], "o", ms=8, color=_PRODUCT, mec="white", mew=1.2, animated=True)
        self._value = _note(result, "right", _GOOD)
        self.moving: list[Artist] = [
            self._area, still, self._moved, self._stem, self._marker, self._shift, self._integral, self._value,
        ]  # fmt: skip

    def show(self, slide: Slide) -> None:
        self._moved.set_data(slide.tau, slide.moved)
        ends = slide.tau[[-1, 0]], np.zeros(2)
        self._area.set_xy(np.column_stack([np.append(slide.tau, ends[0]), np.append(slide.product, ends[1])]))
        self._stem.set_data([slide.t, slide.t], [0, slide.integral])
        self._marker.set_data([slide.t], [slide.integral])
        self._shift.set_text(f"t = {_number(slide.t)}")
        self._integral.set_text(f"area = {_number(slide.integral)}")
        self._value.set_text(f"{_VALUES[slide.operation]}({_number(slide.t)}) = {_number(slide.integral)}")


def _build(call: str, slides: Sequence[Slide], dpi: int) -> tuple[Figure, list[_Column]]:
    if not slides:
        raise UsageError("slides is empty, so there is nothing to draw. Pass at least one slide.", call=call)
    figure = Figure(figsize=(4.5 * len(slides), 8.6), dpi=dpi, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1, wspace=0.04, hspace=0.03)
    FigureCanvasAgg(figure)
    panels = figure.subplots(3, len(slides), squeeze=False)
    for axes in panels[:2].flat:  # signals compare across columns; results are on scales of their own
        if axes is not panels[0, 0]:
            axes.sharey(panels[0, 0])
    columns = [_Column(panels[:, place], slide) for place, slide in enumerate(slides)]
    for axes in panels.flat:
        _style(axes)
    return figure, columns


def _draw_signals(axes: Axes, slide: Slide) -> None:
    axes.set_title(
        slide.operation.capitalize(), fontsize=_LARGE, fontweight="bold", color=INK, loc="left", pad=58
    )
    axes.annotate(
        _FORMULAS[slide.operation], (0, 1), (0, 32), xycoords="axes fraction", textcoords="offset points",
        fontsize=12, color=INK,
    )  # fmt: skip
    axes.plot(slide.tau, slide.f_values, **_dots(slide.tau), color=_F, lw=2, label=r"$f(\tau)$")
    if slide.operation != "autocorrelation":
        axes.plot(slide.tau, slide.g_values, **_dots(slide.tau), color=_G, lw=2, label=r"$g(\tau)$")
    axes.set_xlabel(r"$\tau$")
    _span(axes, slide.tau_view, slide.value_range)
    _legend(axes)


def _draw_result(axes: Axes, slide: Slide) -> None:
    name, swapped = _RESULTS[slide.operation]
    axes.plot(
        slide.result.times,
        slide.result.values,
        **_dots(slide.result.times),
        color=_RESULT,
        lw=3,
        label=f"$({name})(t)$",
    )
    label = f"$({swapped})(t)$, swapped"
    axes.plot(slide.swapped.times, slide.swapped.values, color=_SWAPPED, lw=1.6, dashes=(4, 3), label=label)
    axes.set_xlabel("shift $t$")
    _span(axes, slide.result_view, slide.result_range)
    _legend(axes)
    error = f"{slide.commutativity_error:.2g}"
    verdict, color = ("commutes", _GOOD) if slide.commutes else ("does not commute", _BAD)
    formula = rf"$\max\,|{name} - {swapped}|\;/\;\max\,|{name}|$ = {error}"
    _caption(axes, f"Commutativity error {error}: {verdict}", 44, color, weight="bold")
    _caption(axes, formula, 64, _MUTED)


def _dots(times: np.ndarray) -> dict[str, Any]:
    """Mark the samples where there are few: the lines between them are for the eye only."""
    return {"marker": "o", "markersize": 5} if len(times) <= _FEW_SAMPLES else {}


def _caption(axes: Axes, text: str, below: float, color: str, weight: str = "normal") -> None:
    axes.annotate(
        text, (0, 0), (0, -below), xycoords="axes fraction", textcoords="offset points",
        va="top", fontsize=_SIZE, color=color, fontweight=weight,
    )  # fmt: skip


def _span(axes: Axes, times: tuple[float, float], values: tuple[float, float]) -> None:
    """Make room for all that can be seen, whatever the shift, and for a line of text above it."""
    first, last = times
    axes.update_datalim([(first, values[0]), (last, values[1])])
    axes.set_ymargin(0.27)
    axes.autoscale_view()
    margin = 0.02 * (last - first) or 0.5
    axes.set_xlim(first - margin, last + margin)


def _legend(axes: Axes) -> None:
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=_SIZE, labelcolor=INK,
        borderaxespad=0.1, borderpad=0.1, handlelength=1.4, handletextpad=0.5, columnspacing=1.3,
    )  # fmt: skip


def _note(axes: Axes, side: str, color: str) -> Text:
    return axes.text(
        0.025 if side == "left" else 0.975, 0.955, "", transform=axes.transAxes, ha=side, va="top",
        fontsize=_SIZE, fontweight="bold", color=color, animated=True,
    )  # fmt: skip


def _number(value: float) -> str:
    text = f"{value:.3f}"
    return "0.000" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def _style(axes: Axes) -> None:
    axes.grid(color=_GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.axhline(0, color=_MUTED, lw=0.8, zorder=1)
    axes.locator_params(nbins=6)
    axes.tick_params(labelsize=_SMALL, colors=_MUTED, length=3, labelleft=True)
    axes.xaxis.label.set(fontsize=_SIZE, color=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_MUTED)
