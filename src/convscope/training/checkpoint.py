"""A run's exact position as a folder of its own, so that it goes on as if it had never stopped.

    checkpoints/step-000123/   weights.safetensors    the network as it is evaluated
                               training.safetensors   the optimiser, and the trained weights where those differ
                               position.json          position, SHA-256 of both, and of itself
    LATEST, BEST               the name of such a folder

A checkpoint is written under another name, brought to the disk file by file, then the folder; then it gets its name,
its parent is brought to the disk, and `LATEST` is replaced. Whatever fails between leaves the one before, which is
deleted only when enough newer ones are there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from convscope.download import sha256_of
from convscope.errors import RunError
from convscope.files import flush, output_error, write_bytes, write_json, write_text

__all__ = ["BEST", "CHECKPOINTS", "LATEST", "WEIGHTS", "Checkpoint", "Checkpoints", "Position"]

CHECKPOINTS, LATEST, BEST = "checkpoints", "LATEST", "BEST"
WEIGHTS, TRAINING, POSITION = "weights.safetensors", "training.safetensors", "position.json"
_VERSION = 1
_NAME = re.compile(r"step-(\d+)")


@dataclass(slots=True)
class Position:
    """How far training has come: `step` steps into `epoch`, with that epoch's sums so far.

    Attributes:
        lr_scale: what the recipe's learning rate is multiplied with, below 1 after a rollback.
        best: the best accuracy so far; below 0 before the first.
        sizes: bytes of each file of JSON lines that belong to the steps so far.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    num_right: float = 0.0
    num_seen: int = 0
    lr_scale: float = 1.0
    rollbacks: int = 0
    best: float = -1.0
    sizes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint that was found whole."""

    path: Path
    position: Position

    @property
    def weights(self) -> Path:
        """The file of the network's weights as they are evaluated."""
        return self.path / WEIGHTS

    def training_tensors(self) -> dict[str, Tensor]:
        """Return the tensors that training goes on from, by the names under which they were saved."""
        try:
            return safetensors.torch.load((self.path / TRAINING).read_bytes())
        except (SafetensorError, OSError, ValueError) as error:
            raise _unusable(self.path / TRAINING, error) from error


class Checkpoints:
    """The checkpoints of a run folder.

    Args:
        path: the run folder.
        keep: how many of the newest stay; the best stays besides.
    """

    def __init__(self, path: Path, keep: int = 3) -> None:
        self.path, self.folder, self.keep = path, path / CHECKPOINTS, keep

    def save(
        self,
        number: int,
        write_weights: Callable[[Path], None],
        training: Mapping[str, Tensor],
        position: Position,
        *,
        best: bool = False,
    ) -> None:
        """Write a checkpoint whole or not at all, and point `LATEST`, and `BEST` if it is, to it.

        Raises:
            OutputError: it cannot be written; the ones before stay as they are.
        """
        name = f"step-{number:06d}"
        place, temporary = self.folder / name, self.folder / f".{name}.tmp-{os.getpid()}"
        try:
            self.folder.mkdir(exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            write_weights(temporary / WEIGHTS)
            write_bytes(temporary / TRAINING, safetensors.torch.save(dict(training)))
            facts = {
                "version": _VERSION,
                "position": asdict(position),
                "sha256": {file: sha256_of(temporary / file) for file in (WEIGHTS, TRAINING)},
            }
            write_json(temporary / POSITION, {**facts, "own_sha256": _digest(facts)})
            flush(temporary)
            if place.exists():  # left by a run that went on from an earlier one
                shutil.rmtree(place)
            temporary.rename(place)
            flush(self.folder)
            write_text(self.path / LATEST, name + "\n")
            if best:
                write_text(self.path / BEST, name + "\n")
        except OSError as error:
            raise output_error("train", place, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._prune()

    def latest(self, warn: Callable[[str], None] = lambda message: None) -> Checkpoint:
        """Return the newest checkpoint that is whole: the one that `LATEST` names, or one before it.

        Args:
            warn: called with a line for each that is damaged.
        Raises:
            RunError: there is none; the message names what is damaged.
        """
        damaged: list[str] = []
        for place in self._candidates():
            try:
                return self.read(place)
            except RunError as error:
                damaged.append(error.message)
                warn(f"{error.message} The checkpoint before it is used.")
        if damaged:
            raise RunError(f"{damaged[0]} There is no other checkpoint; start a new run.", call="train")
        raise RunError(
            f"{str(self.path)!r} has no checkpoint; start a run there without resume.", call="train"
        )

    def best(self) -> Checkpoint:
        """Return the checkpoint with the best measured accuracy.

        Raises:
            RunError: nothing was measured yet, or it is damaged.
        """
        name = _pointer(self.path / BEST)
        if name is None:
            raise RunError(f"{str(self.path)!r} has no best checkpoint: nothing was measured yet.")
        return self.read(self.folder / name)

    def read(self, place: Path) -> Checkpoint:
        """Check one checkpoint against its checksums and return it.

        Raises:
            RunError: a file is missing or not as it was written.
        """
        try:
            facts = json.loads((place / POSITION).read_bytes())
            if not isinstance(facts, dict) or facts.pop("own_sha256", None) != _digest(facts):
                raise ValueError("it is not as it was written")
            if facts["version"] != _VERSION:
                raise ValueError(
                    f"it is of version {facts['version']}, this program reads version {_VERSION}"
                )
            position = Position(**facts["position"])
            checksums: dict[str, Any] = facts["sha256"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _unusable(place / POSITION, error) from error
        for file, checksum in checksums.items():
            try:
                found = sha256_of(place / file)
            except OSError as error:
                raise _unusable(place / file, error) from error
            if found != checksum:
                raise _unusable(place / file, ValueError("its SHA-256 is not the one it was written with"))
        return Checkpoint(place, position)

    def forget_newer(self, than: Checkpoint) -> None:
        """Remove checkpoints of steps that will be taken again; a run resumed from an earlier one writes them anew."""
        for place in self._places():
            if _number(place) > _number(than.path):
                shutil.rmtree(place, ignore_errors=True)

    def exist(self) -> bool:
        """Tell whether there is any checkpoint, whole or not."""
        return any(self._places())

    def _candidates(self) -> Iterator[Path]:
        """Yield what `LATEST` names, then the others, newest first."""
        places = sorted(self._places(), key=_number, reverse=True)
        name = _pointer(self.path / LATEST)
        named = [place for place in places if place.name == name]
        yield from named
        yield from (place for place in places if place not in named)

    def _places(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [place for place in self.folder.iterdir() if _NAME.fullmatch(place.name)]

    def _prune(self) -> None:
        kept = {_pointer(self.path / LATEST), _pointer(self.path / BEST)}
        for place in sorted(self._places(), key=_number)[: -self.keep]:
            if place.name not in kept:
                shutil.rmtree(place, ignore_errors=True)
        for left in self.folder.glob(
            ".step-*.tmp-*"
        ):  # of a process that was killed; the folder is ours alone
            shutil.rmtree(left, ignore_errors=True)


def _number(place: Path) -> int:
    match = _NAME.fullmatch(place.name)
    assert match is not None
    return int(match[1])


def _pointer(path: Path) -> str | None:
    try:
        name = path.read_text("utf-8").strip()
    except (OSError, ValueError):
        return None
    return name if _NAME.fullmatch(name) else None


def _digest(facts: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _unusable(path: Path, error: Exception) -> RunError:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return RunError(f"{str(path)!r} cannot be used: {reason}.", call="train")
