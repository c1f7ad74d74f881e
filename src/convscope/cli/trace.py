"""`convscope trace`: every operator of a network, as text, JSON or SVG."""

from __future__ import annotations

import shutil
from pathlib import Path

from convscope.cli.network import open_network
from convscope.cli.output import print_json, say_written


def run(
    network: str,
    /,
    *,
    input: str | None = None,
    image: Path | None = None,
    layer: str | None = None,
    train: bool = False,
    output: Path | None = None,
    width: int | None = None,
    json: bool = False,
) -> None:
    """Every operator that a network runs: what it reads, makes, costs and sees of the input.

    Parameters
    ----------
    network
        A network of the zoo, a run folder, or module:callable of your own code, such as my_networks:build.
    input
        Its input, such as 1x3x224x224; the zoo and runs know their own.
    image
        Run on a picture (or on cat, the packaged one) instead of on the shape alone.
    layer
        Say only what this layer sees of the input: size, stride, padding, global operations.
    train
        In training mode.
    output
        SVG or PNG file for the graph.
    width
        Letters a line; by default those of the terminal.
    json
        Print the graph as JSON.
    """
    from convscope.report.trace_text import trace_text
    from convscope.trace import trace

    opened = open_network(network, input, image=image, train=train)
    found = trace(opened.network, opened.given(image))
    if output is not None:
        from convscope.report.network.painter import draw_network, write_drawing

        write_drawing(draw_network(found, style="blocks", depth=99), output)
    if layer is not None:
        field = found.receptive_field(layer)
        if json:
            print_json(field.to_dict())
        else:
            print(field)
    elif json:
        print_json(found.to_dict())
    else:
        print(trace_text(found, width=width or shutil.get_terminal_size((100, 24)).columns))
    say_written(*([output] if output else []))
