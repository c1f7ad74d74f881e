"""Reading what `torch.save` wrote of a state dict, without running anything that stands in it.

torch's files are pickles, and a pickle can name any function to call. torch's own reader is told to accept tensors
only (`weights_only=True`); before that the archive around the pickle is looked at, because names and sizes in it come
from whoever made the file.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from convscope.errors import WeightsError, printable

__all__ = ["read_archive"]

_ENTRIES_AT_MOST = 100_000
# Keys under which training scripts put the state dict, and what torch.compile and DataParallel put before every key.
_WRAPPERS = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("_orig_mod.", "module.", "_orig_mod.")


def read_archive(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a `.pth` or `.pt` file.

    A state dict inside a checkpoint (`state_dict`, `model`) is found; `module.` and `_orig_mod.` before every key,
    which `DataParallel` and `torch.compile` put there, are taken off.

    Raises:
        WeightsError: a damaged file, an archive that is not as torch writes it, code in it, no state dict.
    """
    try:
        zipped = zipfile.is_zipfile(path)
        with path.open("rb") as file:
            pickled = zipped or file.read(1) == b"\x80"  # as torch's legacy files begin
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror or error}") from error
    if zipped:
        _check_archive(path)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        text = " ".join(str(error).split())
        if "nsupported" in text and pickled:  # a global, or an operation, that tensors do not need
            raise _refused(
                path, f"hold code or objects that are no tensors ({_named(text)}); not run"
            ) from error
        raise _refused(path, f"are damaged: {text[:200]}") from error
    except Exception as error:  # torch's reader raises every kind of error on garbage
        raise _refused(
            path, f"are damaged: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    return _state_of(path, content)


def _check_archive(path: Path) -> None:
    """Refuse an archive that is not as torch writes it: one folder, stored as it is, one pickle."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _refused(path, f"are damaged: {error}") from error
    names = [PurePosixPath(entry.filename) for entry in entries]
    if len(entries) > _ENTRIES_AT_MOST:
        raise _refused(path, f"hold {len(entries)} entries, more than {_ENTRIES_AT_MOST}")
    if len({entry.filename for entry in entries}) != len(entries):
        raise _refused(path, "hold an entry twice")
    if any(name.is_absolute() or ".." in name.parts or "\\" in str(name) for name in names):
        raise _refused(path, "hold an entry that points outside the archive")
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
        raise _refused(path, "hold compressed or encrypted entries, which torch does not write")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise _refused(path, "claim more bytes than the file has")
    if any(name.name == "constants.pkl" or "code" in name.parts[1:-1] for name in names):
        raise _refused(path, "are a TorchScript program, which holds code; save the state dict instead")
    if sum(name.name == "data.pkl" for name in names) != 1 or len({name.parts[0] for name in names}) != 1:
        raise _refused(path, "are no archive of one state dict")
    with zipfile.ZipFile(path) as archive:  # torch itself does not look at the checksums of the parts
        try:
            damaged = archive.testzip()
        except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
            raise _refused(path, f"are damaged: {error}") from error
    if damaged is not None:
        raise _refused(path, f"are damaged: the checksum of {printable(damaged[:100])} is wrong")


def _state_of(path: Path, content: Any) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    ):
        raise _refused(path, f"hold no state dict but {_kind_of(content)}")
    state = dict(content)
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _kind_of(content: Any) -> str:
    if not isinstance(content, dict) or not content:
        return f"a {type(content).__name__}"
    other = [str(key) for key, value in content.items() if not isinstance(value, Tensor)][:5]
    return (
        f"a dict with other entries, such as {printable(', '.join(other)[:200])}; save the state dict alone"
    )


def _named(text: str) -> str:
    """Return the part of torch's long message that names what it met."""
    start = text.find("nsupported")
    return text[start - 1 :].split(". ")[0][:120]


def _refused(path: Path, why: str) -> WeightsError:
    return WeightsError(f"weights {str(path)!r} {why}.", call="load_weights")
