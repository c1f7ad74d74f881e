"""What skip connections are for in a network that says of every pixel what it shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convscope.data import load_dataset
from convscope.data.augmentation import draw_generator
from convscope.experiments.equal_parameters import least_width
from convscope.experiments.experiment import Effort, Experiment
from convscope.experiments.learning import num_params
from convscope.experiments.outcome import Chart, Curve, Interval, Outcome, PictureRow, Row, verdict_on
from convscope.experiments.scenes import Scene, backdrops, compose
from convscope.experiments.skip_connections import (
    SkipConnections,
    SkipRun,
    near_outlines,
    skip_connections,
)
from convscope.models import UNet

__all__ = ["EXPERIMENT"]

_DATA = ("fashion-mnist", "fashion-mnist-full")
_DEEPEST = 8  # pixels from an outline, in the chart
_SHOWN = 96  # rows and columns of the test part in the pictures


@dataclass(frozen=True)
class _Size:
    """How large the scenes and the networks are, and how long they are trained.

    Args:
        height, width: of a scene, whose left two thirds train.
        garments: in a scene of this size.
    """

    height: int
    width: int
    garments: int
    channels: int
    depth: int
    steps: int
    batch_size: int
    tile: int
    lr: float


_QUICK = _Size(192, 576, 120, channels=8, depth=4, steps=150, batch_size=16, tile=64, lr=1e-2)
_FULL = _Size(384, 1152, 480, channels=16, depth=4, steps=300, batch_size=8, tile=128, lr=1e-2)


def _scene(seed: int, data: str, size: _Size) -> Scene:
    """Put garments of the training images on the left two thirds of a backdrop, of the test images on the rest."""
    generator = draw_generator("skip-connections", seed)
    backdrop = backdrops(1, size.height, size.width, generator)[0]
    split = _split(size)
    pictures: list[Tensor] = []
    corners: list[tuple[int, int]] = []
    train, test = load_dataset(data, "train").images, load_dataset(data, "test").images
    for images, first, last, share in ((train, 0, split, 2), (test, split, size.width, 1)):
        count = size.garments * share // 3
        picked = torch.randint(len(images), (count,), generator=generator)
        rows = torch.randint(size.height - images.shape[2] + 1, (count,), generator=generator)
        columns = torch.randint(first, last - images.shape[3] + 1, (count,), generator=generator)
        pictures.append(images[picked, 0] / 255)
        corners += zip(rows.tolist(), columns.tolist(), strict=True)
    return compose(backdrop, torch.cat(pictures), corners)


def _split(size: _Size) -> int:
    return size.width * 2 // 3


def _width_without(size: _Size) -> int:
    """Return with how many channels the U-Net without skip connections has no fewer parameters than that with them."""
    with torch.device("meta"):
        wanted = num_params(UNet(in_channels=1, width=size.channels, depth=size.depth))
    return least_width(lambda width: UNet(in_channels=1, width=width, depth=size.depth, skip=False), wanted)


def _wrong_by_distance(run: SkipRun, truth: np.ndarray) -> list[float]:
    """Return the share of pixels that are wrong, at 1, 2, ... pixels from an outline."""
    wrong = run.predicted != truth
    shares: list[float] = []
    nearer = np.zeros_like(truth)
    for distance in range(1, _DEEPEST + 1):
        near = near_outlines(truth, distance)
        shares.append(float(wrong[near & ~nearer].mean()))
        nearer = near
    return shares


def _test(effort: Effort) -> Outcome:
    size = _FULL if effort.full else _QUICK
    width_without = _width_without(size)
    found: list[SkipConnections] = []
    for seed in effort.seeds:
        effort.say(f"seed {seed}: U-Nets with and without skip connections")
        scene = _scene(seed, _DATA[effort.full], size)
        found.append(
            skip_connections(
                scene.image.numpy(),
                scene.shown.numpy(),
                seeds=[seed],
                split=_split(size),
                width=size.channels,
                width_without=width_without,
                depth=size.depth,
                steps=size.steps,
                batch_size=size.batch_size,
                tile=size.tile,
                learning_rate=size.lr,
                faster=True,
            )
        )
    return _outcome(found)


def _outcome(found: list[SkipConnections]) -> Outcome:
    """Return table, charts and verdict on the runs of each seed."""
    runs = {skip: [each.of(skip)[0] for each in found] for skip in (True, False)}
    names = {True: "with skip connections", False: "without"}
    measures = ("iou", "edge_iou", "train_iou")
    rows = [
        Row(
            names[skip],
            (
                found[0].width if skip else found[0].width_without,
                runs[skip][0].num_params,
                *(Interval.of_mean([getattr(run, measure) for run in runs[skip]]) for measure in measures),
            ),
        )
        for skip in (True, False)
    ]
    gains = {
        measure: Interval.of_gains(*([getattr(run, measure) for run in runs[skip]] for skip in (True, False)))
        for measure in measures
    }
    rows.append(Row("gain, seed by seed", ("", "", *gains.values())))
    gain, near = gains["iou"], gains["edge_iou"]
    reason = (
        f"With skip connections the IoU of the pixels at most 2 from an outline differs by {near.in_points()}, that of "
        f"all pixels by {gain.in_points()}."
    )
    curves = [
        Curve.of_means(
            names[skip],
            dict(
                enumerate(
                    zip(
                        *(
                            _wrong_by_distance(run, each.truth)
                            for run, each in zip(runs[skip], found, strict=True)
                        ),
                        strict=True,
                    ),
                    start=1,
                )
            ),
        )
        for skip in (True, False)
    ]
    return Outcome(
        columns=(
            "network",
            "width",
            "parameters",
            "IoU",
            "IoU near outlines",
            "IoU of the training part",
        ),
        rows=tuple(rows),
        verdict=verdict_on(near),
        reason=reason,
        charts=(
            Chart(
                "wrong pixels by their distance from an outline",
                "pixels from an outline",
                "share of wrong pixels",
                tuple(curves),
                percent=True,
            ),
        ),
        pictures=_pictures(found[0]),
        percent=("IoU", "IoU near outlines", "IoU of the training part"),
        figures=(("gain", gain.value), ("gain_near_outlines", near.value)),
    )


def _pictures(found: SkipConnections) -> tuple[PictureRow, ...]:
    """Show a corner of the first seed's test part: picture, truth, predictions, and where these are wrong."""
    place = (slice(_SHOWN), slice(_SHOWN))
    truth = torch.from_numpy(found.truth[place]).float()
    predicted = [torch.from_numpy(found.of(skip)[0].predicted[place]).float() for skip in (True, False)]
    return (
        PictureRow(
            "a corner of the test part",
            torch.stack([torch.from_numpy(found.image[place]).float(), truth, *predicted]),
            ("picture", "truth", "with skip connections", "without"),
        ),
        PictureRow(
            "wrong pixels: taken for foreground (positive) or for backdrop (negative)",
            torch.stack([each - truth for each in predicted]),
            ("with skip connections", "without"),
        ),
    )


EXPERIMENT = Experiment(
    name="skip-connections",
    title="Segmentation with and without skip connections",
    claim="A network that pools and then enlarges again loses fine detail on the way, which the small "
    "maps cannot give back; connections from each level down to its mirror level up restore it, so that "
    "outlines come out right.",
    setup="Garments of Fashion-MNIST stand on a random texture, where brightness does not tell them from "
    "it; each pixel is to be called foreground or backdrop. The left two thirds of a scene (training "
    "images) train, the right third (test images) is looked at once, after the last step. Two U-Nets of "
    "four levels, from the same seeds, tiles and steps, Adam: with skip connections, and without them but "
    "wider, so that it has at least as many parameters. One learning rate for both, 0.01: of 0.003, 0.01 "
    "and 0.03 the best for the network without, on training images held out and another seed. Each seed "
    "has its own scene. The claim holds if the IoU of the pixels at most 2 from an outline is higher with "
    "skip connections: the 95 % interval of the differences, seed by seed, lies above 0.",
    test=_test,
    data=_DATA,
)
