"""A network on one image, run again for changed pixels only where the change can reach."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from convscope.errors import ConvscopeError
from convscope.inspection.class_scores import class_scores, score_tensor
from convscope.inspection.patches import Patches, SharedMap
from convscope.inspection.recomputed_layers import (
    ConvolutionLayer,
    Layer,
    LocalLayer,
    NotRecomputable,
    PoolingLayer,
    Repeated,
    convolution_tail,
)
from convscope.trace import Record, Trace, trace
from convscope.trace.inputs import named_outputs
from convscope.trace.rules import makes_constants, rule_of

__all__ = ["NotRecomputable", "Recomputation"]

_TAIL_CASES = 256  # at once through the fully connected layers behind everything
_CALL = "occlusion"


class Recomputation:
    """The operators of a network on one image, with every map of the undisturbed image kept.

    Changed boxes of the image are followed layer by layer: each operator computes only what the change can reach, from
    a crop that holds the changed values and, around them, the undisturbed ones. Where that is nearly the whole map, and
    from an operator on that sees all of it, whole maps are computed, for all cases of a batch.

    Args:
        image: (1, C, H, W).
        result: what the network returns for it.
    Raises:
        NotRecomputable: the trace does not say how the scores come about.
    """

    def __init__(self, network: nn.Module, image: Tensor, result: Any) -> None:
        self.done_macs, self.cases = 0.0, 0
        try:
            one, two = _traces(network, image)
            self.input = one.inputs[0]
            self.output = one.outputs[_place_of_scores(result)]
            self._build(one, two)
            self._keep(image)
            self.base_scores = class_scores(self.base[self.output], 1, _CALL)[0]
        except (ConvscopeError, RuntimeError, TypeError, ValueError, KeyError, NotImplementedError) as error:
            raise NotRecomputable(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error
        expected = class_scores(result, 1, _CALL)[0]
        if not torch.allclose(self.base_scores, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
            raise NotRecomputable("the recorded operators come to other scores than the network")

    @property
    def share(self) -> float:
        """Return the multiply-accumulates of all cases so far, as a share of those of whole forward passes."""
        whole = self.cases * sum(layer.macs for layer in self.layers)
        return self.done_macs / whole if whole else 1.0

    # Building -----------------------------------------------------------------------------------------------

    def _build(self, one: Trace, two: Trace) -> None:
        """Make layers of the records that the scores need and the image has a part in."""
        needed, records = {self.output}, []
        for record in reversed(_live_records(one, two)):
            if needed.intersection(record.outputs):
                needed.update(record.inputs)
                records.append(record)
        records.reverse()
        touched = {self.input, *(number for record in records for number in record.outputs)}
        self.fixed = {number: values for number, values in one.values.items() if number not in touched}
        readers: dict[int, list[Record]] = {}
        for record in records:
            for number in dict.fromkeys(record.inputs):
                readers.setdefault(number, []).append(record)
        layers: list[Layer] = []
        taken: set[int] = set()
        for record in records:
            if record.index not in taken:
                repeated = Repeated(record, two.records[record.index], one, touched)
                layers.append(self._layer(repeated, readers, taken))
        self.layers = sorted(layers, key=lambda layer: layer.last)
        self.last_reader = {
            number: place for place, layer in enumerate(self.layers) for number in layer.inputs
        }
        self.last_reader[self.output] = len(self.layers)
        self.joint, self.tail = self._dense_tail()

    def _layer(self, repeated: Repeated, readers: dict[int, list[Record]], taken: set[int]) -> Layer:
        if ConvolutionLayer.takes(repeated, self.fixed):
            tail = convolution_tail(repeated, readers, self.output, taken)
            taken.update(record.index for record in tail)
            return ConvolutionLayer(repeated, tail, self.fixed)
        if PoolingLayer.takes(repeated, readers):
            return PoolingLayer(repeated)
        return LocalLayer(repeated, self.fixed) if LocalLayer.takes(repeated) else Layer(repeated)

    def _dense_tail(self) -> tuple[int, int]:
        """Return from which layer on all cases together are worth while, and the one tensor that these layers read.

        It is the first fully connected layer of those behind all convolutions: its weights are read from memory once
        a batch.
        """
        first = len(self.layers)
        for place in reversed(range(len(self.layers))):
            if isinstance(self.layers[place], (ConvolutionLayer, PoolingLayer)):
                break
            if self.layers[place].family == "dense":
                first = place
        tail = self.layers[first:]
        read = {number for layer in tail for number in layer.inputs}
        read -= {number for layer in tail for number in layer.outputs}
        return (read.pop(), first) if len(read) == 1 else (self.output, len(self.layers))

    def _keep(self, image: Tensor) -> None:
        """Compute and keep every map of the undisturbed image, by the same layers as the changed ones."""
        self.base: dict[int, Tensor] = {self.input: image}
        run = _Run(self, 1, {self.input: image})
        for layer in self.layers:
            made = dict(zip(layer.outputs, layer.whole(run), strict=True))
            run.states.update(made)
            self.base.update(made)
        self._shared: dict[int, SharedMap] = {}

    def shared(self, number: int) -> SharedMap:
        """Return the map of a tensor for the undisturbed image, or one that the image has no part in."""
        if number not in self._shared:
            values = self.base[number] if number in self.base else self.fixed[number]
            self._shared[number] = SharedMap(values.reshape((1,) * (4 - values.dim()) + values.shape))
        return self._shared[number]

    def bytes_a_case(self, patches: Patches) -> int:
        """Return how much memory the maps of one case take at most at once, measured on a grid of one."""
        run = _Run(self, patches.count, {self.input: patches})
        run.through(0, self.tail)
        self.done_macs = 0.0
        return run.most_bytes

    # Running ------------------------------------------------------------------------------------------------

    def scores(self, grids: Sequence[Patches]) -> Tensor:
        """Return the class scores of each case of some grids of changed boxes: (cases, classes), grid after grid."""
        joint: list[Tensor] = []
        for patches in grids:
            run = _Run(self, patches.count, {self.input: patches})
            run.through(0, self.tail)
            joint.append(run.whole(self.joint))
            self.cases += patches.count
        found: list[Tensor] = []
        for part in torch.cat(joint).split(_TAIL_CASES):
            run = _Run(self, len(part), {self.joint: part})
            run.through(self.tail, len(self.layers))
            found.append(class_scores(run.whole(self.output), len(part), _CALL))
        return torch.cat(found)


class _Run:
    """One batch of cases on its way through the layers."""

    def __init__(self, owner: Recomputation, count: int, states: dict[int, Tensor | Patches]) -> None:
        self.owner, self.count, self.states = owner, count, states
        self.most_bytes = 0

    def through(self, first: int, end: int) -> None:
        """Run some layers one after the other; let go of what no later one reads."""
        owner = self.owner
        for place in range(first, end):
            layer = owner.layers[place]
            made = layer.partial(self)
            share = 1.0
            if made is None:
                made = layer.whole(self)
            else:
                share = prod(made[0].values.shape[2:]) / prod(owner.base[layer.outputs[0]].shape[2:])
            owner.done_macs += layer.macs * self.count * share
            self.states.update(zip(layer.outputs, made, strict=True))
            kept = (state.values if isinstance(state, Patches) else state for state in self.states.values())
            self.most_bytes = max(self.most_bytes, sum(each.nbytes for each in kept))
            for number in layer.inputs:
                if owner.last_reader[number] == place:
                    del self.states[number]

    def patches(self, number: int) -> Patches | None:
        """Return the boxes that were computed of a tensor; None where it is whole, or the same in all cases."""
        state = self.states.get(number)
        return state if isinstance(state, Patches) else None

    def shared(self, number: int) -> SharedMap:
        """Return the undisturbed map of a tensor."""
        return self.owner.shared(number)

    def whole(self, number: int) -> Tensor:
        """Return a tensor of all cases, pasted together where only boxes of it were computed."""
        state = self.states.get(number)
        if isinstance(state, Patches):
            state = self.states[number] = self.owner.shared(number).whole(state)
        return self.owner.fixed[number] if state is None else state


def _place_of_scores(result: Any) -> int:
    """Return the number of the score tensor among the tensors that the network returned."""
    scores = score_tensor(result, _CALL)
    return next(place for place, (_, tensor) in enumerate(named_outputs(result)) if tensor is scores)


def _traces(network: nn.Module, image: Tensor) -> tuple[Trace, Trace]:
    """Return the network's trace on the image with all values, and that of the shape of two images."""
    paths = [path for path, _ in network.named_modules()]
    one = trace(network, image, layers=paths, mode="eval").replayed()
    try:
        two = trace(network, (2, *image.shape[1:]), mode="eval", dtype=image.dtype)
    except ConvscopeError as error:  # mostly one that reads values, and may do other things for others
        raise NotRecomputable(error.message, alone=True) from error
    calls, others = (
        [(record.operator, record.inputs, record.outputs) for record in found.records] for found in (one, two)
    )
    if calls != others:
        raise NotRecomputable("the network runs other operators for other numbers of images", alone=True)
    return one, two


def _live_records(one: Trace, two: Trace) -> list[Record]:
    """Return the records that the image has a part in, or whose results grow with the number of images."""
    touched = set(one.inputs)
    live: list[Record] = []
    for record in one.records:
        grows = [one.tensors[n].shape != two.tensors[n].shape for n in record.outputs]
        reads = not makes_constants(record) and any(number in touched for number in record.inputs)
        if not reads and not any(grows):
            continue
        rule = rule_of(record.operator)
        if record.operator == "convscope.write" or (rule is not None and rule.family == "random"):
            raise NotRecomputable(f"{record.operator} cannot be run again")
        if reads and not all(grows[:1]):
            raise NotRecomputable(f"{record.name} joins the images of a batch", alone=True)
        arguments = record.arguments
        if "running_mean" in arguments and (
            arguments.get("training", arguments.get("train")) or arguments["running_mean"] is None
        ):
            raise NotRecomputable(f"{record.name} takes the statistics of a batch", alone=True)
        touched.update(record.outputs)
        live.append(record)
    return live
