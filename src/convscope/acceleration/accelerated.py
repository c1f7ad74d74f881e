"""`accelerate`: a network that runs channels-last, fused and by the fastest routes, with its own parameters."""

from __future__ import annotations

import contextlib
import functools
import os
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch.jit._trace import is_tracing
from torch.nn.modules import module as torch_module
from torch.utils._pytree import tree_map

from convscope import kernels
from convscope.acceleration.folding import Folded
from convscope.acceleration.fusion import Fused, fuse_for_inference, fuse_for_training
from convscope.acceleration.precision import Precision
from convscope.acceleration.process import prepare_process
from convscope.acceleration.tracing import UntraceableError
from convscope.errors import UnknownNameError, UsageError

__all__ = ["Acceleration", "accelerate", "accelerated", "acceleration_of", "decelerate"]

_STATE = "_convscope_acceleration"
_VARIABLE = "CONVSCOPE_PRECISION"


def accelerate(network: nn.Module, precision: Precision = "auto") -> nn.Module:
    """Make a network run faster on this CPU, in training and in evaluation; return the network itself.

    Parameters, buffers, state-dict keys, modes and hooks stay what they are: only what `network(images)` runs is
    another. In training, and where gradients are wanted: channels-last, batch norm computed together with the
    activation and addition after it, convolutions by the route that was the fastest (`convscope.kernels`). In
    evaluation without gradients also batch norm folded into the convolutions. `decelerate` undoes it.

    The network's own forward runs as before whenever the fused one would be another computation: with hooks, under a
    trace, autocast or torch.compile, on other devices, types or several inputs, and where a layer was exchanged since
    (then the fused form is made again). A network whose forward is not one graph (it branches on sizes or values) is
    accelerated block by block.

    The process is told to keep the memory it frees, and to count numbers below 1e-38 as zero; this stays.

    Args:
        precision: `fp32` is the same mathematics, rounded elsewhere. `bf16` computes in bfloat16 with sums in
            float32, and returns float32. `auto` takes bf16 where the CPU has instructions for it, else fp32, unless
            the environment variable CONVSCOPE_PRECISION names one of them.
    Raises:
        UsageError: no network; an unknown precision, also in the environment.
    Cost:
        At the first call of each mode some 50 ms to fuse; the folded weights once more in memory.
    Example:
        >>> import convscope as cs
        >>> network = accelerate(cs.create_model("resnet18_cifar").eval())
        >>> with torch.no_grad():
        ...     network(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    if not isinstance(network, nn.Module):
        raise UsageError(f"network is a {type(network).__name__}; give a torch.nn.Module.", call="accelerate")
    chosen = os.environ.get(_VARIABLE, precision) if precision == "auto" else precision
    if chosen not in get_args(Precision):
        raise UnknownNameError("precision", chosen, get_args(Precision), call="accelerate")
    decelerate(network)
    prepare_process()
    bf16 = chosen == "bf16" or (chosen == "auto" and kernels.processor().native_bf16)
    _install(network, torch.bfloat16 if bf16 else torch.float32)
    return network


def decelerate(network: nn.Module) -> nn.Module:
    """Undo `accelerate`: the network runs its own forward again; return the network.

    Example:
        >>> network = decelerate(accelerate(nn.Sequential(nn.Conv2d(3, 8, 3))))
        >>> acceleration_of(network) is None
        True
    """
    for module in network.modules():
        state = module.__dict__.pop(_STATE, None)
        if state is not None:
            state.remove(module)
    return network


@contextlib.contextmanager
def accelerated(network: nn.Module, precision: Precision = "auto", enabled: bool = True) -> Iterator[None]:
    """Accelerate a network for a block; one that is already accelerated stays as it is.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3))
        >>> with accelerated(network):
        ...     acceleration_of(network) is None
        False
        >>> acceleration_of(network) is None
        True
    """
    own = enabled and all(acceleration_of(module) is None for module in network.modules())
    if own:
        accelerate(network, precision)
    try:
        yield
    finally:
        if own:
            decelerate(network)


def acceleration_of(network: nn.Module) -> Acceleration | None:
    """Return how a network is accelerated, None if it is not (or only inside: see its modules)."""
    return network.__dict__.get(_STATE)


def _install(network: nn.Module, dtype: torch.dtype) -> None:
    """Accelerate a network, or those of its parts whose forward is one graph."""
    state = Acceleration(network, dtype)
    try:
        state.fused(network)
    except UntraceableError:
        for child in network.children():
            if any(True for _ in child.children()) or isinstance(child, nn.Sequential):
                _install(child, dtype)
        return
    network.__dict__[_STATE] = state
    network.__dict__["forward"] = functools.partial(
        _forward, network
    )  # which, unlike a method, can be pickled


def _forward(network: nn.Module, *args: Any, **kwargs: Any) -> Any:
    state: Acceleration = network.__dict__[_STATE]
    if kwargs or len(args) != 1 or not state.applies(network, args[0]):
        return state.plain(network)(*args, **kwargs)
    failure: Exception | None = None
    try:
        return state.run(network, args[0])
    except UntraceableError:
        pass  # in these modes; in those it was accelerated in, its forward is one graph
    except Exception as error:
        failure = error
    result = state.plain(network)(*args)  # images that do not fit: the network's own words for it
    if failure is not None:
        warnings.warn(
            f"accelerate: the fused form of {type(network).__name__} failed, its own forward ran instead: {failure}",
            RuntimeWarning,
            stacklevel=2,
        )
    return result


class Acceleration:
    """What an accelerated network carries: its own forward, and the fused graphs for the modes it was in."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._own_forward = network.__dict__.get("forward")
        self._fused: dict[tuple[bool, ...], Fused] = {}
        self._untraceable: dict[tuple[bool, ...], UntraceableError] = {}
        self._structure: list[tuple[dict[str, Any], str, Any]] = []
        self._tensors: list[Tensor] = []
        self._signature: list[tuple[int, int]] = []

    def __getstate__(self) -> dict[str, Any]:
        # Copies and pickles fuse for themselves.
        emptied = {"_fused": {}, "_untraceable": {}, "_structure": [], "_tensors": [], "_signature": []}
        return {**self.__dict__, **emptied}

    def remove(self, network: nn.Module) -> None:
        """Give the network its own forward back."""
        network.__dict__.pop("forward", None)
        if self._own_forward is not None:
            network.__dict__["forward"] = self._own_forward

    def plain(self, network: nn.Module) -> Callable[..., Any]:
        """Return the network's own forward."""
        return self._own_forward or types.MethodType(type(network).forward, network)

    def applies(self, network: nn.Module, input: object) -> bool:
        """Return whether the fused graph computes what the network's own forward would."""
        return (
            type(input) is Tensor
            and input.ndim == 4
            and input.dtype == torch.float32
            and input.device.type == "cpu"
            and input.numel() > 0
            and not torch.is_autocast_enabled("cpu")
            and torch._C._len_torch_dispatch_stack() == 0
            and not torch._C._is_torch_function_mode_enabled()
            and not torch.compiler.is_compiling()
            and _functorch.peek_interpreter_stack() is None
            and not is_tracing()
            and not _hooked(network)
        )

    def run(self, network: nn.Module, input: Tensor) -> Any:
        """Compute by the fused graph."""
        fused = self.fused(network)
        result = fused.run(input)
        return result if self.dtype == torch.float32 else _in_float32(result)

    def fused(self, network: nn.Module) -> Fused:
        """Return the graph for the modes that the network is in now."""
        if any(home.get(name) is not each for home, name, each in self._structure):
            self._fused.clear()
            self._untraceable.clear()
        modes = [module.training for module in network.modules()]
        inference = not any(modes) and not torch.is_grad_enabled()
        key = (inference, *modes)
        if key in self._untraceable:
            raise self._untraceable[key]
        if key not in self._fused:
            self._read_structure(network)
            make = fuse_for_inference if inference else fuse_for_training
            own = network.__dict__.pop("forward", None)  # what is traced is the network's own forward
            if self._own_forward is not None:
                network.__dict__["forward"] = self._own_forward
            try:
                self._fused[key] = make(network, self.dtype)
            except UntraceableError as error:
                self._untraceable[key] = error
                raise
            finally:
                if own is not None:
                    network.__dict__["forward"] = own
        if inference:
            self._refresh_folded()
        elif self._signature:
            self._forget_folded()  # training changes the weights; a second copy of them would only take memory
        return self._fused[key]

    def _read_structure(self, network: nn.Module) -> None:
        self._structure = [
            (home, name, each)
            for module in network.modules()
            for home in (module._modules, module._parameters, module._buffers)
            for name, each in home.items()
        ]
        self._tensors = [*network.parameters(), *network.buffers()]

    def _refresh_folded(self) -> None:
        signature = [
            (each.data_ptr(), -1 if each.is_inference() else each._version) for each in self._tensors
        ]
        if signature != self._signature:
            self._forget_folded()
            self._signature = signature

    def _forget_folded(self) -> None:
        for fused in self._fused.values():
            for module in fused.run.modules():
                if isinstance(module, Folded):
                    module.forget()
        self._signature = []


def _hooked(network: nn.Module) -> bool:
    """Whether anybody watches or changes what single modules do."""
    if any(
        getattr(torch_module, f"_global_{name}")
        for name in ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    ):
        return True
    modules = network.modules()
    next(modules)  # hooks of the network itself run around its forward
    return any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks
        for m in modules
    )


def _in_float32(result: Any) -> Any:
    """Return a network's result with its tensors in float32."""
    return tree_map(
        lambda each: each.float() if isinstance(each, Tensor) and each.is_floating_point() else each, result
    )
