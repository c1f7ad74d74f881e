"""What an MLP and a CNN cost as their input grows."""

from __future__ import annotations

import torch
from torch import nn

from convscope.experiments.experiment import Effort, Experiment
from convscope.experiments.outcome import Chart, Curve, Outcome, Row, Verdict
from convscope.models import create_model
from convscope.trace import trace

__all__ = ["EXPERIMENT"]

_SIZES = (32, 64, 96, 128, 160, 192, 224)


def _mlp(size: int) -> nn.Module:
    """Return 3*size*size -> 512 -> 512 -> 10, the hidden layers with ReLU."""
    return create_model("mlp", num_classes=10, in_channels=3, image_size=size)


def _cnn(size: int) -> nn.Module:
    return create_model("small_vgg", num_classes=10, in_channels=3)


def _test(effort: Effort) -> Outcome:
    rows: list[Row] = []
    curves: dict[str, list[tuple[float, float]]] = {}
    counts: dict[tuple[str, int], tuple[int, int]] = {}
    for size in _SIZES:
        effort.say(f"counting at {size}x{size}")
        for name, build in (("MLP", _mlp), ("CNN", _cnn)):
            with torch.device("meta"):  # counted, not filled
                network = build(size).eval()
            found = trace(network, (1, 3, size, size))
            counts[name, size] = found.num_params, found.macs
            curves.setdefault(name, []).append((3.0 * size * size, float(found.num_params)))
            rows.append(Row(f"{name} at {size}x{size}", (3 * size * size, found.num_params, found.macs)))
    first, last = _SIZES[0], _SIZES[-1]
    grown = {name: counts[name, last][0] / counts[name, first][0] for name in ("MLP", "CNN")}
    holds = all(counts["CNN", size][0] < counts["MLP", size][0] for size in _SIZES) and grown["CNN"] == 1.0
    mlp, cnn = counts["MLP", last], counts["CNN", last]
    reason = (
        f"From {3 * first * first:,} to {3 * last * last:,} inputs the MLP's parameters grow {grown['MLP']:.1f}-fold, "
        f"to {mlp[0]:,}; the CNN's stay {cnn[0]:,}, as its filters do not depend on the input's size. What the CNN "
        f"saves in parameters it pays in arithmetic: {cnn[1]:,} MACs against {mlp[1]:,}."
    )
    return Outcome(
        columns=("network", "inputs", "parameters", "MACs"),
        rows=tuple(rows),
        verdict=Verdict.HOLDS if holds else Verdict.FAILS,
        reason=reason,
        charts=(
            Chart(
                "parameters",
                "inputs",
                "parameters",
                tuple(Curve(name, tuple(points)) for name, points in curves.items()),
                log_x=True,
                log_y=True,
            ),
        ),
        figures=(("mlp_growth", grown["MLP"]), ("cnn_growth", grown["CNN"])),
    )


EXPERIMENT = Experiment(
    name="parameters",
    title="Parameters and cost as the picture grows",
    claim="A fully connected network's parameters grow with the number of its inputs, from 3,072 for 32x32 colour "
    "pictures to 150,528 for 224x224; a convolutional network's do not.",
    setup="An MLP (inputs-512-512-10) and a small VGG (global average pooling before its head) are built for seven "
    "sizes and traced on shapes: parameters and MACs are counted, nothing is trained. The claim holds if the CNN's "
    "count stays the same and below the MLP's at every size.",
    test=_test,
    data=("shapes alone", "shapes alone"),
)
