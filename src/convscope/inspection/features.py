"""A network as a source of feature maps: one at each scale, with stride and receptive field taken from its trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import Tensor, nn

from convscope.errors import UnknownNameError, UsageError
from convscope.trace import ReceptiveField, Record, Trace, trace
from convscope.trace.rules import rule_of

__all__ = ["FeatureInfo", "FeatureNetwork", "features_only", "stride_of"]


@dataclass(frozen=True, slots=True)
class FeatureInfo:
    """One of the maps that a `FeatureNetwork` returns.

    Attributes:
        layer: path of the module whose output it is.
        channels: of the map.
        stride: input pixels from one position to the next, along height and width; None where it varies.
        receptive_field: what one position sees of the input.
    """

    layer: str
    channels: int
    stride: tuple[Fraction | None, ...]
    receptive_field: ReceptiveField

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "layer": self.layer,
            "channels": self.channels,
            "stride": [None if step is None else float(step) for step in self.stride],
            "receptive_field": self.receptive_field.to_dict(),
        }


class FeatureNetwork(nn.Module):
    """Returns intermediate maps of a network, in the order of `feature_info`; made by `features_only`.

    The network inside is the one that was given, with its weights and modes; gradients flow. What lies behind the
    last map is not run. In `feature_info` stands what each map is.
    """

    def __init__(
        self, network: nn.Module, feature_info: Sequence[FeatureInfo], copied: Sequence[bool]
    ) -> None:
        super().__init__()
        self.network = network
        self.feature_info = tuple(feature_info)
        self._copied = dict(zip((entry.layer for entry in feature_info), copied, strict=True))

    def forward(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        """Return the maps; arguments are the network's."""
        modules = dict(self.network.named_modules())
        found: dict[str, Tensor] = {}

        def keep(layer: str) -> Any:
            def hook(module: nn.Module, given: Any, output: Tensor) -> None:
                if layer not in found:
                    found[layer] = output.clone() if self._copied[layer] else output
                    if len(found) == len(self._copied):
                        raise _AllFound

            return hook

        handles = [modules[layer].register_forward_hook(keep(layer)) for layer in self._copied]
        try:
            self.network(*args, **kwargs)
        except _AllFound:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return [found[entry.layer] for entry in self.feature_info]


class _AllFound(Exception):
    pass


def features_only(network: nn.Module, input: Any, layers: Sequence[str] | None = None) -> FeatureNetwork:
    """Make a network return intermediate maps instead of its scores.

    Args:
        input: a shape such as (1, 3, 224, 224), or what else `trace` takes; geometry is read from its trace.
        layers: paths of modules, in the order in which their maps are returned; by default at each stride the last
            of the outermost modules before the next larger one, up to the coarsest. What makes scores of the last
            maps, and what is pooled to a size of its own, is not among them.
    Raises:
        UnknownNameError: no module of that path, or one that does not run.
        UsageError: a layer that returns no single image map, or a network that has none at all; layers that are no
            sequence of paths.
    Source:
        The interface is timm's `create_model(..., features_only=True)`, whose `reduction` is typed by hand.
    Example:
        >>> import torch
        >>> from convscope.models import create_model
        >>> network = features_only(create_model("resnet18"), (1, 3, 224, 224))
        >>> [(entry.layer, entry.channels, int(entry.stride[0])) for entry in network.feature_info]
        [('relu', 64, 2), ('layer1', 64, 4), ('layer2', 128, 8), ('layer3', 256, 16), ('layer4', 512, 32)]
        >>> [entry.receptive_field.size for entry in network.feature_info][-1]
        (435, 435)
        >>> [tuple(maps.shape) for maps in network.eval()(torch.zeros(1, 3, 64, 64))][-1]
        (1, 512, 2, 2)
    """
    if isinstance(layers, str):
        raise UsageError(
            f"layers is {layers!r}; give a list of paths, as in [{layers!r}].", call="features_only"
        )
    found = trace(network, input, mode="eval")
    maps = _maps(found)
    if layers is None:
        layers = _one_a_stride(found, maps)
        if not layers:
            raise UsageError(
                "no module of the network returns an image map (N, C, H, W).", call="features_only"
            )
    elif not layers:
        raise UsageError("layers is empty; name at least one.", call="features_only")
    known = {entry.path for entry in found.calls if entry.path}
    for layer in layers:
        if layer not in known:
            raise UnknownNameError("layer", layer, sorted(known), call="features_only")
        if layer not in maps:
            raise UsageError(f"layer {layer!r} returns no single map (N, C, H, W).", call="features_only")
    if len(set(layers)) != len(layers):
        raise UsageError(f"layers {tuple(layers)} name one twice.", call="features_only")
    changed = {
        number for record in found.records if record.operator.endswith("_") for number in record.inputs[:1]
    }
    infos = [
        FeatureInfo(
            layer,
            found.tensors[maps[layer]].shape[1],
            stride_of(found, maps[layer]),
            found.field_of(maps[layer]),
        )
        for layer in layers
    ]
    return FeatureNetwork(network, infos, [maps[layer] in changed for layer in layers])


def _maps(found: Trace) -> dict[str, int]:
    """Return the number of the tensor that each module's first call returned, where it is one image map."""
    maps: dict[str, int] = {}
    for entry in found.calls:
        if entry.path and entry.call == 0 and len(entry.outputs) == 1:
            (number,) = entry.outputs
            if len(found.tensors[number].shape) == 4:
                maps[entry.path] = number
    return maps


def stride_of(found: Trace, number: int) -> tuple[Fraction | None, ...]:
    """Return the input pixels from one position of a map to the next, an entry an axis; None where they vary."""
    axes = found.field_of(number).axes
    return tuple(axis.stride if axis.size else None for axis in axes if axis.axis >= 2)


def _one_a_stride(found: Trace, maps: dict[str, int]) -> list[str]:
    """Choose a module for each stride; one of a head only where there is no other of its stride."""
    depths = {
        entry.path: entry.depth for entry in reversed(found.calls)
    }  # a ModuleList is not called: no level
    sized = _made_to_a_size(found)
    # In the order in which their outputs came to be; of several that return the same tensor the outermost last.
    ordered = sorted(
        (path for path in maps if maps[path] not in sized), key=lambda path: (maps[path], -depths[path])
    )
    heads = _heads(found, maps)
    chosen: dict[Fraction, str] = {}
    for path in ordered:
        strides = stride_of(found, maps[path])
        stride = strides[0] if len(set(strides)) == 1 else None
        if stride is None:
            continue
        if chosen and stride < max(chosen):
            continue  # after the coarsest map: a decoder
        if stride in chosen and _within(path, heads):
            continue
        # A block's output rather than what stands inside it.
        if stride not in chosen or depths[path] <= depths[chosen[stride]]:
            chosen[stride] = path
    return [chosen[stride] for stride in sorted(chosen) if stride > 1 or len(chosen) == 1]


def _within(path: str, modules: set[str]) -> bool:
    return any(path == module or path.startswith(f"{module}.") for module in modules)


def _made_to_a_size(found: Trace) -> set[int]:
    """Return the tensors that come from an adaptive pooling alone, whose strides are others in other images."""
    sized: set[int] = set()
    for record in found.records:
        read = {number for number in record.inputs if found.tensors[number].kind in ("input", "activation")}
        if "adaptive" in record.operator or (read and read <= sized):
            sized.update(record.outputs)
    return sized


def _heads(found: Trace, maps: dict[str, int]) -> set[str]:
    """Return the modules that make the network's scores out of maps of one stride.

    Scores are what a convolution made and what goes, resized or cut at most, to an output.
    """
    ends = _leading_to_an_output(found)
    heads: set[str] = set()
    for entry in found.calls:
        number = maps.get(entry.path)
        if entry.call or number not in ends or not entry.inputs:
            continue
        producer = found.producer(number)
        if producer is None or not _is(producer, "convolution"):
            continue
        given = found.tensors[entry.inputs[0]].shape
        if len(given) == 4 and stride_of(found, entry.inputs[0]) == stride_of(found, number):
            heads.add(entry.path)
    return heads


def _leading_to_an_output(found: Trace) -> set[int]:
    """Return the outputs and what only resizing and cutting makes into them."""
    ends = set(found.outputs)
    for record in reversed(found.records):
        if ends.intersection(record.outputs) and _is(record, "resizing", "view"):
            ends.update(number for number in record.inputs if len(found.consumers.get(number, ())) == 1)
    return ends


def _is(record: Record, *families: str) -> bool:
    rule = rule_of(record.operator)
    return rule is not None and rule.family in families
