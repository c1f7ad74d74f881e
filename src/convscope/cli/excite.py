"""`convscope excite`: what excites the filters of a layer."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from convscope.cli.cell import of_cell
from convscope.cli.network import open_network
from convscope.cli.output import int_list, print_json, say_written
from convscope.errors import UsageError

_STEPS = 128
_MADE = 8  # filters for which an input is made unless --channels says which


def run(
    network: str,
    /,
    *,
    layer: str,
    channels: str | None = None,
    data: str | None = None,
    split: Literal["train", "test"] = "test",
    images: int = 1000,
    count: int = 9,
    cell: str | None = None,
    synthesise: bool = False,
    steps: int | None = None,
    input: str | None = None,
    weights: str | None = None,
    seed: int = 0,
    output: Path | None = None,
    json: bool = False,
) -> None:
    """What excites each filter of a layer: the image patches with the largest values, and an input made for it.

    Patches are cut out with the exact receptive field; grey is what of it lies outside the image.

    Parameters
    ----------
    network
        A network of the zoo, a run folder, or module:callable of your own code.
    layer
        A module's path or an operator's name, as convscope trace lists them.
    channels
        Numbers of filters, separated by commas; by default all.
    data
        A data set or a folder of pictures to look through; by default a run's own, else the packaged fashion-mnist.
    split
        The half of it.
    images
        How many images to look through at most, spread over the classes.
    count
        Patches a filter, each of another image.
    cell
        TRUE:PREDICTED, two classes: look only through the images of this cell of a run's confusion matrix.
    synthesise
        Also make, by gradient ascent, the input that excites each filter most; unless --channels says which, of the
        first 8 filters.
    steps
        Of the ascent; 128 unless given.
    input
        The input's shape, such as 3x64x64; images are brought to it.
    weights
        Of a network of the zoo: default for published ones, or a file; without, random ones.
    seed
        Of random weights and of the ascent.
    output
        PNG file: a row for each filter.
    json
        Print places and values as JSON.
    """
    from convscope.data import load_dataset
    from convscope.inspection import (
        activation_maximisation,
        exciting_patches,
        filter_layers,
        filters,
        normalisation_for,
    )
    from convscope.report.figures import png_path, write_png

    if steps is not None and not synthesise:
        raise UsageError("--steps is for --synthesise.", call="excite")
    wanted = None if channels is None else int_list("--channels", channels)
    if images < 1:
        raise UsageError(f"--images is {images}; it must be at least 1.", call="excite")
    if output is not None:
        output = png_path(output)
    opened = open_network(network, input, seed=seed, weights=weights)
    shape = opened.shape[-3:] if opened.shape is not None else opened.given()
    if not isinstance(shape, tuple) or len(shape) != 3 or shape[0] not in (1, 3):
        raise UsageError(
            f"{network!r} takes {shape}; excite needs a network of grey or colour images.", call="excite"
        )
    if cell is not None and opened.run is None:
        raise UsageError("--cell is for a run, which knows its classes.", call="excite")
    if opened.run is not None:
        found = opened.run.dataset(split, data)
        mean, std = opened.run.facts.mean, opened.run.facts.std
    else:
        mode = "L" if shape[0] == 1 else "RGB"
        found = load_dataset(data or "fashion-mnist", split, size=shape[1:], mode=mode)
        mean, std = normalisation_for(opened.network, found)
    if cell is not None and opened.run is not None:
        among = of_cell(opened.run, found, cell, "excite")[:images]
    else:
        among = found.balanced_indices(min(images, len(found)))
    excited = exciting_patches(
        opened.network, found, layer, channels=wanted, among=among, count=count, mean=mean, std=std
    )
    chosen = excited.filters if wanted is not None else excited.filters[:_MADE]
    made = [
        activation_maximisation(
            opened.network,
            layer,
            entry.channel,
            shape=shape,
            steps=_STEPS if steps is None else steps,
            seed=seed,
            mean=mean,
            std=std,
        )
        for entry in (chosen if synthesise else ())
    ]
    if output is not None:
        from convscope.report.excitement_pictures import draw_excitement

        drawable = layer in filter_layers(opened.network)
        banks = filters(opened.network, layer, image_shape=shape) if drawable else None
        write_png(draw_excitement(excited, banks, made), output)
    if json:
        print_json({**excited.to_dict(), "made": [entry.to_dict() for entry in made]})
    else:
        print("\n".join(map(str, (excited, *made))))
    say_written(*([output] if output else []))
