"""Networks by name."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from convscope.errors import UnknownNameError, UsageError
from convscope.geometry import as_int, as_ints
from convscope.models.fetching import fetch_weights
from convscope.models.preprocessing import WeightsInfo
from convscope.models.published import IMAGENET_MEAN, IMAGENET_STD, list_weights, published_weights
from convscope.models.undrawn import Undrawn
from convscope.models.weights import WeightsFile

__all__ = [
    "ModelEntry",
    "create_model",
    "create_seeded_model",
    "list_models",
    "model_entry",
    "register_model",
]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """What the registry knows of a network.

    `factory` takes `num_classes` and `in_channels`, and `image_size` where a layer's width depends on it.
    `input_shape` is the (C, H, W) that the network was made for and gets when nothing else is asked. `head` names the
    modules whose outputs are the classes, which a file of weights for other classes does not fit; `optional` those
    that a published file may hold and a network may have been built without.
    """

    name: str
    factory: Callable[..., nn.Module]
    input_shape: tuple[int, int, int]
    num_classes: int
    summary: str
    source: str
    task: Task = "classification"
    head: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def takes_image_size(self) -> bool:
        """Tell whether the width of a layer depends on the image's size."""
        return "image_size" in inspect.signature(self.factory).parameters

    def to_dict(self) -> dict[str, object]:
        """Return the entry as plain values for JSON, with the names of its published weights."""
        return {
            "name": self.name,
            "task": self.task,
            "input_shape": list(self.input_shape),
            "num_classes": self.num_classes,
            "summary": self.summary,
            "source": self.source,
            "weights": list_weights(self.name),
        }


Task = Literal["classification", "segmentation"]
_ENTRIES: dict[str, ModelEntry] = {}
_Factory = TypeVar("_Factory", bound=Callable[..., nn.Module])


def register_model(
    name: str,
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    source: str,
    task: Task = "classification",
    head: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
) -> Callable[[_Factory], _Factory]:
    """Return a decorator that makes a factory known as `name`; the first line of its docstring describes it.

    The arguments are those of `ModelEntry`.

    Raises:
        UsageError: the name is taken.
    """

    def register(factory: _Factory) -> _Factory:
        if name in _ENTRIES:
            raise UsageError(
                f"model name {name!r} is taken by {_ENTRIES[name].factory!r}.", call="register_model"
            )
        summary = (inspect.getdoc(factory) or "").split("\n", 1)[0]
        _ENTRIES[name] = ModelEntry(
            name, factory, input_shape, num_classes, summary, source, task, head, optional
        )
        return factory

    return register


def list_models(pattern: str = "*") -> list[str]:
    """Return the sorted names that match a shell pattern.

    Example:
        >>> list_models("lenet*")
        ['lenet5']
    """
    return sorted(fnmatch.filter(_ENTRIES, pattern))


def model_entry(name: str) -> ModelEntry:
    """Return what the registry knows of `name`.

    Raises:
        UnknownNameError: no such network; the nearest names are told.
    """
    try:
        return _ENTRIES[name]
    except (KeyError, TypeError):
        raise UnknownNameError("model", name, list_models(), call="create_model") from None


def create_model(
    name: str,
    num_classes: int | None = None,
    in_channels: int | None = None,
    weights: str | Path | None = None,
    *,
    image_size: int | tuple[int, int] | None = None,
    **options: object,
) -> nn.Module:
    """Build a network of the zoo; what is not asked for is as the family was published.

    The seed of its random weights is torch's global one: call `torch.manual_seed` before.

    Args:
        num_classes: outputs of the head; by default what the weights have, else what was published.
        in_channels: channels of the input image.
        image_size: pixels, or (height, width). Only fully connected first or last layers depend on it; a
            network that takes every size refuses it.
        weights: None starts from random weights; `default` or a name of `list_weights(name)` takes published ones,
            fetched if they are not on this machine yet; a path reads a `.safetensors`, `.pth` or `.pt` file. Loaded
            strictly; for another number of classes the head stays untrained, and a `HeadReplacedWarning` says so.
            The network's `weights_info` tells classes and preparation of images.
        options: further arguments of the family's factory, such as `widths` or `hidden`.
    Raises:
        UnknownNameError: no such network.
        UsageError: an argument the family does not have; weights that do not fit, or that nobody published.
        WeightsError: weights that are damaged, changed, or hold code.
        DownloadError: published weights that cannot be fetched.
    Example:
        >>> network = create_model("lenet5")
        >>> sum(parameter.numel() for parameter in network.parameters())
        61706
    """
    entry = model_entry(name)
    accepted = inspect.signature(entry.factory).parameters
    arguments: dict[str, object] = dict(options)
    classes = entry.num_classes if num_classes is None else num_classes
    channels = entry.input_shape[0] if in_channels is None else in_channels
    arguments["num_classes"] = as_int("num_classes", classes, at_least=1)
    arguments["in_channels"] = as_int("in_channels", channels, at_least=1)
    if image_size is not None:
        arguments["image_size"] = as_ints("image_size", image_size, 2, at_least=1)
    elif entry.takes_image_size:
        arguments["image_size"] = entry.input_shape[1:]
    for argument in arguments:
        if argument not in accepted:
            raise UnknownNameError(f"argument of {name!r}", argument, accepted, call="create_model")
    if weights is None:
        return entry.factory(**arguments)
    # Only now, because published ones may have to be fetched first.
    file, info = _opened(entry, weights, options)
    if num_classes is None:
        arguments["num_classes"] = file.num_classes(entry.head) or entry.num_classes
    # Random values that the file replaces need not be drawn; a head for other classes keeps its own.
    replaced = file.num_classes(entry.head) in (None, arguments["num_classes"])
    with Undrawn() if replaced else nullcontext():
        network = entry.factory(**arguments)
    file.load_into(network, entry.head, entry.optional)
    if info.classes and len(info.classes) != arguments["num_classes"]:
        info = replace(info, classes=())  # the head was replaced
    network.weights_info = info  # pyright: ignore[reportArgumentType]
    return network


def _opened(
    entry: ModelEntry, weights: str | Path, options: Mapping[str, object]
) -> tuple[WeightsFile, WeightsInfo]:
    """Read weights by name or path, fetching published ones, and return what they know with them."""
    names = list_weights(entry.name)
    name = weights.lower() if isinstance(weights, str) else ""
    if name == "default" or name in names:
        published = published_weights(entry.name, name)
        if options.get("stem", "imagenet") != "imagenet":
            raise UsageError(
                f"published weights of {entry.name!r} are for its own stem, not for stem={options['stem']!r}; "
                "leave one of them out.",
                call="create_model",
            )
        preprocessing = published.preprocessing
        if options.get(
            "transform_input"
        ):  # the network itself makes of ImageNet's normalisation what it wants
            preprocessing = replace(preprocessing, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        source = f"{entry.name} {published.name} ({published.file})"
        file = WeightsFile.read(fetch_weights(published))
        return file, WeightsInfo(source, published.classes, preprocessing)
    if isinstance(weights, str) and "/" not in weights and not Path(weights).suffix:
        known = ["default", *names] if names else []
        kind = f"weights of {entry.name!r} (and no file of that name)"
        raise UnknownNameError(kind, weights, known, call="create_model")
    file = WeightsFile.read(weights)
    return file, WeightsInfo.from_metadata(str(weights), file.metadata)


def create_seeded_model(name: str, seed: int, **arguments: Any) -> nn.Module:
    """Build a network whose random weights depend on `seed` alone; torch's global generator stays as it is.

    Example:
        >>> one, two = create_seeded_model("mlp", 7), create_seeded_model("mlp", 7)
        >>> all(a.equal(b) for a, b in zip(one.parameters(), two.parameters()))
        True
    """
    seed = as_int("seed", seed, at_least=0)
    if seed >= 2**63:
        raise UsageError(f"seed is {seed}; it must be below 2**63.", call="create_seeded_model")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return create_model(name, **arguments)
