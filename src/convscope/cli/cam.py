"""`convscope cam`: where in a picture a network's class scores come from."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.cli.cell import classes_of_cell, of_cell
from convscope.cli.network import OpenedNetwork, open_network, picture_at
from convscope.cli.output import print_json, say_written
from convscope.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from convscope.inspection import Attribution
    from convscope.training import Run

_LAYERS = ("grad-cam", "layer-cam", "score-cam")
_PIXELS = ("saliency", "integrated-gradients", "occlusion")
_CELL_IMAGES = 8


def run(
    image: Path | None = None,
    /,
    *,
    model: str,
    weights: str | None = None,
    target: str | None = None,
    method: str = "grad-cam",
    layer: str | None = None,
    window: int | None = None,
    output_of: str | None = None,
    signed: bool = False,
    cell: str | None = None,
    data: str | None = None,
    images: int | None = None,
    input: str | None = None,
    output: Path | None = None,
    raw: Path | None = None,
    json: bool = False,
) -> None:
    """Which parts of a picture a class score rests on, over the photograph: class activation, or pixel by pixel.

    With --cell, of all images of one class that a run takes for another, for both classes.

    Parameters
    ----------
    image
        A picture; without it, the packaged cat.
    model
        A network of the zoo, a run folder, or module:callable of your own code.
    weights
        Of a network of the zoo: default for published ones, or a file; without, random ones.
    target
        Classes by number or name, separated by semicolons (or commas between numbers); by default the likeliest.
    method
        grad-cam, layer-cam or score-cam of a layer; of the pixels themselves saliency, integrated-gradients or
        occlusion.
    layer
        Whose maps are weighed, as convscope trace lists them; by default the last maps before the scores are made.
    window
        Of occlusion: pixels a side of what is covered; by default a seventh of the picture's shorter side.
    output_of
        Of a network that returns several tensors: the name of the one with the scores.
    signed
        Keep what speaks against a class too.
    cell
        TRUE:PREDICTED, two classes of a run: look at the images of this cell of its confusion matrix.
    data
        With --cell, a data set or a folder with the run's classes; by default the run's own test images.
    images
        With --cell, how many at most, the most confident first; 8 unless given.
    input
        The input's shape, such as 1x3x320x320.
    output
        PNG file: the photograph, the maps over it, and the maps with their scale.
    raw
        File for the maps as numbers, (classes, height, width), with --cell (images, classes, height, width), in NumPy's
        format, .npy.
    json
        Print layer, scores and ranges as JSON.
    """
    from convscope.data import visible_part
    from convscope.files import write_bytes
    from convscope.inspection import class_activation
    from convscope.report.activation_pictures import activation_text, draw_class_activation

    if raw is not None and raw.suffix != ".npy":
        raise UsageError(
            f"--raw {str(raw)!r} would hold NumPy's numbers; end its name with .npy.", call="cam"
        )
    if output is not None:
        from convscope.report.figures import png_path

        output = png_path(output)
    if method not in (*_LAYERS, *_PIXELS):
        raise UnknownNameError("method", method, (*_LAYERS, *_PIXELS), call="cam")
    if cell is None and (data is not None or images is not None):
        raise UsageError("--data and --images are for --cell.", call="cam")
    if window is not None and method != "occlusion":
        raise UsageError("--window is for occlusion.", call="cam")
    picture = Path("cat") if image is None else image
    opened = open_network(model, input, image=picture, weights=weights)
    if cell is not None:
        if opened.run is None:
            raise UsageError("--cell is for a run, which knows its classes.", call="cam")
        if image is not None or target is not None:
            raise UsageError(
                "--cell brings images and classes; leave the picture and --target out.", call="cam"
            )
        if method in _PIXELS or output_of is not None or input is not None:
            raise UsageError(
                f"--cell shows {', '.join(_LAYERS)} of images as the run takes them; leave --output-of, --input and "
                "other methods out.",
                call="cam",
            )
        count = _CELL_IMAGES if images is None else images
        _cell(opened.run, opened.network, cell, data, count, method, layer, signed, output, raw, json)
        return
    given = opened.given(picture)
    if method in _PIXELS:
        if layer is not None or output_of is not None or signed:
            raise UsageError(f"--layer, --output-of and --signed are not for {method}.", call="cam")
        _pixels(
            opened,
            picture,
            given,
            None if target is None else _targets(target),
            method,
            window,
            output,
            raw,
            json,
        )
        return
    found = class_activation(
        opened.network,
        given,
        target=None if target is None else _targets(target),
        method=method,  # pyright: ignore[reportArgumentType]  the call says which there are
        layer=layer,
        output=output_of,
        relu=not signed,
        class_names=() if opened.run is None else opened.run.facts.classes,
    )
    written: list[Path] = []
    if output is not None:
        from convscope.report.figures import write_png

        seen = None
        if opened.preprocessing is not None:
            seen = visible_part(picture_at(picture), opened.preprocessing)
        written.append(write_png(draw_class_activation(found, seen), output))
    if raw is not None:
        write_bytes(raw, _npy(found.maps[0].numpy()))
        written.append(raw)
    if json:
        print_json(found.to_dict())
    else:
        print(activation_text(found))
    say_written(*written)


def _pixels(
    opened: OpenedNetwork,
    picture: Path,
    given: Tensor | tuple[int, ...],
    targets: list[int | str] | None,
    method: str,
    window: int | None,
    output: Path | None,
    raw: Path | None,
    json: bool,
) -> None:
    """Attribute the scores of some classes to the pixels of one picture."""
    import torch

    from convscope.data import visible_part
    from convscope.files import write_bytes
    from convscope.inspection import integrated_gradients, occlusion, saliency
    from convscope.models import weights_info
    from convscope.report.activation_pictures import attributions_text, draw_attributions

    if not isinstance(given, torch.Tensor) or given.dim() != 4:
        raise UsageError(f"{method} needs a network of images.", call="cam")
    known: tuple[str, ...] = ()
    if opened.run is not None:
        known = opened.run.facts.classes
    elif hasattr(opened.network, "weights_info"):
        known = weights_info(opened.network).classes
    asked = [None] if targets is None else [_number_of(target, known) for target in targets]
    side = max(1, min(given.shape[2:]) // 7) if window is None else window
    found: list[Attribution] = []
    for target in asked:
        if method == "saliency":
            found.append(saliency(opened.network, given, target))
        elif method == "integrated-gradients":
            found.append(integrated_gradients(opened.network, given, target))
        else:
            found.append(occlusion(opened.network, given, target, window=side))
    names = [known[entry.targets[0]] if known else f"class {entry.targets[0]}" for entry in found]
    written: list[Path] = []
    if output is not None:
        from convscope.report.figures import write_png

        seen = None
        if opened.preprocessing is not None:
            seen = visible_part(picture_at(picture), opened.preprocessing)
        written.append(write_png(draw_attributions(found, names, given, seen), output))
    if raw is not None:
        write_bytes(raw, _npy(torch.cat([entry.maps for entry in found]).numpy()))
        written.append(raw)
    if json:
        facts = [{"name": name, **entry.to_dict()} for name, entry in zip(names, found, strict=True)]
        print_json({"method": method, "classes": facts})
    else:
        print(attributions_text(found, names))
    say_written(*written)


def _number_of(target: int | str, classes: tuple[str, ...]) -> int:
    if isinstance(target, int):
        return target
    if target not in classes:
        raise UnknownNameError("class", target, classes, call="cam")
    return classes.index(target)


def _cell(
    run: Run,
    network: nn.Module,
    cell: str,
    data: str | None,
    count: int,
    method: str,
    layer: str | None,
    signed: bool,
    output: Path | None,
    raw: Path | None,
    json: bool,
) -> None:
    """Look at the images of a cell of the confusion matrix, for both of its classes."""
    from convscope.data import normalise
    from convscope.files import write_bytes
    from convscope.inspection import class_activation
    from convscope.report.activation_pictures import activations_text, draw_class_activations

    if count < 1:
        raise UsageError(f"--images is {count}; it must be at least 1.", call="cam")
    found = run.dataset("test", data)
    indices = of_cell(run, found, cell, "cam")[:count]
    shown = found.subset(indices)
    true, predicted = classes_of_cell(cell, "cam")
    activation = class_activation(
        network,
        normalise(shown.images, run.facts.mean, run.facts.std),
        target=[true] if true == predicted else [true, predicted],
        method=method,  # pyright: ignore[reportArgumentType]  the call says which there are
        layer=layer,
        relu=not signed,
        class_names=run.facts.classes,
    )
    names = [f"image {index}" for index in indices.tolist()]
    written: list[Path] = []
    if output is not None:
        from convscope.report.figures import write_png

        pictures = [shown.picture(place) for place in range(len(shown))]
        written.append(write_png(draw_class_activations(activation, pictures, names), output))
    if raw is not None:
        write_bytes(raw, _npy(activation.maps.numpy()))
        written.append(raw)
    if json:
        print_json({"cell": cell, "indices": indices.tolist(), **activation.to_dict()})
    else:
        print(activations_text(activation, names))
    say_written(*written)


def _npy(numbers: np.ndarray) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.save(file, numbers, allow_pickle=False)
    return file.getvalue()


def _targets(text: str) -> list[int | str]:
    """Read `285,281` or `tabby;Egyptian cat`; a name may have commas."""
    parts = [part.strip() for part in text.split(";")]
    if len(parts) == 1 and all(_is_number(part) for part in text.split(",")):
        parts = [part.strip() for part in text.split(",")]
    if "" in parts:
        raise UsageError(f"--target {text!r} has an empty class.", call="cam")
    return [int(part) if _is_number(part) else part for part in parts]


def _is_number(text: str) -> bool:
    text = text.strip().removeprefix("-")
    return text.isascii() and text.isdigit()
