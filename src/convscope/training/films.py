"""A run's snapshots as films: each layer epoch after epoch, on one scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from convscope.inspection import Film, film_of
from convscope.training.snapshots import Planes, Snapshot, epoch_name

__all__ = ["film_of_filters", "films_of_maps"]

_FRAMES = 8  # epochs that a film shows at most


def film_of_filters(snapshots: Sequence[Snapshot]) -> Film | None:
    """Return the film of the first layer's filters; None for a network without any."""
    return _film("kernels", [(each.epoch, each.filters) for each in snapshots if each.filters is not None])


def films_of_maps(snapshots: Sequence[Snapshot]) -> tuple[Film, ...]:
    """Return a film of each layer whose maps of the held-out image were kept."""
    layers = [planes.layer for planes in snapshots[0].maps] if snapshots else []
    films = [
        _film(
            "maps",
            [(each.epoch, planes) for each in snapshots for planes in each.maps if planes.layer == layer],
        )
        for layer in layers
    ]
    return tuple(film for film in films if film is not None)


def _film(noun: str, frames: list[tuple[int, Planes]]) -> Film | None:
    """Choose some epochs, the first and the last among them, and one scale for all."""
    if not frames:
        return None
    if len(frames) > _FRAMES:
        places = torch.linspace(0, len(frames) - 1, _FRAMES).round().long().tolist()
        frames = [frames[place] for place in places]
    first = frames[0][1]
    pairs = [(epoch_name(epoch), planes.values) for epoch, planes in frames]
    return film_of(first.layer, "", noun, pairs, first.total)
