"""Weights on disk: safetensors with string metadata are written, and torch's own files read; nothing is ever run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from convscope.download import sha256_of
from convscope.errors import UsageError, WeightsError
from convscope.files import write_bytes
from convscope.models.preprocessing import WeightsInfo
from convscope.models.published import sha256_prefix
from convscope.models.state_archive import read_archive

__all__ = ["HeadReplacedWarning", "load_weights", "read_metadata", "read_state", "save_weights"]

_NAMED = 8  # keys in one message


def save_weights(network: nn.Module, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write the state dict of a network, whole or not at all; the same weights make the same bytes.

    Tensors that share memory (tied weights) are written under each of their names. What a network of the zoo knows of
    its weights (`weights_info`: classes, preparation of images) is written too.

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
    info = getattr(network, "weights_info", None)
    known = info.to_metadata() if isinstance(info, WeightsInfo) else {}
    write_bytes(path, _with_metadata(safetensors.torch.save(tensors), {**known, **(metadata or {})}))


def _with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """Put metadata into the header in the order given; the library writes it in a random one."""
    length = int.from_bytes(content[:8], "little")
    header = {"__metadata__": dict(metadata), **json.loads(content[8 : 8 + length])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


class HeadReplacedWarning(UserWarning):
    """Weights for other classes were loaded: the layers that tell the classes apart are untrained."""


def load_weights(
    network: nn.Module,
    path: str | Path,
    *,
    head: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> dict[str, str]:
    """Load a file of weights into a network, strictly and whole, and return the file's metadata.

    Reads `.safetensors`, and what `torch.save` wrote of a state dict (`.pth`, `.pt`), without running any code in it
    (`state_archive.py`). A file whose name ends in -<sha256 prefix> must have that checksum.

    Args:
        head: names of the modules whose outputs are the classes. Where they differ only in the number of classes,
            the network keeps its own, untrained, and a `HeadReplacedWarning` says so.
        optional: names of modules that the file may hold and the network may lack; they are left out.
    Raises:
        UsageError: no such file, another format, or keys and shapes that do not match the network: all that is
            missing, unexpected and of another shape is told. The network is as before.
        WeightsError: the file is damaged, has another checksum than its name says, or holds code.
    """
    path = _weights_file(path)
    state, metadata = read_state(path)
    wanted = network.state_dict()
    for name in optional:
        if not any(key.startswith(f"{name}.") for key in wanted):
            state = {key: value for key, value in state.items() if not key.startswith(f"{name}.")}
    for key, value in wanted.items():
        # Files from before torch 0.4.1 do not count batches.
        if key.endswith(".num_batches_tracked") and key not in state:
            state[key] = value
    replaced = _fit_head(state, wanted, head)
    _check_layout(path, state, wanted)
    for key, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise WeightsError(f"weights {str(path)!r} hold NaN or infinity in {key}.", call="load_weights")
    with torch.no_grad():
        network.load_state_dict(state, strict=True)
    if replaced:
        of_file, of_network = replaced
        warnings.warn(
            f"{path.name} knows {of_file} classes, the network has {of_network}: its head {', '.join(head)} starts "
            "untrained.",
            HeadReplacedWarning,
            stacklevel=2,
        )
    return metadata


def _fit_head(
    state: dict[str, Tensor], wanted: dict[str, Tensor], head: Sequence[str]
) -> tuple[int, int] | None:
    """Take the network's own head where the file's has another number of classes, and return both numbers."""
    inside = [key for key in wanted if key in state and any(key.startswith(f"{name}.") for name in head)]
    other = [key for key in inside if state[key].shape != wanted[key].shape]
    counts = {(state[key].shape[:1], wanted[key].shape[:1]) for key in other}
    if len(counts) != 1 or any(state[key].shape[1:] != wanted[key].shape[1:] for key in other):
        return None
    for key in other:
        state[key] = wanted[key]
    ((of_file, of_network),) = counts
    return of_file[0], of_network[0]


def _check_layout(path: Path, state: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Refuse keys, shapes and kinds of numbers that are not the network's, and tell them all.

    Raises:
        UsageError: anything does not match.
    """
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    shared = [key for key in wanted if key in state]
    shapes = [
        f"{key} {tuple(state[key].shape)} for {tuple(wanted[key].shape)}"
        for key in shared
        if state[key].shape != wanted[key].shape
    ]
    kinds = [
        f"{key} {state[key].dtype} for {wanted[key].dtype}"
        for key in shared
        if state[key].is_floating_point() != wanted[key].is_floating_point()
    ]
    parts = [
        f"{len(found)} {what}{_such_as(found)}"
        for what, found in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", shapes),
            ("of another type", kinds),
        )
        if found
    ]
    if parts:
        raise UsageError(
            f"weights {str(path)!r} are of another network: of its {len(wanted)} tensors {', '.join(parts)}. Build it "
            "with the options it was saved with.",
            call="load_weights",
        )


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file of weights, and its metadata, {} of a `.pth` file.

    Raises:
        WeightsError: as in `load_weights`.
    """
    promised = sha256_prefix(path.name)
    if promised is not None and not (found := sha256_of(path)).startswith(promised):
        raise WeightsError(
            f"weights {str(path)!r} were changed or damaged: the SHA-256 begins with {found[: len(promised)]}, the "
            f"name says {promised}. Fetch them again, or rename the file if you changed it yourself.",
            call="load_weights",
        )
    if path.suffix != ".safetensors":
        return read_archive(path), {}
    try:
        return safetensors.torch.load_file(path), read_metadata(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"weights {str(path)!r} are damaged: {_one_line(error)}.", call="load_weights"
        ) from error


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return the string metadata of a `.safetensors` file, {} of another."""
    path = _weights_file(path)
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"weights {str(path)!r} are damaged: {_one_line(error)}.", call="read_metadata"
        ) from error


def _weights_file(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise UsageError(
            f"weights {str(path)!r} are no .safetensors, .pth or .pt file; only these are read.",
            call="load_weights",
        )
    if not path.is_file():
        raise UsageError(f"weights {str(path)!r} do not exist.", call="load_weights")
    return path


def _such_as(keys: list[str]) -> str:
    return f" ({', '.join(keys[:_NAMED])}{', ...' if len(keys) > _NAMED else ''})" if keys else ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
