"""`train`: from what a person asks for to a run under way, in a folder that is held."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from convscope.data import list_datasets
from convscope.errors import UsageError
from convscope.training import folder
from convscope.training.checkpoint import Checkpoints
from convscope.training.clock import Clock
from convscope.training.events import Listener
from convscope.training.loop import Training
from convscope.training.preparation import Preparation
from convscope.training.recipe import Recipe
from convscope.training.recipe_file import named_recipe
from convscope.training.run import Run
from convscope.training.team import Team, team
from convscope.training.tensorboard import check_tensorboard, with_tensorboard

__all__ = ["train"]


def train(
    recipe: Recipe | str | None = None,
    data: str | Path | None = None,
    output: str | Path = "runs/last",
    seed: int | None = None,
    *,
    resume: bool = False,
    listener: Listener | None = None,
    tensorboard: bool = False,
    **changes: object,
) -> Run:
    """Train a network and leave a run folder; return the run.

    Writes the recipe, the environment, the weights before training, then after each epoch a line of metrics and a
    checkpoint, each whole or not at all. Ctrl-C or SIGTERM finishes the step, saves and raises; a run that was
    stopped, or killed at any moment, goes on with `resume=True` to the bit-same result (same machine, same threads).

    Args:
        recipe: a `Recipe`, the name of one (`list_recipes()`) or the path of a TOML file; by default `fashion-cnn`.
        data, seed, changes: replace these fields of the recipe.
        output: the run folder; it must not hold a run, unless resuming.
        resume: go on with the run in `output`, with its own recipe, from its newest checkpoint that is whole.
        listener: called after each step and epoch, and with warnings; the library itself prints nothing.
        tensorboard: also write the figures for TensorBoard, into `tensorboard/` in the run folder.
    Raises:
        UsageError: a field, a model or a data set that does not exist; TensorBoard is not installed.
        DataError: fewer than two classes to tell apart.
        RunError: `output` holds a run, or another process is writing it.
        OutputError: the folder cannot be written; nothing half-written stays.
        NonFiniteLossError: the loss became NaN or infinite; the run keeps the weights of its last checkpoint.
        OutOfMemoryError: a step does not fit into memory; the message says which batch size does.
        TrainingInterrupted: a signal asked to stop; the run is saved as it was.
    Example:
        >>> import tempfile
        >>> recipe = Recipe(model="perceptron", epochs=1, batch_size=500)
        >>> run = train(recipe, output=tempfile.mkdtemp() + "/run")
        >>> run.status, run.metrics[0]["acc@1"] > 0.6
        ('finished', True)
    """
    path, clock = Path(output), Clock()
    if tensorboard:
        check_tensorboard()
    with team() as processes:
        if processes.restarts and Checkpoints(path).exist():
            resume, recipe, data, seed, changes = True, None, None, None, {}
        with clock.of("preparation"):
            recipe = _recipe(recipe, data, seed, path, resume, changes)
            prepared = Preparation.of(recipe, processes, resume=resume)
        with (
            _held(path, prepared, processes, resume=resume),
            with_tensorboard(path, listener) if tensorboard else contextlib.nullcontext(listener) as listener,
        ):
            Training(prepared, path, listener, clock, processes).fit(resume=resume)
    return Run.open(path)


@contextlib.contextmanager
def _held(path: Path, prepared: Preparation, processes: Team, *, resume: bool) -> Iterator[None]:
    """Hold the run folder, by the process that writes it, while the block runs."""
    if not processes.writes:
        processes.wait()  # for the lock
        yield
        return
    with folder.run_lock(path, resume=resume):
        recipe, state = prepared.recipe, prepared.network.state_dict()
        weight_bytes = sum(value.numel() * value.element_size() for value in state.values())
        # The first weights, and checkpoints of weights and up to three of their size besides; text. A resumed run has
        # most of it: the next checkpoint must fit before an old one goes.
        more = 5 * weight_bytes + 100_000
        folder.check_free_space(
            path, more if resume else weight_bytes + (recipe.keep_checkpoints + 2) * more + 500_000
        )
        processes.wait()
        yield


def _recipe(
    recipe: Recipe | str | None,
    data: str | Path | None,
    seed: int | None,
    path: Path,
    resume: bool,
    changes: dict[str, object],
) -> Recipe:
    if resume:
        if changes or data is not None or seed is not None or recipe is not None:
            raise UsageError("a resumed run keeps its own recipe; give none with resume.", call="train")
        recipe = folder.read_recipe(path)
        folder.read_state(path)  # of another version: refused before anything is done
        return recipe
    if recipe is None or isinstance(recipe, str):
        recipe = named_recipe(recipe or "fashion-cnn")
    elif not isinstance(recipe, Recipe):
        raise UsageError(
            f"recipe is a {type(recipe).__name__}; give a Recipe or the name of one.", call="train"
        )
    if data is not None:
        changes = {**changes, "data": str(data)}
    if seed is not None:
        changes = {**changes, "seed": seed}
    recipe = recipe.replace(**changes)
    if (
        recipe.data not in list_datasets() and Path(recipe.data).is_dir()
    ):  # so that the run is found from anywhere
        recipe = recipe.replace(data=str(Path(recipe.data).resolve()))
    return recipe
