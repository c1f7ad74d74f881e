"""Make the pictures that the README shows: `make pictures`.

Runs the demonstration in a temporary folder, keeps its pictures, and draws a window, a pair of signals, a network,
a value taken apart, what a published network (its weights are fetched) takes the cat for, and why.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from convscope.cli.main import main

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
FROM_THE_DEMO = ("three-layers.png", "one-value.png", "feature-maps.png")
COMMANDS = (
    "geometry --input 5x5 --kernel 3 --stride 2 --padding 1 --animate {folder}/window.gif",
    "signal ramp rect --output {folder}/flip-and-slide.png",
    "draw resnet18 --output {folder}/network.png",
    "explain resnet18 --layer layer2.0.conv1 --at 5,14,24 --image cat --down 2 --output {folder}/explained.png",
    "predict cat --model mobilenet_v2 --weights default --output {folder}/predicted.png",
    "cam cat --model mobilenet_v2 --weights default --target 285;281 --output {folder}/cam.png",
)


def make_pictures(folder: Path) -> None:
    """Write every picture of the README into `folder`."""
    with tempfile.TemporaryDirectory() as place:
        demo = Path(place) / "demo"
        if main(["demo", "--output", str(demo)]):
            raise SystemExit("the demonstration failed")
        for name in FROM_THE_DEMO:
            shutil.copyfile(demo / name, folder / name)
    for command in COMMANDS:
        if main(command.format(folder=folder).split()):
            raise SystemExit(f"failed: {command}")


if __name__ == "__main__":
    make_pictures(PICTURES)
