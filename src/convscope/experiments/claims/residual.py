"""Plain against residual networks as they grow deeper: which can still be trained."""

from __future__ import annotations

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
    Curve,
    Interval,
    Outcome,
    Row,
    Verdict,
    verdict_of_all,
    verdict_on,
)
from convscope.models.resnet_cifar import CifarBlock

__all__ = ["EXPERIMENT"]

_KINDS = ("plain", "residual")
_MOMENTUM = 0.9
_MARGIN = 0.05  # of training loss, that a deeper residual network may be worse


@dataclass(frozen=True)
class _Sizes:
    """How large the experiment is: depths 6n + 2, the first the shallowest; channels of the first of three stages."""

    depths: tuple[int, ...]
    width: int
    budget: Budget


_QUICK = _Sizes((8, 20, 32), 8, Budget(4000, 1000, 120, 32, (0.03, 0.1, 0.3)))
_FULL = _Sizes((8, 20, 32, 56), 12, Budget(20_000, 5000, 250, 64, (0.03, 0.1, 0.3)))


class _PlainBlock(CifarBlock):
    """The same two convolutions without the shortcut beside them."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the block's maps."""
        maps = self.relu(self.bn1(self.conv1(input)))
        return self.relu(self.bn2(self.conv2(maps)))


def _network(kind: str, depth: int, channels: int, width: int) -> nn.Sequential:
    """Return the ResNet paper's network for CIFAR-10, narrower, on images of half the side, `plain` or `residual`."""
    block = CifarBlock if kind == "residual" else _PlainBlock
    layers: list[nn.Module] = [
        cnn.AvgPool2d(2),
        cnn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    ]
    before = width
    for stage in range(3):
        for place in range((depth - 2) // 6):
            layers.append(block(before, width << stage, 2 if stage and not place else 1))
            before = width << stage
    network = nn.Sequential(*layers, cnn.GlobalAveragePoolHead(before, 10))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def _judge(plain: Interval, residual: Interval) -> Verdict:
    """Judge by how much more training loss the deepest network has than the shallowest, of either kind."""
    less = Interval(-residual.value, -residual.high, -residual.low)
    return verdict_of_all([verdict_on(plain), verdict_on(less, -_MARGIN)])


def _test(effort: Effort, given: _Sizes | None = None) -> Outcome:
    sizes = given or (_FULL if effort.full else _QUICK)
    task = Task.of(effort, sizes.budget)
    channels = task.image_shape[0]
    found = contest(
        {
            _name(kind, depth): lambda kind=kind, depth=depth: _network(kind, depth, channels, sizes.width)
            for depth in sizes.depths
            for kind in _KINDS
        },
        task,
        effort,
        faster=effort.full,  # on networks as small as the quick ones it is slower
        optimizer=torch.optim.SGD,
        momentum=_MOMENTUM,
    )
    shallow, deep = sizes.depths[0], sizes.depths[-1]
    losses = {name: entrant.last_losses() for name, entrant in found.items()}
    growth = {
        kind: Interval.of_gains(losses[_name(kind, deep)], losses[_name(kind, shallow)]) for kind in _KINDS
    }
    gap = Interval.of_gains(losses[_name("plain", deep)], losses[_name("residual", deep)])
    return Outcome(
        columns=(
            "network",
            "parameters",
            "MACs",
            "learning rate",
            "training loss",
            "training error",
            "test accuracy",
        ),
        rows=tuple(
            Row(
                name,
                (
                    entrant.num_params,
                    entrant.macs,
                    entrant.rate,
                    Interval.of_mean(losses[name]),
                    Interval.of_mean(entrant.last_errors()),
                    entrant.accuracy,
                ),
            )
            for name, entrant in found.items()
        ),
        verdict=_judge(growth["plain"], growth["residual"]),
        reason=(
            f"From {shallow} to {deep} layers the training loss of plain networks changes by "
            f"{_text(growth['plain'])}, that of residual ones by {_text(growth['residual'])}; at {deep} "
            f"layers the plain network's is {_text(gap)} above the residual one's."
        ),
        charts=(_depth_chart(found, sizes.depths), _learning_chart(found, (shallow, deep))),
        percent=("training error", "test accuracy"),
        figures=(
            ("plain_growth", growth["plain"].value),
            ("residual_growth", growth["residual"].value),
            ("gap_at_deepest", gap.value),
        ),
    )


def _depth_chart(found: dict[str, Entrant], depths: tuple[int, ...]) -> Chart:
    curves: list[Curve] = []
    for kind in _KINDS:
        losses = {depth: found[_name(kind, depth)].last_losses() for depth in depths}
        curves.append(
            Curve(
                kind,
                tuple((float(depth), Interval.of_mean(each).value) for depth, each in losses.items()),
                tuple((float(depth), min(each), max(each)) for depth, each in losses.items()),
            )
        )
    return Chart(
        "training loss at the end (band: lowest and highest seed)",
        "layers with weights",
        "loss",
        tuple(curves),
    )


def _learning_chart(found: dict[str, Entrant], depths: tuple[int, ...]) -> Chart:
    names = [_name(kind, depth) for depth in depths for kind in _KINDS]
    return Chart(
        "training loss (band: lowest and highest seed)",
        "step",
        "loss",
        tuple(curve_of(name, [each.losses for each in found[name].learnings]) for name in names),
    )


def _name(kind: str, depth: int) -> str:
    return f"{kind}, {depth} layers"


def _text(difference: Interval) -> str:
    return f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"


EXPERIMENT = Experiment(
    name="residual",
    title="Plain against residual networks as they grow deeper",
    claim="Plain networks train worse the deeper they are, although the deeper one could do all that the "
    "shallower can; with shortcuts round every two layers deeper networks train as well or better.",
    setup="Networks of 6n + 2 layers as in He et al. (arXiv:1512.03385, section 4.2): three stages of "
    f"pairs of 3x3 convolutions with batch norm, from {_QUICK.width} channels on (in full {_FULL.width}), "
    "with and without shortcuts, which have no parameters; on images averaged to half their side. Depths "
    f"{', '.join(map(str, _QUICK.depths))}, in full {', '.join(map(str, _FULL.depths))}. Quick: "
    f"{_QUICK.budget}. In full: {_FULL.budget}. Stochastic gradient descent, momentum {_MOMENTUM}, the rate "
    "going down to 0, no augmentation; the seed decides first weights and order, the same for both kinds. "
    "What counts is the training loss over the last tenth of the steps. The claim holds if the deepest "
    f"plain network's minus the shallowest one's is above 0, and the residual ones' is below {_MARGIN:g}, "
    "each with the whole 95 % interval over the seeds; it does not hold if either interval lies on the "
    "other side.",
    test=_test,
)
