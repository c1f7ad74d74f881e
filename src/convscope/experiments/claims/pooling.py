"""Max pooling, average pooling and strided convolution: what each keeps, what it costs, what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import convscope.nn as cnn
from convscope import ops
from convscope.experiments.contest import (
    Budget,
    Entrant,
    Task,
    contest,
    curve_of,
)
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

__all__ = ["EXPERIMENT"]

_WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "max": lambda maps: ops.max_pool2d(maps, 2),
    "average": lambda maps: ops.avg_pool2d(maps, 2),
    "stride": lambda maps: maps[..., ::2, ::2],
}
_PATCHES = (1, 2, 3, 4)
_HEIGHT = 4.0  # of the bright patch, in deviations of the noise


@dataclass(frozen=True)
class _Sizes:
    """How large the experiment is: networks, trainings, and pictures of noise a patch size and seed."""

    widths: tuple[int, ...]
    budget: Budget
    noises: int = 2000


_QUICK = _Sizes((8, 16, 32), Budget(5000, 2000, 160, 32, (1e-2, 3e-2, 1e-1)))
_FULL = _Sizes((16, 32, 64), Budget(20_000, 5000, 400, 64, (3e-3, 1e-2, 3e-2)), 10_000)


def _network(kind: str, channels: int, widths: tuple[int, ...]) -> nn.Sequential:
    """Return stages of two 3x3 convolutions with a down-sampling by 2 between them, and a global average head.

    `max` and `average` pool; `stride` gives the last convolution of a stage the stride; `strided layer` has a 3x3
    convolution of stride 2 where the others pool.
    """
    layers: list[nn.Module] = []
    for stage, width in enumerate(widths):
        last = stage == len(widths) - 1
        stride = 2 if kind == "stride" and not last else 1
        layers.append(nn.Sequential(*_convolution(channels, width), *_convolution(width, width, stride)))
        if not last:
            layers.append(
                {
                    "max": cnn.MaxPool2d(2),
                    "average": cnn.AvgPool2d(2),
                    "stride": nn.Identity(),
                    "strided layer": nn.Sequential(*_convolution(width, width, 2)),
                }[kind]
            )
        channels = width
    return nn.Sequential(*layers, cnn.GlobalAveragePoolHead(channels, 10))


def _convolution(channels: int, width: int, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = cnn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)


def _kept_of_patch(way: str, size: int) -> float:
    """Return the highest value that pooling leaves of a square patch of ones, averaged over where it lies."""
    peaks = []
    for row in range(2):
        for column in range(2):
            field = torch.zeros(1, 1, 12, 12)
            field[..., 4 + row : 4 + row + size, 4 + column : 4 + column + size] = 1
            peaks.append(float(_WAYS[way](field).max()))
    return sum(peaks) / len(peaks)


def _kept_of_peaks(way: str, maps: Tensor) -> float:
    """Return the sum of the maps' highest values after pooling, as a share of that before; maps (N, C, H, W)."""
    return float(_WAYS[way](maps).amax(dim=(2, 3)).sum() / maps.amax(dim=(2, 3)).sum())


def _found(way: str, size: int, count: int, seed: int) -> float:
    """Return how often the highest value after pooling lies where a bright patch was put on noise."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 1, 28, 28, generator=generator)
    corners = torch.randint(0, 28 - size + 1, (count, 2), generator=generator)
    inside = [
        (torch.arange(28) >= corner) & (torch.arange(28) < corner + size) for corner in corners.T[..., None]
    ]
    patch = inside[0][:, :, None] & inside[1][:, None, :]
    pooled = _WAYS[way](noise + _HEIGHT * patch[:, None])
    touched = ops.max_pool2d(patch[:, None].float(), 2)
    highest = pooled.flatten(1).argmax(dim=1, keepdim=True)
    return float(touched.flatten(1).gather(1, highest).mean())


def _judge(found: Interval, better: Interval) -> Verdict:
    """Judge by how much more often max finds a bright pixel than average, and how much more accurate it is."""
    return verdict_of_all([verdict_on(found), verdict_on(better)])


def _test(effort: Effort, given: _Sizes | None = None) -> Outcome:
    sizes = given or (_FULL if effort.full else _QUICK)
    task = Task.of(effort, sizes.budget)
    channels = task.image_shape[0]
    entrants = contest(
        {
            kind: lambda kind=kind: _network(kind, channels, sizes.widths)
            for kind in ("max", "average", "stride", "strided layer")
        },
        task,
        effort,
    )
    effort.say("looking for bright patches in noise")
    found = {
        (way, size): tuple(_found(way, size, sizes.noises, seed) for seed in effort.seeds)
        for way in _WAYS
        for size in _PATCHES
    }
    with torch.inference_mode():
        maps = [network.get_submodule("0")(task.test[:500]) for network in entrants["max"].networks]
    peaks = {way: tuple(_kept_of_peaks(way, each) for each in maps) for way in _WAYS}
    more_found = Interval.of_gains(found["max", 1], found["average", 1])
    better = Interval.of_gains(entrants["max"].accuracies, entrants["average"].accuracies)
    return Outcome(
        columns=(
            "network",
            "parameters",
            "MACs",
            "learning rate",
            "test accuracy",
            "kept of one bright pixel",
            "kept of the peaks of its maps",
            "bright pixel found in noise",
        ),
        rows=tuple(_row(entrant, peaks, found) for entrant in entrants.values()),
        verdict=_judge(more_found, better),
        reason=(
            f"Of one bright pixel max keeps {_kept_of_patch('max', 1):.0%} and average "
            f"{_kept_of_patch('average', 1):.0%}; in noise max finds it in {_mean(found['max', 1]):.1%} of "
            f"the pictures and average in {_mean(found['average', 1]):.1%}, but a patch of 3x3 in "
            f"{_mean(found['max', 3]):.1%} and {_mean(found['average', 3]):.1%}. With max pooling the "
            f"network is {_points(better)} points more accurate than with average pooling."
        ),
        charts=(
            _kept_chart(),
            _found_chart(found),
            Chart(
                "training loss (band: lowest and highest seed)",
                "step",
                "loss",
                tuple(
                    curve_of(entrant.name, [each.losses for each in entrant.learnings])
                    for entrant in entrants.values()
                ),
            ),
        ),
        pictures=_pictures(maps[0]),
        percent=(
            "test accuracy",
            "kept of one bright pixel",
            "kept of the peaks of its maps",
            "bright pixel found in noise",
        ),
        figures=(
            ("accuracy_gain_over_average", better.value),
            (
                "accuracy_gain_over_stride",
                Interval.of_gains(entrants["max"].accuracies, entrants["stride"].accuracies).value,
            ),
            (
                "accuracy_gain_over_strided_layer",
                Interval.of_gains(entrants["max"].accuracies, entrants["strided layer"].accuracies).value,
            ),
            ("found_gain_over_average", more_found.value),
            ("average_keeps_of_peaks", _mean(peaks["average"])),
        ),
    )


def _row(
    entrant: Entrant,
    peaks: dict[str, tuple[float, ...]],
    found: dict[tuple[str, int], tuple[float, ...]],
) -> Row:
    way = entrant.name
    kept: tuple[str | float | Interval, ...] = ("-", "-", "-")
    if way in _WAYS:
        kept = _kept_of_patch(way, 1), Interval.of_mean(peaks[way]), Interval.of_mean(found[way, 1])
    return Row(way, (entrant.num_params, entrant.macs, entrant.rate, entrant.accuracy, *kept))


def _kept_chart() -> Chart:
    return Chart(
        "what pooling by 2 leaves of a bright patch's height",
        "side of the patch in pixels",
        "kept, averaged over where it lies",
        tuple(
            Curve(way, tuple((float(size), _kept_of_patch(way, size)) for size in _PATCHES)) for way in _WAYS
        ),
        percent=True,
    )


def _found_chart(found: dict[tuple[str, int], tuple[float, ...]]) -> Chart:
    return Chart(
        f"a patch {_HEIGHT:g} deviations above noise found after pooling (band: lowest and highest seed)",
        "side of the patch in pixels",
        "found",
        tuple(
            Curve(
                way,
                tuple((float(size), _mean(found[way, size])) for size in _PATCHES),
                tuple((float(size), min(found[way, size]), max(found[way, size])) for size in _PATCHES),
            )
            for way in _WAYS
        ),
        percent=True,
    )


def _pictures(maps: Tensor) -> tuple[PictureRow, ...]:
    """Return the channel whose peaks stand out most, of the first images, before and after each way of pooling."""
    contrast = (maps.amax(dim=(2, 3)) - maps.mean(dim=(2, 3))).mean(dim=0) / maps.std(dim=(0, 2, 3)).clamp(
        1e-6
    )
    chosen = maps[:6, int(contrast.argmax())]
    rows = [PictureRow("a map of the trained network before its first pooling", chosen)]
    rows += [PictureRow(f"after {way}", pool(chosen[:, None])[:, 0]) for way, pool in _WAYS.items()]
    return tuple(rows)


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)


def _points(difference: Interval) -> str:
    """Return a difference of shares in percentage points with its interval."""
    return f"{100 * difference.value:+.2f} ({100 * difference.low:+.2f} to {100 * difference.high:+.2f})"


EXPERIMENT = Experiment(
    name="pooling",
    title="Max pooling, average pooling, stride",
    claim="Between convolutions max pooling is the better choice: it keeps what stands out, where "
    "averaging thins it among its neighbours.",
    setup="Four networks of three stages of two 3x3 convolutions with batch norm and ReLU and a global "
    "average head, which differ in what halves their maps: max pooling, average pooling, a stride of the "
    "convolution before, or a strided 3x3 layer in the pool's place (Springenberg et al., "
    f"arXiv:1412.6806). Quick: {_QUICK.budget}. In full: {_FULL.budget}. Adam, no augmentation; the seed "
    f"decides first weights and order, the same for all. Beside it a bright patch, {_HEIGHT:g} deviations "
    "above normal noise of 28x28 pixels, is looked for after pooling: it is found where the highest value "
    "of the pooled map lies on it. The claim holds if max finds a single bright pixel more often than "
    "average, and its network is more accurate on the test images, each by the 95 % interval of the "
    "differences seed by seed; one of the two the other way round is enough against it.",
    test=_test,
)
