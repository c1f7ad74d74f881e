"""A network up to some of its tensors, on real images and without gradients: what class activation starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from convscope.acceleration import accelerated
from convscope.acceleration.tracing import UntraceableError, trace_layers
from convscope.trace import Trace, trace

__all__ = ["tensors_of"]

_WORTH_FUSING = 8  # images: fusing takes about as long as this many


def tensors_of(
    found: Trace, args: tuple[Any, ...], kwargs: dict[str, Any], numbers: Sequence[int], accelerate: bool
) -> dict[int, Tensor] | None:
    """Return tensors of a traced network by their numbers, for inputs of the trace's shapes.

    Runs what comes before them accelerated where that is known to be the same, otherwise the network as it is. None if
    the network did something else than in the trace.
    """
    image = args[0] if len(args) == 1 and not kwargs else None
    if accelerate and isinstance(image, Tensor) and len(image) >= _WORTH_FUSING:
        made = _accelerated(found, image, numbers)
        if made is not None:
            return made
    run = found.run_on(args, kwargs, numbers)
    if not run.same_operators(found):
        return None
    return {number: run.values[number] for number in numbers}


def _accelerated(found: Trace, image: Tensor, numbers: Sequence[int]) -> dict[int, Tensor] | None:
    """Run the layers' graph up to these tensors, fused; None where it is not certain to compute them."""
    if found.has_values or _watched(found.network) or _changed_in_place(found, numbers):
        return None
    try:
        graph = trace_layers(found.network)
    except UntraceableError:
        return None
    nodes = _nodes_of(found, graph, numbers)
    if nodes is None:
        return None
    trunk = _graph_module(found.network, graph, nodes)
    with torch.no_grad(), accelerated(trunk, "fp32"):  # in this order it is fused for inference alone
        results = trunk(image.clone())  # a first layer that works in place would change the caller's
    return {number: result.contiguous() for number, result in zip(numbers, results.values(), strict=True)}


def _nodes_of(found: Trace, graph: fx.Graph, numbers: Sequence[int]) -> list[fx.Node] | None:
    """Return the nodes that hold these tensors, if the graph runs the operators of the trace."""
    held = [node for node in graph.nodes if node.op != "output"]
    everything = _graph_module(found.network, graph, held)
    again = trace(everything, found.arguments[0], mode="eval")
    # The results of all nodes are returned, so outputs differ; operators and what they read must not.
    if not again.same_operators(found):
        return None
    names = dict(zip(again.outputs, again.output_names, strict=True))  # of several nodes the last
    by_name = {node.name: node for node in held}
    nodes = [by_name.get(names.get(number, "")) for number in numbers]
    return [node for node in nodes if node is not None] if all(nodes) else None


def _graph_module(network: nn.Module, graph: fx.Graph, nodes: Sequence[fx.Node]) -> fx.GraphModule:
    """Return the network's layers up to the last of some nodes, returning what each of these holds, by name."""
    copied: dict[fx.Node, fx.Node] = {}
    part, missing = fx.Graph(), set(nodes)
    for node in graph.nodes:
        if not missing:
            break
        copied[node] = part.node_copy(node, copied.__getitem__)
        missing.discard(node)
    part.output({node.name: copied[node] for node in nodes})
    return fx.GraphModule(network, part).eval()


def _watched(network: nn.Module) -> bool:
    """Tell whether somebody's hooks would miss modules that the layers' graph does not call."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def _changed_in_place(found: Trace, numbers: Sequence[int]) -> bool:
    """Tell whether the network writes into or over one of these tensors, or over its own parameters and buffers."""
    for record in found.records:
        into = record.operator == "convscope.write"
        if not into and not record.operator.endswith("_"):
            continue
        written = record.inputs[0]
        if written in numbers or found.tensors[written].kind in ("parameter", "buffer"):
            return True
        if into and record.outputs[0] in numbers:
            return True
    return False
