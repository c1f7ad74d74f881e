"""`convscope predict`: what a run takes pictures for."""

from __future__ import annotations

from pathlib import Path

from convscope.cli.output import print_json


def run(run: Path, /, *images: Path, top: int = 3, json: bool = False) -> None:
    """Name the likeliest classes of pictures.

    Parameters
    ----------
    run
        A run folder.
    images
        Pictures in any format that `convscope look` reads.
    top
        How many classes to name.
    json
        Print the answers as JSON.
    """
    from convscope.report.terminal import prediction_text
    from convscope.training import Run

    predictions = Run.open(run).predict_files(images, top=top)
    if json:
        print_json({"predictions": [entry.to_dict() for entry in predictions]})
    else:
        for entry in predictions:
            print(prediction_text(entry))
