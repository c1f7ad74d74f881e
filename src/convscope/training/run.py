"""A finished or interrupted training run, read from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from convscope.data import ImageSet, load_dataset, prepare
from convscope.display import Shown
from convscope.errors import RunError, UsageError
from convscope.models import load_weights
from convscope.training import folder
from convscope.training.checkpoint import Checkpoints
from convscope.training.evaluation import Evaluation, evaluate, loss_of
from convscope.training.facts import DataFacts, build_network
from convscope.training.metrics import read_json_lines
from convscope.training.prediction import Prediction, decoded, likeliest
from convscope.training.recipe import Recipe
from convscope.training.snapshots import Snapshot, epoch_name, read_snapshots

__all__ = ["Run"]


@dataclass(frozen=True, slots=True)
class Run(Shown):
    """A run folder: what was asked (`recipe`), what came of it (`metrics`, weights), and where (`environment`).

    Attributes:
        status: `finished`, `interrupted`, `diverged`, `failed`, `running` while a process trains it, or `killed`.
        metrics: one dict an epoch: train_loss, train_acc@1, lr, where it was measured val_loss and acc@1, in the end of
            a run with validation images test_loss and test_acc@1; seconds and images_per_second of training, phases.
        steps: one dict a step: step (from 1, of the whole run), loss, lr.
    Example:
        >>> Run.open("no/such/folder")
        Traceback (most recent call last):
        convscope.errors.UsageError: Run.open: run folder 'no/such/folder' does not exist.
    """

    path: Path
    recipe: Recipe
    status: str
    facts: DataFacts
    metrics: tuple[dict[str, Any], ...]
    steps: tuple[dict[str, Any], ...]
    environment: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Read a run folder.

        Raises:
            UsageError: no such folder.
            RunError: it is no run folder, or a file in it is damaged.
        """
        path = Path(path)
        if not path.exists():
            raise UsageError(f"run folder {str(path)!r} does not exist.", call="Run.open")
        recipe = folder.read_recipe(path)
        state: dict[str, Any] = folder.read_state(path)
        try:
            facts, status = DataFacts.from_dict(state["data"]), str(state["status"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{str(path / folder.STATE)!r} lacks or garbles {error}.") from error
        if status == "running" and not folder.is_held(path):
            status = "killed"  # the process that wrote it could not say how it ended
        environment = folder.read_json(path / folder.ENVIRONMENT)
        rows = read_json_lines(path / folder.METRICS)
        times = {row.get("epoch"): row for row in read_json_lines(path / folder.TIMES)}
        epochs = tuple({**row, **times.get(row["epoch"], {})} for row in rows if "epoch" in row)
        steps = tuple(row for row in rows if "step" in row)
        return cls(path, recipe, status, facts, epochs, steps, environment)

    def weights(self, which: Literal["latest", "best", "initial"] | int = "latest") -> Path:
        """Return the file of the network's weights: of the newest checkpoint that is whole, the best one, or the start.

        Args:
            which: also the number of a kept epoch.
        Raises:
            RunError: there is none.
            UsageError: that epoch is not kept; those that are are told.
        """
        if isinstance(which, int):
            kept = self.kept_epochs()
            if which not in kept:
                known = ", ".join(map(str, kept))
                raise UsageError(
                    f"epoch {which} is not kept: {str(self.path)!r} has the weights of epochs {known}; train "
                    "with a larger keep_checkpoints.",
                    call="Run.weights",
                )
            return kept[which]
        if which == "initial":
            return self.path / folder.INITIAL_WEIGHTS
        checkpoints = Checkpoints(self.path)
        return (checkpoints.best() if which == "best" else checkpoints.latest()).weights

    def kept_epochs(self) -> dict[int, Path]:
        """Return the epochs whose weights the folder has, 0 before training, each with its file.

        Training keeps the checkpoints of the newest epochs, as many as the recipe's `keep_checkpoints`, and the best.
        """
        kept = {0: self.path / folder.INITIAL_WEIGHTS}
        if not kept[0].exists():
            kept.clear()
        checkpoints = Checkpoints(self.path).whole()
        return kept | {each.position.epoch: each.weights for each in checkpoints if not each.position.step}

    @property
    def place(self) -> str:
        """Return how far the newest weights have come: `epoch 5`, or `epoch 3 after step 20` of a run that was stopped.

        Raises:
            RunError: there are none.
        """
        at = Checkpoints(self.path).latest().position
        return f"epoch {at.epoch + 1} after step {at.step}" if at.step else epoch_name(at.epoch)

    def network(self, which: Literal["latest", "best", "initial"] | int = "latest") -> nn.Module:
        """Return the trained network in evaluation mode, as it was best, before training, or after a kept epoch.

        Raises:
            RunError, UsageError: the weights are missing, damaged or of another network.
        """
        network = build_network(self.recipe, self.facts)
        load_weights(network, self.weights(which))
        return network.eval()

    def snapshots(self) -> tuple[Snapshot, ...]:
        """Return how the network's filters and its maps of one image looked, from before training to the last epoch.

        Raises:
            RunError: a file is damaged.
        """
        return read_snapshots(self.path)

    def prepare(self, picture: np.ndarray) -> Tensor:
        """Turn a decoded picture into this network's input, (1, C, H, W), as its training images were."""
        channels, height, width = self.facts.input_shape
        return prepare(picture, self.facts.mean, self.facts.std, channels=channels, size=(height, width))

    def dataset(self, split: Literal["train", "test"] = "test", data: str | Path | None = None) -> ImageSet:
        """Return the run's own data, or another data set in the form this network takes.

        Raises:
            RunError: the classes are not the run's.
        """
        channels, height, width = self.facts.input_shape
        images = load_dataset(
            str(data or self.recipe.data), split, size=(height, width), mode="L" if channels == 1 else "RGB"
        )
        if images.classes != self.facts.classes:
            raise RunError(
                f"{images.name!r} has the classes {_brief(images.classes)}, the run {_brief(self.facts.classes)}; "
                "evaluate on data with the run's classes."
            )
        return images

    def evaluate(self, data: str | Path | ImageSet | None = None, *, accelerate: bool = True) -> Evaluation:
        """Measure the trained network, with its recipe's loss, on a set of images.

        Args:
            data: a set, or the name or folder of one whose test split is taken; by default the run's own.
            accelerate: run the network fused (`convscope.accelerate`).
        """
        images = data if isinstance(data, ImageSet) else self.dataset("test", data)
        loss = loss_of(self.recipe)
        return evaluate(
            self.network(),
            images,
            mean=self.facts.mean,
            std=self.facts.std,
            loss=loss,
            views=self.recipe.test_views,
            accelerate=accelerate,
            precision=self.recipe.precision,
        )

    def predict(
        self,
        pictures: Sequence[np.ndarray],
        top: int = 3,
        names: Sequence[str] = (),
        *,
        accelerate: bool = True,
    ) -> list[Prediction]:
        """Name the likeliest classes of decoded pictures, each (H, W) or (H, W, 3), uint8.

        Args:
            names: what to call the pictures in the answers; by default their numbers.
            accelerate: run the network fused where the pictures are enough to pay for it.
        """
        return likeliest(
            self.network(),
            pictures,
            self.prepare,
            self.facts.classes,
            top,
            names,
            accelerate,
            self.recipe.precision,
        )

    def predict_files(self, paths: Sequence[str | Path], top: int = 3) -> list[Prediction]:
        """Decode picture files and name the likeliest classes of each.

        Raises:
            UsageError: no path, or a file that does not exist.
            BadImageError: a file that is no picture; nothing is predicted then.
        """
        return self.predict(decoded(paths), top, [str(path) for path in paths])

    def to_dict(self) -> dict[str, object]:
        """Return the run's facts as plain values for JSON."""
        return {
            "path": str(self.path),
            "status": self.status,
            "recipe": self.recipe.to_dict(),
            "data": self.facts.to_dict(),
            "metrics": list(self.metrics),
            "environment": self.environment,
        }


def _brief(classes: tuple[str, ...]) -> str:
    return ", ".join(map(repr, classes[:4])) + (f" and {len(classes) - 4} more" if len(classes) > 4 else "")
