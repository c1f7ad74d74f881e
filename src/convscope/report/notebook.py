"""How results look in a notebook: the text that a terminal gets, the picture beside it where there is one."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from convscope.geometry import Derivation, WindowFacts
from convscope.inspection import (
    Audit,
    ClassActivation,
    ConfusionMatrix,
    ConvolutionValue,
    ExcitingInput,
    ExcitingPatches,
    Explanation,
    FeatureMaps,
    Film,
    FilterBank,
    ReceptiveCrop,
    Summary,
    summary,
)
from convscope.report.activation_pictures import activation_alt_text, draw_class_activation
from convscope.report.excitement_pictures import draw_excitement, draw_made_input
from convscope.report.figures import png
from convscope.report.images import alt_of
from convscope.report.pictures import draw_confusion
from convscope.report.planes import draw_films, draw_planes
from convscope.report.summary_text import summary_text
from convscope.report.terminal import run_text, signal_text
from convscope.signal import Slide
from convscope.trace import ReceptiveField, Trace
from convscope.training import Evaluation, Run

__all__ = ["html_of"]


def html_of(result: object) -> str:
    """Return a result as HTML: text in columns, then a picture; everything in it is escaped.

    Example:
        >>> html_of("a < b")
        '<pre>a &lt; b</pre>'
    """
    for kind, render in _RENDERERS:
        if isinstance(result, kind):
            return render(result)
    return _text(str(result))


def _text(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>"


def _picture(figure: Figure | Image.Image, alt: str) -> str:
    data = base64.b64encode(png(figure)).decode("ascii")
    return f'<img alt="{html.escape(alt)}" style="max-width: 100%" src="data:image/png;base64,{data}">'


def _trace(found: Trace) -> str:
    return _text(summary_text(summary(found), width=120))


def _planes(layer: FeatureMaps | FilterBank) -> str:
    if layer.are_pictures:
        image = draw_planes([layer])
        return _picture(image, alt_of(image))
    return _text(f"{layer.layer} ({layer.kind}): {layer.noun} of shape {tuple(layer.values.shape)}")


def _film(film: Film) -> str:
    image = draw_films([film])
    return _picture(image, alt_of(image))


_RENDERERS: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    (Trace, _trace),
    (Summary, lambda table: _text(summary_text(table, width=120))),
    (
        (ReceptiveField, ReceptiveCrop, Explanation, Audit, ConvolutionValue, Derivation, WindowFacts),
        lambda found: _text(str(found)),
    ),
    (ConfusionMatrix, lambda matrix: _picture(draw_confusion(matrix), "confusion matrix")),
    ((FeatureMaps, FilterBank), _planes),
    (ClassActivation, lambda found: _picture(draw_class_activation(found), activation_alt_text(found))),
    (
        ExcitingPatches,
        lambda found: (
            _text(str(found).splitlines()[0])
            + _picture(draw_excitement(found), f"patches that excite the filters of {found.layer}")
        ),
    ),
    (
        ExcitingInput,
        lambda made: _text(str(made)) + _picture(draw_made_input(made), f"input made to excite {made.layer}"),
    ),
    (Film, _film),
    (Slide, lambda slide: _text(signal_text([slide]))),
    (Run, lambda run: _text(run_text(run))),
    (Evaluation, lambda found: _text(f"accuracy {found.accuracy:.2%} of {len(found.labels)} images")),
)
