"""`convscope look`: feature maps and filters of one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from convscope.cli.output import print_json, say_written
from convscope.errors import UsageError


def run(
    image: Path | None = None,
    /,
    *,
    model: str | None = None,
    run: Path | None = None,
    layers: Annotated[str | None, Parameter(alias="--layer")] = None,
    initial: bool = False,
    filters: bool = False,
    output: Path | None = None,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Feature maps and filters of any layer, of a network of the zoo or of a run, for one picture.

    Parameters
    ----------
    image
        A picture; without it, the packaged cat.
    model
        A network of the zoo with random weights (default random_filters, the source document's).
    run
        A run folder: its trained network, or with --initial the one it began with.
    layers
        Names of layers, separated by commas; by default all.
    filters
        Draw the layers' filters instead of their maps.
    output
        PNG file to draw into.
    seed
        Of the random weights.
    json
        Print shapes and ranges as JSON.
    """
    from convscope.data import cat, decode_image, prepare
    from convscope.inspection import feature_maps, filter_banks, min_max_image
    from convscope.models import create_seeded_model, model_entry
    from convscope.report.figures import write_png
    from convscope.report.pictures import draw_planes
    from convscope.report.terminal import planes_text
    from convscope.training import Run

    if run is not None and model is not None:
        raise UsageError("give --model or --run, not both.", call="look")
    if initial and run is None:
        raise UsageError("--initial is for --run.", call="look")
    picture = cat() if image is None else decode_image(image)
    if run is not None:
        opened = Run.open(run)
        network, inputs = opened.network(initial=initial), opened.prepare(picture)
    else:
        entry = model_entry(model or "random_filters")
        network = create_seeded_model(entry.name, seed)
        channels, height, width = entry.input_shape
        if not entry.takes_image_size:
            height, width = picture.shape[:2]
        inputs = prepare(picture, (0.0,) * channels, (1.0,) * channels, channels, (height, width))
    names = layers.split(",") if layers else None
    found = filter_banks(network, names) if filters else feature_maps(network, inputs, names)
    if output is not None:
        write_png(
            draw_planes(found) if filters else draw_planes(found, picture, min_max_image(inputs[0])), output
        )
    if json:
        print_json({"layers": [entry.to_dict() for entry in found]})
    else:
        print(planes_text(found))
    say_written(*([output] if output else []))
