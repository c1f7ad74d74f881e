"""Convolution against cross-correlation: networks of either learn the same, with kernels turned round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import convscope.nn as cnn
from convscope import ops
from convscope.experiments.experiment import Effort, Experiment
from convscope.experiments.learning import Learning, fit, hits, pixels
from convscope.experiments.outcome import Chart, Curve, Interval, Outcome, PictureRow, Row, Verdict

__all__ = ["EXPERIMENT"]

_CORRELATION = "cross-correlation"
_FLIPPED = "convolution"
_WRITTEN = "convolution by its definition"
_UNTURNED = "convolution, first kernels not turned"
_BOUND = 1e-6  # relative, of losses and kernels that are to be the same
_RATE, _MOMENTUM = 0.05, 0.9


@dataclass(frozen=True)
class _Sizes:
    """How large the experiment is; each network has two convolutions of these widths."""

    widths: tuple[int, int]
    train: int
    test: int
    steps: int
    batch_size: int


_QUICK = _Sizes((8, 16), 4000, 1000, 100, 32)
_FULL = _Sizes((8, 16), 20_000, 5000, 400, 32)


class _WrittenConvolution(nn.Conv2d):
    """The convolution of mathematics by its definition: each pixel adds the kernel, times itself, at its place.

    Nothing is turned round: that is what a transposed convolution of stride 1 does with its weight.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return maps of the input's size, for an odd kernel with half of it as padding."""
        return ops.conv_transpose2d(
            input, self.weight.transpose(0, 1), self.bias, padding=self.kernel_size[0] // 2
        )


def _network(kind: str, image_shape: tuple[int, int, int], widths: tuple[int, int]) -> nn.Sequential:
    """Return two 5x5 convolutions with ReLU and average pooling, and a fully connected layer, in float64."""
    channels, rows, columns = image_shape
    layers: list[nn.Module] = []
    for width in widths:
        if kind == _WRITTEN:
            convolution: nn.Module = _WrittenConvolution(channels, width, 5, padding=2)
        else:
            convolution = cnn.Conv2d(channels, width, 5, padding=2, flip=kind != _CORRELATION)
        layers += [convolution, nn.ReLU(), cnn.AvgPool2d(2)]
        channels = width
    return nn.Sequential(*layers, cnn.FlattenHead((channels, rows // 4, columns // 4), 10)).double()


def _started(kind: str, image_shape: tuple[int, int, int], sizes: _Sizes, seed: int) -> nn.Sequential:
    """Return a network with the first weights of the seed, its kernels turned round where the kind says so."""
    torch.manual_seed(seed)
    network = _network(kind, image_shape, sizes.widths)
    if kind in (_FLIPPED, _WRITTEN):
        for kernels in _kernels(network):
            kernels.copy_(kernels.flip(2, 3))
    return network


def _kernels(network: nn.Module) -> list[Tensor]:
    return [layer.weight.detach() for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def _loss_gap(one: Learning, other: Learning) -> list[float]:
    """Return the relative difference of two trainings' losses at each step."""
    return [abs(a - b) / abs(a) for a, b in zip(one.losses, other.losses, strict=True)]


def _kernel_gap(correlation: nn.Module, convolution: nn.Module) -> float:
    """Return the largest difference of kernels, those of the convolution turned round, over the largest weight."""
    pairs = zip(_kernels(correlation), _kernels(convolution), strict=True)
    return max(float((one - other.flip(2, 3)).abs().max() / one.abs().max()) for one, other in pairs)


def _judge(losses: Sequence[float], kernels: Sequence[float], unturned: Sequence[float]) -> Verdict:
    """Judge by the largest gaps of those that are to agree, and of the one that is to differ.

    Undecided where even kernels that were not turned round have the same losses: then nothing could have been seen.
    """
    if max(*losses, *kernels) > _BOUND:
        return Verdict.FAILS
    return Verdict.HOLDS if min(unturned) > _BOUND else Verdict.UNDECIDED


def _test(effort: Effort, given: _Sizes | None = None) -> Outcome:
    sizes = given or (_FULL if effort.full else _QUICK)
    train = effort.images("train").take_balanced(sizes.train)
    test = effort.images("test").take_balanced(sizes.test)
    images, tested = pixels(train).double(), pixels(test, train).double()
    kinds = (_CORRELATION, _FLIPPED, _WRITTEN, _UNTURNED)
    networks: dict[str, list[nn.Module]] = {kind: [] for kind in kinds}
    learnings: dict[str, list[Learning]] = {kind: [] for kind in kinds}
    accuracies: dict[str, list[float]] = {kind: [] for kind in kinds}
    for seed in effort.seeds:
        for kind in kinds:
            effort.say(f"{kind}: training with seed {seed}")
            network = _started(kind, train.image_shape, sizes, seed)
            learned = fit(
                network,
                images,
                train.labels,
                steps=sizes.steps,
                seed=seed,
                batch_size=sizes.batch_size,
                lr=_RATE,
                optimizer=torch.optim.SGD,
                faster=False,
                momentum=_MOMENTUM,
            )
            networks[kind].append(network)
            learnings[kind].append(learned)
            accuracies[kind].append(hits(network, tested, test.labels) / len(tested))
    gaps = {
        kind: [_loss_gap(*pair) for pair in zip(learnings[_CORRELATION], learnings[kind], strict=True)]
        for kind in kinds
    }
    kernel_gaps = {
        kind: [_kernel_gap(*pair) for pair in zip(networks[_CORRELATION], networks[kind], strict=True)]
        for kind in kinds[1:]
    }
    largest = {kind: [max(each) for each in gaps[kind]] for kind in kinds}
    same = (_FLIPPED, _WRITTEN)
    return Outcome(
        columns=(
            "network",
            "kernels at the start",
            "largest relative difference of losses",
            "largest relative difference of learned kernels, turned round",
            "test accuracy",
        ),
        rows=tuple(
            Row(
                kind,
                (
                    "as drawn" if kind in (_CORRELATION, _UNTURNED) else "turned round",
                    "-" if kind == _CORRELATION else max(largest[kind]),
                    "-" if kind == _CORRELATION else max(kernel_gaps[kind]),
                    Interval.of_mean(accuracies[kind]),
                ),
            )
            for kind in kinds
        ),
        verdict=_judge(
            [gap for kind in same for gap in largest[kind]],
            [gap for kind in same for gap in kernel_gaps[kind]],
            largest[_UNTURNED],
        ),
        reason=(
            f"Over {sizes.steps:,} steps and {len(effort.seeds)} seeds the losses of a convolution from "
            f"turned kernels differ from those of cross-correlation by {max(largest[_FLIPPED]):.2g} at "
            f"most, of one written out from its definition by {max(largest[_WRITTEN]):.2g}, and the learned "
            f"kernels, turned round, by {max(kernel_gaps[_FLIPPED]):.2g} and "
            f"{max(kernel_gaps[_WRITTEN]):.2g}; without turning the first kernels round the losses differ "
            f"by {max(largest[_UNTURNED]):.2g}."
        ),
        charts=_charts(learnings, gaps),
        pictures=_pictures(networks),
        percent=("test accuracy",),
        figures=(
            ("loss_gap_flipped", max(largest[_FLIPPED])),
            ("loss_gap_written", max(largest[_WRITTEN])),
            ("loss_gap_unturned", max(largest[_UNTURNED])),
            ("kernel_gap_flipped", max(kernel_gaps[_FLIPPED])),
            ("kernel_gap_written", max(kernel_gaps[_WRITTEN])),
        ),
    )


def _charts(learnings: dict[str, list[Learning]], gaps: dict[str, list[list[float]]]) -> tuple[Chart, ...]:
    """Return the losses of the first seed, and their differences where they are not 0."""
    losses = tuple(
        Curve(kind, tuple((float(step), loss) for step, loss in enumerate(learned[0].losses, start=1)))
        for kind, learned in learnings.items()
    )
    differences = tuple(
        Curve(kind, tuple((float(step), gap) for step, gap in enumerate(found[0], start=1) if gap > 0))
        for kind, found in gaps.items()
        if any(found[0])
    )
    return (
        Chart("training loss, first seed", "step", "loss", losses),
        Chart(
            "relative difference from cross-correlation's loss, first seed (0 is not drawn)",
            "step",
            "difference",
            differences,
            log_y=True,
        ),
    )


def _pictures(networks: dict[str, list[nn.Module]]) -> tuple[PictureRow, ...]:
    """Return the first layer's learned kernels, one channel of each."""
    first = {kind: _kernels(found[0])[0][:, 0] for kind, found in networks.items()}
    return (
        PictureRow(f"learned kernels: {_CORRELATION}", first[_CORRELATION]),
        PictureRow(f"learned kernels: {_FLIPPED}", first[_FLIPPED]),
        PictureRow(f"the same, turned round: {_FLIPPED}", first[_FLIPPED].flip(1, 2)),
        PictureRow(f"learned kernels: {_UNTURNED}", first[_UNTURNED]),
    )


EXPERIMENT = Experiment(
    name="flipped-kernel",
    title="Convolution against cross-correlation",
    claim="What networks compute is cross-correlation, not the convolution of mathematics, and to learning "
    "it makes no difference: started from kernels turned round, a network of true convolutions has the "
    "same losses and learns the same kernels, turned round.",
    setup="A network of two 5x5 convolutions with ReLU and average pooling and a fully connected layer is "
    "trained four times from the same first weights on the same batches, in float64: as cross-correlation; "
    "as convolution that turns its kernels round; as convolution written out from its definition, where "
    "each pixel adds the kernel times itself; and as convolution whose first kernels are not turned round, "
    f"as a check that the test could fail. Stochastic gradient descent, rate {_RATE}, momentum {_MOMENTUM}, "
    f"the same for all as it is to be the same training; quick {_QUICK.steps} steps of {_QUICK.batch_size} "
    f"out of {_QUICK.train:,} images, in full {_FULL.steps} of {_FULL.batch_size} out of {_FULL.train:,}. "
    f"The claim holds if at every step and seed the losses of the first three agree within {_BOUND:g} of "
    f"their value, so do the learned kernels within {_BOUND:g} of the largest weight, and the fourth's "
    "losses do not; it does not hold if they do not agree, and is undecided if the fourth's agree too.",
    test=_test,
)
