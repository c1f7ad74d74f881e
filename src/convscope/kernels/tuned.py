"""The routes that were measured on this machine, kept in a file a processor, torch version and build of the kernels."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path

import torch

from convscope.download import cache_folder
from convscope.files import make_folder, write_json
from convscope.kernels.cases import Case
from convscope.kernels.cpu import processor
from convscope.kernels.library import load

__all__ = ["keep", "path", "tuned"]


def path() -> Path:
    """Return where the answers for this machine are kept."""
    name = f"routes-{processor().key}-torch-{torch.__version__}-{load().digest}.json"
    return cache_folder("kernels") / name


@functools.cache
def tuned() -> Mapping[Case, str]:
    """Return the fastest route of every case that was timed here."""
    try:
        rows = json.loads(path().read_text("utf-8"))
        return {_case(row["case"]): str(row["route"]) for row in rows}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}  # nothing was measured, or the file is damaged: the rules decide


def keep(found: Mapping[Case, str]) -> None:
    """Add answers to those on disk, in place of older ones for the same cases."""
    tuned.cache_clear()
    every = {**tuned(), **found}
    make_folder(path().parent)
    write_json(path(), [{"case": case._asdict(), "route": route} for case, route in every.items()])
    tuned.cache_clear()


def _case(fields: dict[str, object]) -> Case:
    return Case(**{name: tuple(each) if isinstance(each, list) else each for name, each in fields.items()})  # pyright: ignore[reportArgumentType]
