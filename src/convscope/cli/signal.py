"""`convscope signal`: convolution, cross-correlation and autocorrelation side by side."""

from __future__ import annotations

from pathlib import Path

from convscope.cli.output import print_json, say_written


def run(
    f: str = "ramp",
    g: str = "rect",
    /,
    *,
    at: float | None = None,
    dt: float = 0.01,
    output: Path | None = None,
    animate: Path | None = None,
    json: bool = False,
) -> None:
    """Convolution, cross-correlation and autocorrelation of two signals, side by side.

    A signal is the name of a waveform (rect, triangle, ramp, exponential_decay, gaussian) or samples such as
    1,2,0.5, which lie one time unit apart.

    Parameters
    ----------
    f, g
        The signals.
    at
        The shift t at which the picture stops.
    dt
        Time step of the waveforms.
    output
        PNG file for the flip-and-slide picture.
    animate
        GIF or WebP file for the animation.
    json
        Print every curve as JSON.
    """
    from convscope.report.terminal import signal_text
    from convscope.signal import named_signals, slide_all

    first, second = named_signals(f, g, dt=dt)
    slides = slide_all(first, second, at)
    if output is not None or animate is not None:
        from convscope.report.signal_pictures import animate_flip_and_slide, draw_flip_and_slide

        if output is not None:
            draw_flip_and_slide(slides, output)
        if animate is not None:
            animate_flip_and_slide(slides, animate)
    if json:
        print_json({"slides": [slide.to_dict() for slide in slides]})
    else:
        print(signal_text(slides))
    say_written(*[path for path in (output, animate) if path])
