"""The modules, parameters and buffers of a network, walked through once."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["NetworkIndex"]


class NetworkIndex:
    """Names by identity; of a module or tensor that has several, the first.

    `network.named_modules()` and its relatives each walk the tree anew, which costs more than the trace itself.

    Attributes:
        modules: path and module, in the order of `named_modules`.
        parameters, buffers: name and tensor, each tensor once.
    """

    def __init__(self, network: nn.Module) -> None:
        self.modules: list[tuple[str, nn.Module]] = list(network.named_modules())
        self.parameters: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}
        self.path_of: dict[int, str] = {}
        self.tensor_names: dict[int, tuple[str, str]] = {}
        for path, module in self.modules:
            self.path_of[id(module)] = path
            lead = f"{path}." if path else ""
            for kind, given, found in (
                ("parameter", module._parameters, self.parameters),
                ("buffer", module._buffers, self.buffers),
            ):
                for name, tensor in given.items():
                    if tensor is not None and id(tensor) not in self.tensor_names:
                        self.tensor_names[id(tensor)] = (kind, lead + name)
                        found[lead + name] = tensor

    @property
    def num_params(self) -> int:
        """Return the elements of the distinct parameters."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    @property
    def num_buffers(self) -> int:
        """Return the elements of the distinct buffers."""
        return sum(buffer.numel() for buffer in self.buffers.values())

    @property
    def versions(self) -> tuple[tuple[int, int], ...]:
        """Return what changes when a parameter or buffer is changed in place or replaced."""
        own = (*self.parameters.values(), *self.buffers.values())
        return tuple((id(tensor), tensor._version) for tensor in own)
