"""What the layers of a network make of an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from convscope.display import Shown
from convscope.errors import UnknownNameError, UsageError
from convscope.inspection.display import tensor_facts
from convscope.nn.modes import evaluating

__all__ = ["FeatureMaps", "feature_maps", "layer_names"]


@dataclass(frozen=True, eq=False)
class FeatureMaps(Shown):
    """What one call of one layer returned, a copy of its own.

    Attributes:
        layer: the module's path, as in `network.named_modules()`.
        kind: its class name.
        call: 0 for the first time the network used the module in this pass, 1 for the second, ...
        values: the output tensor, on the CPU; (N, C, H, W) for an image layer.
    """

    layer: str
    kind: str
    call: int
    values: Tensor
    noun: ClassVar[str] = "maps"

    @property
    def planes(self) -> Tensor:
        """Return the first image's maps as pictures (C, H, W)."""
        return self.values[0]

    @property
    def largest(self) -> float:
        """Return the largest magnitude among the values, 0 if there are none."""
        return float(self.values.abs().max()) if self.values.numel() else 0.0

    def to_dict(self) -> dict[str, object]:
        """Return shape and range, not the values, as plain values for JSON."""
        return {**tensor_facts(self.layer, self.kind, self.values), "call": self.call}


def layer_names(network: nn.Module) -> list[str]:
    """Return the paths of the network's layers: the modules that contain no other module.

    Example:
        >>> layer_names(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()))
        ['0', '1']
    """
    return [name for name, module in network.named_modules() if name and not any(module.children())]


def feature_maps(
    network: nn.Module, image: Tensor, layers: Sequence[str] | None = None
) -> tuple[FeatureMaps, ...]:
    """Run a network on an image once and keep what its layers return, in the order in which they ran.

    Each output is copied as its module returns it, before an in-place operation that follows can change it.
    The network runs in evaluation mode without gradients; its train/eval states, its buffers and its hooks
    are as before afterwards, also when it raises. A module used twice is kept twice; of a module that returns
    several tensors each is kept.

    Shapes:
        image (N, C, H, W), prepared as the network expects it
    Args:
        layers: paths of modules, containers included; by default every layer (`layer_names`).
    Raises:
        UnknownNameError: no module of that path; the nearest are told.
    Cost:
        One forward pass and a copy of each kept tensor.
    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True))
        >>> maps = feature_maps(network, torch.randn(1, 1, 5, 5))
        >>> [(entry.layer, entry.kind, tuple(entry.values.shape)) for entry in maps]
        [('0', 'Conv2d', (1, 2, 3, 3)), ('1', 'ReLU', (1, 2, 3, 3))]
        >>> bool(maps[1].values.equal(maps[0].values.relu()))
        True
    """
    if not isinstance(network, nn.Module) or not isinstance(image, Tensor):
        raise UsageError(
            f"got a {type(network).__name__} and a {type(image).__name__}; give a torch.nn.Module and a tensor.",
            call="feature_maps",
        )
    modules = dict(network.named_modules(remove_duplicate=False))  # a shared module has several names
    wanted = layer_names(network) if layers is None else list(layers)
    for name in wanted:
        if name not in modules:
            raise UnknownNameError("layer", name, [key for key in modules if key], call="feature_maps")
    kept: list[FeatureMaps] = []
    calls: dict[str, int] = {}

    def keep(name: str, module: nn.Module, output: object) -> None:
        call = calls.get(name, 0)
        calls[name] = call + 1
        kind = type(module).__name__
        kept.extend(FeatureMaps(name, kind, call, value.detach().clone().cpu()) for value in _tensors(output))

    handles = [
        modules[name].register_forward_hook(lambda module, _, output, name=name: keep(name, module, output))
        for name in wanted
    ]
    try:
        with evaluating(network), torch.no_grad():
            network(image.clone())  # a first layer that works in place would change the caller's image
    finally:
        for handle in handles:
            handle.remove()
    return tuple(kept)


def _tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, (tuple, list)):
        for value in output:
            yield from _tensors(value)
