"""`convscope draw`: the figure of a network for papers and lectures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from convscope.cli.network import open_network
from convscope.cli.output import say_written
from convscope.errors import UsageError


def run(
    network: str,
    /,
    *,
    input: str | None = None,
    style: Literal["volumes", "blocks"] = "volumes",
    depth: int | None = None,
    output: Path | None = None,
    train: bool = False,
) -> None:
    """Draw a network as volumes to scale, or as a graph of blocks.

    Parameters
    ----------
    network
        A network of the zoo, a run folder, or module:callable of your own code, such as my_networks:build.
    input
        Its input, such as 1x3x224x224; the zoo and runs know their own.
    style
        Every output as a box whose height, width and thickness are to scale, or the layers as blocks of text.
    depth
        Levels of modules to open; by default as many as keep the figure within 16 stages.
    output
        SVG or PNG file; by default the network's name with .svg, in the current folder.
    train
        In training mode.
    """
    from convscope.report.drawing import drawing_path, write_drawing
    from convscope.report.network.painter import draw_network
    from convscope.trace import trace

    name = Path(network).name.rpartition(":")[2]
    try:
        path = drawing_path(output or Path(re.sub(r"[^\w.-]", "_", name) + ".svg"))
        opened = open_network(network, input, train=train)
        found = trace(opened.network, opened.given())
        drawing = draw_network(found, style=style, depth=depth, name=name)
    except UsageError as error:
        raise (error if error.call == "trace" else error.at("draw")) from error
    say_written(write_drawing(drawing, path))
