"""A run looked at from all sides, as facts that a report draws."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from convscope.data import ImageSet
from convscope.display import Shown
from convscope.errors import RunError
from convscope.inspection import (
    Calibration,
    ConfusionMatrix,
    Film,
    Mistake,
    Unsure,
    calibration,
    confusion_matrix,
    mistakes,
    most_unsure,
)
from convscope.training.checkpoint import Checkpoints
from convscope.training.curves import CurvePoint, loss_curve
from convscope.training.evaluation import Evaluation
from convscope.training.films import film_of_filters, films_of_maps
from convscope.training.recipe import Recipe
from convscope.training.run import Run
from convscope.training.snapshots import Snapshot

__all__ = ["Review", "review"]

_SHOWN = 24  # images in a list


@dataclass(frozen=True, eq=False)
class Review(Shown):
    """What there is to tell of a run and its evaluation.

    Attributes:
        wrong: the mistakes that the network is surest of; `unsure` the images between two classes.
        filters, maps: how the first filters and the maps of `picture`, of class `label`, came about.
        no_films: why there are none, in words.
        curve: loss and learning rate of the steps; `steps_per_epoch` is None where no epoch was finished.
        phases: seconds by what they went into.
    """

    run: Run
    images: ImageSet
    evaluation: Evaluation
    confusion: ConfusionMatrix
    wrong: tuple[Mistake, ...]
    unsure: tuple[Unsure, ...]
    calibration: Calibration
    filters: Film | None
    maps: tuple[Film, ...]
    picture: Tensor | None
    label: str
    no_films: str
    curve: tuple[CurvePoint, ...]
    steps_per_epoch: int | None
    phases: dict[str, float]
    num_params: int

    @property
    def best(self) -> tuple[int, float] | None:
        """Return the epoch after which the accuracy was highest, and that accuracy."""
        measured = [(row["epoch"], row["acc@1"]) for row in self.run.metrics if "acc@1" in row]
        return max(measured, key=lambda entry: entry[1], default=None)

    @property
    def seconds(self) -> float:
        """Return all that the phases took together."""
        return sum(self.phases.values())

    @property
    def phase_shares(self) -> dict[str, float]:
        """Return each phase's share of the time, the longest first."""
        total = self.seconds or 1.0
        longest_first = sorted(self.phases.items(), key=lambda entry: -entry[1])
        return {name: seconds / total for name, seconds in longest_first}

    @property
    def changed(self) -> tuple[str, ...]:
        """Return the recipe's fields that differ from the defaults."""
        default = Recipe().to_dict()
        return tuple(name for name, value in self.run.recipe.to_dict().items() if value != default[name])

    def cell(self, true: int, predicted: int) -> tuple[int, ...]:
        """Return the images of one class that were taken for one class, the surest first."""
        found = self.evaluation
        inside = ((found.labels == true) & (found.predictions == predicted)).nonzero().flatten()
        return tuple(inside[found.confidences[inside].argsort(descending=True, stable=True)].tolist())

    def to_dict(self) -> dict[str, object]:
        """Return the figures as plain values for JSON."""
        return {
            "run": self.run.to_dict(),
            **self.evaluation.to_dict(),
            "confusion": self.confusion.to_dict(),
            "calibration": self.calibration.to_dict(),
            "mistakes": [each.to_dict() for each in self.wrong],
            "unsure": [each.to_dict() for each in self.unsure],
            "phases": self.phases,
            "num_params": self.num_params,
        }


def review(run: Run, images: ImageSet | None = None, evaluation: Evaluation | None = None) -> Review:
    """Gather what there is to tell of a run.

    Args:
        images, evaluation: what the network was measured on and what came of it; by default its own test images,
            measured now.
    Raises:
        RunError, UsageError: weights or data are missing or damaged. Damaged snapshots are told in `no_films`.
    """
    images = run.dataset("test") if images is None else images
    found = run.evaluate(images) if evaluation is None else evaluation
    snapshots: tuple[Snapshot, ...] = ()
    no_films = "the run has no snapshots of its filters and maps."
    try:
        snapshots = run.snapshots()
    except RunError as error:
        no_films = error.message
    phases: dict[str, float] = {}
    for row in run.metrics:
        for name, seconds in row.get("phases", {}).items():
            phases[name] = phases.get(name, 0.0) + seconds
    return Review(
        run,
        images,
        found,
        confusion_matrix(found.labels, found.predictions, found.classes),
        mistakes(found.labels, found.predictions, found.confidences, found.classes, _SHOWN),
        most_unsure(found.labels, found.predictions, found.runners_up, found.margins, found.classes, _SHOWN),
        calibration(found.labels, found.predictions, found.confidences),
        film_of_filters(snapshots),
        films_of_maps(snapshots),
        snapshots[0].picture if snapshots else None,
        snapshots[0].label if snapshots else "",
        "" if snapshots else no_films,
        loss_curve(run.steps),
        _steps_per_epoch(run),
        phases,
        sum(parameter.numel() for parameter in run.network().parameters()),
    )


def _steps_per_epoch(run: Run) -> int | None:
    """Return how many steps an epoch has, as the newest checkpoint's place among them tells."""
    position = Checkpoints(run.path).latest().position
    done = len(run.steps) - position.step
    return done // position.epoch if position.epoch and done > 0 else None
