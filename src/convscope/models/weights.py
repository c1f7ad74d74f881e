"""Weights on disk: safetensors with string metadata are written, and torch's own files read; nothing is ever run."""

from __future__ import annotations

import json
import os
import stat
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from convscope.download import sha256_of
from convscope.errors import UsageError, WeightsError, printable
from convscope.files import write_bytes
from convscope.models.preprocessing import WeightsInfo
from convscope.models.published import sha256_prefix
from convscope.models.state_archive import read_archive
from convscope.models.tensor_bytes import metadata_of, read_tensors

__all__ = ["HeadReplacedWarning", "WeightsFile", "load_weights", "read_metadata", "save_weights"]

_NAMED = 8  # keys in one message
_SUFFIXES = (".safetensors", ".pth", ".pt")
_TYPES = {
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
}  # fmt: skip


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


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file of weights that was read and found sound, not yet in a network."""

    path: Path
    state: dict[str, Tensor]
    metadata: dict[str, str]

    @classmethod
    def read(cls, path: str | Path) -> WeightsFile:
        """Read a `.safetensors`, `.pth` or `.pt` file; the errors are those of `load_weights`."""
        path = _weights_file(path)
        state, metadata = read_state(path)
        return cls(path, state, metadata)

    def num_classes(self, head: Sequence[str]) -> int | None:
        """Return how many outputs the head in the file has, None if it has none of these modules."""
        found = (self.state.get(f"{name}.weight") for name in head)
        return next((len(weight) for weight in found if weight is not None and weight.dim()), None)

    def load_into(self, network: nn.Module, head: Sequence[str] = (), optional: Sequence[str] = ()) -> None:
        """Put the tensors into a network, all or none; arguments and errors are those of `load_weights`."""
        wanted, state = network.state_dict(), dict(self.state)
        for name in optional:
            if not any(key.startswith(f"{name}.") for key in wanted):
                state = {key: value for key, value in state.items() if not key.startswith(f"{name}.")}
        for key, value in wanted.items():
            # Files from before torch 0.4.1 do not count batches.
            if key.endswith(".num_batches_tracked") and key not in state:
                state[key] = value
        replaced = _fit_head(state, wanted, head)
        _check_layout(self.path, state, wanted)
        state = {key: tensor.to(wanted[key].dtype) for key, tensor in state.items()}
        for key, tensor in state.items():
            if tensor.is_floating_point() and not _is_finite(tensor):
                raise WeightsError(
                    f"weights {str(self.path)!r} hold NaN or infinity in {_named(key)}, as {tensor.dtype}.",
                    call="load_weights",
                )
        with torch.no_grad():
            network.load_state_dict(state, strict=True)
        if replaced:
            of_file, of_network = replaced
            warnings.warn(
                f"{self.path.name} knows {of_file} classes, the network has {of_network}: its head {', '.join(head)} "
                "starts untrained.",
                HeadReplacedWarning,
                stacklevel=4,
            )


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
    file = WeightsFile.read(path)
    file.load_into(network, head, optional)
    return file.metadata


def _is_finite(tensor: Tensor) -> bool:
    """Tell whether no value is NaN or infinite, in one pass and without a copy."""
    return not tensor.numel() or bool(torch.stack(torch.aminmax(tensor)).isfinite().all())


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
        f"{_named(key)} {tuple(state[key].shape)} for {tuple(wanted[key].shape)}"
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
    try:
        found = sha256_of(path) if promised is not None else ""
    except OSError as error:
        raise _unreadable(path, error) from error
    if promised is not None and not found.startswith(promised):
        date = ", or is a date" if promised.isdigit() else ""
        raise WeightsError(
            f"weights {str(path)!r} were changed or damaged: the SHA-256 begins with {found[: len(promised)]}, the "
            f"name says {promised}. Fetch them again, or rename the file if you changed it yourself and that is no "
            f"checksum{date}.",
            call="load_weights",
        )
    if path.suffix.lower() == ".safetensors":
        try:
            state, metadata = read_tensors(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        except ValueError as error:
            raise WeightsError(
                f"weights {str(path)!r} are damaged: {_one_line(error)}.", call="load_weights"
            ) from error
    else:
        state, metadata = read_archive(path), {}
    for key, tensor in state.items():
        plain = tensor.layout == torch.strided and not tensor.is_nested and tensor.device.type == "cpu"
        if not plain or tensor.dtype not in _TYPES:
            raise WeightsError(
                f"weights {str(path)!r} hold {_named(key)}, which is no dense tensor of plain numbers ({tensor.dtype}, "
                f"{tensor.layout}, {tensor.device.type}).",
                call="load_weights",
            )
    return state, metadata


def _unreadable(path: Path, error: OSError) -> WeightsError:
    return WeightsError(
        f"weights {str(path)!r} cannot be read: {error.strerror or error}.", call="load_weights"
    )


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return the string metadata of a `.safetensors` file, {} of another."""
    path = _weights_file(path)
    if path.suffix.lower() != ".safetensors":
        return {}
    try:
        return metadata_of(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise WeightsError(
            f"weights {str(path)!r} are damaged: {_one_line(error)}.", call="read_metadata"
        ) from error


def _weights_file(path: str | Path) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise UsageError(
            f"weights are a {type(path).__name__}; give a name or the path of a file.", call="load_weights"
        )
    path = Path(path).expanduser()
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(
            f"weights {str(path)!r} are no .safetensors, .pth or .pt file; only these are read.",
            call="load_weights",
        )
    try:
        kind = path.stat().st_mode
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise UsageError(f"weights {str(path)!r} do not exist.", call="load_weights") from error
        raise UsageError(
            f"weights {str(path)[:200]!r} cannot be read: {error.strerror or error}.", call="load_weights"
        ) from error
    if not stat.S_ISREG(kind):
        raise UsageError(f"weights {str(path)!r} are no regular file.", call="load_weights")
    return path


def _named(key: str) -> str:
    """Return a key out of a file, safe to print and not endless."""
    return printable(key if len(key) <= 100 else key[:97] + "...")


def _such_as(keys: list[str]) -> str:
    return (
        f" ({', '.join(map(_named, keys[:_NAMED]))}{', ...' if len(keys) > _NAMED else ''})" if keys else ""
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
