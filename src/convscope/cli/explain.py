"""`convscope explain`: one value of any layer, taken apart down to the pixels."""

from __future__ import annotations

from pathlib import Path

from convscope.cli.network import open_network
from convscope.cli.output import int_list, print_json, say_written
from convscope.errors import UsageError


def run(
    network: str,
    /,
    *,
    layer: str,
    at: str,
    image: Path | None = None,
    input: str | None = None,
    down: str = "0",
    follow: int = 1,
    train: bool = False,
    weights: str | None = None,
    output: Path | None = None,
    json: bool = False,
) -> None:
    """Where one value comes from: window, weights, products, bias, total, beside what the engine computed.

    Parameters
    ----------
    network
        A network of the zoo, a run folder, or module:callable of your own code, such as my_networks:build.
    layer
        A module's path or an operator's name, as convscope trace lists them.
    at
        The place in the layer's output: channel,row,column.
    image
        The picture that the network looks at; by default the packaged cat, for your own --input random numbers.
    input
        The input's shape, such as 1x3x224x224.
    down
        How many levels of terms to follow, or input for all of them down to the pixels.
    follow
        How many of the largest terms to follow at each level.
    weights
        Of a network of the zoo: default for published ones, or a file; without, random ones.
    train
        In training mode: batch norm by this very batch.
    output
        PNG file: the window on the picture and the terms.
    json
        Print the terms as JSON.
    """
    import torch

    from convscope.inspection import explain
    from convscope.trace import trace

    place = int_list("--at", at)
    if down != "input" and not (down.isascii() and down.isdigit()):
        raise UsageError(f"--down {down!r} is no whole number and not the word input.", call="explain")
    picture = image
    if picture is None and (input is None or int_list("--input", input)[-3:-2] in ((1,), (3,))):
        picture = Path("cat")
    opened = open_network(network, input, image=picture, train=train, weights=weights)
    if picture is not None and opened.shape is not None and len(opened.shape) != 4:
        picture = None
    given = opened.given(picture)
    if isinstance(given, tuple):
        given = torch.randn(given, generator=torch.Generator().manual_seed(0))
    found = trace(opened.network, given)
    value = explain(found, layer, place, down="input" if down == "input" else int(down), follow=follow)
    if output is not None:
        from convscope.report.explanation_pictures import draw_explanation
        from convscope.report.figures import write_png

        write_png(draw_explanation(value, found), output)
    if json:
        print_json(value.to_dict())
    else:
        print(value)
    say_written(*([output] if output else []))
