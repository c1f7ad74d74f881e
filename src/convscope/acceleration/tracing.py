"""A network's forward as a graph of its layers, which a fused graph can be made of."""

from __future__ import annotations

import operator

import torch
from torch import fx, nn

__all__ = ["UntraceableError", "is_addition", "is_product", "trace_layers"]

_LAYERS = ("torch.nn.", "torch.ao.", "convscope.nn.")


class UntraceableError(Exception):
    """The forward depends on values: it cannot be written down as one graph."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m.__module__.startswith(_LAYERS) and not isinstance(m, nn.Sequential)


def trace_layers(network: nn.Module) -> fx.Graph:
    """Return the graph of a network's layers as it runs in the modes that its modules are in.

    Raises:
        UntraceableError: control flow on values or shapes, more than one input, or an operation on the modules.
    """
    try:
        graph = _Tracer().trace(network)
    except Exception as error:  # whatever the network's own code raises when it meets a proxy
        raise UntraceableError(f"{type(error).__name__}: {error}".splitlines()[0]) from error
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    if len(inputs) != 1:
        raise UntraceableError(f"its forward takes {len(inputs)} inputs; one image tensor is fused")
    return graph


def is_addition(node: fx.Node) -> bool:
    """Return whether a node adds two maps."""
    functions = (operator.add, operator.iadd, torch.add)
    return node.op == "call_function" and node.target in functions and len(node.args) == 2 and not node.kwargs


def is_product(node: fx.Node) -> bool:
    """Return whether a node multiplies two results of others, not a parameter."""
    functions = (operator.mul, torch.mul)
    if node.op != "call_function" or node.target not in functions or len(node.args) != 2 or node.kwargs:
        return False
    return all(isinstance(each, fx.Node) and each.op != "get_attr" for each in node.args)
