"""Networks whose random values are not drawn, because all of them will be replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

__all__ = ["Undrawn"]

_INTO = {Tensor.normal_, Tensor.uniform_}
_INITIALISERS = {init.uniform_, init.normal_, init.kaiming_uniform_}  # which modes see as a whole


class Undrawn(TorchFunctionMode):
    """Within it what would be drawn from normal and uniform distributions into tensors is zeros.

    To draw the 26 million weights of a ResNet-50 takes half a second, more than to read them from a file.

    Example:
        >>> import torch
        >>> before = torch.get_rng_state()
        >>> with Undrawn():
        ...     layer = torch.nn.Linear(2, 3)
        >>> layer.weight.shape, torch.get_rng_state().equal(before)
        (torch.Size([3, 2]), True)
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _INTO:
            return args[0].zero_()
        if func in _INITIALISERS:
            return init.zeros_(kwargs["tensor"])
        return func(*args, **kwargs)
