"""From a network's graph to a fused one: the same layers, called through what computes several of them at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from convscope.acceleration.activations import activation_of
from convscope.acceleration.folding import FoldedConvolution, FoldedLinear
from convscope.acceleration.layers import (
    Convolution,
    Gelu,
    InFloat32,
    LayerNormalisation,
    Linear,
    MaxPool,
    Normalisation,
    Scaling,
    convolution_settings,
    pooling_settings,
    to_input,
)
from convscope.acceleration.tracing import is_addition, is_product, trace_layers

__all__ = ["Fused", "fuse_for_inference", "fuse_for_training"]


@dataclass
class Fused:
    """A runnable graph, and how many of what it fused: for people, and for tests."""

    run: fx.GraphModule
    counts: dict[str, int] = field(default_factory=dict)


class _Rewriter:
    """A graph while layers in it are being replaced."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        self.network, self.dtype = network, dtype
        self.graph = trace_layers(network)
        self.made: dict[str, nn.Module] = {}
        self.counts: dict[str, int] = {}
        self.gone: set[fx.Node] = set()

    def nodes(self) -> Iterator[fx.Node]:
        """Go through the nodes that are still there."""
        for node in list(self.graph.nodes):
            if node not in self.gone:
                yield node

    def layer(self, node: object) -> nn.Module | None:
        """Return the layer that a node calls, if it calls one with one input."""
        if not isinstance(node, fx.Node) or node.op != "call_module" or len(node.args) != 1 or node.kwargs:
            return None
        return self.network.get_submodule(str(node.target))

    def only_user(self, node: fx.Node) -> fx.Node | None:
        """Return the one node that reads this one's result."""
        return next(iter(node.users)) if len(node.users) == 1 else None

    def replace(self, last: fx.Node, inputs: tuple[Any, ...], layer: nn.Module, gone: list[fx.Node]) -> None:
        """Let `layer` compute what `last` did; `gone` are the nodes before it that nobody reads any more."""
        name = f"fused_{len(self.made)}"
        self.made[name] = layer
        kind = type(layer).__name__
        self.counts[kind] = self.counts.get(kind, 0) + 1
        with self.graph.inserting_before(last):
            node = self.graph.call_module(name, inputs)
        last.replace_all_uses_with(node)
        for each in (last, *reversed(gone)):
            self.graph.erase_node(each)
            self.gone.add(each)

    def widen(self) -> None:
        """Let what is not fused and has parameters of its own compute in float32."""
        for node in self.nodes():
            if node.op == "call_module" and node.target not in self.made:
                layer = self.network.get_submodule(str(node.target))
                if next(layer.parameters(), None) is None:
                    continue
                call: Any = layer
            elif node.op == "call_function" and any(each.op == "get_attr" for each in node.all_input_nodes):
                call = node.target
            else:
                continue
            name = f"widened_{len(self.made)}"
            self.made[name] = InFloat32(call)
            with self.graph.inserting_before(node):
                made = self.graph.call_module(name, node.args, dict(node.kwargs))
            node.replace_all_uses_with(made)
            self.graph.erase_node(node)
            self.gone.add(node)

    def finish(self) -> Fused:
        """Return the runnable graph: images in, results of the network's own type out."""
        if self.dtype != torch.float32:
            self.widen()
        for node in self.graph.nodes:
            if node.op == "placeholder":
                with self.graph.inserting_after(node):
                    laid_out = self.graph.call_function(to_input, (node, self.dtype))
                node.replace_all_uses_with(
                    laid_out, delete_user_cb=lambda user, made=laid_out: user is not made
                )
                break
        self.graph.lint()
        root: dict[str, Any] = dict(self.made)
        for node in self.graph.nodes:
            if node.op == "call_module" and node.target not in root:
                root[str(node.target)] = self.network.get_submodule(str(node.target))
            elif node.op == "get_attr":
                root[str(node.target)] = _attribute(self.network, str(node.target))
        run = fx.GraphModule(root, self.graph, "Fused")
        return Fused(run, self.counts)


def _attribute(network: nn.Module, target: str) -> Any:
    parent, _, name = target.rpartition(".")
    return getattr(network.get_submodule(parent), name)


def fuse_for_training(network: nn.Module, dtype: torch.dtype) -> Fused:
    """Return the graph that runs where gradients are wanted, or where batch statistics are taken.

    Raises:
        UntraceableError: the network's forward is not one graph.
    """
    rewriter = _Rewriter(network, dtype)
    for node in rewriter.nodes():
        layer = rewriter.layer(node)
        if isinstance(layer, nn.BatchNorm2d) and _plain(layer):
            _fuse_normalisation(rewriter, node, layer)
        elif layer is not None and (settings := convolution_settings(layer)) is not None:
            assert isinstance(layer, nn.Conv2d)
            rewriter.replace(node, node.args, Convolution(layer, settings, dtype), [])
        elif layer is not None and (pooling := pooling_settings(layer)) is not None:
            rewriter.replace(node, node.args, MaxPool(pooling), [])
        elif type(layer) is nn.Linear:
            rewriter.replace(node, node.args, Linear(layer, dtype), [])
        elif is_product(node):
            rewriter.replace(node, node.args, Scaling(), [])
        else:
            _fuse_pixelwise(rewriter, node, layer)
    return rewriter.finish()


def _plain(layer: nn.BatchNorm2d) -> bool:
    """Whether a batch norm is the ordinary one: running statistics, a fixed momentum."""
    return type(layer) is nn.BatchNorm2d and layer.track_running_stats and layer.momentum is not None


def _fuse_normalisation(rewriter: _Rewriter, node: fx.Node, layer: nn.BatchNorm2d) -> None:
    last, inputs, gone, activation = _tail(rewriter, node)
    rewriter.replace(last, (node.args[0], *inputs), Normalisation(layer, activation), gone)


def _fuse_pixelwise(rewriter: _Rewriter, node: fx.Node, layer: nn.Module | None) -> None:
    """Fuse a layer norm over the last axis, as a layer or as a call, or a GELU; leave everything else."""
    if type(layer) is nn.LayerNorm:
        shape, source, inputs = layer.normalized_shape, layer, node.args
    elif node.target is F.layer_norm and len(node.args) == 2:  # as torch itself traces all its calls
        shape, source = node.args[1], node.kwargs["eps"]
        inputs = node.args[0], node.kwargs["weight"], node.kwargs["bias"]
    else:
        if len(node.args) == 1 and activation_of(node, rewriter.network) == "gelu":
            rewriter.replace(node, node.args, Gelu(), [])
        return
    if not isinstance(shape, tuple | list) or len(shape) != 1 or not isinstance(shape[0], int):
        return
    if not isinstance(source, nn.LayerNorm | float):
        return
    user = rewriter.only_user(node)
    activation = None if user is None else activation_of(user, rewriter.network)
    last, gone = (node, []) if user is None or activation is None else (user, [node])
    rewriter.replace(last, inputs, LayerNormalisation(shape[0], source, activation or "none"), gone)


def _tail(rewriter: _Rewriter, node: fx.Node) -> tuple[fx.Node, tuple[fx.Node, ...], list[fx.Node], str]:
    """Follow a node through an addition and an activation of which it is the only source.

    Returns the last of them, what else is added, the nodes before the last, and the activation's name.
    """
    last, inputs, gone = node, (), []
    user = rewriter.only_user(node)
    if user is not None and is_addition(user) and user.args[0] is not user.args[1]:
        other = user.args[1] if user.args[0] is node else user.args[0]
        # What is added must be there when this node runs: the later of two normalisations takes the addition.
        if isinstance(other, fx.Node) and other < node:
            last, inputs, gone = user, (other,), [node]
            user = rewriter.only_user(user)
    if user is not None and (activation := activation_of(user, rewriter.network)) is not None:
        return user, inputs, [*gone, last], activation
    return last, inputs, gone, "none"


def fuse_for_inference(network: nn.Module, dtype: torch.dtype) -> Fused:
    """Return the graph that runs in evaluation without gradients: batch norm folded into the convolutions.

    Raises:
        UntraceableError: the network's forward is not one graph.
    """
    rewriter = _Rewriter(network, dtype)
    for node in rewriter.nodes():
        layer = rewriter.layer(node)
        settings = None if layer is None else convolution_settings(layer)
        if settings is not None:
            assert isinstance(layer, nn.Conv2d)
            start, norm, gone = node, None, []
            user = rewriter.only_user(node)
            following = rewriter.layer(user)
            if isinstance(following, nn.BatchNorm2d) and _plain(following) and user is not None:
                start, norm, gone = user, following, [node]
            last, inputs, more, activation = _tail(rewriter, start)
            folded = FoldedConvolution(layer, settings, norm, activation, dtype)
            rewriter.replace(last, (node.args[0], *inputs), folded, [*gone, *more])
        elif isinstance(layer, nn.BatchNorm2d) and _plain(layer):
            _fuse_normalisation(rewriter, node, layer)
        elif type(layer) is nn.Linear:
            user = rewriter.only_user(node)
            gelu = user is not None and activation_of(user, network) == "gelu"
            last = user if gelu and user is not None else node
            rewriter.replace(last, node.args, FoldedLinear(layer, gelu, dtype), [node] if gelu else [])
        elif layer is not None and (pooling := pooling_settings(layer)) is not None:
            rewriter.replace(node, node.args, MaxPool(pooling), [])
        else:
            _fuse_pixelwise(rewriter, node, layer)
    return rewriter.finish()
