"""What a training tells while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["EpochDone", "Event", "Listener", "StepDone", "Warned"]


@dataclass(frozen=True, slots=True)
class StepDone:
    """One optimiser step: the loss of its batch and the running accuracy of its epoch.

    Attributes:
        share_of_limit: images a second as a share of what the machine could do at most (`images_per_second_limit`).
        seconds_left: of training, at the speed of this epoch; without the measurements between.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    lr: float
    images_per_second: float
    share_of_limit: float | None = None
    seconds_left: float | None = None

    @property
    def whole_step(self) -> int:
        """The step's number in the whole run, from 1."""
        return (self.epoch - 1) * self.steps + self.step


@dataclass(frozen=True, slots=True)
class EpochDone:
    """One epoch: the metrics row that the run folder keeps, with its times; `steps_done` of the whole run."""

    epoch: int
    epochs: int
    metrics: dict[str, Any]
    steps_done: int = 0


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the person should know, and that does not end the run."""

    message: str


Event = StepDone | EpochDone | Warned
Listener = Callable[[Event], None]
