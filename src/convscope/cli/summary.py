"""`convscope summary`: the table of a network's layers."""

from __future__ import annotations

import shutil
from pathlib import Path

from convscope.cli.network import open_network
from convscope.cli.output import print_json
from convscope.errors import UsageError


def run(
    network: str,
    /,
    *,
    input: str | None = None,
    image: Path | None = None,
    depth: int = 3,
    columns: str = "output,kernel,params,macs,rf",
    time: bool = False,
    train: bool = False,
    width: int | None = None,
    json: bool = False,
) -> None:
    """Shapes, parameters, MACs and receptive fields of a network, layer by layer, as people know it from torchinfo.

    Parameters
    ----------
    network
        A network of the zoo, a run folder, or module:callable of your own code, such as my_networks:build.
    input
        Its input, such as 1x3x224x224; the zoo and runs know their own.
    image
        Run on a picture (or on cat, the packaged one) instead of on the shape alone.
    depth
        Levels of modules to show.
    columns
        Any of input, output, kernel, params, macs, rf, ops, bytes, time, in your order.
    time
        Also run the network on random numbers and show the time of each layer.
    train
        In training mode.
    width
        Letters a line; by default those of the terminal.
    json
        Print the table as JSON.
    """
    import torch

    from convscope.inspection import summary
    from convscope.report.summary_text import summary_text
    from convscope.trace import trace

    names = [name.strip() for name in columns.split(",")]
    opened = open_network(network, input, image=image, train=train)
    given = opened.given(image)
    if time or "time" in names:
        if isinstance(given, tuple):
            given = torch.randn(given, generator=torch.Generator().manual_seed(0))
        if "time" not in names:
            names.append("time")
        trace(opened.network, given)  # the first run of a network is slower than those that follow
    try:
        found = summary(trace(opened.network, given), depth=depth)
    except UsageError as error:
        raise error.at("summary") from error
    if json:
        print_json(found.to_dict())
    else:
        print(summary_text(found, names, width or shutil.get_terminal_size((100, 24)).columns))
