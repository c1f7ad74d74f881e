"""What random filters make of pictures, and what training adds."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import convscope.nn as cnn
from convscope.data import ImageSet, cat, normalise
from convscope.experiments.experiment import Effort, Experiment
from convscope.experiments.learning import class_scores, fit, hits, pixels, seeded
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
from convscope.experiments.outlines import outline_agreement, sobel_magnitude
from convscope.experiments.probe import linear_probe
from convscope.experiments.rates import choose_rate
from convscope.inspection import feature_maps
from convscope.ops import avg_pool2d

__all__ = ["EXPERIMENT"]

_RATES = (1e-3, 3e-3, 1e-2)
_LAYERS = ("conv1", "conv2")
_SOURCES = ("pixels", "random filters", "trained filters")
_MARGIN = 2  # pixels at the border, where a window reads padding, that outlines are not compared in
_SHOWN = 6  # maps


@dataclass(frozen=True)
class _Size:
    """How much is done: filters a layer, training images, steps, images whose outlines are compared."""

    width: int
    images: int
    steps: int
    pilot_steps: int
    outlined: int


# Two poolings leave a sixteenth of the positions: with 16 filters a grey channel there are as many features as pixels.
_QUICK = _Size(16, 6_000, 400, 100, 500)
_FULL = _Size(48, 20_000, 1_200, 300, 2_000)


@dataclass(frozen=True, eq=False)
class _Found:
    """What one seed gave: accuracy of the probe by source, agreement with the outlines by source and layer."""

    probes: dict[str, float]
    outlines: dict[tuple[str, str], float]
    network: float  # test accuracy of the trained network with its own head


def _network(images: ImageSet, width: int) -> nn.Sequential:
    """Return two 3x3 convolutions of normal filters (He et al.), each with ReLU and max pooling, and a linear head."""
    channels, rows, columns = images.image_shape
    network = nn.Sequential(
        OrderedDict(
            conv1=cnn.Conv2d(channels, width, 3, padding=1),
            relu1=nn.ReLU(),
            pool1=cnn.MaxPool2d(2),
            conv2=cnn.Conv2d(width, width, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=cnn.MaxPool2d(2),
            head=cnn.FlattenHead((width, rows // 4, columns // 4), len(images.classes)),
        )
    )
    for layer in network:
        if isinstance(layer, cnn.Conv2d) and layer.bias is not None:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return network


def _outlines(network: nn.Module, inputs: Tensor) -> dict[str, float]:
    """Return the agreement of each convolution's maps, before the activation."""
    edges = sobel_magnitude(inputs)
    at = {"conv1": edges, "conv2": avg_pool2d(edges, 2)}
    maps = feature_maps(network, inputs, _LAYERS)
    return {entry.layer: outline_agreement(entry.values, at[entry.layer], _MARGIN) for entry in maps}


def _measure(
    effort: Effort, size: _Size, train: ImageSet, test: ImageSet, rate: float, seed: int
) -> tuple[_Found, nn.Sequential, nn.Sequential]:
    """Return what a seed gave, and the network before and after its training."""
    inputs, test_inputs = pixels(train), pixels(test, train)
    random = seeded(lambda: _network(train, size.width), seed)
    trained = copy.deepcopy(random)
    effort.say(f"seed {seed}: training the filters")
    fit(trained, inputs, train.labels, steps=size.steps, seed=seed, lr=rate)
    outlined = test_inputs[: size.outlined]
    edges = sobel_magnitude(outlined)
    bare = {
        "conv1": outline_agreement(outlined, edges, _MARGIN),
        "conv2": outline_agreement(avg_pool2d(outlined, 2), avg_pool2d(edges, 2), _MARGIN),
    }
    probes: dict[str, float] = {}
    outlines: dict[tuple[str, str], float] = {("pixels", layer): bare[layer] for layer in _LAYERS}
    for source, network in zip(_SOURCES, (None, random, trained), strict=True):
        effort.say(f"seed {seed}: probing {source}")
        if network is None:
            features, test_features = inputs.flatten(1), test_inputs.flatten(1)
        else:
            body = nn.Sequential(*list(network)[:-1], nn.Flatten())
            features, test_features = class_scores(body, inputs), class_scores(body, test_inputs)
            for layer, agreement in _outlines(network, outlined).items():
                outlines[source, layer] = agreement
        probes[source] = linear_probe(features, train.labels, test_features, test.labels).accuracy
    own = hits(trained, test_inputs, test.labels) / len(test)
    return _Found(probes, outlines, own), random, trained


def _pictures(random: nn.Module, trained: nn.Module, train: ImageSet, test: ImageSet) -> list[PictureRow]:
    """Show what the first layer makes of the cat and both layers of a test image, random and trained on one scale."""
    channels = train.image_shape[0]
    photograph = torch.from_numpy(cat().copy()).permute(2, 0, 1).unsqueeze(0)
    if channels == 1:
        photograph = photograph.float().mean(dim=1, keepdim=True).round().byte()
    mean_std = train.mean_std()
    rows: list[PictureRow] = []
    for what, picture, layers in (
        ("the cat", photograph, _LAYERS[:1]),
        ("a test image", test.images[:1], _LAYERS),
    ):
        shown = picture.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous()
        rows.append(PictureRow(f"{what}, as the network gets it", shown))
        inputs = normalise(picture, *mean_std)
        for layer in layers:
            pair = [_body_maps(network, inputs, layer)[:_SHOWN] for network in (random, trained)]
            names = [
                f"{kind}, filter {number}" for kind in ("random", "trained") for number in range(len(pair[0]))
            ]
            title = f"{layer} of {what}: random filters, then the same ones trained"
            rows.append(PictureRow(title, torch.cat(pair), tuple(names)))
    return rows


def _body_maps(network: nn.Module, inputs: Tensor, layer: str) -> Tensor:
    """Return a layer's maps (C, H, W); what comes after it is not run, so pictures of any size fit."""
    names = [name for name, _ in network.named_children()]
    body = nn.Sequential(OrderedDict(list(network.named_children())[: names.index(layer) + 1]))
    return feature_maps(body, inputs, [layer])[0].planes


def _differences(found: Sequence[_Found]) -> dict[str, Interval]:
    """Return the four differences that the verdict rests on, paired by seed."""
    pixel, random, trained = _SOURCES

    def of(more: str, less: str) -> tuple[Interval, Interval]:
        probes = [each.probes[more] - each.probes[less] for each in found]
        outlines = [each.outlines[more, "conv1"] - each.outlines[less, "conv1"] for each in found]
        return Interval.of_mean(probes), Interval.of_mean(outlines)

    (probe_random, outline_random), (probe_trained, outline_trained) = of(random, pixel), of(trained, random)
    return {
        "probe_random_over_pixels": probe_random,
        "probe_trained_over_random": probe_trained,
        "outlines_random_over_pixels": outline_random,
        "outlines_trained_over_random": outline_trained,
    }


def _outcome(found: Sequence[_Found], rate: float, pictures: Sequence[PictureRow] = ()) -> Outcome:
    rows = [
        Row(
            source,
            (
                Interval.of_mean([each.probes[source] for each in found]),
                *(Interval.of_mean([each.outlines[source, layer] for each in found]) for layer in _LAYERS),
            ),
        )
        for source in _SOURCES
    ]
    differences = _differences(found)
    probes = [differences["probe_random_over_pixels"], differences["probe_trained_over_random"]]
    outlines = [differences["outlines_random_over_pixels"], differences["outlines_trained_over_random"]]
    own = Interval.of_mean([each.network for each in found])
    reason = (
        f"A linear probe is {probes[0].in_points()} better on the maps of random filters than on pixels, and "
        f"{probes[1].in_points()} better on those of trained ones. The first layer's agreement with Sobel's outlines "
        f"is {_plain(outlines[0])} higher with random filters than the picture's own, and {_plain(outlines[1])} "
        f"higher with trained ones. The trained network's own head reaches {100 * own.value:.1f} % (rate {rate:g})."
    )
    return Outcome(
        columns=("features", "probe accuracy", "outlines, 1st layer", "outlines, 2nd layer"),
        rows=tuple(rows),
        verdict=verdict_of_all([verdict_on(each) for each in differences.values()]),
        reason=reason,
        charts=(
            Chart(
                "what maps have in common with outlines",
                "layer",
                "correlation",
                tuple(
                    Curve.of_means(
                        source,
                        {
                            float(number): [each.outlines[source, layer] for each in found]
                            for number, layer in enumerate(_LAYERS, 1)
                        },
                    )
                    for source in _SOURCES
                ),
            ),
        ),
        pictures=tuple(pictures),
        percent=("probe accuracy",),
        figures=tuple((name, each.value) for name, each in differences.items()),
    )


def _plain(difference: Interval) -> str:
    bounds = f"{difference.low:.2f} to {difference.high:.2f}" if math.isfinite(difference.low) else "one seed"
    return f"{difference.value:.2f} ({bounds})"


def _test(effort: Effort) -> Outcome:
    size = _FULL if effort.full else _QUICK
    train, test = effort.images("train").take_balanced(size.images), effort.images("test")
    effort.say("choosing the learning rate")
    rate = choose_rate(
        lambda seed: seeded(lambda: _network(train, size.width), seed),
        pixels(train),
        train.labels,
        rates=_RATES,
        steps=size.pilot_steps,
    )
    found: list[_Found] = []
    pictures: list[PictureRow] = []
    for seed in effort.seeds:
        one, random, trained = _measure(effort, size, train, test, rate, seed)
        found.append(one)
        pictures = pictures or _pictures(random, trained, train, test)
    return _outcome(found, rate, pictures)


EXPERIMENT = Experiment(
    name="random-filters",
    title="Random and trained filters",
    claim="Filters that were drawn at random and never trained already draw the outlines of things; filters trained "
    "for a task draw out more.",
    setup=f"Two 3x3 convolutions of {_QUICK.width} (in full {_FULL.width}) normal random filters, each with ReLU and "
    "2x2 max pooling, which leave as many features as there were pixels; the same ones after training with a linear "
    f"head, {_QUICK.steps} (in full {_FULL.steps}) steps of 128 images by Adam. A linear probe, softmax regression "
    "whose strength is chosen on held-out training images, is fitted to pixels, to random and to trained features of "
    f"{_QUICK.images:,} (in full {_FULL.images:,}) training images. Outlines: over the positions of each test image, "
    "the correlation of the distance of a map's values, before ReLU, from their mean with the magnitude of "
    "Sobel's slope; averaged over maps and images, and beside it that of the picture itself. The learning rate is "
    f"the best of {', '.join(f'{rate:g}' for rate in _RATES)} on held-out training images, from a start of its own. "
    "The claim holds if, paired by seed, four 95 % intervals lie above 0: random features minus pixels and trained "
    "minus random ones, in the probe's accuracy and in the first layer's agreement with the outlines.",
    test=_test,
)
