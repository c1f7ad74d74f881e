"""Pictures where a command was asked for them: in a file, or in the terminal in half blocks."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.cli.output import console
from convscope.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from convscope.report.half_blocks import Colours
    from convscope.report.mosaic import Block

__all__ = ["Sight", "draw", "screen_colours"]


@dataclass(frozen=True, eq=False)
class Sight:
    """What a command has to show, each made when it is asked for: facts for JSON, a text, blocks to draw."""

    facts: Callable[[], dict[str, Any]]
    text: Callable[[], str]
    blocks: Callable[[], Sequence[Block]]
    above: Sequence[tuple[str, np.ndarray]] = field(default=())
    alt: str = ""


def screen_colours(wanted: bool, output: Path | None) -> Colours | None:
    """Return the colours for a picture in the terminal, or None: it is not wanted, or standard output is no terminal.

    Args:
        wanted: asked for, also where standard output is no terminal.
    Raises:
        UsageError: it is wanted, and standard output cannot spell the half block.
    """
    stream = sys.stdout
    if stream is None or not (wanted or (output is None and stream.isatty())):
        return None
    try:
        "\u2580".encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        if not wanted:
            return None
        raise UsageError(
            f"standard output writes {stream.encoding}, which has no half blocks; use --output, or set "
            "PYTHONIOENCODING=utf-8."
        ) from None
    system = console().color_system if stream.isatty() else None
    if system == "truecolor" or os.environ.get("COLORTERM") in ("truecolor", "24bit"):
        return "24-bit"
    # A terminal of 16 colours or none would show letters at random.
    return "256" if system == "256" or wanted else None


def draw(sight: Sight, output: Path | None, colours: Colours | None, *, wanted: bool) -> str:
    """Draw what there is to see into a file, and return it for a terminal if colours are given.

    Args:
        wanted: the picture was asked for; else, where there is nothing to draw, the text is enough.
    Raises:
        UsageError: there are no maps with a height and a width.
        OutputError: the file cannot be written.
    """
    try:
        blocks = sight.blocks()
    except UsageError:
        if wanted:
            raise
        return ""
    if output is not None:
        from convscope.report.images import write_image
        from convscope.report.mosaic import draw_mosaic

        write_image(draw_mosaic(blocks, sight.above, sight.alt), output)
    if colours is None:
        return ""
    from convscope.report.half_blocks import blocks_text

    return blocks_text(blocks, shutil.get_terminal_size((100, 24)).columns, colours, sight.above)
