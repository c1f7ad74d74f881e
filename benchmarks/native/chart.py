"""Draws what `whole_step.py` measured: docs/pictures/native-speed.png, from train.json and infer.json.

python benchmarks/native/chart.py
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
PICTURE = FOLDER.parents[1] / "docs" / "pictures" / "native-speed.png"
WAYS = {
    "eager-fp32-nchw": ("PyTorch", "#9aa3ad"),
    "eager-fp32-nhwc": ("PyTorch, channels-last", "#5d6b7a"),
    "eager-bf16-nhwc": ("PyTorch, bfloat16 autocast, channels-last", "#39444f"),
    "accelerated-fp32": ("accelerated, float32", "#d1603d"),
    "accelerated-bf16": ("accelerated, bfloat16", "#8f2d56"),
}


def draw(axes: Any, rows: list[dict[str, Any]], title: str) -> None:
    """Draw images per second of each way, relative to PyTorch's default, a group a network."""
    present = [way for way in WAYS if way in rows[0]["seconds"]]
    height = 0.8 / len(present)
    for place, way in enumerate(present):
        name, colour = WAYS[way]
        ratios = [
            statistics.median(row["seconds"]["eager-fp32-nchw"]) / statistics.median(row["seconds"][way])
            for row in rows
        ]
        at = [i + (place - (len(present) - 1) / 2) * height for i in range(len(rows))]
        axes.barh(at, ratios, height * 0.92, color=colour, label=name)
        if way.startswith("accelerated"):
            for y, ratio in zip(at, ratios, strict=True):
                axes.text(ratio + 0.03, y, f"{ratio:.2f}", va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [row["network"] for row in rows], fontsize=9)
    axes.invert_yaxis()
    axes.axvline(1, color="#222222", linewidth=0.8)
    axes.set_xlabel("images per second, PyTorch's default = 1", fontsize=9)
    axes.set_title(title, fontsize=10, loc="left")
    axes.margins(x=0.12)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def main() -> None:
    """Write the picture."""
    train = json.loads((FOLDER / "train.json").read_text("utf-8"))
    infer = json.loads((FOLDER / "infer.json").read_text("utf-8"))
    figure = Figure(figsize=(13, 5.2), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    draw(panels[0], train["rows"], "training step, batch 16 at 224")
    for axes, batch in ((panels[1], 1), (panels[2], 16)):
        rows = [row for row in infer["rows"] if row["batch"] == batch]
        draw(axes, rows, f"inference, batch {batch}")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    cpu = train["environment"]
    figure.suptitle(f"{cpu['cpu']}, {cpu['cpu_capability']}, 2 threads, torch {cpu['torch']}", fontsize=9)
    figure.savefig(PICTURE)
    print(PICTURE)


if __name__ == "__main__":
    main()
