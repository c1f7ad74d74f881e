"""A run's exact position as a folder of its own, so that it goes on as if it had never stopped.

    checkpoints/step-000123/   weights.safetensors    the network as it is evaluated
                               training.safetensors   the optimiser, and the trained weights where those differ
                               position.json          position, SHA-256 of both, and of itself
    LATEST, BEST               the name of such a folder

A checkpoint is written under another name, brought to the disk file by file, then the folder; then it gets its name,
its parent is brought to the disk, and `BEST`, if it is, and `LATEST` are replaced. Whatever fails between leaves the
one before, which is deleted only when enough newer ones are there. What `LATEST` does not name yet is no part of the
run: resuming removes it and takes its steps again.

Nothing in such a folder is trusted: checksums tell damage, and a forger who wrote them anew meets the same checks of
sizes, types and names as foreign weights do.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from convscope.download import sha256_of
from convscope.errors import RunError
from convscope.files import flush, output_error, write_bytes, write_text
from convscope.models.tensor_bytes import tensors_of

__all__ = ["BEST", "CHECKPOINTS", "LATEST", "WEIGHTS", "Checkpoint", "Checkpoints", "Position"]

CHECKPOINTS, LATEST, BEST = "checkpoints", "LATEST", "BEST"
WEIGHTS, TRAINING, POSITION = "weights.safetensors", "training.safetensors", "position.json"
_VERSION = 1
_NAME = re.compile(r"step-([0-9]{6,12})")
_FACTS_AT_MOST = 1_000_000  # bytes of position.json


@dataclass(slots=True)
class Position:
    """How far training has come: `step` steps into `epoch`, with that epoch's sums so far.

    Attributes:
        lr_scale: what the recipe's learning rate is multiplied with, below 1 after a rollback.
        best: the best accuracy so far that was saved; below 0 before the first.
        best_step: the number of its checkpoint; below 0 before the first.
        rollback_step: the number of the checkpoint that a rollback goes to: the newest one that the recipe asked for.
            One that a stop left is passed over, so that a run that was stopped comes to the same as one that was not.
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
    best_step: int = -1
    rollback_step: int = -1
    sizes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, facts: object) -> Position:
        """Read what `asdict` made of one.

        Raises:
            ValueError: a field is missing, too many, of another type or outside its range.
        """
        if not isinstance(facts, dict) or facts.keys() != set(cls.__slots__):
            raise ValueError("the position has other fields")
        sizes = facts["sizes"]
        if not isinstance(sizes, dict):
            raise ValueError("sizes are no table")
        counts = {**{name: facts[name] for name in ("epoch", "step", "num_seen", "rollbacks")}, **sizes}
        numbers = {name: facts[name] for name in ("loss_sum", "num_right", "lr_scale", "best")}
        steps = {name: facts[name] for name in ("best_step", "rollback_step")}
        for name, value in (*counts.items(), *numbers.items(), *steps.items()):
            kinds = (int, float) if name in numbers else (int,)
            if type(value) not in kinds or not (
                math.isfinite(value) if name in numbers else -2 < value < 2**53
            ):
                raise ValueError(f"{name} is {str(value)[:50]}")
        if min(counts.values()) < 0 or not 0 < facts["lr_scale"] <= 1:
            raise ValueError("a number is below 0, or the rate's scale not from 0 to 1")
        return cls(**facts)


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
        """Return the tensors that training goes on from, by the names under which they were saved.

        Raises:
            RunError: they cannot be read, or hold NaN or infinity.
        """
        try:
            tensors, _ = tensors_of((self.path / TRAINING).read_bytes())
            for key, value in tensors.items():
                if value.is_floating_point() and not bool(value.isfinite().all()):
                    raise ValueError(f"it holds NaN or infinity in {key[:100]!a}")
        except (OSError, ValueError) as error:
            raise _unusable(self.path / TRAINING, error) from error
        return tensors


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

        Args:
            number: the steps of the whole run so far. Training only ever saves steps after the checkpoint it goes on
                from, so what stands there already is a leftover that nobody counts on.
        Raises:
            OutputError: it cannot be written; the ones before stay as they are.
        """
        name = _name(number)
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
            write_bytes(temporary / POSITION, _text(facts))
            flush(temporary)
            if place.exists():  # left by a run that went on from an earlier one
                shutil.rmtree(place)
            temporary.rename(place)
            flush(self.folder)
            if best:  # first, as LATEST decides: a BEST that is too new is made again
                write_text(self.path / BEST, name + "\n")
            write_text(self.path / LATEST, name + "\n")
        except OSError as error:
            raise output_error("train", place, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):  # what cannot be removed now is removed after the next
            self._prune({name, _name(position.best_step), _name(position.rollback_step)})

    def latest(self, warn: Callable[[str], None] = lambda message: None) -> Checkpoint:
        """Return the newest checkpoint that is whole: the one that `LATEST` names, or one before it.

        Args:
            warn: called with a line for each that is damaged, once another is found.
        Raises:
            RunError: there is none; the message names what is damaged. Or one is of another version.
        """
        found, damaged = self.sound()
        for message in damaged if found is not None else ():
            warn(f"train: {message} The checkpoint before it is used.")
        if found is not None:
            return found
        if damaged:
            raise RunError(f"{damaged[0]} There is no other checkpoint; start a new run.", call="train")
        raise RunError(
            f"{str(self.path)!r} has no checkpoint; start a run there without resume.", call="train"
        )

    def sound(
        self, fits: Callable[[Checkpoint], None] = lambda found: None
    ) -> tuple[Checkpoint | None, list[str]]:
        """Return the newest checkpoint that is whole and fits, and what is wrong with each before it.

        Args:
            fits: raises ValueError, saying why, of one that cannot be used although it is whole.
        Raises:
            RunError: one is of another version.
        """
        damaged: list[str] = []
        for place in self._candidates():
            try:
                found = self.read(place)
                fits(found)
            except _Damaged as error:
                damaged.append(error.message)
            except ValueError as error:
                damaged.append(_unusable(place, error).message)
            else:
                return found, damaged
        return None, damaged

    def at(self, number: int, warn: Callable[[str], None]) -> Checkpoint:
        """Return the checkpoint after so many steps, or the newest other one if it is damaged.

        Raises:
            RunError: there is none that is whole.
        """
        try:
            return self.read(self.folder / _name(number))
        except _Damaged:
            return self.latest(warn)

    def best(self) -> Checkpoint:
        """Return the checkpoint with the best measured accuracy: the one that `BEST` names, or the newest one's word.

        Raises:
            RunError: nothing was measured yet, or it is damaged.
        """
        name = _pointer(self.path / BEST)
        if name is None:
            number = self.latest().position.best_step
            if number < 0:
                raise RunError(f"{str(self.path)!r} has no best checkpoint: nothing was measured yet.")
            name = _name(number)
        return self.read(self.folder / name)

    def whole(self) -> list[Checkpoint]:
        """Return the checkpoints of the run that are whole, the oldest first."""
        name = _pointer(self.path / LATEST)
        found: list[Checkpoint] = []
        for place in sorted(self._places(), key=_number):
            if name is None or _number(place) <= _number(
                Path(name)
            ):  # what comes later is no part of the run yet
                with contextlib.suppress(_Damaged):
                    found.append(self.read(place))
        return found

    def read(self, place: Path) -> Checkpoint:
        """Check one checkpoint against its checksums and return it.

        Raises:
            RunError: a file is missing or not as it was written.
        """
        try:
            facts = _facts(place / POSITION)
            if facts["version"] != _VERSION:
                raise RunError(
                    f"{str(place / POSITION)!r} is of version {str(facts['version'])[:20]}, this program reads version "
                    f"{_VERSION}; use the program that wrote the run.",
                    call="train",
                )
            position = Position.from_dict(facts["position"])
            checksums: dict[str, Any] = facts["sha256"]
            if checksums.keys() != {WEIGHTS, TRAINING}:
                raise ValueError("it names other files")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _unusable(place / POSITION, error) from error
        for file, checksum in checksums.items():
            try:
                _check_regular(place / file)
                found = sha256_of(place / file)
            except (OSError, ValueError) as error:
                raise _unusable(place / file, error) from error
            if found != checksum:
                raise _unusable(place / file, ValueError("its SHA-256 is not the one it was written with"))
        return Checkpoint(place, position)

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Remove checkpoints of steps that will be taken again, and let `LATEST` and `BEST` say what this one says.

        Raises:
            OutputError: the folder cannot be written.
        """
        # First: were it killed while it removes, the next one would go on from here all the same.
        names = {LATEST: checkpoint.path.name, BEST: _name(checkpoint.position.best_step)}
        for pointer, name in names.items():
            if _pointer(self.path / pointer) != name:
                if (self.folder / name).is_dir():
                    write_text(self.path / pointer, name + "\n")
                else:
                    with contextlib.suppress(OSError):
                        (self.path / pointer).unlink()
        for place in self._places():
            if _number(place) > _number(checkpoint.path):
                shutil.rmtree(place, ignore_errors=True)

    def exist(self) -> bool:
        """Tell whether there is any checkpoint, whole or not."""
        return any(self._places())

    def after_first_step(self) -> bool:
        """Tell whether there is a checkpoint of a network that has learned something."""
        return any(_number(place) for place in self._places())

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

    def _prune(self, kept: set[str]) -> None:
        for place in sorted(self._places(), key=_number)[: -self.keep]:
            if place.name not in kept:
                shutil.rmtree(place, ignore_errors=True)
        for left in self.folder.glob(
            ".step-*.tmp-*"
        ):  # of a process that was killed; the folder is ours alone
            shutil.rmtree(left, ignore_errors=True)


class _Damaged(RunError):
    """A checkpoint that is not as it was written."""


def _name(number: int) -> str:
    return f"step-{number:06d}"


def _number(place: Path) -> int:
    match = _NAME.fullmatch(place.name)
    assert match is not None
    return int(match[1])


def _pointer(path: Path) -> str | None:
    try:
        _check_regular(path)
        with path.open("rb") as file:
            name = file.read(100).decode().strip()
    except (OSError, ValueError):
        return None
    return name if _NAME.fullmatch(name) else None


def _text(facts: Mapping[str, object]) -> bytes:
    """Return the content of position.json, its own checksum in it."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**facts, "own_sha256": digest}, indent=2) + "\n").encode()


def _facts(path: Path) -> dict[str, Any]:
    """Read what `_text` wrote, which must be so to the byte."""
    _check_regular(path)
    if path.stat().st_size > _FACTS_AT_MOST:
        raise ValueError(f"it has more than {_FACTS_AT_MOST:,} bytes")
    content = path.read_bytes()
    facts = json.loads(content)
    if not isinstance(facts, dict) or facts.pop("own_sha256", None) is None or _text(facts) != content:
        raise ValueError("it is not as it was written")
    return facts


def _check_regular(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no regular file")


def _unusable(path: Path, error: Exception) -> _Damaged:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return _Damaged(f"{str(path)!r} cannot be used: {reason}.", call="train")
