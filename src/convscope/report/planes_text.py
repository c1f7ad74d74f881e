"""Feature maps and filters in a few figures, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convscope.errors import printable
from convscope.inspection import FeatureMaps, Film, FilterBank
from convscope.report.columns import table

__all__ = ["films_text", "planes_text"]


def planes_text(layers: Sequence[FeatureMaps | FilterBank]) -> str:
    """Return shape and range of each kept layer."""
    rows = []
    for entry in layers:
        facts = entry.to_dict()
        shape = " x ".join(map(str, entry.values.shape))
        figures = [f"{facts[key]:.4g}" if key in facts else "" for key in ("min", "max", "mean")]
        rows.append((f"{printable(entry.name)} ({entry.kind})", shape, *figures))
    return table(("layer", "shape", "min", "max", "mean"), rows)


def films_text(films: Sequence[Film]) -> str:
    """Return, for each layer and each network, the range and the size of its values."""
    rows = []
    for film in films:
        shape = " x ".join(map(str, film.frames[0].shape))
        facts: Any = film.to_dict()["frames"]
        for number, frame in enumerate(facts):
            layer = printable(film.layer) if number == 0 else ""
            figures = [f"{frame[key]:.4g}" for key in ("min", "max", "root_mean_square")]
            rows.append((layer, printable(frame["name"]), shape if number == 0 else "", *figures))
    return table(("layer", "of", "shape", "min", "max", "root mean square"), rows)
