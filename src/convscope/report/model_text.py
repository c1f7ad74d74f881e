"""The zoo as text: all of it in a table, or one network with its figures and weights."""

from __future__ import annotations

from collections.abc import Sequence

from convscope.models import ModelEntry, list_weights, published_weights
from convscope.report.columns import table
from convscope.report.summary_text import quantity
from convscope.trace import Trace

__all__ = ["model_text", "models_text"]


def models_text(entries: Sequence[ModelEntry], traces: Sequence[Trace] = ()) -> str:
    """Return a line for each network: what it takes, its outputs, its figures if traced, its published accuracy."""
    rows = []
    for place, entry in enumerate(entries):
        best = published_weights(entry.name) if list_weights(entry.name) else None
        accuracy = "-" if best is None else f"{best.accuracy:.1f} %"
        figures = [f"{traces[place].num_params:,}", f"{traces[place].macs:,}"] if traces else []
        shape = "x".join(map(str, entry.input_shape))
        rows.append((entry.name, entry.task, shape, str(entry.num_classes), *figures, accuracy))
    counts = ["parameters", "MACs"] if traces else []
    return "\n".join(
        (
            table(("network", "task", "input", "classes", *counts, "accuracy"), rows),
            "",
            f"{len(rows)} networks. accuracy: of the default weights, as published; top-1 on ImageNet (speed_cnn: on "
            "CIFAR-10), or mean intersection over union.",
        )
    )


def model_text(entry: ModelEntry, trace: Trace) -> str:
    """Return what is known of a network: where it comes from, its figures, its published weights."""
    shape = "x".join(map(str, entry.input_shape))
    lines = [
        f"{entry.name}: {entry.summary}",
        f"source: {entry.source}",
        f"task: {entry.task}, {entry.num_classes} classes, input {shape}",
        f"parameters: {trace.num_params:,}; MACs for one image: {trace.macs:,} ({quantity(trace.macs)})",
    ]
    measure = "top-1" if entry.task == "classification" else "mean IoU"
    if entry.head:
        lines.append(f"head: {', '.join(entry.head)}")
    for name in list_weights(entry.name):
        weights = published_weights(entry.name, name)
        facts = weights.preprocessing
        crop = f", centre {facts.crop}" if facts.crop else ""
        lines.append(
            f"weights {name}: {weights.url or 'in the package'}, {weights.size_mb:.0f} MB, {measure} "
            f"{weights.accuracy:.5g} %; shorter side to {facts.resize} {facts.interpolation}{crop}; mean "
            f"{_listed(facts.mean)}, std {_listed(facts.std)}"
        )
        lines += [f"  {key}: {value}" for key, value in weights.card]
    if not list_weights(entry.name):
        lines.append("weights: none published")
    return "\n".join(lines)


def _listed(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
