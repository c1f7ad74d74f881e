"""Why a network could not take an input: the first operator that failed, the shapes, and sizes that fit."""

from __future__ import annotations

import itertools
import time
from typing import Any

import torch
from torch import Tensor, nn

from convscope.errors import ConvscopeError, ShapeError, UsageError
from convscope.trace.capture import Capture
from convscope.trace.engines import ShapeEngine, rebuilt, tensors_in
from convscope.trace.guard import Mode, unchanged
from convscope.trace.index import NetworkIndex

__all__ = ["refusal"]

_SECONDS = 2.0  # spent at most on looking for sizes that fit


def refusal(
    network: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    mode: Mode,
    capture: Capture,
    error: Exception,
) -> Exception:
    """Return the error to raise for a network that raised `error`."""
    path = capture.stack[-1].path if capture.stack else ""
    kind = capture.stack[-1].kind if capture.stack else type(network).__name__
    where = f"{path} ({kind})" if path else f"the network ({kind})"
    if isinstance(error, UsageError) and error.call == "trace":
        return UsageError(f"in {where}: {error.message}", call="trace")
    if isinstance(error, (MemoryError, KeyboardInterrupt)):
        return error
    message = " ".join(str(error).split()) or type(error).__name__
    given = ", ".join(str(tuple(tensor.shape)) for tensor in tensors_in((args, kwargs)))
    if any(words in message for words in ("Meta tensor", "meta tensor", "meta device", "same device, found")):
        return UsageError(
            f"in {where}: the network needs values here ({_shortened(message)}); "
            "give a real tensor instead of a shape.",
            call="trace",
        )
    if capture.failed is not None:
        operator, shapes = capture.failed
        listed = " and ".join(map(str, shapes))
        what = f"operator {operator} in {where} cannot take {listed}: {_shortened(message)}"
    else:
        what = f"{where} refuses: {_shortened(message)}"
    if not isinstance(error, (RuntimeError, ValueError, IndexError, AssertionError, ConvscopeError)):
        return UsageError(
            f"input {given}: {where} raises {type(error).__name__}: {_shortened(message)}", call="trace"
        )
    hint = _sizes_that_fit(network, args, kwargs, mode)
    return ShapeError(f"input {given}: {_full_stop(what)} {hint}".strip(), call="trace")


def _shortened(message: str) -> str:
    return message if len(message) <= 300 else message[:297] + "..."


def _full_stop(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."


def _sizes_that_fit(network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], mode: Mode) -> str:
    """Try shapes near the one given, and what the first layer wants."""
    given = tensors_in((args, kwargs))
    if not given or given[0].dim() < 2:
        return ""
    shape: list[int] = list(given[0].shape)
    deadline = time.monotonic() + _SECONDS
    tried: dict[tuple[int, ...], bool] = {}

    def fits(wanted: tuple[int, ...]) -> bool:
        if wanted not in tried:
            late = time.monotonic() > deadline
            tried[wanted] = (
                not late and min(wanted) > 0 and _runs(network, args, kwargs, mode, tuple(shape), wanted)
            )
        return tried[wanted]

    channels, features = _wanted_by_the_first_layer(network)
    if len(shape) == 2:
        wanted = (shape[0], features or 0)
        return f"It takes {wanted}." if features != shape[1] and fits(wanted) else ""
    if len(shape) > 2 and fits((1, *shape)):
        return f"It takes {(1, *shape)}: the batch axis is missing."
    first = len(shape) - 1 if len(shape) == 3 else 2  # axes from here on are positions
    guesses = list(dict.fromkeys((channels or shape[1], shape[1])))
    for guess in guesses:
        wanted = (shape[0], guess, *shape[2:])
        if guess != shape[1] and fits(wanted):
            return f"It takes {wanted}: {guess} channels."
    for guess in guesses:
        below = above = None
        for sizes in _nearby(tuple(shape[first:])):
            wanted = (*shape[:1], guess, *shape[2:first], *sizes) if first > 1 else (*shape[:first], *sizes)
            smaller = sum(sizes) < sum(shape[first:])
            if (smaller and below) or (not smaller and above) or not fits(wanted):
                continue
            below, above = (wanted, above) if smaller else (below, wanted)
            if below and above:
                break
        found = [str(size) for size in (below, above) if size]
        if found:
            return f"The nearest input sizes that fit: {' and '.join(found)}."
    for length in sorted(_USUAL, key=lambda n: abs(n - shape[-1])):
        for guess in guesses:
            wanted = (shape[0], guess, *[length] * (len(shape) - 2))
            if fits(wanted):
                return f"It takes {wanted}."
    return "No size near it was found to fit."


_USUAL = (28, 32, 64, 96, 128, 224, 256, 299, 320, 384, 512)


def _nearby(sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return sizes around these, the nearest first: one axis moved, all moved alike, rounded to powers of two."""
    found: dict[tuple[int, ...], None] = {}
    for distance in (*range(1, 33), 48, 64, 96, 128):
        for sign in (1, -1):
            found[tuple(n + sign * distance for n in sizes)] = None
            if distance <= 16:
                for axis in range(len(sizes)):
                    found[tuple(n + sign * distance * (a == axis) for a, n in enumerate(sizes))] = None
    for step in (2, 4, 8, 16, 32):
        rounded = [((n // step) * step, -(-n // step) * step) for n in sizes]
        found.update((chosen, None) for chosen in itertools.product(*rounded))
    found[tuple(min(sizes) for _ in sizes)] = None
    found[tuple(max(sizes) for _ in sizes)] = None
    found.pop(sizes, None)
    if len(set(sizes)) == 1:
        found = {chosen: None for chosen in found if len(set(chosen)) == 1}  # a square stays one
    return sorted(found, key=lambda chosen: sum(abs(a - b) for a, b in zip(chosen, sizes, strict=True)))


def _wanted_by_the_first_layer(network: nn.Module) -> tuple[int | None, int | None]:
    """Return the channels or features that the first layer with such a number says it takes."""
    for module in network.modules():
        channels, features = getattr(module, "in_channels", None), getattr(module, "in_features", None)
        if isinstance(channels, int) or isinstance(features, int):
            return (
                channels if isinstance(channels, int) else None,
                features if isinstance(features, int) else None,
            )
    return None, None


def _runs(
    network: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    mode: Mode,
    shape: tuple[int, ...],
    wanted: tuple[int, ...],
) -> bool:
    def resized(value: Any) -> Any:
        if isinstance(value, Tensor):
            size = wanted if tuple(value.shape) == shape else tuple(value.shape)
            return torch.empty(size, dtype=value.dtype, device="meta")
        if isinstance(value, dict):
            return {key: resized(entry) for key, entry in value.items()}
        if isinstance(value, (tuple, list)):
            return rebuilt(value, list(map(resized, value)))
        return value

    index = NetworkIndex(network)
    with unchanged(index, mode) as copies:
        capture = Capture(index, ShapeEngine(), copies)
        try:
            with torch.no_grad(), capture.watching():
                network(*resized(args), **resized(kwargs))
        except Exception:  # whatever a network raises, this size does not fit
            return False
    return True
