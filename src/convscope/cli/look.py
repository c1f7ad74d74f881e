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
    seed: int | None = None,
    weights: str | None = None,
    json: bool = False,
) -> None:
    """Feature maps and filters of any layer, of a network of the zoo or of a run, for one picture.

    Parameters
    ----------
    image
        A picture; without it, the packaged cat.
    model
        A network of the zoo with random weights, such as random_filters (three convolutions, the default), lenet5,
        small_vgg, resnet18 or efficientnet_b0.
    run
        A run folder: its trained network, or with --initial the one it began with.
    initial
        The run's network as it was before training.
    layers
        Names of layers, separated by commas; by default all.
    filters
        Draw the layers' filters instead of their maps.
    output
        PNG file to draw into.
    seed
        Of the random weights; 0 unless given.
    weights
        Of --model: default for published ones, or a file; without, random ones.
    json
        Print shapes and ranges as JSON.
    """
    from convscope.data import cat, decode_image, prepare, preprocess
    from convscope.inspection import feature_maps, filter_banks, min_max_image
    from convscope.models import create_seeded_model, model_entry, weights_info
    from convscope.report.figures import write_png
    from convscope.report.pictures import draw_planes
    from convscope.report.terminal import planes_text
    from convscope.training import Run

    if run is not None and model is not None:
        raise UsageError("give --model or --run, not both.", call="look")
    if initial and run is None:
        raise UsageError("--initial is for --run.", call="look")
    if seed is not None and run is not None:
        raise UsageError("--seed is for the random weights of --model; a run has its own.", call="look")
    if weights is not None and run is not None:
        raise UsageError("--weights is for --model; a run has its own.", call="look")
    if filters and image is not None:
        raise UsageError("filters do not depend on a picture; leave it out.", call="look")
    names = None if layers is None else [name.strip() for name in layers.split(",")]
    if names is not None and "" in names:
        raise UsageError(
            f"--layers {layers!r} has an empty name; give names separated by commas.", call="look"
        )
    picture = cat() if image is None else decode_image(image)
    if run is not None:
        opened = Run.open(run)
        network, inputs = opened.network("initial" if initial else "latest"), opened.prepare(picture)
        shape = opened.facts.input_shape
    else:
        entry = model_entry(model or "random_filters")
        network = create_seeded_model(entry.name, seed or 0, weights=weights)
        channels, height, width = entry.input_shape
        if not entry.takes_image_size:
            height, width = picture.shape[:2]
        shape = entry.input_shape
        facts = None if weights is None else weights_info(network).preprocessing
        if facts is not None:
            inputs = preprocess(picture, facts)
        else:
            inputs = prepare(picture, (0.0,) * channels, (1.0,) * channels, channels, (height, width))
    found = (
        filter_banks(network, names, image_shape=shape) if filters else feature_maps(network, inputs, names)
    )
    if output is not None:
        write_png(
            draw_planes(found) if filters else draw_planes(found, picture, min_max_image(inputs[0])), output
        )
    if json:
        print_json({"layers": [entry.to_dict() for entry in found]})
    else:
        print(planes_text(found))
    say_written(*([output] if output else []))
