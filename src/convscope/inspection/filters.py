"""The weights of a layer as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor, nn

from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.inspection.display import tensor_facts

__all__ = ["FilterBank", "filter_banks", "filter_layers", "filters"]


@dataclass(frozen=True, eq=False)
class FilterBank:
    """The filters of one layer, a copy of its own.

    Shapes:
        values (C_out, C_in/groups, K_h, K_w)
    """

    layer: str
    kind: str
    values: Tensor

    @property
    def planes(self) -> Tensor:
        """Return the filters as pictures (C_out * C_in/groups, K_h, K_w), one an input channel."""
        return self.values.flatten(0, 1)

    @property
    def largest(self) -> float:
        """Return the largest magnitude among the weights."""
        return float(self.values.abs().max())

    def to_dict(self) -> dict[str, object]:
        """Return shape and range, not the weights, as plain values for JSON."""
        return tensor_facts(self.layer, self.kind, self.values)


def filter_banks(network: nn.Module, layers: Sequence[str] | None = None) -> tuple[FilterBank, ...]:
    """Return the filters of some layers, by default of all that have 2-D filters.

    Raises:
        UnknownNameError, UsageError: as `filters`.
    Example:
        >>> [bank.planes.shape for bank in filter_banks(nn.Sequential(nn.Conv2d(3, 8, 5)))]
        [torch.Size([24, 5, 5])]
    """
    modules = dict(network.named_modules())
    return tuple(
        FilterBank(layer, type(modules[layer]).__name__, values)
        for layer, values in [(name, filters(network, name)) for name in layers or filter_layers(network)]
    )


def filter_layers(network: nn.Module) -> list[str]:
    """Return the paths of the modules whose weight is a bank of 2-D filters.

    Example:
        >>> filter_layers(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 4, 3)))
        ['0', '2']
    """
    return [name for name, module in network.named_modules() if _weight_ndim(module) == 4]


def filters(network: nn.Module, layer: str, *, image_shape: Sequence[int] | None = None) -> Tensor:
    """Return a copy of a layer's filters, (C_out, C_in/groups, K_h, K_w).

    Args:
        image_shape: (C, H, W) of the image that a fully connected layer sees flattened; its weights then come
            back as one template of that shape an output.
    Raises:
        UnknownNameError: no module of that path.
        UsageError: the module has no such weight.
        ShapeError: `image_shape` does not hold the layer's inputs.
    Example:
        >>> filters(nn.Sequential(nn.Conv2d(3, 8, 5)), "0").shape
        torch.Size([8, 3, 5, 5])
        >>> filters(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), "1", image_shape=(1, 28, 28)).shape
        torch.Size([10, 1, 28, 28])
    """
    modules = dict(network.named_modules())
    if layer not in modules:
        raise UnknownNameError("layer", layer, filter_layers(network), call="filters")
    ndim = _weight_ndim(modules[layer])
    weight: Tensor | None = getattr(modules[layer], "weight", None)
    if weight is not None and ndim == 2 and image_shape is not None:
        if prod(image_shape) != weight.shape[1]:
            raise ShapeError(
                f"layer {layer!r} has {weight.shape[1]} inputs, image_shape {tuple(image_shape)} "
                f"{prod(image_shape)} pixels; only the first fully connected layer sees the image.",
                call="filters",
            )
        return weight.detach().cpu().clone().reshape(-1, *image_shape)
    if weight is None or ndim != 4:
        raise UsageError(
            f"layer {layer!r} is a {type(modules[layer]).__name__} without 2-D filters; "
            f"layers that have some: {', '.join(filter_layers(network)) or 'none'}.",
            call="filters",
        )
    return weight.detach().cpu().clone()


def _weight_ndim(module: nn.Module) -> int:
    weight = getattr(module, "weight", None)
    return weight.dim() if isinstance(weight, Tensor) else 0
