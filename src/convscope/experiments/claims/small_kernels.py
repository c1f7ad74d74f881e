"""Two 3x3 convolutions against one 5x5: what they see, what they cost, what they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import convscope.nn as cnn
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
    Interval,
    Outcome,
    PictureRow,
    Row,
    Verdict,
    verdict_of_all,
    verdict_on,
)
from convscope.trace import trace

__all__ = ["EXPERIMENT"]

# Name -> kernel sizes of a block, and whether an activation stands between them.
_BLOCKS: dict[str, tuple[tuple[int, ...], bool]] = {
    "one 5x5": ((5,), True),
    "two 3x3": ((3, 3), True),
    "two 3x3, no ReLU between": ((3, 3), False),
}
_PLACES = ("1", "3", "5")  # of the blocks in the network
_MARGIN = 0.01  # of accuracy, that two 3x3 may lose


@dataclass(frozen=True)
class _Sizes:
    """How large the experiment is."""

    width: int
    budget: Budget


_QUICK = _Sizes(12, Budget(5000, 2000, 150, 32, (1e-2, 3e-2, 1e-1)))
_FULL = _Sizes(24, Budget(20_000, 5000, 400, 64, (3e-3, 1e-2, 3e-2)))


def _block(name: str, width: int) -> nn.Sequential:
    """Return convolutions with batch norm, which keep the maps' size and number, and a ReLU at the end."""
    kernel_sizes, activated = _BLOCKS[name]
    layers: list[nn.Module] = []
    for place, kernel_size in enumerate(kernel_sizes, start=1):
        layers += _convolution(width, width, kernel_size)
        if activated or place == len(kernel_sizes):
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _convolution(channels: int, width: int, kernel_size: int) -> tuple[nn.Module, nn.Module]:
    convolution = cnn.Conv2d(channels, width, kernel_size, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution, nn.BatchNorm2d(width)


def _network(name: str, channels: int, width: int) -> nn.Sequential:
    """Return a 3x3 convolution, three blocks with max pooling between, and a global average head."""
    stem = nn.Sequential(*_convolution(channels, width, 3), nn.ReLU(inplace=True))
    blocks = [_block(name, width) for _ in _PLACES]
    return nn.Sequential(
        stem,
        blocks[0],
        cnn.MaxPool2d(2),
        blocks[1],
        cnn.MaxPool2d(2),
        blocks[2],
        cnn.GlobalAveragePoolHead(width, 10),
    )


def _weights(name: str, width: int) -> int:
    """Return the weights of a block's convolutions."""
    return sum(
        layer.weight.numel() for layer in _block(name, width).modules() if isinstance(layer, nn.Conv2d)
    )


def _fields(name: str, image_shape: tuple[int, int, int], width: int) -> tuple[tuple[int, ...], ...]:
    """Return the receptive field of a block alone, then those of the network's blocks, in pixels."""
    alone = trace(_block(name, width), (1, width, 16, 16), mode="eval")
    found = trace(_network(name, image_shape[0], width), (1, *image_shape), mode="eval")
    return alone.receptive_field("output").size, *(found.receptive_field(place).size for place in _PLACES)


def _sensitivity(network: nn.Module, images: Tensor, around: int = 4) -> Tensor:
    """Return how strongly the first block's middle position answers to each position near it.

    The mean absolute gradient over images and input channels, (2 * around + 1) positions a side; 0 is not seen.
    """
    with torch.inference_mode():
        maps = network.get_submodule("0")(images)
    maps = maps.clone().requires_grad_()
    row, column = maps.shape[2] // 2, maps.shape[3] // 2
    network.get_submodule("1")(maps)[:, :, row, column].sum().backward()
    assert maps.grad is not None
    near = maps.grad[:, :, row - around : row + around + 1, column - around : column + around + 1]
    return near.abs().mean(dim=(0, 1))


def _judge(fields_equal: bool, weight_share: float, lost: Interval) -> Verdict:
    """Judge by what is seen, by the share of weights, and by the accuracy of two 3x3 minus that of one 5x5."""
    counted = Verdict.HOLDS if fields_equal and weight_share < 1 else Verdict.FAILS
    return verdict_of_all([counted, verdict_on(lost, -_MARGIN)])


def _test(effort: Effort, given: _Sizes | None = None) -> Outcome:
    sizes = given or (_FULL if effort.full else _QUICK)
    task = Task.of(effort, sizes.budget)
    channels, width = task.image_shape[0], sizes.width
    entrants = contest(
        {name: lambda name=name: _network(name, channels, width) for name in _BLOCKS}, task, effort
    )
    fields = {name: _fields(name, task.image_shape, width) for name in _BLOCKS}
    weights = {name: _weights(name, width) for name in _BLOCKS}
    one, two, linear = entrants.values()
    gain = Interval.of_gains(two.accuracies, one.accuracies)
    activation_gain = Interval.of_gains(two.accuracies, linear.accuracies)
    share = weights[two.name] / weights[one.name]
    sensitivities = {
        name: _sensitivity(entrant.networks[0], task.test[:200]) for name, entrant in entrants.items()
    }
    return Outcome(
        columns=(
            "network",
            "a block sees",
            "the last block sees",
            "weights a block",
            "parameters",
            "MACs",
            "learning rate",
            "test accuracy",
            "training loss",
        ),
        rows=tuple(_row(entrant, fields[name], weights[name]) for name, entrant in entrants.items()),
        verdict=_judge(fields[one.name] == fields[two.name], share, gain),
        reason=(
            f"Two 3x3 see {_pixels(fields[two.name][0])} pixels and one 5x5 {_pixels(fields[one.name][0])}, "
            f"with {weights[two.name]:,} weights against {weights[one.name]:,} ({share:.0%}); the network "
            f"of pairs is {_points(gain)} points more accurate. The ReLU between the two makes "
            f"{_points(activation_gain)} points."
        ),
        charts=(_learning_chart(entrants),),
        pictures=(
            PictureRow(
                "how strongly a block's middle position answers to those around it after training (0: not seen)",
                torch.stack([each / each.max() for each in sensitivities.values()]),
                tuple(sensitivities),
            ),
        ),
        percent=("test accuracy",),
        figures=(
            ("weight_share", share),
            ("accuracy_gain", gain.value),
            ("activation_gain", activation_gain.value),
        ),
    )


def _row(entrant: Entrant, fields: tuple[tuple[int, ...], ...], weights: int) -> Row:
    return Row(
        entrant.name,
        (
            _pixels(fields[0]),
            _pixels(fields[-1]),
            weights,
            entrant.num_params,
            entrant.macs,
            entrant.rate,
            entrant.accuracy,
            Interval.of_mean(entrant.last_losses()),
        ),
    )


def _learning_chart(entrants: Mapping[str, Entrant]) -> Chart:
    return Chart(
        "training loss (band: lowest and highest seed)",
        "step",
        "loss",
        tuple(
            curve_of(name, [each.losses for each in entrant.learnings]) for name, entrant in entrants.items()
        ),
    )


def _pixels(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


def _points(difference: Interval) -> str:
    """Return a difference of shares in percentage points with its interval."""
    return f"{100 * difference.value:+.2f} ({100 * difference.low:+.2f} to {100 * difference.high:+.2f})"


EXPERIMENT = Experiment(
    name="small-kernels",
    title="Two 3x3 convolutions against one 5x5",
    claim="Two 3x3 convolutions one after the other see as much as one 5x5, with 18 instead of 25 weights "
    "a pair of channels, and lose no accuracy by it.",
    setup="Three networks of a 3x3 convolution, three blocks with max pooling between, and a global "
    "average head; all maps have the same number of channels. A block is one 5x5, two 3x3, or two 3x3 "
    "without the activation between, which is what depth adds (Simonyan & Zisserman, arXiv:1409.1556); "
    f"batch norm follows each convolution. Fields are those of the trace. Quick: {_QUICK.budget}. In full: "
    f"{_FULL.budget}. Adam, no augmentation; the seed decides first weights and order, the same order for "
    "all. The claim holds if every block's field is the same, the weights are fewer, and the accuracy of "
    f"two 3x3 minus that of one 5x5 lies above -{100 * _MARGIN:g} point with its whole 95 % interval over "
    "the seeds; it does not hold if the interval lies below that.",
    test=_test,
)
