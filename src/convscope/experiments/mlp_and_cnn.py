"""The source document's claim that a convolutional network does with fewer parameters, measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from convscope.training import Evaluation, Event, Recipe, Run, train

__all__ = ["Contestant", "MlpAndCnn", "mlp_and_cnn"]


@dataclass(frozen=True, eq=False)
class Contestant:
    """One trained network with its parameter count, its result on the test images and its training time."""

    run: Run
    num_params: int
    evaluation: Evaluation
    seconds: float

    def to_dict(self) -> dict[str, object]:
        """Return the figures as plain values for JSON."""
        return {
            "model": self.run.recipe.model,
            "num_params": self.num_params,
            "accuracy": self.evaluation.accuracy,
            "epochs": len(self.run.metrics),
            "seconds": self.seconds,
            "run": str(self.run.path),
        }


@dataclass(frozen=True, eq=False)
class MlpAndCnn:
    """A fully connected and a convolutional network trained on the same images."""

    mlp: Contestant
    cnn: Contestant

    @property
    def parameter_ratio(self) -> float:
        """Return how many parameters the MLP has for each of the CNN's."""
        return self.mlp.num_params / self.cnn.num_params

    def to_dict(self) -> dict[str, object]:
        """Return both networks' figures as plain values for JSON."""
        return {
            "mlp": self.mlp.to_dict(),
            "cnn": self.cnn.to_dict(),
            "parameter_ratio": self.parameter_ratio,
        }


def mlp_and_cnn(
    output: str | Path,
    *,
    mlp: Recipe | None = None,
    cnn: Recipe | None = None,
    listener: Callable[[str, Event], None] | None = None,
) -> MlpAndCnn:
    """Train an MLP and a CNN on the same images and compare parameters and test accuracy.

    Args:
        output: folder for the two run folders, `mlp` and `cnn`.
        mlp, cnn: the recipes; by default `fashion-mlp` and `fashion-cnn`.
        listener: called with the network's name and each training event.
    Example:
        >>> import tempfile
        >>> quick = Recipe(model="perceptron", epochs=1, batch_size=2000)
        >>> mlp_and_cnn(tempfile.mkdtemp(), mlp=quick, cnn=quick).parameter_ratio
        1.0
    """
    contestants = []
    for name, recipe in (("mlp", mlp or "fashion-mlp"), ("cnn", cnn or "fashion-cnn")):
        listen = None if listener is None else lambda event, name=name: listener(name, event)
        run = train(recipe, output=Path(output) / name, listener=listen)
        num_params = sum(parameter.numel() for parameter in run.network().parameters())
        seconds = sum(row["seconds"] for row in run.metrics)
        contestants.append(Contestant(run, num_params, run.evaluate(), seconds))
    return MlpAndCnn(*contestants)
