"""Weights on disk: safetensors with string metadata, never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from convscope.errors import RunError, UsageError
from convscope.files import write_bytes

__all__ = ["load_weights", "read_metadata", "save_weights"]


def save_weights(network: nn.Module, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write the state dict of a network, whole or not at all; the same weights make the same bytes.

    Tensors that share memory (tied weights) are written under each of their names.

    Raises:
        OutputError: the file cannot be written.
    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "weights.safetensors"
        >>> save_weights(nn.Linear(2, 3), path, {"arch": "linear"})
        >>> read_metadata(path), sorted(safetensors.torch.load_file(path))
        ({'arch': 'linear'}, ['bias', 'weight'])
    """
    tensors = {
        key: value.detach().to("cpu").clone().contiguous() for key, value in network.state_dict().items()
    }
    write_bytes(path, _with_metadata(safetensors.torch.save(tensors), metadata or {}))


def _with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """Put metadata into the header in the order given; the library writes it in a random one."""
    length = int.from_bytes(content[:8], "little")
    header = {"__metadata__": dict(metadata), **json.loads(content[8 : 8 + length])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def load_weights(network: nn.Module, path: str | Path) -> dict[str, str]:
    """Load a `.safetensors` file into a network, strictly, and return the file's metadata.

    Raises:
        UsageError: no such file, another format, or keys and shapes that do not match the network.
        RunError: the file is damaged.
    """
    path = _weights_file(path)
    try:
        state = safetensors.torch.load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(
            f"weights {str(path)!r} are damaged: {_one_line(error)}.", call="load_weights"
        ) from error
    wanted = network.state_dict()
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or unexpected:
        raise UsageError(
            f"weights {str(path)!r} are of another network: {len(missing)} keys are missing"
            f"{_such_as(missing)}, {len(unexpected)} are not the network's{_such_as(unexpected)}.",
            call="load_weights",
        )
    for key, tensor in state.items():
        if tensor.shape != wanted[key].shape:
            raise UsageError(
                f"weights {str(path)!r} have {key} of shape {tuple(tensor.shape)}, the network "
                f"{tuple(wanted[key].shape)}; build it with the same options.",
                call="load_weights",
            )
        if tensor.is_floating_point() != wanted[key].is_floating_point():
            raise UsageError(
                f"weights {str(path)!r} have {key} as {tensor.dtype}, the network {wanted[key].dtype}.",
                call="load_weights",
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise RunError(f"weights {str(path)!r} hold NaN or infinity in {key}.", call="load_weights")
    with torch.no_grad():
        network.load_state_dict(state, strict=True)
    return read_metadata(path)


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return the string metadata of a `.safetensors` file."""
    path = _weights_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(
            f"weights {str(path)!r} are damaged: {_one_line(error)}.", call="read_metadata"
        ) from error


def _weights_file(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UsageError(
            f"weights {str(path)!r} are no .safetensors file; only that format is read.", call="load_weights"
        )
    if not path.is_file():
        raise UsageError(f"weights {str(path)!r} do not exist.", call="load_weights")
    return path


def _such_as(keys: list[str]) -> str:
    return f" ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})" if keys else ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
