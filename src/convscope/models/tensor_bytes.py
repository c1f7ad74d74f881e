"""Reading safetensors that anybody may have made: the header is judged before a tensor is made of it.

The format is 8 bytes that say how long the header is, the header as a JSON object (name to type, shape and place), and
the numbers. The library that reads it takes the last of two entries of one name, and any number of them; here such
files are refused, quickly, and with what is wrong in words.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

__all__ = ["metadata_of", "read_tensors", "tensors_of"]

_HEADER_AT_MOST = 16_000_000  # bytes
_TENSORS_AT_MOST = 20_000
_COLONS_AT_MOST = 10 * _TENSORS_AT_MOST  # four in an entry, and those in names and metadata
_BYTES = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "U8": 1, "I8": 1, "I16": 2, "I32": 4, "I64": 8, "BOOL": 1}


def tensors_of(content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors that the bytes of a safetensors file hold, and its metadata.

    Raises:
        ValueError: the header is damaged, of a size or depth that nobody needs, names an entry twice, or does not
            describe these bytes: exactly, without holes, in dense types of plain numbers.
    Example:
        >>> import torch
        >>> tensors_of(safetensors.torch.save({"a": torch.ones(2)}, {"by": "me"}))
        ({'a': tensor([1., 1.])}, {'by': 'me'})
        >>> tensors_of(b"PK")
        Traceback (most recent call last):
        ValueError: it has 2 bytes, no safetensors header
    """
    metadata = _checked(content, len(content))
    try:
        return safetensors.torch.load(content), metadata
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a safetensors file, and its metadata; numbers are read when they are used.

    Raises:
        OSError: the file cannot be read.
        ValueError: as of `tensors_of`.
    """
    metadata = _checked(_beginning(path), path.stat().st_size)
    try:
        return safetensors.torch.load_file(path), metadata
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def metadata_of(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file, of which only the header is read.

    Raises:
        OSError: the file cannot be read.
        ValueError: as of `tensors_of`.
    """
    return _checked(_beginning(path), path.stat().st_size)


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        start = file.read(8)
        return start + file.read(min(int.from_bytes(start, "little"), _HEADER_AT_MOST))


def _checked(content: bytes, num_bytes: int) -> dict[str, str]:
    """Check the header at the beginning of a file of so many bytes, and return its metadata."""
    header, start = _header_of(content, num_bytes)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are no texts")
    if len(header) > _TENSORS_AT_MOST:
        raise ValueError(f"it names {len(header):,} tensors, more than {_TENSORS_AT_MOST:,}")
    end = 0
    for first, last in sorted(_place_of(name, entry) for name, entry in header.items()):
        if first != end:
            raise ValueError("its tensors overlap or leave holes")
        end = last
    if end != num_bytes - start:
        raise ValueError(f"its header describes {end:,} bytes of numbers, it has {num_bytes - start:,}")
    return metadata


def _header_of(content: bytes, num_bytes: int) -> tuple[dict[str, Any], int]:
    """Return the header and where the numbers begin."""
    length = int.from_bytes(content[:8], "little")
    if num_bytes < 10:
        raise ValueError(f"it has {num_bytes} bytes, no safetensors header")
    if length > _HEADER_AT_MOST:
        raise ValueError(f"its header claims {length:,} bytes, more than {_HEADER_AT_MOST:,}")
    if length > num_bytes - 8:
        raise ValueError(f"its header claims {length:,} bytes, the file has {num_bytes:,}")
    if content.count(b":", 8, 8 + length) > _COLONS_AT_MOST:  # so that a million are not even read
        raise ValueError(f"its header has more entries than {_TENSORS_AT_MOST:,} tensors need")
    try:
        header = json.loads(content[8 : 8 + length], object_pairs_hook=_without_twins)
    except RecursionError as error:
        raise ValueError("its header is nested too deep") from error
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    return header, 8 + length


def _without_twins(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its header names an entry twice")
    return found


def _place_of(name: str, entry: object) -> tuple[int, int]:
    """Return where a tensor begins and ends, which must be as long as its type and shape say."""
    shown = ascii(name[:100])
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"its header has no dtype, shape and data_offsets for {shown}")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _BYTES:
        raise ValueError(f"it holds {shown}, which is no dense tensor of plain numbers ({ascii(kind)[:100]})")
    if not _are_sizes(shape) or len(shape) > 8 or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"its header has no sizes as shape and data_offsets of {shown}")
    first, last = offsets
    if last - first != math.prod(shape) * _BYTES[kind]:
        raise ValueError(f"its header gives {shown} a place of another length than its shape")
    return first, last


def _are_sizes(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**48 for value in values)
