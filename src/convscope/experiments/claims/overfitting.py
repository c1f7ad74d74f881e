"""How far training and test accuracy lie apart, of an MLP and a CNN."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from convscope.data import ImageSet
from convscope.experiments.experiment import Effort, Experiment
from convscope.experiments.learning import fit, hits, num_params, pixels
from convscope.experiments.outcome import (
    Chart,
    Curve,
    Interval,
    Outcome,
    Row,
    verdict_of_all,
    verdict_on,
)
from convscope.experiments.rates import PILOT_SEED, choose_rate
from convscope.models import create_seeded_model

__all__ = ["EXPERIMENT"]

_RATES = (1e-3, 3e-3, 1e-2)
_MLP, _NARROW, _CNN = "MLP", "MLP of the CNN's size", "CNN"

Build = Callable[[int], nn.Module]


@dataclass(frozen=True)
class _Size:
    """How much is done: training images and the steps for so many, the CNN's widths, images that choose the rates."""

    counts: tuple[int, ...]
    steps: tuple[int, ...]
    batch_size: int
    widths: tuple[int, ...]
    pilot_images: int
    pilot_steps: int


_QUICK = _Size((250, 1_000, 4_000, 12_000), (120, 170, 270, 400), 64, (8, 16, 32), 2_000, 60)
_FULL = _Size((500, 2_000, 10_000, 50_000), (400, 500, 700, 1_200), 128, (16, 32, 64), 5_000, 150)


@dataclass(frozen=True)
class _Trained:
    """A network after its training on `count` images: its accuracy on them and on the test images."""

    network: str
    count: int
    seed: int
    train: float
    test: float

    @property
    def gap(self) -> float:
        """Return how much better it knows the images that it was trained on."""
        return self.train - self.test


def _builders(images: ImageSet, widths: Sequence[int]) -> dict[str, Build]:
    """Return by name what makes each network of a seed; the narrow MLP has about as many parameters as the CNN."""
    channels, height, width = images.image_shape
    classes = len(images.classes)
    shape = {"num_classes": classes, "in_channels": channels}

    def cnn(seed: int) -> nn.Module:
        return create_seeded_model("small_vgg", seed, widths=widths, **shape)

    def mlp(seed: int, hidden: Sequence[int] = (512, 512)) -> nn.Module:
        return create_seeded_model("mlp", seed, image_size=(height, width), hidden=hidden, **shape)

    # A hidden unit has a weight an input, a weight a class and a bias; each class has a bias.
    units = (num_params(cnn(0)) - classes) / (channels * height * width + classes + 1)
    narrow = (max(1, round(units)),)
    return {_MLP: mlp, _NARROW: lambda seed: mlp(seed, narrow), _CNN: cnn}


def _drawn(images: ImageSet, count: int, seed: int) -> ImageSet:
    """Return a random part of the images; of one seed a larger part holds the smaller ones."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images.subset(order[:count])


def _rates(builders: Mapping[str, Build], images: ImageSet, size: _Size) -> dict[str, float]:
    pilot = _drawn(images, size.pilot_images, PILOT_SEED)
    return {
        name: choose_rate(
            build,
            pixels(pilot),
            pilot.labels,
            rates=_RATES,
            steps=size.pilot_steps,
            batch_size=size.batch_size,
        )
        for name, build in builders.items()
    }


def _train_all(
    builders: Mapping[str, Build], rates: Mapping[str, float], effort: Effort, size: _Size
) -> Iterator[_Trained]:
    images, test_images = effort.images("train"), effort.images("test")
    for seed in effort.seeds:
        for count, steps in zip(size.counts, size.steps, strict=True):
            part = _drawn(images, count, seed)
            inputs, test_inputs = pixels(part), pixels(test_images, part)
            for name, build in builders.items():
                effort.say(f"seed {seed}: {name} on {count:,} images")
                network = build(seed)
                fit(
                    network,
                    inputs,
                    part.labels,
                    steps=steps,
                    seed=seed,
                    batch_size=size.batch_size,
                    lr=rates[name],
                )
                train = hits(network, inputs, part.labels) / count
                test = hits(network, test_inputs, test_images.labels) / len(test_images)
                yield _Trained(name, count, seed, train, test)


def _over_counts(found: Sequence[_Trained], network: str, what: str) -> list[float]:
    """Return one value a seed: the mean over the training-set sizes."""
    seeds = dict.fromkeys(each.seed for each in found)
    chosen = [
        [getattr(each, what) for each in found if (each.network, each.seed) == (network, seed)]
        for seed in seeds
    ]
    return [math.fsum(values) / len(values) for values in chosen]


def _difference(found: Sequence[_Trained], more: str, less: str, what: str) -> Interval:
    return Interval.of_gains(_over_counts(found, more, what), _over_counts(found, less, what))


def _outcome(found: Sequence[_Trained], parameters: Mapping[str, int], rates: Mapping[str, float]) -> Outcome:
    counts = list(dict.fromkeys(each.count for each in found))
    values = {
        (name, what): {
            float(count): [
                getattr(each, what) for each in found if (each.network, each.count) == (name, count)
            ]
            for count in counts
        }
        for name in parameters
        for what in ("train", "test", "gap")
    }
    rows = tuple(
        Row(
            f"{name}, {count:,} images",
            (
                parameters[name],
                *(Interval.of_mean(values[name, what][float(count)]) for what in ("train", "test", "gap")),
            ),
        )
        for count in counts
        for name in parameters
    )
    gap, test = _difference(found, _MLP, _CNN, "gap"), _difference(found, _CNN, _MLP, "test")
    narrow = _difference(found, _NARROW, _CNN, "gap")
    reason = (
        f"Averaged over the training-set sizes the MLP's gap is {gap.in_points()} beside the CNN's, and the CNN's test "
        f"accuracy {test.in_points()} beside the MLP's. The gap of an MLP with as few parameters as the CNN, "
        f"{parameters[_NARROW]:,} instead of {parameters[_MLP]:,}, is {narrow.in_points()} beside the CNN's. "
        "Learning rates: " + ", ".join(f"{name} {rate:g}" for name, rate in rates.items()) + "."
    )

    def chart(title: str, what: str) -> Chart:
        curves = tuple(Curve.of_means(name, values[name, what]) for name in parameters)
        return Chart(title, "training images", title, curves, log_x=True, percent=True)

    return Outcome(
        columns=("network", "parameters", "training accuracy", "test accuracy", "gap"),
        rows=rows,
        verdict=verdict_of_all([verdict_on(gap), verdict_on(test)]),
        reason=reason,
        charts=(chart("training minus test accuracy", "gap"), chart("test accuracy", "test")),
        percent=("training accuracy", "test accuracy", "gap"),
        figures=(
            ("gap_difference", gap.value),
            ("test_difference", test.value),
            ("gap_difference_at_equal_parameters", narrow.value),
        ),
    )


def _test(effort: Effort) -> Outcome:
    size = _FULL if effort.full else _QUICK
    images = effort.images("train")
    builders = _builders(images, size.widths)
    effort.say("choosing learning rates")
    rates = _rates(builders, images, size)
    found = list(_train_all(builders, rates, effort, size))
    return _outcome(found, {name: num_params(build(0)) for name, build in builders.items()}, rates)


def _said(numbers: Sequence[int]) -> str:
    return ", ".join(f"{number:,}" for number in numbers)


EXPERIMENT = Experiment(
    name="overfitting",
    title="Overfitting of an MLP and a CNN",
    claim="A fully connected network learns its training images by heart more than a convolutional one does: the gap "
    "between its accuracy on them and on new images is larger.",
    setup="An MLP (inputs-512-512-classes), a small VGG and an MLP with one hidden layer and as many parameters as "
    f"the VGG are trained on {_said(_QUICK.counts)} images for {_said(_QUICK.steps)} steps of up to "
    f"{_QUICK.batch_size} (in full on {_said(_FULL.counts)} for {_said(_FULL.steps)} of {_FULL.batch_size}) by Adam, "
    "the rate going to 0 along half a cosine, without augmentation or weight decay. A seed "
    "decides the images, a larger set holding the smaller ones, their order and the first weights. Rates: for each "
    f"network the best of {', '.join(f'{rate:g}' for rate in _RATES)} on held-out training images, from a start of "
    "its own. The claim holds if, averaged over the sizes and paired by seed, the 95 % interval of the MLP's gap "
    "minus the CNN's lies above 0, and so does that of the CNN's test accuracy minus the MLP's: a network that "
    "has learnt less has a small gap too.",
    test=_test,
)
