"""What dilation and a spatial pyramid are for: seeing what is far away, with no more parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convscope.nn as cnn
from convscope.data import ImageSet, load_dataset
from convscope.data.augmentation import draw_generator
from convscope.experiments.equal_parameters import least_width
from convscope.experiments.experiment import Effort, Experiment
from convscope.experiments.learning import class_scores, fit, num_params, seeded
from convscope.experiments.outcome import (
    Chart,
    Curve,
    Interval,
    Outcome,
    PictureRow,
    Row,
    verdict_of_all,
    verdict_on,
)
from convscope.experiments.scenes import backdrops, compose
from convscope.models.deeplabv3 import ASPP
from convscope.trace import trace

__all__ = ["EXPERIMENT"]

_DATA = ("fashion-mnist", "fashion-mnist-full")
_SIDE = 14  # pixels of a garment
_LANE, _WIDTH = 16, 96  # rows of a lane, of which a scene has two, and columns
_FARTHEST = 60  # columns between a garment and its marker
_MARKERS = (1, 8)  # trousers and bag, by their labels; what is between them in a lane is named after them
_NO_TARGET = -100  # takes no part in the loss
_BAND = 8  # pixels of a point in the chart
_DIM = 0.4  # of the texture's brightness, so that it is darker than most garments
_RATES = (2, 4, 8)  # of the pyramid, at a quarter of the scene's resolution, like the dilations
_PLAIN, _SPREAD, _PYRAMID = "dilation 1", "up to 8", "ASPP"
_DILATIONS = {
    _PLAIN: (1, 1, 1, 1),
    "up to 4": (1, 1, 2, 4),
    _SPREAD: (1, 2, 4, 8),
}


@dataclass(frozen=True)
class _Size:
    """How many scenes there are, how wide the networks are, and how long they are trained."""

    train: int
    test: int
    width: int
    steps: int
    batch_size: int
    lr: float


_QUICK = _Size(train=4000, test=400, width=16, steps=300, batch_size=32, lr=1e-2)
_FULL = _Size(train=10000, test=2000, width=24, steps=800, batch_size=32, lr=1e-2)


@dataclass(frozen=True, eq=False)
class _Scenes:
    """Pictures of two lanes, in each a garment and somewhere beside it a marker.

    Shapes:
        images (N, 1, H, W) float32, 0 to 1
        targets (N, H, W) int64: of a garment's pixels which marker is in their lane, elsewhere `_NO_TARGET`
        distances (N, H, W) float32: of a garment's pixels how many columns the lane's marker begins away from them
    """

    images: Tensor
    targets: Tensor
    distances: Tensor


def _scenes(images: ImageSet, count: int, generator: torch.Generator) -> _Scenes:
    """Put garments and markers, shrunk to a half, into lanes; which, where and how far apart is drawn anew for each."""
    height = 2 * _LANE
    is_bright = images.images.amax((1, 2, 3)) > 127  # not all are; a black one would not be there
    kinds = [torch.nonzero(is_bright & (images.labels == marker))[:, 0] for marker in _MARKERS]
    is_other = ~torch.isin(images.labels, torch.tensor(_MARKERS))
    others = torch.nonzero(is_bright & is_other)[:, 0]
    grounds = _DIM * backdrops(count, height, _WIDTH, generator)
    markers = torch.randint(2, (count, 2), generator=generator)
    draws = torch.rand(count, 2, 5, generator=generator)
    pixels = torch.empty(count, 1, height, _WIDTH)
    targets = torch.full((count, height, _WIDTH), _NO_TARGET)
    distances = torch.zeros(count, height, _WIDTH)
    for number in range(count):
        picked: list[int] = []
        corners: list[tuple[int, int]] = []
        for lane in (0, 1):
            garment, marker, gap, start, mirrored = draws[number, lane].tolist()
            kind = kinds[markers[number, lane]]
            picked += [int(others[int(garment * len(others))]), int(kind[int(marker * len(kind))])]
            columns = _columns(gap, start, mirrored >= 0.5)
            corners += [(lane * _LANE + (_LANE - _SIDE) // 2, column) for column in columns]
        pictures = F.avg_pool2d(images.images[picked] / 255, 2)[:, 0]
        scene = compose(grounds[number], pictures, corners)
        pixels[number, 0] = scene.image
        for lane in (0, 1):
            rows = slice(lane * _LANE, (lane + 1) * _LANE)
            is_garment, is_marker = (scene.shown[rows] == 2 * lane + part for part in (1, 2))
            targets[number, rows][is_garment] = markers[number, lane]
            distances[number, rows] = _columns_to(is_marker.any(0)) * is_garment
    return _Scenes(pixels, targets, distances)


def _columns(gap: float, start: float, mirrored: bool) -> tuple[int, int]:
    """Return the first columns of a garment and its marker; numbers from 0 to 1 say how far apart and where."""
    between = int(gap * (_FARTHEST + 1))
    first = int(start * (_WIDTH - 2 * _SIDE - between + 1))
    second = first + _SIDE + between
    return (second, first) if mirrored else (first, second)


def _columns_to(marked: Tensor) -> Tensor:
    """Return for each column how many columns the nearest marked one is away."""
    columns = torch.arange(len(marked))
    return (columns[:, None] - columns[marked]).abs().amin(1).float()


def _layers(in_channels: int, out_channels: int, dilation: int = 1, stride: int = 1) -> list[nn.Module]:
    convolution = cnn.Conv2d(
        in_channels, out_channels, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
    )
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return [convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]


def _stem(width: int) -> list[nn.Module]:
    """Return two 3x3 convolutions, each of which halves the picture."""
    return [*_layers(1, width, stride=2), *_layers(width, width, stride=2)]


def _scores(in_channels: int) -> list[nn.Module]:
    """Return the two scores of each place, enlarged to the scene's pixels."""
    return [cnn.Conv2d(in_channels, 2, 1), nn.Upsample(scale_factor=4, mode="nearest")]


def _stack(width: int, dilations: Sequence[int]) -> nn.Sequential:
    """Return a network with a 3x3 convolution of each dilation."""
    body = [layer for dilation in dilations for layer in _layers(width, width, dilation)]
    return nn.Sequential(*_stem(width), *body, *_scores(width))


def _pyramid(width: int, out_channels: int) -> nn.Sequential:
    """Return a network with DeepLabV3's pyramid in the place of those convolutions."""
    return nn.Sequential(*_stem(width), ASPP(width, _RATES, out_channels), *_scores(out_channels))


def _networks(seed: int, width: int) -> dict[str, nn.Sequential]:
    """Return the contestants; the pyramid is as wide as it can be with no more parameters than the others have."""
    with torch.device("meta"):
        allowed = num_params(_stack(width, _DILATIONS[_PLAIN]))
    out_channels = least_width(lambda channels: _pyramid(width, channels), allowed + 1) - 1
    builds = {name: partial(_stack, width, dilations) for name, dilations in _DILATIONS.items()}
    builds[_PYRAMID] = partial(_pyramid, width, out_channels)
    return {name: seeded(build, seed) for name, build in builds.items()}


@dataclass(frozen=True)
class _Sight:
    """What a network costs, and how many columns of a scene a score sees; `whole`: all of it, by a mean."""

    num_params: int
    macs: int
    field: int
    whole: bool

    @property
    def reach(self) -> int:
        """Return how many columns it sees to each side at most; one score stands for four columns."""
        return self.field // 2 + 3


def _sight(network: nn.Sequential) -> _Sight:
    """Trace a network on the shape of a scene."""
    found = trace(network.eval(), (1, 1, 2 * _LANE, _WIDTH))
    across = found.receptive_field(str(len(network) - 2)).axes[-1]
    return _Sight(found.num_params, found.macs, across.size, bool(across.whole_because))


@dataclass(frozen=True, eq=False)
class _Named:
    """Of every garment's pixel of the test scenes: how far the marker is, and whether the network named it rightly."""

    distances: Tensor
    right: Tensor

    def accuracy(self, low: float, high: float = float("inf")) -> float:
        """Return the share of right ones among the pixels that are more than `low` and at most `high` away."""
        at = (self.distances > low) & (self.distances <= high)
        return float(self.right[at].float().mean())


def _named(scores: Tensor, scenes: _Scenes) -> _Named:
    at = scenes.targets != _NO_TARGET
    return _Named(scenes.distances[at], (scores.argmax(1) == scenes.targets)[at])


def _test(effort: Effort) -> Outcome:
    size = _FULL if effort.full else _QUICK
    train, test = (load_dataset(_DATA[effort.full], split) for split in ("train", "test"))
    sights = {name: _sight(network) for name, network in _networks(0, size.width).items()}
    named: dict[str, list[_Named]] = {name: [] for name in sights}
    pictures: tuple[PictureRow, ...] = ()
    for seed in effort.seeds:
        scenes = _scenes(train, size.train, draw_generator("context train", seed))
        asked = _scenes(test, size.test, draw_generator("context test", seed))
        scores: dict[str, Tensor] = {}
        for name, network in _networks(seed, size.width).items():
            effort.say(f"seed {seed}: {name}")
            fit(
                network,
                scenes.images - 0.5,
                scenes.targets,
                steps=size.steps,
                seed=seed,
                batch_size=size.batch_size,
                lr=size.lr,
            )
            scores[name] = class_scores(network, asked.images - 0.5, 100)
            named[name].append(_named(scores[name], asked))
        pictures = pictures or _pictures(asked, scores)
    return _outcome(named, sights, pictures)


def _outcome(
    named: Mapping[str, Sequence[_Named]],
    sights: Mapping[str, _Sight],
    pictures: tuple[PictureRow, ...] = (),
) -> Outcome:
    """Return table, charts and verdict on the pixels named by each network, seed by seed."""
    reach = sights[_PLAIN].reach
    near = {name: [each.accuracy(0, reach) for each in runs] for name, runs in named.items()}
    far = {name: [each.accuracy(reach) for each in runs] for name, runs in named.items()}
    gains = {name: Interval.of_gains(far[name], far[_PLAIN]) for name in (_SPREAD, _PYRAMID)}
    rows = [
        Row(
            name,
            (
                sight.num_params,
                sight.macs,
                f"{sight.field}, all" if sight.whole else sight.field,
                Interval.of_mean(near[name]),
                Interval.of_mean(far[name]),
            ),
        )
        for name, sight in sights.items()
    ]
    by_distance = tuple(
        Curve.of_means(
            name,
            {
                low + _BAND / 2: [each.accuracy(low, low + _BAND) for each in runs]
                for low in range(0, _FARTHEST, _BAND)
            },
        )
        for name, runs in named.items()
    )
    accuracies = {name: [each.accuracy(0) for each in runs] for name, runs in named.items()}
    by_field = tuple(
        Curve.of_means(title, {float(sights[name].field): accuracies[name] for name in names})
        for title, names in (
            ("stacks", list(_DILATIONS)),
            ("ASPP, which also sees the mean of all", [_PYRAMID]),
        )
    )
    heads = (f"accuracy, marker within {reach} pixels", "accuracy, marker farther")
    return Outcome(
        columns=("network", "parameters", "MACs", "receptive field (columns)", *heads),
        rows=tuple(rows),
        verdict=verdict_of_all([verdict_on(gain) for gain in gains.values()]),
        reason=f"Where the marker is more than {reach} pixels away, out of sight of the undilated network, dilations "
        f"up to 8 differ from it by {gains[_SPREAD].in_points()}, the pyramid by {gains[_PYRAMID].in_points()}.",
        charts=(
            Chart(
                "accuracy by distance of the marker",
                "pixels to the marker",
                "accuracy",
                by_distance,
                percent=True,
            ),
            Chart(
                "accuracy by receptive field",
                "columns of the receptive field",
                "accuracy",
                by_field,
                percent=True,
            ),
        ),
        pictures=pictures,
        percent=heads,
        figures=(("gain_dilated", gains[_SPREAD].value), ("gain_pyramid", gains[_PYRAMID].value)),
    )


def _pictures(scenes: _Scenes, scores: Mapping[str, Tensor]) -> tuple[PictureRow, ...]:
    """Show the scenes with the nearest, a middle and the farthest marker, and what was said of their garments."""
    is_garment = scenes.targets != _NO_TARGET
    order = scenes.distances.amax((1, 2)).argsort(stable=True).tolist()
    shown = (order[0], order[len(order) // 2], order[-1])
    rows: list[PictureRow] = []
    for index in shown:
        truth = (2 * scenes.targets[index] - 1) * is_garment[index]
        sure = {
            name: (each[index].softmax(0)[1] * 2 - 1) * is_garment[index] for name, each in scores.items()
        }
        far = int(scenes.distances[index].max())
        rows += [
            PictureRow(f"a scene, marker up to {far} pixels away", scenes.images[index]),
            PictureRow(
                "its garments: beside trousers (-1) or beside a bag (+1)",
                torch.stack([truth.float(), *sure.values()]),
                ("truth", *sure),
            ),
        ]
    return tuple(rows)


EXPERIMENT = Experiment(
    name="context",
    title="Dilation and a spatial pyramid for context",
    claim="What a convolution can say of a place ends with its receptive field, which grows slowly with "
    "depth; taps set apart (dilation), and a pyramid of such convolutions beside the mean of the picture, "
    "see farther with as many parameters, and so name rightly what depends on something far away.",
    setup="Scenes of two lanes on a random texture; in each lane stands a garment of Fashion-MNIST, and 0 "
    "to 60 pixels beside it a marker, trousers or a bag. Each pixel of the garment is to be named after "
    "its own lane's marker, so chance is 50 %. Four networks: two halving 3x3 convolutions, then four more, "
    "all undilated, or with dilations growing to 4, or to 8; or then DeepLabV3's pyramid (rates 2, 4, 8), "
    "as wide as it can be with no more parameters. Same scenes, order, steps and seeds, Adam. One learning "
    "rate for all, 0.01: of 0.01 and 0.03 the better for the undilated network, on training images held "
    "out and another seed. Receptive fields are those of the trace. The claim holds if, of pixels whose marker "
    "begins beyond the undilated network's field, more are named rightly both with dilations up to 8 and "
    "with the pyramid: both 95 % intervals of the differences, seed by seed, lie above 0; it does not hold "
    "if one lies below.",
    test=_test,
    data=_DATA,
)
