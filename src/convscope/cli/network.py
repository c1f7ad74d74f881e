"""Which network a command means: a name of the zoo, a run folder, or `module:callable` of the user's own code."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.cli.output import int_list
from convscope.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from convscope.models import Preprocessing
    from convscope.training import Run

__all__ = ["OpenedNetwork", "open_for_images", "open_network", "picture_at"]

_OWN_SHAPE = (3, 224, 224)  # of images for the user's own code, which does not say what it takes


@dataclass(frozen=True, slots=True)
class OpenedNetwork:
    """A network, what to call it, and the input that it gets when nothing else is asked.

    `shape` is (N, C, H, W) or whatever was asked; None for a user's network without --input.
    `fixed_size` tells that the network is to get no other height and width: they were asked for, or a layer depends on
    them. `options` are those, besides weights, that a network of the zoo was created with.
    """

    name: str
    network: nn.Module
    shape: tuple[int, ...] | None
    run: Run | None = None
    preprocessing: Preprocessing | None = None
    fixed_size: bool = False
    options: dict[str, object] = field(default_factory=dict)

    def given(self, image: Path | None = None) -> Tensor | tuple[int, ...]:
        """Return what to trace: the picture, prepared for this network, or the shape.

        Raises:
            UsageError: neither is known.
        """
        if image is not None:
            return self._prepared(image)
        if self.shape is None:
            raise UsageError(
                f"{self.name!r} does not say what it takes; give --input, such as --input 1x3x224x224.",
                call="input",
            )
        return self.shape

    def _prepared(self, image: Path) -> Tensor:
        from convscope.data import prepare, preprocess

        picture = picture_at(image)
        if self.run is not None:
            return self.run.prepare(picture)
        if self.preprocessing is not None:
            return preprocess(picture, self.preprocessing)
        if self.shape is None:
            channels, size = 3, picture.shape[:2]
        elif len(self.shape) != 4:
            raise UsageError(
                f"--image needs a network of images; --input {self.shape} is none.", call="input"
            )
        else:
            channels, size = self.shape[1], self.shape[2:]
        height, width = size
        return prepare(picture, (0.0,) * channels, (1.0,) * channels, channels, (height, width))


def picture_at(path: Path) -> np.ndarray:
    """Return a decoded picture, or for `cat` the packaged one."""
    from convscope.data import cat, decode_image

    return cat() if str(path) == "cat" else decode_image(path)


def open_network(
    spec: str,
    input: str | None = None,
    *,
    image: Path | None = None,
    seed: int = 0,
    train: bool = False,
    weights: str | None = None,
) -> OpenedNetwork:
    """Open a network, in evaluation mode unless `train`.

    Args:
        spec: a name of the zoo (random weights by `seed`), a run folder, or `module:callable`, where the callable is a
            class or function that returns a module without arguments, or a module itself. Python finds the module
            as it finds any, and in the current folder.
        input: a shape such as 1x3x224x224; without the batch axis where the zoo knows the network.
        image: a picture: without --input, a network that takes every size gets the picture's own.
        weights: of a network of the zoo, as in `create_model`; pictures are then prepared as these want it.
    Raises:
        UsageError: a factory that is missing, that needs arguments, raises, or returns no module.
        UnknownNameError: no such network; the nearest names are told.
    Example:
        >>> open_network("lenet5").shape
        (1, 1, 28, 28)
    """
    shape = None if input is None else int_list("--input", input)
    if weights is not None and (Path(spec).is_dir() or ":" in spec):
        raise UsageError(
            "--weights is for networks of the zoo; runs and code bring their own.", call="network"
        )
    if ":" in spec and not Path(spec).exists():
        opened = OpenedNetwork(spec, _from_code(spec, seed), shape, fixed_size=shape is not None)
    elif Path(spec).is_dir():
        from convscope.training import Run

        run = Run.open(spec)
        opened = OpenedNetwork(
            spec, run.network(), shape or (1, *run.facts.input_shape), run, fixed_size=True
        )
    else:
        opened = _from_zoo(spec, shape, image, seed, weights)
    opened.network.train(train)
    return opened


def open_for_images(
    spec: str, batch_size: int, size: int | None
) -> tuple[OpenedNetwork, tuple[int, int, int, int]]:
    """Open a network to be timed on a batch of images; return it and the batch's shape.

    Args:
        size: pixels a side; None: those that the network was made for, 224 for the user's own code.
    Raises:
        UsageError: as `open_network`; a batch or size below 1; a network of something else than images.
    Example:
        >>> open_for_images("lenet5", 4, None)[1]
        (4, 1, 28, 28)
    """
    for flag, value in (("--batch-size", batch_size), ("--size", size)):
        if value is not None and value < 1:
            raise UsageError(f"{flag} is {value}; it must be at least 1.")
    wanted = None
    if size is not None:
        from convscope.models import list_models, model_entry

        if spec in list_models():
            wanted = f"{model_entry(spec).input_shape[0]}x{size}x{size}"
    opened = open_network(spec, wanted)
    image = _OWN_SHAPE if opened.shape is None else opened.shape[1:]
    if len(image) != 3:
        raise UsageError(f"{spec!r} takes inputs of shape {image}, no images (C, H, W).", call="network")
    channels, height, width = image if size is None else (image[0], size, size)
    return opened, (batch_size, channels, height, width)


def _from_zoo(
    spec: str, shape: tuple[int, ...] | None, image: Path | None, seed: int, weights: str | None
) -> OpenedNetwork:
    from convscope.models import create_seeded_model, list_models, model_entry, weights_info

    if spec not in list_models():
        error = UnknownNameError("model", spec, list_models())
        raise UsageError(
            f"{error.message} It may also be a run folder, or module:callable of your own code.",
            call="network",
        )
    entry = model_entry(spec)
    wanted = entry.input_shape if shape is None else shape[-3:]
    if shape is None and image is not None and not entry.takes_image_size:
        picture = picture_at(image)
        wanted = (entry.input_shape[0], *picture.shape[:2])
    options: dict[str, object] = {} if weights is None else {"weights": weights}
    if len(wanted) == 3:
        if wanted[0] != entry.input_shape[0]:
            options["in_channels"] = wanted[0]
        if entry.takes_image_size and tuple(wanted[1:]) != tuple(entry.input_shape[1:]):
            options["image_size"] = tuple(wanted[1:])
    network = create_seeded_model(spec, seed, **options)
    facts = None if weights is None or shape is not None else weights_info(network).preprocessing
    given = (1, *wanted) if shape is None or len(shape) == 3 else shape
    fixed = shape is not None or entry.takes_image_size
    options.pop("weights", None)
    return OpenedNetwork(spec, network, given, preprocessing=facts, fixed_size=fixed, options=options)


def _from_code(spec: str, seed: int) -> nn.Module:
    import torch
    from torch import nn

    name, _, attribute = spec.partition(":")
    if not name or not attribute:
        raise UsageError(f"{spec!r} is no module:callable, such as my_networks:build.", call="network")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the current folder, as python -m has it
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(
                f"there is no Python module {name!r} here or on the path; run from its folder.",
                call="network",
            ) from error
        raise UsageError(
            f"module {name!r} needs {error.name!r}, which is not installed.", call="network"
        ) from error
    except (Exception, SystemExit) as error:  # whatever the user's module raises when it is imported
        raise UsageError(
            f"module {name!r} cannot be imported: {type(error).__name__}: {_one_line(error)}", call="network"
        ) from error
    made: object = module
    for part in attribute.split("."):
        if not hasattr(made, part):
            known = [entry for entry in dir(made) if not entry.startswith("_")]
            raise UnknownNameError(f"callable of {name!r}", part, known, call="network")
        made = getattr(made, part)
    if not isinstance(made, nn.Module):
        if not callable(made):
            raise UsageError(
                f"{spec!r} is a {type(made).__name__}, no module and no callable.", call="network"
            )
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                made = made()
        except (Exception, SystemExit) as error:  # whatever the user's factory raises
            raise UsageError(
                f"{spec!r} raised {type(error).__name__}: {_one_line(error)}; it must work without arguments.",
                call="network",
            ) from error
    if not isinstance(made, nn.Module):
        raise UsageError(f"{spec!r} returned a {type(made).__name__}, no torch.nn.Module.", call="network")
    return made


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no message"
