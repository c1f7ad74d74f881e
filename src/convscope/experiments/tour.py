"""Everything that `make demo` shows, as facts: run once, then drawn by `report`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from convscope.data import ImageSet, cat
from convscope.experiments.mlp_and_cnn import MlpAndCnn, mlp_and_cnn
from convscope.experiments.three_layers import (
    LoopComparison,
    ThreeLayers,
    compare_with_loops,
    photograph_input,
    three_layers,
)
from convscope.inspection import (
    ConfusionMatrix,
    ConvolutionValue,
    Mistake,
    OnOneScale,
    confusion_matrix,
    explain_convolution,
    feature_maps,
    filters,
    mistakes,
    on_one_scale,
)
from convscope.training import Event, Recipe, named_recipe

__all__ = ["Tour", "take_tour"]

_PLACE = (0, 120, 163)  # output channel, row, column: by the cat's eye, where neighbouring pixels differ


@dataclass(frozen=True, eq=False)
class Tour:
    """The facts of the demonstration.

    Attributes:
        layers, loops: the document's experiment and its time by loops.
        value: the arithmetic of one output value of the first layer.
        networks: MLP and CNN with their parameter counts and accuracies.
        test_images: the test set; `sample` is the index of the image whose maps are shown.
        maps, kernels: feature maps and filters of the CNN before and after training, on one scale each.
        confusion, wrong: of the CNN on the test images.
    """

    layers: ThreeLayers
    loops: LoopComparison
    value: ConvolutionValue
    networks: MlpAndCnn
    test_images: ImageSet
    sample: int
    maps: tuple[OnOneScale, ...]
    kernels: tuple[OnOneScale, ...]
    confusion: ConfusionMatrix
    wrong: tuple[Mistake, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the figures as plain values for JSON."""
        return {
            "loops": self.loops.to_dict(),
            "value": self.value.to_dict(),
            "networks": self.networks.to_dict(),
            "sample": self.sample,
            "maps": [pair.to_dict() for pair in self.maps],
            "kernels": [pair.to_dict() for pair in self.kernels],
            "confusion": self.confusion.to_dict(),
        }


def take_tour(
    output: str | Path,
    seed: int = 0,
    *,
    mlp: Recipe | None = None,
    cnn: Recipe | None = None,
    listener: Callable[[str, Event], None] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Tour:
    """Run the document's experiment, take one value apart, train an MLP and a CNN, look inside the CNN.

    Args:
        output: folder for the run folders `mlp` and `cnn`.
        seed: of the random filters, of the networks' weights and of the order of the images.
        mlp, cnn: the recipes; `cnn` must have convolutions.
        listener: called with the network's name and each training event.
        say: called with one line before each part.
    Cost:
        About a minute on two cores, a sixth of it the document's loops.
    """
    say("Three random 3x3 convolutions on the cat, and the same by Python loops, value by value")
    layers = three_layers(cat(), seed)
    loops = compare_with_loops(layers)
    value = explain_convolution(
        photograph_input(layers.photograph), layers.network.hidden1.weight, padding=1, at=_PLACE
    )

    say("An MLP and a CNN on the same 12,000 pictures of clothes")
    mlp, cnn = mlp or named_recipe("fashion-mlp"), cnn or named_recipe("fashion-cnn")
    networks = mlp_and_cnn(output, mlp=mlp.replace(seed=seed), cnn=cnn.replace(seed=seed), listener=listener)

    say("What the CNN's layers show before and after training, and what it confuses")
    run, evaluation = networks.cnn.run, networks.cnn.evaluation
    test_images = run.dataset("test")
    right = (evaluation.predictions == evaluation.labels).nonzero().flatten()
    sample = int(right[0]) if len(right) else 0
    inputs = run.prepare(test_images.picture(sample))
    before, after = run.network("initial"), run.network()
    names = [name for name, module in after.named_modules() if isinstance(module, nn.Conv2d)]
    maps = tuple(
        on_one_scale(old.layer, old.values[0], new.values[0])
        for old, new in zip(
            feature_maps(before, inputs, names), feature_maps(after, inputs, names), strict=True
        )
    )
    kernels = tuple(on_one_scale(name, filters(before, name), filters(after, name)) for name in names)
    return Tour(
        layers=layers,
        loops=loops,
        value=value,
        networks=networks,
        test_images=test_images,
        sample=sample,
        maps=maps,
        kernels=kernels,
        confusion=confusion_matrix(evaluation.labels, evaluation.predictions, evaluation.classes),
        wrong=mistakes(
            evaluation.labels, evaluation.predictions, evaluation.confidences, evaluation.classes, 24
        ),
    )
