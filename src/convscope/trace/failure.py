"""Why a network could not take an input: the first operator that failed, the shapes, and sizes that fit."""

from __future__ import annotations

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
    """Try shapes near the one given, and the channels that the first layer wants."""
    images = [tensor for tensor in tensors_in((args, kwargs)) if tensor.dim() >= 3]
    if not images:
        return ""
    shape = list(images[0].shape)
    deadline = time.monotonic() + _SECONDS
    tried: dict[tuple[int, ...], bool] = {}

    def fits(wanted: tuple[int, ...]) -> bool:
        if wanted not in tried:
            tried[wanted] = min(wanted) > 0 and _runs(network, args, kwargs, mode, tuple(shape), wanted)
        return tried[wanted]

    spatial = range(2, len(shape)) if len(shape) > 3 else range(len(shape) - 1, len(shape))
    for channels in _channel_guesses(network, shape[1]):
        wanted = (shape[0], channels, *shape[2:])
        if fits(wanted):
            return f"It takes {wanted}: {channels} channels."
    below = above = None
    for distance in (*range(1, 65), *(2**power for power in range(7, 10))):
        if time.monotonic() > deadline or (below and above):
            break
        larger = tuple(n + distance if axis in spatial else n for axis, n in enumerate(shape))
        smaller = tuple(n - distance if axis in spatial else n for axis, n in enumerate(shape))
        if above is None and fits(larger):
            above = larger
        if below is None and fits(smaller):
            below = smaller
    found = [str(size) for size in (below, above) if size]
    if found:
        return f"The nearest input sizes that fit: {' and '.join(found)}."
    side = [32, 64, 96, 128, 224, 256, 299, 320, 384, 512]
    for length in sorted(side, key=lambda n: abs(n - shape[-1])):
        if time.monotonic() > deadline:
            break
        for channels in dict.fromkeys((shape[1], *_channel_guesses(network, shape[1]))):
            wanted = tuple(
                length if axis in spatial else channels if axis == 1 else n for axis, n in enumerate(shape)
            )
            if fits(wanted):
                return f"It takes {wanted}."
    return "No size near it was found to fit."


def _channel_guesses(network: nn.Module, given: int) -> list[int]:
    for module in network.modules():
        channels = getattr(module, "in_channels", None)
        if isinstance(channels, int):
            return [channels] if channels != given else []
    return []


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
