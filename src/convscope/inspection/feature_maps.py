"""What the layers of a network make of an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from convscope.display import Shown
from convscope.errors import UsageError
from convscope.inspection.display import tensor_facts
from convscope.trace import Trace, trace
from convscope.trace.capture import ModuleCall

__all__ = ["FeatureMaps", "feature_maps", "last_of_each_size", "layer_names"]


@dataclass(frozen=True, eq=False)
class FeatureMaps(Shown):
    """What one call of one layer returned, a copy of its own.

    Attributes:
        layer: the module's path, as in `network.named_modules()`, or the operator's name, as in a trace.
        kind: the module's class name, or the operator.
        call: 0 for the first time the network used the module in this pass, 1 for the second, ...
        values: the output tensor, on the CPU; (N, C, H, W) for an image layer.
    """

    layer: str
    kind: str
    call: int
    values: Tensor
    noun: ClassVar[str] = "maps"

    @property
    def name(self) -> str:
        """Return the layer, with the number of the call unless it is the first."""
        return f"{self.layer}#{self.call}" if self.call and "#" not in self.layer else self.layer

    @property
    def planes(self) -> Tensor:
        """Return the first image's maps as pictures (C, H, W)."""
        return self.values[0]

    @property
    def are_pictures(self) -> bool:
        """Tell whether there are maps with a height and a width."""
        return self.values.dim() == 4 and self.values.numel() > 0

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
    """Run a network on an image once and keep what its layers return, in the order in which they returned it.

    The network is traced, so values are those before an operation in place that follows, and operators that are no
    modules (`F.relu`, the addition of a residual block) have maps too. It runs in evaluation mode without gradients;
    modes, buffers, hooks and the random state are as before afterwards, also when it raises. A module used twice is
    kept twice; of a module that returns several tensors each is kept.

    Shapes:
        image (N, C, H, W), prepared as the network expects it
    Args:
        layers: paths of modules, containers included, and names of operators as `trace` has them, such as
            `layer1.0/add` or, for the second call of a module, `relu#1`; by default every layer (`layer_names`).
    Raises:
        UnknownNameError: no module or operator of that name; the nearest are told.
        ShapeError: the network does not take such an image.
    Cost:
        One forward pass and a copy of each kept tensor; a second pass for an operator of a module with a `/` in its
        name.
    Example:
        >>> import torch
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
    if isinstance(layers, str):
        raise UsageError(
            f"layers is {layers!r}; give a list of names, as in [{layers!r}].", call="feature_maps"
        )
    modules = dict(network.named_modules(remove_duplicate=False))  # a shared module has several names
    wanted = layer_names(network) if layers is None else list(dict.fromkeys(layers))
    paths = [name for name in wanted if name in modules]
    operators = [name for name in wanted if name not in modules]
    try:
        found = trace(
            network,
            image,
            layers=[*paths, *(path for name in operators if (path := _module_of(name)) in modules)],
            mode="eval",
        )
        return tuple(_kept(found, modules, paths, operators))
    except UsageError as error:
        raise error.at("feature_maps") from error


def _module_of(operator: str) -> str:
    """Return the module in which an operator of this name runs."""
    path, slash, _ = operator.rpartition("/")
    return (path if slash else operator if "#" in operator else "").split("#")[0]


def _kept(
    found: Trace, modules: dict[str, nn.Module], paths: list[str], operators: list[str]
) -> Iterator[FeatureMaps]:
    """Yield what was kept, each tensor when it came to be."""
    first = {id(module): path for path, module in found.network.named_modules()}
    asked = {first[id(modules[path])]: path for path in paths}
    numbers: list[tuple[int, FeatureMaps]] = []
    for name in operators:
        facts = found.tensor_of(name, "feature_maps")
        values = found.values.get(facts.index)
        if values is None:
            values = found.replayed(facts.index).values[facts.index]
        record = found.producer(facts.index)
        kind, call = ("input", 0) if record is None else (record.short_operator.strip("_"), record.call)
        place = -1 if record is None else record.index
        numbers.append((place, FeatureMaps(name, kind, call, values.detach().clone().cpu())))
    numbers.sort(key=lambda pair: pair[0])
    for entry in _as_returned(found.calls):
        if entry.path in asked:
            while numbers and numbers[0][0] <= entry.last:
                yield numbers.pop(0)[1]
            for number in entry.outputs:
                values = found.values[number].detach().clone().cpu()
                yield FeatureMaps(asked[entry.path], entry.kind, entry.call, values)
    yield from (maps for _, maps in numbers)


def _as_returned(calls: Sequence[ModuleCall]) -> Iterator[ModuleCall]:
    """Yield module calls in the order in which they ended; they come in that in which they began."""
    begun: list[ModuleCall] = []
    for entry in calls:
        while len(begun) > entry.depth:
            yield begun.pop()
        begun.append(entry)
    yield from reversed(begun)


def last_of_each_size(maps: Sequence[FeatureMaps], at_most: int = 16) -> tuple[FeatureMaps, ...]:
    """Choose what to look at first: all layers that return maps if they are few, else the last before the size changes.

    Example:
        >>> import torch
        >>> maps = [FeatureMaps(str(n), "", 0, torch.zeros(1, 1, n // 3, 5)) for n in range(3, 9)]
        >>> [entry.layer for entry in last_of_each_size(maps, 2)]
        ['5', '8']
    """
    pictures = [entry for entry in maps if entry.are_pictures]
    if len(pictures) <= at_most:
        return tuple(pictures)
    return tuple(
        entry
        for entry, following in zip(pictures, [*pictures[1:], None], strict=True)
        if following is None or following.planes.shape[1:] != entry.planes.shape[1:]
    )
