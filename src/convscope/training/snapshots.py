"""How a network looks after each epoch: its first filters and its maps of one image, a small file each.

    snapshots/epoch-000.safetensors    before training
    snapshots/epoch-001.safetensors    after the first epoch, and so on

Values are kept as int8 with one scale a tensor, so that a file stays below 200 KB and a run can have hundreds.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from convscope.data import ImageSet, prepare
from convscope.display import Shown
from convscope.errors import RunError
from convscope.files import output_error, write_bytes
from convscope.inspection import averaged, feature_maps, filter_layers, filters
from convscope.training.facts import DataFacts
from convscope.training.folder import SNAPSHOTS

__all__ = ["Planes", "Snapshot", "epoch_name", "read_snapshots", "save_snapshot"]

_VERSION, _KEY = 1, "convscope"
_IMAGE = 0  # of the held-out images, whose maps are kept
_FILTERS, _CHANNELS, _LAYERS = 64, 16, 3  # kept at most
_FILTER_VALUES = 64 * 3 * 11 * 11  # those of AlexNet's first layer
_SIDE, _PICTURE_SIDE = 48, 112  # pixels; larger maps and pictures are averaged down to it
_NAME = re.compile(r"epoch-(\d+)\.safetensors")
_LEVELS = 127


@dataclass(frozen=True, eq=False)
class Planes:
    """Filters (C_out, C, K_h, K_w) or maps (C, H, W) of one layer, of which `total` exist."""

    layer: str
    total: int
    values: Tensor


@dataclass(frozen=True, eq=False)
class Snapshot(Shown):
    """A network after an epoch, 0 before training.

    Attributes:
        filters: of the first layer that has some; None for a network without.
        maps: of up to three convolutions spread over the network's depth, for `picture`.
        picture: the held-out image, (C, H, W) uint8; `label` is its class.
    """

    epoch: int
    filters: Planes | None
    maps: tuple[Planes, ...]
    picture: Tensor
    label: str

    def to_dict(self) -> dict[str, object]:
        """Return which planes there are, without their values, as plain values for JSON."""
        return {
            "epoch": self.epoch,
            "label": self.label,
            "filters": None if self.filters is None else [self.filters.layer, *self.filters.values.shape],
            "maps": [[each.layer, *each.values.shape] for each in self.maps],
        }


def epoch_name(epoch: int) -> str:
    """Return what to call a network after so many epochs.

    Example:
        >>> epoch_name(0), epoch_name(3)
        ('before training', 'epoch 3')
    """
    return f"epoch {epoch}" if epoch else "before training"


def save_snapshot(path: Path, epoch: int, network: nn.Module, images: ImageSet, facts: DataFacts) -> None:
    """Write how the network looks now into its run folder.

    The network is left as it is; nothing random is drawn.

    Args:
        images: held out; the first one's maps are kept.
    Raises:
        OutputError: the file cannot be written.
    Cost:
        One forward pass of one image.
    """
    picture = images.picture(_IMAGE)
    channels, height, width = facts.input_shape
    inputs = prepare(picture, facts.mean, facts.std, channels=channels, size=(height, width))
    shown = _at_most(images.images[_IMAGE].float(), _PICTURE_SIDE).round().byte()
    tensors: dict[str, Tensor] = {"picture": shown.contiguous()}
    layers: dict[str, dict[str, object]] = {}

    def keep(key: str, layer: str, values: Tensor, total: int) -> None:
        largest = float(values.abs().max())
        scale = largest / _LEVELS if largest > 0 else 1.0
        tensors[key] = (values / scale).round().to(torch.int8).contiguous()
        layers[key] = {"layer": layer, "total": total, "scale": scale}

    known = filter_layers(network)
    if known:
        bank = filters(network, known[0], image_shape=facts.input_shape)
        some = bank[:_FILTERS, :3]
        least = max(1, _FILTER_VALUES // some[0].numel())
        keep("filters", known[0], some[:least], len(bank))
    modules = dict(network.named_modules())
    convolutions = [name for name in known if modules[name].weight.dim() == 4]  # type: ignore[union-attr]
    seen: set[str] = set()
    # A trace makes a network that is accelerated run its own forward, in float32.
    maps = feature_maps(network, inputs, _spread(convolutions)) if convolutions else ()
    for number, entry in enumerate(maps):
        if entry.layer not in seen and entry.values.dim() == 4:
            seen.add(entry.layer)
            planes = _at_most(entry.planes[:_CHANNELS].float(), _SIDE)
            keep(f"maps.{number}", entry.layer, planes, len(entry.planes))
    facts_of_it = {
        "version": _VERSION,
        "epoch": epoch,
        "label": images.classes[int(images.labels[_IMAGE])],
        "layers": layers,
    }
    metadata = {_KEY: json.dumps(facts_of_it)}  # one entry: safetensors writes several in any order
    place = path / SNAPSHOTS / f"epoch-{epoch:03d}.safetensors"
    try:
        place.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise output_error("train", place, error) from error
    write_bytes(place, safetensors.torch.save(tensors, metadata))


def _at_most(planes: Tensor, side: int) -> Tensor:
    """Return planes (C, H, W) averaged down to so many pixels a side, in their proportions."""
    height, width = planes.shape[1:]
    if max(height, width) <= side:
        return planes
    factor = side / max(height, width)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    return averaged(planes, size)


def _spread(names: list[str]) -> list[str]:
    """Return the first, the middle and the last of some names.

    Example:
        >>> _spread(["a", "b", "c", "d", "e"]), _spread(["a", "b"]), _spread([])
        (['a', 'c', 'e'], ['a', 'b'], [])
    """
    if len(names) <= _LAYERS:
        return names
    return [names[round(place * (len(names) - 1) / (_LAYERS - 1))] for place in range(_LAYERS)]


def read_snapshots(path: Path) -> tuple[Snapshot, ...]:
    """Return the snapshots of a run folder in the order of the epochs.

    Raises:
        RunError: a file is damaged.
    """
    folder = path / SNAPSHOTS
    found = [(match, place) for place in folder.glob("*") if (match := _NAME.fullmatch(place.name))]
    return tuple(_read(place) for _, place in sorted(found, key=lambda entry: int(entry[0][1])))


def _read(place: Path) -> Snapshot:
    try:
        with safetensors.safe_open(place, "pt") as file:
            metadata: dict[str, Any] = json.loads((file.metadata() or {})[_KEY])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # no mapping
        if metadata["version"] != _VERSION:
            raise ValueError(f"it is of version {metadata['version']}, this program reads version {_VERSION}")
        planes = {
            key: Planes(
                str(facts["layer"]), int(facts["total"]), tensors[key].float() * float(facts["scale"])
            )
            for key, facts in metadata["layers"].items()
        }
        return Snapshot(
            int(metadata["epoch"]),
            planes.pop("filters", None),
            tuple(planes[key] for key in sorted(planes)),
            tensors["picture"],
            metadata["label"],
        )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        if isinstance(error, KeyError):
            reason = f"it lacks {reason}"
        raise RunError(f"{str(place)!r} cannot be read: {reason}.", call="Run.snapshots") from error
