"""Whether taps that move with the picture cope better with warps than taps on a fixed grid."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convscope.nn as cnn
from convscope.data import ImageSet, load_dataset
from convscope.data.augmentation import draw_generator
from convscope.experiments.equal_parameters import least_width
from convscope.experiments.experiment import Effort, Experiment
from convscope.experiments.learning import fit_batches, hits, num_params, seeded
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
from convscope.trace import trace

__all__ = ["EXPERIMENT"]

_DATA = ("fashion-mnist", "fashion-mnist-full")
_STRENGTHS = (0.0, 0.5, 1.0, 1.5)  # of the warps at test time; training has the third
# At strength 1: turned by at most so far, sheared by so much, sides shrunk to between 1 and 1 / 1.4 of theirs.
_TURN, _SHEAR, _SHRINK = math.pi / 3, 0.3, 0.4
_BEND = 0.15  # at strength 1: how far the 16 points that a picture is bent by move, in halves of its side
Kind = Literal["plain", "dilated", "deformable"]
_KINDS: tuple[Kind, ...] = ("plain", "dilated", "deformable")  # the last is compared with each other
_DEFORMED = ("layer3", "layer4", "layer5")  # or dilated
# Of the learning rate: what predicts offsets is trained as in Zhu et al., arXiv:1811.11168.
_SHARES = {".offset.": 0.1}
_SHOWN = 8  # pictures
_MEASURED = 200  # pictures over which the moves of the taps are averaged
_SCALE = 6  # pixels of a shown picture for one of the image
_GRID, _MOVED = (70, 160, 255), (255, 120, 0)


@dataclass(frozen=True)
class _Size:
    """How large the networks are, how long they are trained, and on how many images they are tested."""

    width: int
    steps: int
    batch_size: int
    test_images: int
    lr: float


_QUICK = _Size(12, steps=300, batch_size=64, test_images=2000, lr=1e-2)
_FULL = _Size(20, steps=1000, batch_size=64, test_images=10_000, lr=1e-2)


def _warp(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Turn, shrink, shear and bend each picture at random; a strength of 0 returns them as they are.

    Shapes:
        images (N, C, H, W), 0 outside; returns the same
    """
    count = len(images)
    drawn = torch.rand(count, 4, generator=generator)
    bends = torch.rand(count, 2, 4, 4, generator=generator)
    if strength == 0:
        return images
    turn = strength * _TURN * (2 * drawn[:, 0] - 1)
    shear = strength * _SHEAR * (2 * drawn[:, 1] - 1)
    # Where an output pixel reads: to read from further out is to shrink.
    sides = 1 + strength * _SHRINK * drawn[:, 2:]
    cosine, sine, none = turn.cos(), turn.sin(), torch.zeros(count)
    turned = torch.stack([cosine, -sine, sine, cosine], 1).view(count, 2, 2)
    sheared = torch.stack([sides[:, 0], shear, none, sides[:, 1]], 1).view(count, 2, 2)
    matrix = torch.cat([sheared @ turned, torch.zeros(count, 2, 1)], 2)
    places = F.affine_grid(matrix, list(images.shape), align_corners=False)
    bent = F.interpolate(strength * _BEND * (2 * bends - 1), images.shape[2:], mode="bicubic")
    return F.grid_sample(images, places + bent.permute(0, 2, 3, 1), align_corners=False)


class _Network(nn.Module):
    """Five 3x3 convolutions with batch norm and ReLU, max pooling behind the first and the third.

    The last three are plain, dilated by 2, or deformable, which start as plain ones: with offsets of 0.
    """

    def __init__(self, width: int, kind: Kind, num_classes: int = 10) -> None:
        super().__init__()
        widths = (1, width, 2 * width, 2 * width, 3 * width, 3 * width)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (inputs, outputs) in enumerate(pairwise(widths), start=1):
            name = f"layer{number}"
            of_kind = kind if name in _DEFORMED else "plain"
            layer = cnn.DeformableConv2d if of_kind == "deformable" else cnn.Conv2d
            reach = 2 if of_kind == "dilated" else 1
            convolution = layer(inputs, outputs, 3, padding=reach, dilation=reach, bias=False)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            layers[name] = convolution
            layers[f"norm{number}"] = nn.BatchNorm2d(outputs)
            layers[f"relu{number}"] = nn.ReLU(inplace=True)
            if number in (1, 3):
                layers[f"pool{number}"] = cnn.MaxPool2d(2)
        self.features = nn.Sequential(layers)
        self.classifier = cnn.GlobalAveragePoolHead(widths[-1], num_classes)

    def forward(self, input: Tensor) -> Tensor:
        """Return the class scores."""
        return self.classifier(self.features(input))


def _fixed_width(size: _Size) -> int:
    """Return the width with which a network of fixed taps has at least the parameters of the deformable one."""
    with torch.device("meta"):
        wanted = num_params(_Network(size.width, "deformable"))
    return least_width(lambda width: _Network(width, "plain"), wanted)


def _scaled(images: ImageSet, index: Tensor) -> Tensor:
    """Return these images as numbers from 0, the background, to 1."""
    return images.images[index] / 255


def _batches(train: ImageSet, size: _Size, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pictures drawn at random, each warped anew."""
    generator = draw_generator("deformable train", seed)
    for _ in range(size.steps):
        index = torch.randint(len(train), (size.batch_size,), generator=generator)
        yield _warp(_scaled(train, index), 1.0, generator), train.labels[index]


def _test_pictures(test: ImageSet, size: _Size, seed: int) -> tuple[list[Tensor], Tensor]:
    """Return test pictures with the same warps at each strength, and their labels."""
    index = torch.randperm(len(test), generator=draw_generator("deformable test", seed))[: size.test_images]
    warped = [
        _warp(_scaled(test, index), strength, draw_generator("deformable warps", seed))
        for strength in _STRENGTHS
    ]
    return warped, test.labels[index]


@dataclass(frozen=True, eq=False)
class _Run:
    """The networks of one seed: accuracies by strength of the warp, and how far taps move, in pixels of the image."""

    plain: tuple[float, ...]
    dilated: tuple[float, ...]
    deformable: tuple[float, ...]
    moves: float


def _places(network: _Network, layer: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the taps of a deformable layer read, and where they would on a fixed grid, in image pixels.

    Shapes:
        returns (N, H_out, W_out, taps, 2) each: row and column
    """
    found = trace(network, tuple(images.shape))
    before = _layer_before(network, layer)
    axes = found.receptive_field(f"features.{before}").axes[-2:]
    with torch.inference_mode():
        maps = images
        for name, module in network.features.named_children():
            if name == layer:
                break
            maps = module(maps)
        convolution = network.features.get_submodule(layer)
        assert isinstance(convolution, cnn.DeformableConv2d)
        moved = convolution.offset(maps)
    count, _, height, width = moved.shape
    moved = moved.view(count, -1, 2, height, width).permute(0, 3, 4, 1, 2)
    taps = torch.tensor([(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)])
    at = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), -1)
    fixed = (at[:, :, None] + taps).float().expand(count, -1, -1, -1, -1)
    stride, offset = (
        torch.tensor([float(getattr(axis, name) or 0) for axis in axes]) for name in ("stride", "offset")
    )
    return offset + stride * (fixed + moved), offset + stride * fixed


def _layer_before(network: _Network, layer: str) -> str:
    names = [name for name, _ in network.features.named_children()]
    return names[names.index(layer) - 1]


def _pictures(network: _Network, images: Tensor) -> tuple[PictureRow, ...]:
    """Draw where the first and the last deformable layer read for one position in the middle of each picture."""
    rows: list[PictureRow] = []
    for layer in (_DEFORMED[0], _DEFORMED[-1]):
        moved, fixed = _places(network, layer, images)
        canvas = (images[:, 0] * 200).round().to(torch.uint8)
        canvas = canvas.repeat_interleave(_SCALE, 1).repeat_interleave(_SCALE, 2)
        canvas = canvas[..., None].repeat(1, 1, 1, 3)
        middle = moved.shape[1] // 2
        for picture, grid, taps in zip(
            canvas, fixed[:, middle, middle], moved[:, middle, middle], strict=True
        ):
            _dot(picture, grid, _GRID)
            _dot(picture, taps, _MOVED)
        rows.append(PictureRow(f"where the taps of {layer} read: blue the fixed grid, orange moved", canvas))
    return tuple(rows)


def _dot(picture: Tensor, places: Tensor, colour: Sequence[int]) -> None:
    """Draw small squares on an enlarged picture (H, W, 3), as far as they lie inside."""
    for row, column in ((places + 0.5) * _SCALE).round().long().tolist():
        rows = slice(max(row - 2, 0), max(row + 3, 0))
        picture[rows, max(column - 2, 0) : max(column + 3, 0)] = torch.tensor(colour, dtype=torch.uint8)


def _test(effort: Effort) -> Outcome:
    size = _FULL if effort.full else _QUICK
    train, test = (load_dataset(_DATA[effort.full], split) for split in ("train", "test"))
    fixed_width = _fixed_width(size)
    widths: dict[Kind, int] = {kind: size.width if kind == "deformable" else fixed_width for kind in _KINDS}
    runs: list[_Run] = []
    pictures: tuple[PictureRow, ...] = ()
    for seed in effort.seeds:
        warped, labels = _test_pictures(test, size, seed)
        shares: dict[Kind, tuple[float, ...]] = {}
        networks: dict[Kind, _Network] = {}
        for kind, width in widths.items():
            effort.say(f"seed {seed}: {kind} convolutions")
            network = networks[kind] = seeded(partial(_Network, width, kind), seed)
            fit_batches(
                network,
                _batches(train, size, seed),
                steps=size.steps,
                lr=size.lr,
                shares=_SHARES,
            )
            shares[kind] = tuple(hits(network, each, labels) / len(labels) for each in warped)
        shown, network = warped[_STRENGTHS.index(1.0)][:_MEASURED], networks["deformable"]
        moved, fixed = _places(network, _DEFORMED[-1], shown)
        moves = float((moved - fixed).norm(dim=-1).mean())
        runs.append(_Run(shares["plain"], shares["dilated"], shares["deformable"], moves))
        pictures = pictures or _pictures(network, shown[:_SHOWN])
    costs: list[tuple[int, int, int]] = []
    for kind, width in widths.items():
        found = trace(_Network(width, kind).eval(), (1, *train.image_shape))
        costs.append((width, found.num_params, found.macs))
    return _outcome(runs, costs, pictures)


def _outcome(
    runs: Sequence[_Run], costs: Sequence[tuple[int, int, int]], pictures: tuple[PictureRow, ...] = ()
) -> Outcome:
    """Return table, chart and verdict; `costs` are width, parameters and MACs of the networks of each kind."""
    by_kind = {
        kind: list(
            zip(*(getattr(run, kind) for run in runs), strict=True)
        )  # a row a strength, of a value a seed
        for kind in _KINDS
    }
    rows = [
        Row(kind, (*cost, *map(Interval.of_mean, shares)))
        for (kind, shares), cost in zip(by_kind.items(), costs, strict=True)
    ]
    at_training: dict[Kind, Interval] = {}
    for kind in _KINDS[:2]:
        pairs = zip(by_kind["deformable"], by_kind[kind], strict=True)
        gains = [Interval.of_gains(*pair) for pair in pairs]
        rows.append(Row(f"gain over {kind}, seed by seed", ("", "", "", *gains)))
        at_training[kind] = gains[_STRENGTHS.index(1.0)]
    moves = Interval.of_mean([run.moves for run in runs])
    heads = tuple(f"accuracy at warp {strength:g}" for strength in _STRENGTHS)
    return Outcome(
        columns=("convolutions", "width", "parameters", "MACs", *heads),
        rows=tuple(rows),
        verdict=verdict_of_all([verdict_on(gain) for gain in at_training.values()]),
        reason="On pictures warped as in training, deformable convolutions differ from plain ones by "
        f"{at_training['plain'].in_points()}, from dilated ones by {at_training['dilated'].in_points()}; their last "
        f"layer's taps moved by {moves.value:.1f} pixels of the image on average.",
        charts=(
            Chart(
                "accuracy by strength of the warp at test time; training at 1",
                "strength of the warp",
                "accuracy",
                tuple(
                    Curve.of_means(kind, dict(zip(_STRENGTHS, shares, strict=True)))
                    for kind, shares in by_kind.items()
                ),
                percent=True,
            ),
        ),
        pictures=pictures,
        percent=heads,
        figures=(
            *((f"gain_over_{kind}", gain.value) for kind, gain in at_training.items()),
            ("moved_pixels", moves.value),
        ),
    )


EXPERIMENT = Experiment(
    name="deformable",
    title="Deformable against plain convolution on warped pictures",
    claim="A convolution's field has a fixed shape, which does not follow things that are turned, shrunk "
    "or bent; taps that move by offsets read from the picture do, and such a network names warped things "
    "more often rightly.",
    setup="Fashion-MNIST, each picture turned by up to 60 degrees, its sides shrunk to as little as 1/1.4, "
    "sheared and bent at random, in training (a new warp at every step) and in test. Three networks of five "
    "3x3 convolutions: in one the last three are deformable (v1, offsets start at 0); one is plain; in one the last "
    "three are dilated by 2, for a gain may come from a wider field alone. The two of fixed taps are wider, so that "
    "they have at least as many parameters. Same pictures, order, steps and seeds, Adam. "
    "One learning rate for all, 0.01: of 0.003 and 0.01 the better for plain and for deformable, on training images "
    "held out and another seed; what predicts offsets is trained at a tenth of it. The claim holds if the deformable "
    "network's accuracy on test pictures warped as in training is higher than that of either other: both 95 % "
    "intervals of the differences, seed by seed, lie above 0.",
    test=_test,
    data=_DATA,
)
