"""`convscope predict`: what a run, or a published network, takes pictures for."""

from __future__ import annotations

from pathlib import Path

from convscope.cli.output import console, print_json, say_written
from convscope.errors import UsageError


def run(
    *paths: Path,
    model: str | None = None,
    weights: str | None = None,
    top: int | None = None,
    output: Path | None = None,
    accelerate: bool = True,
    json: bool = False,
) -> None:
    """Name the likeliest classes of pictures: of a run folder, or of a network of the zoo with published weights.

    Parameters
    ----------
    paths
        RUN PICTURE... or, with --model, PICTURE...; pictures in any format that `convscope look` reads, or cat for the
        packaged one.
    model
        A network of the zoo, such as mobilenet_v2, instead of a run.
    weights
        Of --model: default, another name that `convscope models show` lists, or a file. Published ones are fetched
        once.
    top
        How many classes to name; 3 of a run, 5 of a published network.
    output
        PNG file to draw pictures and probabilities into.
    accelerate
        Run the network fused and by the fastest routes of this CPU, if the pictures are eight or more.
    json
        Print the answers as JSON.
    """
    from convscope.report.terminal import prediction_text, predictions_text
    from convscope.training import Run, decoded, predict

    if model is None and weights is not None:
        raise UsageError("--weights is for --model; a run has its own.", call="predict")
    if model is None and not paths:
        raise UsageError(
            "no run and no picture given; give RUN PICTURE..., or --model NAME PICTURE....", call="predict"
        )
    names = paths if model is not None else paths[1:]
    if output is not None:
        from convscope.report.figures import png_path

        output = png_path(output)
    if model is None:
        opened = Run.open(paths[0])
        pictures = decoded(_files(names))
        predictions = opened.predict(
            pictures, 3 if top is None else top, [str(name) for name in names], accelerate=accelerate
        )
        title, seen = str(paths[0]), pictures
    else:
        from convscope.data import visible_part
        from convscope.models import (
            create_model,
            fetch_weights,
            list_weights,
            model_entry,
            published_weights,
            weights_info,
        )
        from convscope.report.progress import transfer

        pictures = decoded(_files(names))
        chosen = (weights or "default").lower()
        if chosen in ("default", *list_weights(model_entry(model).name)):
            published = published_weights(model, chosen)
            with transfer(published.file, console(stderr=True)) as progress:
                fetch_weights(published, progress=progress)
        network = create_model(model, weights=weights or "default")
        predictions = predict(
            network, pictures, 5 if top is None else top, [str(name) for name in names], accelerate=accelerate
        )
        info = weights_info(network)
        title, facts = info.source, info.preprocessing
        seen = [visible_part(picture, facts) if facts else picture for picture in pictures]
    if json:
        print_json({"network": title, "predictions": [entry.to_dict() for entry in predictions]})
    elif model is not None:
        print(predictions_text(title, predictions))
    else:
        for entry in predictions:
            print(prediction_text(entry))
    if output is not None:
        from convscope.report.figures import write_png
        from convscope.report.prediction_pictures import draw_predictions

        say_written(write_png(draw_predictions(predictions, seen, title), output))


def _files(names: tuple[Path, ...]) -> list[Path]:
    from convscope.data import cat_path

    return [cat_path() if str(name) == "cat" else name for name in names]
