"""A flattening head against global average pooling: parameters, accuracy, and what a shift does to both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import convscope.nn as cnn
from convscope.data import ImageSet, normalise
from convscope.experiments.experiment import Effort, Experiment
from convscope.experiments.learning import class_scores, fit, num_params, seeded
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
from convscope.experiments.rates import choose_rate
from convscope.models import create_model
from convscope.ops import pad

__all__ = ["EXPERIMENT"]

_RATES = (3e-3, 1e-2, 3e-2)
_FLATTEN, _POOL = "flatten + linear", "global average pooling"
_REACH = 4  # pixels that the window is moved by at most
_ALLOWED = 0.02  # of the test accuracy may be lost for the claim to hold

Build = Callable[[int], nn.Module]


@dataclass(frozen=True)
class _Size:
    """How much is done: training and test images, widths of the network, batch, steps."""

    images: int
    test_images: int
    widths: tuple[int, ...]
    batch_size: int
    steps: int
    pilot_steps: int


_QUICK = _Size(12_000, 1_000, (8, 16, 32), 64, 320, 60)
_FULL = _Size(50_000, 5_000, (16, 32, 64), 128, 1_000, 300)


@dataclass(frozen=True)
class _Canvas:
    """Pictures that are larger than the window through which the network sees them.

    Fashion-MNIST is black around its garments: a border is added, and the window moves over it without cutting a
    garment. CIFAR-10 has something everywhere: the window is what is left when it is to move within the picture.
    """

    pictures: Tensor
    side: int

    @classmethod
    def of(cls, images: ImageSet, bordered: bool) -> _Canvas:
        """Return the canvas of a set, with a black border or without."""
        side = images.image_shape[1]
        if bordered:
            return cls(pad(images.images, 2 * _REACH, ndim=2), side + 2 * _REACH)
        return cls(images.images, side - 2 * _REACH)

    def window(self, down: int = 0, right: int = 0) -> Tensor:
        """Return what is seen when the contents move by so many pixels, (N, C, side, side)."""
        middle = (self.pictures.shape[-1] - self.side) // 2
        top, left = middle - down, middle - right
        return self.pictures[..., top : top + self.side, left : left + self.side]


@dataclass(frozen=True)
class _Found:
    """What one network of one seed gave: test accuracy by shift in pixels, and the share of unchanged answers."""

    head: str
    seed: int
    accuracies: dict[int, float]
    same: dict[int, float]

    @property
    def drop(self) -> float:
        """Return by how much shifted pictures are recognised less, the mean over the distances."""
        shifted = [value for shift, value in self.accuracies.items() if shift]
        return self.accuracies[0] - math.fsum(shifted) / len(shifted)


def _builders(shape: Sequence[int], num_classes: int, widths: Sequence[int]) -> dict[str, Build]:
    """Return what makes the network with either head; of one seed their convolutions start from the same weights."""
    cells = shape[1] // 2 ** (len(widths) - 1)

    def pooled() -> nn.Module:
        return create_model("small_vgg", num_classes=num_classes, in_channels=shape[0], widths=widths)

    def flattened() -> nn.Module:
        network = pooled()
        network.classifier = cnn.FlattenHead((widths[-1], cells, cells), num_classes)
        return network

    return {_FLATTEN: lambda seed: seeded(flattened, seed), _POOL: lambda seed: seeded(pooled, seed)}


def _prepared(windows: Tensor, like: ImageSet) -> Tensor:
    return normalise(windows, *like.mean_std())


def _shifted(
    network: nn.Module, canvas: _Canvas, labels: Tensor, like: ImageSet
) -> tuple[dict[int, float], ...]:
    """Return accuracy and share of unchanged answers at each distance, the mean over the four directions."""
    unmoved = class_scores(network, _prepared(canvas.window(), like)).argmax(dim=1)
    accuracies, same = {0: _share(unmoved == labels)}, {0: 1.0}
    for shift in range(1, _REACH + 1):
        answers = torch.stack(
            [
                class_scores(network, _prepared(canvas.window(down, right), like)).argmax(dim=1)
                for down, right in ((shift, 0), (-shift, 0), (0, shift), (0, -shift))
            ]
        )
        accuracies[shift], same[shift] = _share(answers == labels), _share(answers == unmoved)
    return accuracies, same


def _share(right: Tensor) -> float:
    return float(right.double().mean())


def _test(effort: Effort) -> Outcome:
    size = _FULL if effort.full else _QUICK
    train = effort.images("train").take_balanced(size.images)
    test = effort.images("test").take_balanced(size.test_images)
    canvas, test_canvas = (_Canvas.of(each, bordered=not effort.full) for each in (train, test))
    inputs = _prepared(canvas.window(), train)
    builders = _builders(inputs.shape[1:], len(train.classes), size.widths)
    rates: dict[str, float] = {}
    for head, build in builders.items():
        effort.say(f"choosing the learning rate for {head}")
        rates[head] = choose_rate(
            build, inputs, train.labels, rates=_RATES, steps=size.pilot_steps, batch_size=size.batch_size
        )
    found: list[_Found] = []
    for seed in effort.seeds:
        for head, build in builders.items():
            effort.say(f"seed {seed}: {head}")
            network = build(seed)
            fit(
                network,
                inputs,
                train.labels,
                steps=size.steps,
                seed=seed,
                batch_size=size.batch_size,
                lr=rates[head],
            )
            found.append(_Found(head, seed, *_shifted(network, test_canvas, test.labels, train)))
    networks = {head: build(0) for head, build in builders.items()}
    parameters = {
        head: (num_params(each.get_submodule("classifier")), num_params(each))
        for head, each in networks.items()
    }
    return _outcome(found, parameters, rates, (_picture(test_canvas),))


def _picture(canvas: _Canvas) -> PictureRow:
    """Show the first test picture as the network sees it at each distance."""
    shown = torch.cat([canvas.window(right=shift)[:1] for shift in range(_REACH + 1)])
    names = tuple(f"moved by {shift}" for shift in range(_REACH + 1))
    return PictureRow(
        "a test picture, moved to the right",
        shown.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous(),
        names,
    )


def _values(found: Sequence[_Found], head: str, what: Callable[[_Found], float]) -> list[float]:
    return [what(each) for each in found if each.head == head]


def _difference(found: Sequence[_Found], more: str, less: str, what: Callable[[_Found], float]) -> Interval:
    return Interval.of_gains(_values(found, more, what), _values(found, less, what))


def _outcome(
    found: Sequence[_Found],
    parameters: Mapping[str, tuple[int, int]],
    rates: Mapping[str, float],
    pictures: Sequence[PictureRow] = (),
) -> Outcome:
    """Judge by each head's parameters, (its own, of the whole network), and what the seeds gave."""
    rows = tuple(
        Row(
            head,
            (
                *parameters[head],
                Interval.of_mean(_values(found, head, lambda each: each.accuracies[0])),
                Interval.of_mean(_values(found, head, lambda each: each.drop)),
                Interval.of_mean(_values(found, head, lambda each: each.same[_REACH])),
            ),
        )
        for head in parameters
    )
    fewer = parameters[_POOL][0] < parameters[_FLATTEN][0]
    accuracy = _difference(found, _POOL, _FLATTEN, lambda each: each.accuracies[0])
    drop = _difference(found, _FLATTEN, _POOL, lambda each: each.drop)
    verdict = verdict_of_all(
        [
            Verdict.HOLDS if fewer else Verdict.FAILS,
            verdict_on(accuracy, -_ALLOWED),
            verdict_on(drop),
        ]
    )
    reason = (
        f"The head has {parameters[_POOL][0]:,} instead of {parameters[_FLATTEN][0]:,} parameters; the network's test "
        f"accuracy is {accuracy.in_points()} beside the flattening one's. When the contents move by 1 to {_REACH} "
        f"pixels, the flattening network loses {drop.in_points()} more. Learning rates: "
        + ", ".join(f"{head} {rate:g}" for head, rate in rates.items())
        + "."
    )

    def chart(title: str, of: Callable[[_Found], Mapping[int, float]]) -> Chart:
        curves = tuple(
            Curve.of_means(
                head,
                {
                    float(shift): _values(found, head, lambda each, shift=shift: of(each)[shift])
                    for shift in range(_REACH + 1)
                },
            )
            for head in parameters
        )
        return Chart(title, "pixels moved", title, curves, percent=True)

    return Outcome(
        columns=(
            "head",
            "its parameters",
            "of the network",
            "test accuracy",
            "lost when moved",
            f"same answer {_REACH} pixels on",
        ),
        rows=rows,
        verdict=verdict,
        reason=reason,
        charts=(
            chart("test accuracy", lambda each: each.accuracies),
            chart("same answer as unmoved", lambda each: each.same),
        ),
        pictures=tuple(pictures),
        percent=("test accuracy", "lost when moved", f"same answer {_REACH} pixels on"),
        figures=(
            ("head_parameter_ratio", parameters[_FLATTEN][0] / parameters[_POOL][0]),
            ("accuracy_difference", accuracy.value),
            ("drop_difference", drop.value),
        ),
    )


EXPERIMENT = Experiment(
    name="heads",
    title="Flatten and linear layer against global average pooling",
    claim="Class scores can be read from the flattened last feature map or from each channel's mean. The mean needs "
    "far fewer parameters, costs little accuracy, and minds less where in the picture the object is.",
    setup="A small VGG with a linear layer on the flattened maps and one with global average pooling, their "
    f"convolutions from the same first weights, are trained {_QUICK.steps} (in full {_FULL.steps:,}) steps of "
    f"{_QUICK.batch_size} (in full {_FULL.batch_size}) images by Adam, the rate going to 0 along half a cosine, "
    "without augmentation, on the same images in the same order. They see a window in the middle of each picture: "
    "Fashion-MNIST with a black border, so that a moved garment is not cut; of CIFAR-10 the inner 24x24 pixels. "
    f"Tested is also on windows moved by 1 to {_REACH} pixels up, down, left and right. Rates: for each head the best "
    f"of {', '.join(f'{rate:g}' for rate in _RATES)} on held-out training images, from a start of its own. The claim "
    "holds if the pooling head has fewer parameters and, paired by seed, the 95 % interval of its test accuracy minus "
    f"the other's lies above -{100 * _ALLOWED:.0f} points, and that of how much more accuracy the flattening network "
    "loses to the shifts, their mean, above 0.",
    test=_test,
)
