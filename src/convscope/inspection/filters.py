"""The weights of a layer as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from torch import Tensor, nn

from convscope.display import Shown
from convscope.errors import UnknownNameError, UsageError
from convscope.inspection.display import tensor_facts

__all__ = ["FilterBank", "filter_banks", "filter_layers", "filters"]


@dataclass(frozen=True, eq=False)
class FilterBank(Shown):
    """The filters of one layer, a copy of its own.

    Shapes:
        values (C_out, C_in/groups, K_h, K_w)
    """

    layer: str
    kind: str
    values: Tensor
    noun: ClassVar[str] = "kernels"

    @property
    def name(self) -> str:
        """Return the layer."""
        return self.layer

    @property
    def planes(self) -> Tensor:
        """Return the filters as pictures (C_out * C_in/groups, K_h, K_w), one an input channel."""
        return self.values.flatten(0, 1)

    @property
    def are_pictures(self) -> bool:
        """Tell whether there are any."""
        return self.values.numel() > 0

    @property
    def largest(self) -> float:
        """Return the largest magnitude among the weights."""
        return float(self.values.abs().max())

    def to_dict(self) -> dict[str, object]:
        """Return shape and range, not the weights, as plain values for JSON."""
        return tensor_facts(self.layer, self.kind, self.values)


def filter_banks(
    network: nn.Module, layers: Sequence[str] | None = None, *, image_shape: Sequence[int] | None = None
) -> tuple[FilterBank, ...]:
    """Return the filters of some layers, by default of all that have some; arguments and errors as in `filters`.

    Example:
        >>> [bank.planes.shape for bank in filter_banks(nn.Sequential(nn.Conv2d(3, 8, 5)))]
        [torch.Size([24, 5, 5])]
    """
    modules = dict(network.named_modules(remove_duplicate=False))
    return tuple(
        FilterBank(layer, type(modules[layer]).__name__, values)
        for layer, values in [
            (name, filters(network, name, image_shape=image_shape))
            for name in (filter_layers(network) if layers is None else layers)
        ]
    )


def filter_layers(network: nn.Module) -> list[str]:
    """Return the paths of the modules whose weight is a bank of filters: convolutions and fully connected layers.

    Example:
        >>> filter_layers(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 4)))
        ['0', '2']
    """
    return [name for name, module in network.named_modules() if _weight(module) is not None]


def filters(network: nn.Module, layer: str, *, image_shape: Sequence[int] | None = None) -> Tensor:
    """Return a copy of a layer's filters as pictures, (C_out, planes of one filter, K_h, K_w).

    A plane is one input channel; of a 3-D convolution, one depth of one input channel; a 1-D kernel is one row.
    A transposed convolution's filters are ordered by output channel as well. The weight matrix of a fully
    connected layer is one plane, (1, 1, out_features, in_features).

    Args:
        image_shape: (C, H, W) of the network's input; a fully connected layer that sees just that many values
            has its weights returned as one template of that shape an output.
    Raises:
        UnknownNameError: no module of that path.
        UsageError: the module has no such weight.
    Example:
        >>> filters(nn.Sequential(nn.Conv2d(3, 8, 5)), "0").shape
        torch.Size([8, 3, 5, 5])
        >>> filters(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), "1", image_shape=(1, 28, 28)).shape
        torch.Size([10, 1, 28, 28])
    """
    modules = dict(network.named_modules(remove_duplicate=False))
    if layer not in modules:
        raise UnknownNameError("layer", layer, filter_layers(network), call="filters")
    module = modules[layer]
    weight = _weight(module)
    if weight is None:
        raise UsageError(
            f"layer {layer!r} is a {type(module).__name__} without filters; "
            f"layers that have some: {', '.join(filter_layers(network)) or 'none'}.",
            call="filters",
        )
    values = weight.detach().cpu().clone()
    if values.dim() == 2:
        if image_shape is not None and prod(image_shape) == values.shape[1]:
            return values.reshape(-1, *image_shape)
        return values[None, None]
    if getattr(module, "transposed", False):  # (C_in, C_out/groups, *K)
        groups = module.groups
        assert isinstance(groups, int)
        per_group = values.unflatten(0, (groups, -1)).transpose(1, 2)
        values = per_group.flatten(0, 1)
    if values.dim() == 3:
        return values.unsqueeze(2)
    return values if values.dim() == 4 else values.flatten(1, values.dim() - 3)


def _weight(module: nn.Module) -> Tensor | None:
    """Return the weight of a module if it is a bank of filters."""
    weight = getattr(module, "weight", None)
    return weight if isinstance(weight, Tensor) and 2 <= weight.dim() <= 5 else None
