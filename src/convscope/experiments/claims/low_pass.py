"""Pooling as a low-pass filter: what it takes away, what folds into coarse patterns, and what a blur mends."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import convscope.nn as cnn
from convscope import ops
from convscope.experiments.contest import Budget, Entrant, Task, contest
from convscope.experiments.experiment import Effort, Experiment
from convscope.experiments.outcome import (
    Chart,
    Curve,
    Interval,
    Outcome,
    PictureRow,
    Row,
    Verdict,
    verdict_of_all,
    verdict_on,
)
from convscope.inspection import shift_consistency, spectrum

__all__ = ["EXPERIMENT"]

# Name -> what is done to maps before every second position is kept.
_FILTERS: dict[str, Callable[[Tensor], Tensor]] = {
    "stride": lambda maps: maps,
    "max": lambda maps: ops.max_pool2d(maps, 2, 1, ((0, 1), (0, 1))),
    "average": lambda maps: ops.avg_pool2d(maps, 2, 1, ((0, 1), (0, 1)), count_include_pad=False),
    "blur": lambda maps: ops.blur_pool2d(maps, 3, 1),
    "max, then blur": lambda maps: ops.blur_pool2d(ops.max_pool2d(maps, 2, 1, ((0, 1), (0, 1))), 3, 1),
}
_TRAINED = ("stride", "max", "average", "max, then blur")
_POOLED = (1, 3)  # places of the down-samplings in the network; the maps before are those of the place before
_FREQUENCIES = tuple(step / 40 for step in range(1, 21))  # cycles a pixel; 1/2 is the limit before pooling


@dataclass(frozen=True)
class _Sizes:
    """How large the experiment is: networks, trainings, images that are moved, and by how many pixels."""

    widths: tuple[int, int, int]
    budget: Budget
    images: int
    distances: tuple[int, ...] = (1, 2, 3)


_QUICK = _Sizes((8, 16, 32), Budget(4000, 1000, 130, 32, (3e-3, 1e-2, 3e-2)), 300)
_FULL = _Sizes((16, 32, 64), Budget(20_000, 5000, 350, 64, (3e-3, 1e-2, 3e-2)), 1000, (1, 2, 3, 4))


class _Halving(nn.Module):
    """Filter maps and keep every second position: `_FILTERS` with the layers that networks use."""

    def __init__(self, name: str) -> None:
        super().__init__()
        layers: dict[str, tuple[nn.Module, ...]] = {
            "stride": (cnn.MaxPool2d(1, 2),),
            "max": (cnn.MaxPool2d(2),),
            "average": (cnn.AvgPool2d(2),),
            "max, then blur": (cnn.MaxPool2d(2, 1, ((0, 1), (0, 1))), cnn.BlurPool2d(3)),
        }
        self.layers = nn.Sequential(*layers[name])

    def forward(self, input: Tensor) -> Tensor:
        """Return maps of half the side, rounded up where it is odd, down for `max` and `average`."""
        return self.layers(input)


def _network(name: str, channels: int, widths: tuple[int, int, int]) -> nn.Sequential:
    """Return three stages of two 3x3 convolutions, halved in between, and a global average head."""
    layers: list[nn.Module] = []
    for stage, width in enumerate(widths):
        if stage:
            layers.append(_Halving(name))
        layers.append(nn.Sequential(*_convolution(channels, width), *_convolution(width, width)))
        channels = width
    return nn.Sequential(*layers, cnn.GlobalAveragePoolHead(channels, 10))


def _convolution(channels: int, width: int) -> tuple[nn.Module, ...]:
    convolution = cnn.Conv2d(channels, width, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)


def _left_of_grating(name: str, frequency: float, size: int = 80, phases: int = 8) -> float:
    """Return the variance of a grating after filtering, as a share of that before, averaged over its phase.

    Args:
        frequency: cycles a pixel, along the width.
    """
    places, starts = torch.arange(size).double(), torch.arange(phases).double() / (2 * phases)
    gratings = torch.cos(2 * math.pi * (frequency * places + starts[:, None]))[:, None, None].expand(
        -1, 1, size, size
    )
    filtered = _FILTERS[name](gratings)[..., 4:-4]
    return float(filtered.var(dim=-1).mean() / gratings[..., 4:-4].var(dim=-1).mean())


def _zone_plate(size: int = 128) -> Tensor:
    """Return rings that grow finer outwards, from 0 cycles a pixel in the middle to 1/2 at the edge; (1, 1, H, W)."""
    place = torch.arange(size) - size / 2
    return torch.cos(math.pi * (place[:, None] ** 2 + place**2) / size)[None, None]


def _shares(entrant: Entrant, images: Tensor, name: str) -> list[tuple[float, float]]:
    """Return the share of energy above the new limit before and after filtering, of each seed's own maps.

    The mean over both down-samplings.
    """
    found: list[tuple[float, float]] = []
    for network in entrant.networks:
        before: list[float] = []
        after: list[float] = []
        maps = images
        with torch.inference_mode():
            for place, layer in enumerate(network.children()):
                if place in _POOLED:
                    before.append(_share_above(maps))
                    after.append(_share_above(_FILTERS[name](maps)))
                maps = layer(maps)
        found.append((statistics.fmean(before), statistics.fmean(after)))
    return found


def _share_above(maps: Tensor) -> float:
    """Return the share of the energy of maps (N, C, H, W) that keeping every second position cannot hold."""
    return spectrum(maps.flatten(0, 1)).share_above((2, 2))


def _consistency(network: nn.Module, images: Tensor, distance: int) -> float:
    """Return how often an image, moved down, right, and both by so many pixels, keeps the class it is given."""
    moves = (distance, 0), (0, distance), (distance, distance)
    return shift_consistency(network, images, moves).agreement


def _judge(max_takes: Interval, average_takes: Interval, steadier: Interval) -> Verdict:
    """Judge by the energy above the limit that either pooling takes away, and by what a blur adds in consistency."""
    return verdict_of_all([verdict_on(each) for each in (max_takes, average_takes, steadier)])


def _test(effort: Effort, given: _Sizes | None = None) -> Outcome:
    sizes = given or (_FULL if effort.full else _QUICK)
    task = Task.of(effort, sizes.budget)
    channels = task.image_shape[0]
    found = contest(
        {name: lambda name=name: _network(name, channels, sizes.widths) for name in _TRAINED}, task, effort
    )
    shares: dict[str, list[tuple[float, float]]] = {}
    steady: dict[tuple[str, int], tuple[float, ...]] = {}
    images = task.test[: sizes.images]
    for name, entrant in found.items():
        effort.say(f"{name}: spectra and shifted images")
        shares[name] = _shares(entrant, images[:200], name)
        for distance in sizes.distances:
            steady[name, distance] = tuple(_consistency(each, images, distance) for each in entrant.networks)
    near = sizes.distances[0]
    takes = {name: Interval.of_gains(*zip(*each, strict=True)) for name, each in shares.items()}
    blurred = Interval.of_gains(steady["max, then blur", near], steady["max", near])
    more_accurate = Interval.of_gains(found["max, then blur"].accuracies, found["max"].accuracies)
    return Outcome(
        columns=(
            "down-sampling",
            "MACs",
            "learning rate",
            "energy above the limit before",
            "after its filter (this folds)",
            f"same class when moved by {near} pixel",
            "test accuracy",
        ),
        rows=tuple(
            Row(
                name,
                (
                    entrant.macs,
                    entrant.rate,
                    *map(Interval.of_mean, zip(*shares[name], strict=True)),
                    Interval.of_mean(steady[name, near]),
                    entrant.accuracy,
                ),
            )
            for name, entrant in found.items()
        ),
        verdict=_judge(takes["max"], takes["average"], blurred),
        reason=(
            "Of the energy of its maps that half as many positions cannot hold, max pooling takes "
            f"{_points(takes['max'])} points of all energy away, average pooling "
            f"{_points(takes['average'])}; what is left folds into coarse patterns. A blur after the max "
            f"makes the class of an image moved by {near} pixel the same {_points(blurred)} points more "
            f"often; the accuracy changes by {_points(more_accurate)} points."
        ),
        charts=(
            _grating_chart(),
            _spectrum_chart(found["max"], images[:200]),
            _shift_chart(steady, sizes.distances),
        ),
        pictures=_pictures(),
        percent=(
            "energy above the limit before",
            "after its filter (this folds)",
            f"same class when moved by {near} pixel",
            "test accuracy",
        ),
        figures=(
            ("max_takes", takes["max"].value),
            ("average_takes", takes["average"].value),
            ("max_then_blur_takes", takes["max, then blur"].value),
            ("blur_consistency_gain", blurred.value),
            ("blur_accuracy_gain", more_accurate.value),
        ),
    )


def _grating_chart() -> Chart:
    return Chart(
        "what filtering leaves of stripes; from 1/4 cycle a pixel on, it folds into coarser ones",
        "cycles a pixel",
        "energy left",
        tuple(
            Curve(name, tuple((each, _left_of_grating(name, each)) for each in _FREQUENCIES))
            for name in _FILTERS
        ),
        percent=True,
    )


def _spectrum_chart(entrant: Entrant, images: Tensor) -> Chart:
    """Chart the spectrum of the first seed's maps before the first pooling, and after each filter on them."""
    with torch.inference_mode():
        maps = entrant.networks[0].get_submodule("0")(images)
        curves = {name: spectrum(way(maps).flatten(0, 1)).rings() for name, way in _FILTERS.items()}
    curves = {"before" if name == "stride" else f"after {name}": points for name, points in curves.items()}
    return Chart(
        "spectrum of the trained maps before the first pooling, and after each filter, before positions are left out",
        "cycles a pixel",
        "mean power",
        tuple(Curve(name, points) for name, points in curves.items()),
        log_y=True,
    )


def _shift_chart(steady: Mapping[tuple[str, int], tuple[float, ...]], distances: tuple[int, ...]) -> Chart:
    return Chart(
        "the same class after a shift (band: lowest and highest seed)",
        "pixels",
        "images",
        tuple(
            Curve(
                name,
                tuple((float(each), statistics.fmean(steady[name, each])) for each in distances),
                tuple((float(each), min(steady[name, each]), max(steady[name, each])) for each in distances),
            )
            for name in _TRAINED
        ),
        percent=True,
    )


def _pictures() -> tuple[PictureRow, ...]:
    plate = _zone_plate()
    return (
        PictureRow("rings, finer outwards up to the limit", plate[:, 0]),
        PictureRow(
            "every second position of them, after each filter: new rings outside are folded",
            torch.cat([way(plate)[:, 0, ::2, ::2] for way in _FILTERS.values()]),
            tuple(_FILTERS),
        ),
    )


def _points(difference: Interval) -> str:
    """Return a difference of shares in percentage points with its interval."""
    return f"{100 * difference.value:+.2f} ({100 * difference.low:+.2f} to {100 * difference.high:+.2f})"


EXPERIMENT = Experiment(
    name="low-pass",
    title="Pooling as a low-pass filter, and blur-pool",
    claim="Pooling works as a low-pass filter: it takes fine detail away and leaves what is coarse. It is "
    "not a good one: what remains of the detail folds into coarse patterns, and a blur before positions "
    "are left out makes a network steadier when the image moves.",
    setup="Four networks of three stages of two 3x3 convolutions with batch norm and ReLU and a global "
    "average head, which differ in how they halve their maps: every second position, max, average, or max "
    f"and then a (1 2 1) blur (Zhang, arXiv:1904.11486). Quick: {_QUICK.budget}. In full: {_FULL.budget}. "
    "Adam, no augmentation; the seed decides first weights and order, the same for all. After training the "
    "spectra of each network's maps are taken before and after its filter, before positions are left out: "
    "of the energy beyond 1/4 cycle a pixel, along height or width, that is what half as many positions "
    "cannot hold. Test images are moved down, right, and both; what comes in at the edge repeats it. The "
    "claim holds if max and average pooling each lower that share of energy, and max with blur keeps the "
    "class of images moved by one pixel more often than max, each by the 95 % interval of the differences "
    "seed by seed; any one the other way round is enough against it.",
    test=_test,
)
