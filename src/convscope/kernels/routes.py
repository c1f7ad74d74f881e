"""Which implementation computes a convolution: a rule, or what was measured on this machine.

`convscope::conv2d` takes and returns channels-last maps and chooses for its output and for each gradient apart, since
the three differ: PyTorch's forward is at its best channels-last, its weight gradient often in the other layout or as a
matrix product. A route includes the copies that it needs, and is timed with them.

Source of the idea: `torch.backends.cudnn.benchmark`, which does this on GPUs.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convscope.kernels import dense, depthwise, grouped, stem, winograd
from convscope.kernels.allocation import apart
from convscope.kernels.cases import PASSES, Case, Operands
from convscope.kernels.convolution_operator import Gradients, define_operator
from convscope.kernels.layouts import channels_last, empty_maps
from convscope.kernels.registry import native_for
from convscope.kernels.tuned import tuned

__all__ = ["Recording", "candidates", "choose", "conv2d", "forget", "recording", "run"]

aten = torch.ops.aten


class Route(NamedTuple):
    """One way to compute a pass, the cases that it takes, and those that the rule gives it."""

    takes: Callable[[Case, Operands], bool]
    run: Callable[[Operands], Tensor]
    worth: Callable[[Case], bool] = lambda case: True


def _native(family: Any, passing: str) -> Route:
    """Return the route through a kernel family: a module with `takes`, `worth`, `forward` and `backward`."""

    def takes(case: Case, o: Operands) -> bool:
        return family.takes(o.input, o.weight, *o.settings) and _library(family, o) is not None

    def run(o: Operands) -> Tensor:
        library = _library(family, o)
        if passing == "forward":
            return family.forward(library, o.input, o.weight, o.bias, o.settings)
        wanted = [passing == "backward_input", passing == "backward_weight", False]
        return family.backward(library, o.grad, o.input, o.weight, o.settings, wanted)[wanted.index(True)]

    return Route(takes, run, getattr(family, "worth", lambda case: True))


def _library(family: Any, o: Operands) -> Any:
    return native_for(family.__name__.rpartition(".")[2], o.input, o.weight, o.bias, o.grad)


def _aten(o: Operands, layout: torch.memory_format, passing: str) -> Tensor:
    stride, padding, dilation, groups = o.settings
    arguments = stride, padding, dilation, False, (0, 0), groups
    input = o.input.contiguous(memory_format=layout)
    weight = o.weight.contiguous(memory_format=layout)
    if passing == "forward":
        return channels_last(aten.convolution(input, weight, o.bias, *arguments))
    assert o.grad is not None
    grad = o.grad.contiguous(memory_format=layout)
    wanted = [passing == "backward_input", passing == "backward_weight", False]
    found = aten.convolution_backward(grad, input, weight, None, *arguments, wanted)[wanted.index(True)]
    return channels_last(found) if passing == "backward_input" else found.contiguous()


def _rows(maps: Tensor) -> Tensor:
    """Return maps as a matrix: a row a pixel."""
    return channels_last(maps).permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _product(o: Operands, passing: str) -> Tensor:
    kernel = o.weight.reshape(o.weight.shape[:2])
    down, across = o.settings[0]
    read = o.input[:, :, ::down, ::across]
    if passing == "backward_weight":
        assert o.grad is not None
        return (_rows(o.grad).t() @ _rows(read)).view(o.weight.shape)
    if passing == "forward":
        made = empty_maps(read, (read.shape[0], kernel.shape[0], *read.shape[2:]))
        if o.bias is None:
            torch.mm(_rows(read), kernel.t(), out=_rows(made))
        else:
            torch.addmm(o.bias, _rows(read), kernel.t(), out=_rows(made))
        return made
    assert o.grad is not None
    made = empty_maps(o.input, o.input.shape)
    if down == across == 1:
        torch.mm(_rows(o.grad), kernel, out=_rows(made))
        return made
    made.zero_()
    found = (_rows(o.grad) @ kernel).view(read.shape[0], *read.shape[2:], kernel.shape[1])
    made[:, :, ::down, ::across] = found.permute(0, 3, 1, 2)
    return made


def _torch_routes(passing: str) -> dict[str, Route]:
    layouts = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
    routes = {
        name: Route(lambda case, o: True, functools.partial(_aten, layout=layout, passing=passing))
        for name, layout in layouts.items()
    }
    product = Route(lambda case, o: case.pointwise, functools.partial(_product, passing=passing))
    return {"product": product, **routes} if passing == "backward_weight" else {**routes, "product": product}


class Recording(dict[Case, Operands]):
    """The cases that ran, each with the operands of its last call, and in `counts` how often each ran."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[Case] = Counter()

    def note(self, case: Case, operands: Operands) -> None:
        """Add a call."""
        self[case] = operands
        self.counts[case] += 1


def _routes(passing: str) -> dict[str, Route]:
    """Return the routes of a pass, the preferred first: the rule where nothing was measured."""
    own = {"depthwise": depthwise, "winograd": winograd, "grouped": grouped}
    if passing == "backward_weight":
        own |= {"stem": stem, "dense": dense}
    return {**{name: _native(family, passing) for name, family in own.items()}, **_torch_routes(passing)}


_ROUTES = {passing: _routes(passing) for passing in PASSES}
_CHOSEN: dict[Case, str] = {}
_RECORDED: list[Recording] = []


def candidates(case: Case, operands: Operands) -> list[str]:
    """Return the names of the routes that take a case, the rule's choice first."""
    routes = {name: route for name, route in _ROUTES[case.passing].items() if route.takes(case, operands)}
    return sorted(routes, key=lambda name: not routes[name].worth(case))  # sorting keeps the order of equals


def choose(case: Case, operands: Operands) -> str:
    """Return the route of a case: the fastest of those that were timed here, or the rule's."""
    if case not in _CHOSEN:
        names = candidates(case, operands)
        best = tuned().get(case)
        _CHOSEN[case] = best if best in names else names[0]
    return _CHOSEN[case]


def forget() -> None:
    """Choose anew at the next call: after tuning, or when a family was switched off."""
    _CHOSEN.clear()


@contextlib.contextmanager
def recording() -> Iterator[Recording]:
    """Collect the cases that run in the block, with their operands, and count them."""
    found = Recording()
    _RECORDED.append(found)
    try:
        yield found
    finally:
        _RECORDED[:] = [each for each in _RECORDED if each is not found]  # equal recordings are not the same


def run(case: Case, operands: Operands, route: str) -> Tensor:
    """Compute a case by a route."""
    return _ROUTES[case.passing][route].run(operands)


def _pass(passing: str, operands: Operands) -> Tensor:
    case = Case.of(passing, operands)
    for found in _RECORDED:
        found.note(case, operands)
    return run(case, operands, choose(case, operands))


def _forward(input: Tensor, weight: Tensor, bias: Tensor | None, *settings: Any) -> Tensor:
    return _pass("forward", Operands(input, weight, bias, None, settings))  # pyright: ignore[reportArgumentType]


def _backward(grad: Tensor, input: Tensor, weight: Tensor, *rest: Any) -> Gradients:
    *settings, wanted = rest
    operands = Operands(input, weight, None, grad, tuple(settings))  # pyright: ignore[reportArgumentType]
    return (
        _pass("backward_input", operands) if wanted[0] else None,
        _weight_gradient(operands) if wanted[1] else None,
        grad.sum((0, 2, 3)) if wanted[2] else None,
    )


def _weight_gradient(operands: Operands) -> Tensor:
    with apart():
        return _pass("backward_weight", operands)


conv2d = define_operator("conv2d", _forward, _backward)
