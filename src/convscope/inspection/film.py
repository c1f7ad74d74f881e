"""One layer of several networks, or of one over its epochs, on one scale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from convscope.display import Shown
from convscope.errors import ShapeError, UsageError
from convscope.inspection.display import Scale, root_mean_square, scale_of
from convscope.inspection.feature_maps import FeatureMaps, feature_maps, last_of_each_size
from convscope.inspection.filters import FilterBank, filter_banks

__all__ = ["Film", "feature_films", "film_of", "filter_films"]


@dataclass(frozen=True, eq=False)
class Film(Shown):
    """Maps or filters of one layer, frame after frame, and the one scale that all are drawn on.

    Attributes:
        layer, kind: as in `FeatureMaps`.
        noun: `maps` or `kernels`.
        names: of the frames, such as `before training` and `epoch 3`.
        frames: (C, H, W) maps or planes, (C_out, C_in, K_h, K_w) filters; all of one shape.
        total: how many maps or filters the layer has, of which the frames may hold the first.
    """

    layer: str
    kind: str
    noun: str
    names: tuple[str, ...]
    frames: tuple[Tensor, ...]
    total: int
    scale: Scale

    def to_dict(self) -> dict[str, object]:
        """Return shape, scale and the size of each frame's values, as plain values for JSON."""
        return {
            "layer": self.layer,
            "kind": self.kind,
            "noun": self.noun,
            "shape": list(self.frames[0].shape),
            "total": self.total,
            "scale": self.scale.to_dict(),
            "frames": [
                {
                    "name": name,
                    "min": float(values.min()),
                    "max": float(values.max()),
                    "root_mean_square": root_mean_square(values),
                }
                for name, values in zip(self.names, self.frames, strict=True)
            ],
        }


def film_of(
    layer: str, kind: str, noun: str, frames: Iterable[tuple[str, Tensor]], total: int | None = None
) -> Film:
    """Put the same maps or filters of several networks on one scale.

    Raises:
        ShapeError: they have other shapes.
        UsageError: there is none.
    Example:
        >>> import torch
        >>> film = film_of("conv", "Conv2d", "maps", [("a", torch.zeros(1, 2, 2)), ("b", torch.ones(1, 2, 2))])
        >>> film.names, film.total, film.scale.high
        (('a', 'b'), 1, 1.0)
    """
    pairs = list(frames)
    if not pairs:
        raise UsageError(f"there is nothing of {layer!r} to show.", call="film_of")
    names, values = zip(*pairs, strict=True)
    for name, each in pairs:
        if each.shape != values[0].shape:
            raise ShapeError(
                f"{layer}: {tuple(values[0].shape)} of {names[0]} and {tuple(each.shape)} of {name} cannot be "
                "laid side by side.",
                call="film_of",
            )
    return Film(
        layer, kind, noun, names, values, len(values[0]) if total is None else total, scale_of(values)
    )


def feature_films(
    networks: Iterable[tuple[str, nn.Module]], image: Tensor, layers: Sequence[str] | None = None
) -> tuple[Film, ...]:
    """Return a film of each layer that returns maps of the image, one frame a network.

    The networks are asked for one after the other, so that they need not be in memory together.

    Args:
        networks: the frames' names and networks of one architecture.
        layers: as in `feature_maps`; by default what `last_of_each_size` chooses.
    Raises:
        UsageError: none of the layers returns maps with a height and a width; no network.
        UnknownNameError, ShapeError: as in `feature_maps`; networks whose maps differ in shape.
    Example:
        >>> import torch
        >>> networks = [(name, nn.Sequential(nn.Conv2d(1, 2, 3))) for name in ("one", "other")]
        >>> [(film.layer, film.names) for film in feature_films(networks, torch.randn(1, 1, 5, 5))]
        [('0', ('one', 'other'))]
    """
    frames: dict[tuple[str, int], list[tuple[str, FeatureMaps]]] = {}
    chosen: set[str] | None = None
    for name, network in networks:
        found = [entry for entry in feature_maps(network, image, layers) if entry.are_pictures]
        if layers is None:
            found = list(last_of_each_size(found))
            layers = list(dict.fromkeys(entry.layer for entry in found))
        chosen = {entry.name for entry in found} if chosen is None else chosen
        seen: Counter[str] = Counter()  # a module may return several tensors
        for entry in found:
            if entry.name in chosen:
                frames.setdefault((entry.name, seen[entry.name]), []).append((name, entry))
                seen[entry.name] += 1
    if not frames:
        raise UsageError("none of the layers has maps with a height and a width.", call="feature_films")
    return tuple(
        film_of(layer, entries[0][1].kind, "maps", [(name, entry.planes) for name, entry in entries])
        for (layer, _), entries in frames.items()
    )


def filter_films(
    networks: Iterable[tuple[str, nn.Module]],
    layers: Sequence[str] | None = None,
    *,
    image_shape: Sequence[int] | None = None,
) -> tuple[Film, ...]:
    """Return a film of each layer's filters, one frame a network; arguments and errors as in `filter_banks`.

    Example:
        >>> networks = [(name, nn.Sequential(nn.Conv2d(3, 8, 5))) for name in ("one", "other")]
        >>> [tuple(film.frames[0].shape) for film in filter_films(networks)]
        [(8, 3, 5, 5)]
    """
    frames: dict[str, list[tuple[str, FilterBank]]] = {}
    for name, network in networks:
        for bank in filter_banks(network, layers, image_shape=image_shape):
            frames.setdefault(bank.layer, []).append((name, bank))
    return tuple(
        film_of(layer, entries[0][1].kind, "kernels", [(name, bank.values) for name, bank in entries])
        for layer, entries in frames.items()
    )
