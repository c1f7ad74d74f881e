"""Where in the image a class score comes from: Grad-CAM, LayerCAM, Score-CAM on the layer that the trace points to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.acceleration import accelerated
from convscope.display import Shown
from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.geometry import as_int
from convscope.geometry.integers import is_sequence
from convscope.inspection.class_scores import by_class, score_place
from convscope.inspection.spatial_layer import SpatialLayer, choose_spatial_layer, named_spatial_layer
from convscope.inspection.trunk import tensors_of
from convscope.trace import Trace, trace
from convscope.trace.continuation import continuation
from convscope.trace.engines import rebuilt
from convscope.trace.guard import unchanged
from convscope.trace.index import NetworkIndex
from convscope.trace.inputs import call_arguments, cloned, named_outputs, named_tensors

__all__ = ["ActivationMethod", "ClassActivation", "class_activation"]

_CALL = "class_activation"
_SHARE_BEHIND = 0.1  # of the MACs, up to which what comes before the layer is worth accelerating
ActivationMethod = Literal["grad-cam", "layer-cam", "score-cam"]
Target = int | str | Sequence[int | str] | None


@dataclass(frozen=True, eq=False)
class ClassActivation(Shown):
    """Where in each image the scores of some classes come from.

    Attributes:
        maps: (N, classes, h, w), one value a position of the layer, as the method gives it.
        classes: (N, classes), the numbers of the classes.
        scores: (N, classes), what the network gives for them, logits if it ends in logits; of maps of scores the sum.
        layer: whose maps were weighed, and `how` it was chosen.
        output: name of the output that the scores are in.
        relu: whether only what speaks for a class was kept.
        class_names: of all classes, () where nobody knows them.
        images: what the network was given, (N, C, H, W).
    """

    method: ActivationMethod
    maps: Tensor
    classes: Tensor
    scores: Tensor
    layer: str
    how: str
    output: str
    relu: bool
    class_names: tuple[str, ...] = ()
    images: Tensor = field(default_factory=lambda: torch.empty(0), repr=False)

    def upsampled(self, size: tuple[int, int] | None = None) -> Tensor:
        """Return the maps at the images' size, or another, (N, classes, H, W): bilinear between positions' centres.

        Example:
            >>> network = nn.Sequential(nn.Conv2d(1, 2, 2, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            >>> class_activation(network, torch.ones(1, 1, 6, 8)).upsampled().shape
            torch.Size([1, 1, 6, 8])
        """
        size = (self.images.shape[2], self.images.shape[3]) if size is None else size
        return F.interpolate(self.maps, size, mode="bilinear", align_corners=False)

    def name_of(self, image: int, place: int) -> str:
        """Return what to call one of the classes of an image."""
        number = int(self.classes[image, place])
        return self.class_names[number] if self.class_names else f"class {number}"

    def peak(self, image: int, place: int) -> tuple[int, int] | None:
        """Return row and column of the pixel in the middle of a map's largest value; None where it is 0 throughout."""
        plane = self.maps[image, place]
        if not bool((plane != 0).any()):
            return None
        row, column = divmod(int(plane.argmax()), plane.shape[1])
        height, width = self.images.shape[2:]
        return (2 * row + 1) * height // (2 * plane.shape[0]), (2 * column + 1) * width // (
            2 * plane.shape[1]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return layer, classes, scores, range and peak of each map, not the values, as plain values for JSON."""
        return {
            "method": self.method,
            "layer": self.layer,
            "how": self.how,
            "output": self.output,
            "relu": self.relu,
            "map_size": list(self.maps.shape[2:]),
            "image_size": list(self.images.shape[2:]),
            "images": [
                [
                    {
                        "class": int(self.classes[image, place]),
                        "name": self.name_of(image, place),
                        "score": float(self.scores[image, place]),
                        "min": float(plane.min()),
                        "max": float(plane.max()),
                        "peak": self.peak(image, place),
                    }
                    for place, plane in enumerate(planes)
                ]
                for image, planes in enumerate(self.maps)
            ],
        }


def class_activation(
    network: nn.Module,
    inputs: Any,
    *,
    target: Target = None,
    method: ActivationMethod = "grad-cam",
    layer: str | None = None,
    output: str | int | None = None,
    mask: Tensor | None = None,
    relu: bool = True,
    class_names: Sequence[str] = (),
    batch_size: int = 32,
    accelerate: bool = True,
) -> ClassActivation:
    """Show which parts of images a network's class scores rest on.

    The layer is read from the trace: the last maps that everything passes on its way to the score, before the pooling
    and flattening that lead to it. Works on values of operators, not of modules: right for frozen networks, activations
    in place, functional calls, modules used twice, dict outputs, under `torch.no_grad()`. The network runs in
    evaluation mode; its modes, hooks, gradients, buffers and the random states are as before afterwards, also when it
    raises.

    Grad-CAM weighs each channel with the mean of its gradient; LayerCAM each value with its own gradient where that is
    positive; Score-CAM each channel with the score of the image seen through it, without any gradient.

    Shapes:
        inputs (N, C, H, W), prepared as the network expects them; or what else `trace` takes, with one such tensor
        returns maps (N, classes, h, w)
    Args:
        target: a class, or several at once, by number or name; by default of each image the class with the largest
            score. Of an output (N, classes, H, W) a class's score is the sum over all positions.
        layer: a module's path (`path#1` for its second call) or an operator's name, as in `trace(...).layers`.
        output: which of the returned tensors has the scores, by key or place; by default `out` or `logits`, else the
            first.
        mask: (H, W) or (N, H, W), weights of the positions of an output (N, classes, H, W); booleans choose.
        relu: keep only what speaks for the class, as the papers do.
        class_names: of all classes; by default those that the network's weights know.
        batch_size: images seen through channels that run at once in Score-CAM.
        accelerate: run what comes before the layer fused, in float32, where that pays.
    Raises:
        UnknownNameError: no such method, layer, output or class name; the nearest are told.
        ShapeError: images that the network cannot take; sizes that it can.
        UsageError: a class outside the output's, a layer that returns no maps or has no part in the score, a score
            that has no derivative.
    Cost:
        One forward pass without gradients, and one pass back and forth from the layer on; a further way back a class.
        Score-CAM: a forward pass a channel and image.
    Source:
        Selvaraju et al., arXiv:1610.02391, equations 1 and 2; Jiang et al., LayerCAM, IEEE TIP 30, 2021, equations 4
        to 6; Wang et al., arXiv:1910.01279, algorithm 1.
    Example:
        >>> import convscope as cs
        >>> network = cs.create_model("resnet18_cifar")
        >>> found = class_activation(network, torch.rand(2, 3, 32, 32), target=[3, 5])
        >>> found.layer, tuple(found.maps.shape), tuple(found.upsampled().shape)
        ('layer4', (2, 2, 4, 4), (2, 2, 32, 32))
    """
    if not isinstance(network, nn.Module):
        raise UsageError(f"got a {type(network).__name__}; give a torch.nn.Module.", call=_CALL)
    if method not in get_args(ActivationMethod):
        raise UnknownNameError("method", method, get_args(ActivationMethod), call=_CALL)
    try:
        batch_size = as_int("batch_size", batch_size, at_least=1)
        args, kwargs = call_arguments(network, inputs)
    except UsageError as error:
        raise error.at(_CALL) from error
    image = _image(args, kwargs)
    names = tuple(class_names) or _known_names(network)
    with _undisturbed(network) as copies:
        for real in (False, True):  # of shapes alone, unless values lead elsewhere
            found = _traced(network, inputs, real=real)
            asked = _asked(found, (args, kwargs), image, output, layer)
            chosen = _targets(target, asked.classes, names)
            _copy_own(found, copies)
            measured = _measured(found, (args, kwargs), asked, mask, accelerate)
            if measured is not None:
                break
        else:
            raise UsageError(
                "the network runs other operators each time, on the same images and random numbers.",
                call=_CALL,
            )
        classes = _classes(chosen, measured.scores)
        if method == "score-cam":
            run = _Masked(network, (args, kwargs), image, asked.place, mask, batch_size, accelerate)
            weights = run.weights(measured.maps, classes)
            maps = torch.einsum("nkc,nchw->nkhw", weights, measured.maps)
        else:
            weigh = _grad_cam if method == "grad-cam" else _layer_cam
            maps = torch.stack([weigh(measured.maps, each) for each in measured.gradients(classes)], dim=1)
    return ClassActivation(
        method=method,
        maps=maps.relu() if relu else maps,
        classes=classes,
        scores=measured.scores.detach().gather(1, classes),
        layer=asked.spatial.name,
        how=asked.spatial.how,
        output=found.output_names[asked.place],
        relu=bool(relu),
        class_names=names if len(names) == asked.classes else (),
        images=image,
    )


def _grad_cam(maps: Tensor, gradient: Tensor) -> Tensor:
    """Weigh each channel with the mean of its gradient; (N, C, h, w) to (N, h, w)."""
    return torch.einsum("nc,nchw->nhw", gradient.mean((2, 3)), maps)


def _layer_cam(maps: Tensor, gradient: Tensor) -> Tensor:
    """Weigh each value with its own gradient where that is positive; (N, C, h, w) to (N, h, w)."""
    return (gradient.relu() * maps).sum(1)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked for, found in a trace: maps, the place and number of the output with the scores, how many."""

    spatial: SpatialLayer
    place: int
    score: int
    classes: int


def _asked(
    found: Trace,
    arguments: tuple[tuple[Any, ...], dict[str, Any]],
    image: Tensor,
    output: str | int | None,
    layer: str | None,
) -> _Asked:
    given = [tensor for each in arguments for _, tensor in named_tensors(each, "input")]
    seen = found.inputs[next(place for place, each in enumerate(given) if each is image)]
    place, score = _output_place(found, output)
    count = _class_count(found, score, len(image))
    if layer is None:
        return _Asked(choose_spatial_layer(found, seen, score), place, score, count)
    return _Asked(named_spatial_layer(found, seen, score, layer), place, score, count)


def _measured(
    found: Trace,
    arguments: tuple[tuple[Any, ...], dict[str, Any]],
    asked: _Asked,
    mask: Tensor | None,
    accelerate: bool,
) -> _Measured | None:
    """Run the network up to the layer, and from there on with gradients; None if it did something else than traced."""
    number = asked.spatial.number
    behind = continuation(found, number, asked.score)
    # Where much follows, rounding the maps otherwise turns ReLUs on and off, and saves little.
    accelerate = accelerate and sum(record.macs for record in behind.records) <= _SHARE_BEHIND * found.macs
    try:
        values = tensors_of(found, *arguments, [number, *behind.given], accelerate)
        if values is None:
            return None
        maps = values[number].detach().requires_grad_()
        with torch.enable_grad():
            scores = _class_scores(behind.run({**values, number: maps}), mask)
    except UsageError as error:
        raise error.at(_CALL) from error
    return _Measured(asked.spatial, maps, scores)


class _Measured:
    """The layer's maps and the scores that the network makes of them, joined by a graph of gradients."""

    def __init__(self, spatial: SpatialLayer, leaf: Tensor, scores: Tensor) -> None:
        self.layer, self._order = spatial.name, (0, *spatial.axes)
        self._leaf, self.scores = leaf, scores

    @property
    def maps(self) -> Tensor:
        """Return the layer's maps, (N, C, h, w)."""
        return self._leaf.detach().permute(self._order)

    def gradients(self, classes: Tensor) -> Iterator[Tensor]:
        """Return for each place in `classes`, (N, classes), the scores' gradients, (N, C, h, w)."""
        for column in range(classes.shape[1]):
            with torch.enable_grad():
                total = self.scores.gather(1, classes[:, column, None]).sum()
            gradient = None
            if total.requires_grad:
                try:
                    (gradient,) = torch.autograd.grad(
                        total, self._leaf, retain_graph=column + 1 < classes.shape[1], allow_unused=True
                    )
                except RuntimeError as error:  # an operator without a derivative
                    raise UsageError(
                        f"the score cannot be differentiated: {' '.join(str(error).split())}; "
                        "take method='score-cam'.",
                        call=_CALL,
                    ) from error
            if gradient is None:
                raise UsageError(
                    f"the score has no derivative with respect to {self.layer!r}: something on the way is detached, "
                    "whole-numbered or an argmax; name the output before it, or take method='score-cam'.",
                    call=_CALL,
                )
            yield gradient.permute(self._order)


class _Masked:
    """A network that sees images through the channels of a layer."""

    def __init__(
        self,
        network: nn.Module,
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        image: Tensor,
        output: int,
        mask: Tensor | None,
        batch_size: int,
        accelerate: bool,
    ) -> None:
        self.network, self.arguments, self.image = network, arguments, image
        self.output, self.mask, self.batch_size, self.accelerate = output, mask, batch_size, accelerate

    def weights(self, maps: Tensor, classes: Tensor) -> Tensor:
        """Return how much each channel alone lets through of each class, (N, classes, C), summing to 1 over channels.

        The paper subtracts the score of a black image first; softmax takes no notice of what all channels share.
        """
        count, channels = maps.shape[:2]
        planes = maps.flatten(0, 1)
        owners = torch.arange(count, device=maps.device).repeat_interleave(channels)
        parts: list[Tensor] = []
        with accelerated(self.network, "fp32", self.accelerate), torch.no_grad():
            for rows, part in zip(owners.split(self.batch_size), planes.split(self.batch_size), strict=True):
                scores = _class_scores(self._run(rows, part), None if self.mask is None else self._mask(rows))
                parts.append(scores.gather(1, classes[rows]).to(maps.dtype))
        return torch.cat(parts).unflatten(0, (count, channels)).softmax(1).movedim(1, 2)

    def _run(self, rows: Tensor, planes: Tensor) -> Tensor:
        """Return the scores of these images, each seen through a plane scaled to 0..1."""
        large = F.interpolate(planes[:, None], self.image.shape[2:], mode="bilinear", align_corners=False)
        low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
        through = (large - low) / (high - low).clamp_min(torch.finfo(large.dtype).tiny)
        args, kwargs = _exchanged(self.arguments, self.image, self.image[rows] * through, rows)
        return named_outputs(self.network(*args, **kwargs))[self.output][1]

    def _mask(self, rows: Tensor) -> Tensor:
        assert self.mask is not None
        return self.mask[rows] if self.mask.dim() == 3 else self.mask


def _exchanged(value: Any, image: Tensor, replacement: Tensor, rows: Tensor) -> Any:
    """Return the arguments with other images, and of what else has an entry an image those of `rows`."""
    if isinstance(value, Tensor):
        if value is image:
            return replacement
        return value[rows] if value.dim() and len(value) == len(image) else value
    if isinstance(value, dict):
        return {key: _exchanged(entry, image, replacement, rows) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return rebuilt(value, [_exchanged(entry, image, replacement, rows) for entry in value])
    return value


@contextmanager
def _undisturbed(network: nn.Module) -> Iterator[dict[int, tuple[Tensor, Tensor]]]:
    """Let gradients flow whatever the caller is in, and put everything back; yields what `unchanged` does."""
    with (
        torch.inference_mode(False),
        torch.autocast("cpu", enabled=False),
        unchanged(NetworkIndex(network), "eval") as copies,
    ):
        yield copies


def _copy_own(found: Trace, copies: dict[int, tuple[Tensor, Tensor]]) -> None:
    """Keep copies of the parameters and buffers that the network writes over."""
    index = NetworkIndex(found.network)
    own = index.parameters | index.buffers
    for record in found.records:
        if record.operator.endswith("_") or record.operator == "convscope.write":
            facts = found.tensors[record.inputs[0]]
            tensor = own.get(facts.name)
            if tensor is not None and facts.kind in ("parameter", "buffer"):
                copies[id(tensor)] = (tensor, tensor.detach().clone())


def _image(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Return the batch of images among the arguments."""
    tensors = [tensor for _, tensor in (*named_tensors(args, "input"), *named_tensors(kwargs, "input"))]
    images = [tensor for tensor in tensors if tensor.dim() == 4]
    if not images:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise ShapeError(f"the input has the shape {shapes}; give images (N, C, H, W).", call=_CALL)
    if not images[0].is_floating_point():
        raise UsageError(
            f"the images are {images[0].dtype}; give them prepared as the network expects them, as floats.",
            call=_CALL,
        )
    if not images[0].numel():
        raise ShapeError(
            f"the images have the shape {tuple(images[0].shape)}; give at least one.", call=_CALL
        )
    return images[0]


def _traced(network: nn.Module, inputs: Any, *, real: bool = False) -> Trace:
    """Return the network's graph for inputs of these shapes, or for these values if shapes are not enough."""
    try:
        return trace(network, inputs if real else cloned(inputs, True), mode="eval")
    except UsageError as error:
        if real:
            raise error.at(_CALL) from error
    return _traced(network, inputs, real=True)


def _output_place(found: Trace, output: str | int | None) -> tuple[int, int]:
    """Return which of the outputs has the scores, and the number of its tensor."""
    names = found.output_names
    if not names:
        raise UsageError("the network returns no tensor.", call=_CALL)
    if isinstance(output, str):
        if output not in names:
            raise UnknownNameError("output", output, names, call=_CALL)
        place = names.index(output)
    else:
        try:
            place = score_place(names) if output is None else as_int("output", output, at_least=0)
        except UsageError as error:
            raise error.at(_CALL) from error
        if place >= len(names):
            raise UsageError(
                f"output {place} is outside 0 to {len(names) - 1}; the network returns {', '.join(names)}.",
                call=_CALL,
            )
    return place, found.outputs[place]


def _class_count(found: Trace, score: int, images: int) -> int:
    """Return how many classes the scores are of."""
    shape = found.tensors[score].shape
    if not shape or shape[0] != images or 0 in shape:
        raise UsageError(
            f"the output has the shape {shape} for {images} images, no scores (N, classes) or (N, classes, H, W); "
            f"name another with output=: {', '.join(found.output_names)}.",
            call=_CALL,
        )
    return shape[1] if len(shape) > 1 else 1


def _class_scores(made: Tensor, mask: Tensor | None) -> Tensor:
    """Return scores (N, classes): of an output with positions the sum over them, weighed by a mask."""
    if mask is None:
        return by_class(made)
    positions = made.shape[2:]
    if not positions or tuple(mask.shape) not in (tuple(positions), (made.shape[0], *positions)):
        raise ShapeError(
            f"mask has the shape {tuple(mask.shape)}; the output's positions are {tuple(positions) or 'none'}, of "
            f"{made.shape[0]} images.",
            call=_CALL,
        )
    weights = mask.to(made, copy=True)  # one made in inference mode cannot take part in gradients
    return by_class(made * (weights if mask.dim() == len(positions) else weights[:, None]))


def _targets(target: Target, count: int, names: Sequence[str]) -> list[int] | None:
    """Return the numbers of the classes that are asked for, None for the best of each image."""
    if target is None:
        return None
    entries = list(target) if is_sequence(target) or isinstance(target, Tensor) else [target]
    if not entries:
        raise UsageError("target is empty; name at least one class, or None for the best.", call=_CALL)
    numbers: list[int] = []
    for entry in entries:
        if isinstance(entry, str):
            if entry not in names:
                raise UnknownNameError("class", entry, names, call=_CALL)
            numbers.append(list(names).index(entry))
        else:
            try:
                numbers.append(as_int("target", entry, at_least=0))
            except UsageError as error:
                raise error.at(_CALL) from error
        if numbers[-1] >= count:
            raise UsageError(f"target {numbers[-1]} is outside 0 to {count - 1}.", call=_CALL)
    return numbers


def _classes(targets: list[int] | None, scores: Tensor) -> Tensor:
    if targets is None:
        return scores.detach().argmax(1, keepdim=True)
    return torch.tensor(targets, device=scores.device).expand(len(scores), -1).contiguous()


def _known_names(network: nn.Module) -> tuple[str, ...]:
    """Return the class names that came with a network's weights."""
    return tuple(getattr(getattr(network, "weights_info", None), "classes", ()))
