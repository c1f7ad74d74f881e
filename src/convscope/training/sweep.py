"""Many trainings of one recipe with other values, by Ray Tune (the extra `tune`), on one machine or a cluster."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.display import Shown
from convscope.errors import UnknownNameError, UsageError
from convscope.files import make_folder, write_json
from convscope.geometry import as_int
from convscope.training.checkpoint import Checkpoints
from convscope.training.events import EpochDone, Event
from convscope.training.recipe import Recipe
from convscope.training.recipe_file import named_recipe
from convscope.training.run import Run
from convscope.training.starting import train

__all__ = ["Sweep", "Trial", "parse_search", "sweep"]

_HELD_OUT = 0.1  # of the training images, where the recipe holds out none: the test images choose nothing
_METRIC = "accuracy"
_SPACES = ("uniform", "log", "integers")


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of a sweep: what it changed, where its run is, and its accuracy, None if it failed."""

    changes: dict[str, Any]
    path: Path
    accuracy: float | None
    error: str | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the trial as plain values for JSON."""
        return {
            "changes": self.changes,
            "path": str(self.path),
            "accuracy": self.accuracy,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class Sweep(Shown):
    """The trials of a sweep, the best first."""

    trials: tuple[Trial, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the sweep as plain values for JSON."""
        return {"trials": [trial.to_dict() for trial in self.trials]}


def parse_search(text: str) -> tuple[str, object]:
    """Read what to vary: `field=a,b,c` for a choice, `field=log:low:high`, `field=uniform:low:high` or `integers`.

    Returns the field, and a list of values or a tuple (kind, low, high).

    Raises:
        UsageError: it is written in another way.
    Example:
        >>> parse_search("lr=log:1e-3:0.1"), parse_search("optimizer=sgd,adamw")
        (('lr', ('log', 0.001, 0.1)), ('optimizer', ['sgd', 'adamw']))
    """
    name, equals, values = text.partition("=")
    kind, *bounds = values.split(":")
    if not (name and equals and values):
        raise UsageError(f"{text!r} must be field=a,b,c or field=log:low:high.", call="sweep")
    if kind in _SPACES:
        try:
            low, high = map(float, bounds)
        except ValueError:
            raise UsageError(f"{text!r} needs two numbers, {name}={kind}:low:high.", call="sweep") from None
        if not low < high or (kind == "log" and low <= 0):
            raise UsageError(
                f"{text!r} must go from a lower to a higher number, above 0 for log.", call="sweep"
            )
        return name, (kind, low, high)
    return name, [_plain(value) for value in values.split(",")]


def sweep(
    recipe: Recipe | str,
    search: Mapping[str, object],
    output: str | Path,
    *,
    trials: int = 8,
    seed: int = 0,
    cpus_per_trial: int = 1,
    early_stopping: bool = False,
) -> Sweep:
    """Train a recipe many times with values drawn from a space; each trial leaves a run folder below `output`.

    Accuracies are of images held out of the training images (`validation_share`, a tenth where the recipe has none). A
    sweep that is started again takes finished trials as they are and goes on with those that were broken off.

    Args:
        search: field of the recipe to a list of values, or to ("log" | "uniform" | "integers", low, high).
        trials: how many; lists are drawn from, too.
        seed: of the draws; each trial's own seed is the recipe's.
        cpus_per_trial: threads of each; as many trials run at once as the machine or the cluster holds.
        early_stopping: end trials that fall behind (ASHA, arXiv:1810.05934).
    Raises:
        UsageError: Ray is not installed, or a value that the recipe refuses.
        UnknownNameError: a field that does not exist.
    """
    chosen = named_recipe(recipe) if isinstance(recipe, str) else recipe
    if not chosen.validation_share:
        chosen = chosen.replace(validation_share=_HELD_OUT)
    for name, values in search.items():  # what cannot work is told before Ray starts
        if name not in chosen.to_dict():
            raise UnknownNameError("field", name, chosen.to_dict(), call="sweep")
        if not values:
            raise UsageError(f"{name} has no value to choose from.", call="sweep")
        for value in values if isinstance(values, list) else []:
            chosen.replace(**{name: value})
    trials = as_int("sweep: trials", trials, at_least=1)
    try:
        import ray  # pyright: ignore[reportMissingImports]  # the extra `tune`
        from ray import tune  # pyright: ignore[reportMissingImports]
        from ray.tune.schedulers import ASHAScheduler  # pyright: ignore[reportMissingImports]
        from ray.tune.search import BasicVariantGenerator  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UsageError(
            'sweeps need Ray Tune; install it with pip install "convscope[tune]".', call="sweep"
        ) from error
    folder = make_folder(Path(output).resolve())
    write_json(folder / "sweep.json", {"recipe": chosen.to_dict(), "search": dict(search), "seed": seed})
    spaces = {"log": tune.loguniform, "uniform": tune.uniform}

    def space(values: Any) -> Any:
        if isinstance(values, list):
            return tune.choice(values)
        kind, low, high = values
        return tune.randint(int(low), int(high) + 1) if kind == "integers" else spaces[kind](low, high)

    def trial(changes: dict[str, Any]) -> None:
        import torch

        torch.set_num_threads(cpus_per_trial)

        def report(event: Event) -> None:
            if isinstance(event, EpochDone) and "acc@1" in event.metrics:
                tune.report({_METRIC: event.metrics["acc@1"], "epoch": event.epoch})

        tune.report({_METRIC: _take(chosen, changes, _place(folder, changes), report)})

    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        settings = tune.TuneConfig(
            metric=_METRIC,
            mode="max",
            num_samples=trials,
            search_alg=BasicVariantGenerator(random_state=seed),
            scheduler=ASHAScheduler(time_attr="epoch", max_t=chosen.epochs) if early_stopping else None,
        )
        results = tune.Tuner(
            tune.with_resources(trial, {"cpu": cpus_per_trial}),
            param_space={name: space(values) for name, values in search.items()},
            tune_config=settings,
            run_config=tune.RunConfig(name="ray", storage_path=str(folder), verbose=0),
        ).fit()
    finally:
        if started:
            ray.shutdown()
    found = []
    for result in results:
        changes = dict(result.config or {})
        accuracy = None if result.error else (result.metrics or {}).get(_METRIC)
        error = None if result.error is None else str(result.error).strip().splitlines()[-1]
        found.append(Trial(changes, _place(folder, changes), accuracy, error))
    return Sweep(
        tuple(sorted(found, key=lambda each: -1.0 if each.accuracy is None else each.accuracy)[::-1])
    )


def _take(recipe: Recipe, changes: dict[str, Any], place: Path, report: Any) -> float:
    """Train one trial, or go on with it, or take it as it is; return its last measured accuracy."""
    resume = Checkpoints(place).exist()
    run = Run.open(place) if resume else None
    if run is None or run.status != "finished":
        run = train(
            None if resume else recipe.replace(**changes), output=place, resume=resume, listener=report
        )
    return run.metrics[-1]["acc@1"]


def _place(folder: Path, changes: Mapping[str, object]) -> Path:
    """Name a trial's folder by what it changes, so that a sweep that is started again finds it."""
    digest = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()[:10]
    return folder / f"trial-{digest}"


def _plain(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
