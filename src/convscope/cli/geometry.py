"""`convscope geometry`: sizes and costs of a window, derived."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from convscope.cli.output import int_list, padding_of, print_json, say_written
from convscope.errors import UsageError


def run(
    *,
    input: Annotated[str | None, Parameter(alias="--input-size")] = None,
    output_size: str | None = None,
    kernel_size: Annotated[str, Parameter(alias="--kernel")] = "3",
    stride: str = "1",
    padding: str = "0",
    dilation: str = "1",
    ceil_mode: bool = False,
    transposed: bool = False,
    output_padding: str = "0",
    in_channels: int | None = None,
    out_channels: int | None = None,
    groups: int | None = None,
    bias: bool | None = None,
    batch_size: int | None = None,
    animate: Path | None = None,
    json: bool = False,
) -> None:
    """Output size, input size and cost of a window, with the formula and your numbers in it.

    Sizes are one number for all axes, or one an axis: 224, 224x320, 16x224x224.

    Parameters
    ----------
    input
        Pixels along each axis of the input; gives the output size.
    output_size
        Pixels along each axis of the output; gives the inputs that lead to it.
    padding
        Pixels each side (1), per axis (1x2), before and after (0:1), or valid, same, full.
    ceil_mode
        Let the last window stick out, by torch's pooling rule.
    transposed
        A transposed convolution; with --output-padding.
    in_channels
        With --out-channels: also parameters, MACs and bytes of the layer.
    animate
        Draw the window at work: an animation (.gif, .webp or .png) and a strip of stills beside it.
    json
        Print the facts as JSON.
    """
    from convscope.geometry import Windows, conv_cost, window_facts

    if (input is None) == (output_size is None):
        raise UsageError("give either --input or --output-size.", call="geometry")
    if (in_channels is None) != (out_channels is None):
        raise UsageError("give --in-channels and --out-channels together.", call="geometry")
    if in_channels is None and (groups is not None or bias is not None or batch_size is not None):
        raise UsageError(
            "--groups, --bias and --batch-size need --in-channels and --out-channels.", call="geometry"
        )
    if input is None and (animate is not None or in_channels is not None):
        raise UsageError("--animate and the channel counts need --input.", call="geometry")
    if transposed and ceil_mode:
        raise UsageError("--ceil-mode has no meaning for a transposed window.", call="geometry")
    if not transposed and output_padding != "0":
        raise UsageError(f"--output-padding {output_padding} is for --transposed windows.", call="geometry")

    asked = int_list("--input" if input else "--output-size", input or output_size or "")
    kernel, strides, dilations, extras = (
        int_list(flag, text)
        for flag, text in (
            ("--kernel-size", kernel_size),
            ("--stride", stride),
            ("--dilation", dilation),
            ("--output-padding", output_padding),
        )
    )
    ndim = max(*map(len, (asked, kernel, strides, dilations, extras)), padding.count("x") + 1)
    sizes = asked * ndim if len(asked) == 1 else asked
    try:
        if transposed:
            windows = Windows.transposed(ndim, kernel, strides, padding_of(padding), extras, dilations)
        else:
            windows = Windows.of(ndim, kernel, strides, padding_of(padding), dilations, ceil_mode=ceil_mode)
        facts = window_facts(windows, **{"output_size" if input is None else "input_size": sizes})
        cost = None
        if in_channels is not None and out_channels is not None:
            cost = conv_cost(
                in_channels,
                out_channels,
                windows,
                sizes,
                1 if groups is None else groups,
                bias is not False,
                batch_size=1 if batch_size is None else batch_size,
            )
    except UsageError as error:
        raise error.at("geometry") from error

    written: tuple[Path, ...] = ()
    if animate is not None:
        from convscope.report.geometry_pictures import animate_windows

        written = animate_windows(windows, sizes, animate)
    if json:
        print_json(facts.to_dict() | ({"cost": cost.to_dict()} if cost else {}))
    else:
        for text in (facts, *(cost.derivations if cost else ())):
            print(text)
        if cost is not None and ndim == 1:
            print(f"(along one axis, a 1-D convolution; for an image give --input {sizes[0]}x{sizes[0]})")
    say_written(*written)
