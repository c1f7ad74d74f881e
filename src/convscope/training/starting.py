"""`train`: from what a person asks for to a run under way; what cannot work is refused before a file is written."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor, nn

from convscope.data import Augmentation, Batches, ImageSet, load_dataset
from convscope.errors import ConvscopeError, DataError, UsageError
from convscope.models import create_seeded_model, load_weights, model_entry
from convscope.training import folder
from convscope.training.checkpoint import Checkpoints
from convscope.training.facts import DataFacts, build_network
from convscope.training.loop import Clock, Listener, Training
from convscope.training.optimizers import is_in
from convscope.training.recipe import Recipe
from convscope.training.recipe_file import named_recipe
from convscope.training.run import Run
from convscope.training.team import Team, team
from convscope.training.tensorboard import check_tensorboard, with_tensorboard

__all__ = ["train"]

_WHITENED = 5000  # images that a network's first filters are fitted to


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
        with clock.of("data"):
            recipe = _recipe(recipe, data, seed, path, resume, changes)
            training, held_out, test = _image_sets(recipe)
            facts = DataFacts.of(training)
        with clock.of("preparation"):
            network = build_network(recipe, facts)
            head = model_entry(recipe.model).head
            _initialise(recipe, facts, network, training, resume=resume)
            batches = _batches(recipe, facts, training, processes)
            _rehearse(recipe, facts, network, batches)
        with (
            _held(path, network, recipe, processes, resume=resume),
            with_tensorboard(path, listener) if tensorboard else contextlib.nullcontext(listener) as listener,
        ):
            run = Training(recipe, facts, network, path, head, listener, clock, processes)
            run.fit(batches, held_out, test, resume=resume)
    return Run.open(path)


@contextlib.contextmanager
def _held(path: Path, network: nn.Module, recipe: Recipe, processes: Team, *, resume: bool) -> Iterator[None]:
    """Hold the run folder, by the process that writes it, while the block runs."""
    if not processes.writes:
        processes.wait()  # for the lock
        yield
        return
    with folder.run_lock(path, resume=resume):
        weight_bytes = sum(value.numel() * value.element_size() for value in network.state_dict().values())
        # The first weights, and checkpoints of weights and up to three of their size besides; text.
        folder.check_free_space(path, (1 + 5 * (recipe.keep_checkpoints + 2)) * weight_bytes + 1_000_000)
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
        return folder.read_recipe(path)
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
    if Path(recipe.data).is_dir():  # so that the run is found from anywhere
        recipe = recipe.replace(data=str(Path(recipe.data).resolve()))
    return recipe


def _image_sets(recipe: Recipe) -> tuple[ImageSet, ImageSet, ImageSet | None]:
    """Return the images to train on, those measured after epochs, and those looked at once in the end."""
    training = load_dataset(recipe.data, "train", size=recipe.image_size)
    if len(training.classes) < 2:
        raise DataError(
            f"{recipe.data!r} has one class only, {', '.join(training.classes)!r}; a classifier needs two or more.",
            call="train",
        )
    channels, height, width = training.image_shape
    test = load_dataset(recipe.data, "test", size=(height, width), mode="L" if channels == 1 else "RGB")
    if test.classes != training.classes:
        raise DataError(
            f"{recipe.data!r} has {len(training.classes)} classes to train on and {len(test.classes)} to test "
            "on, or other names; both splits need the same class folders.",
            call="train",
        )
    if not recipe.validation_share:
        return training, test, None
    training, held_out = training.split(recipe.validation_share, recipe.seed)
    return training, held_out, test


def _initialise(
    recipe: Recipe, facts: DataFacts, network: nn.Module, images: ImageSet, *, resume: bool
) -> None:
    """Give the network the weights that it starts from; a resumed run has its own."""
    if resume:
        return
    if recipe.weights is not None:
        if Path(recipe.weights).is_file():
            load_weights(network, recipe.weights, head=model_entry(recipe.model).head)
        else:
            options = dict(recipe.model_options)
            pretrained = create_seeded_model(
                recipe.model,
                recipe.seed,
                num_classes=len(facts.classes),
                in_channels=facts.input_shape[0],
                weights=recipe.weights,
                **options,
            )
            network.load_state_dict(pretrained.state_dict())
    fit_to = getattr(network, "fit_to", None)
    if callable(fit_to):
        first = images.take(min(_WHITENED, len(images)))
        fit_to(next(Batches(first, len(first), mean=facts.mean, std=facts.std).epoch(0)).images)


def _batches(recipe: Recipe, facts: DataFacts, images: ImageSet, processes: Team) -> Batches:
    """Return the training batches; a single image left over at the end of an epoch is left out of it."""
    if recipe.crop_padding > min(facts.input_shape[1:]):
        raise UsageError(
            f"crop_padding is {recipe.crop_padding}; an image of {facts.input_shape[1]} x {facts.input_shape[2]} "
            f"pixels can be moved by at most {min(facts.input_shape[1:])}.",
            call="train",
        )
    return Batches(
        images,
        recipe.batch_size,
        mean=facts.mean,
        std=facts.std,
        shuffle=True,
        seed=recipe.seed,
        augment=Augmentation(
            horizontal_flip=recipe.horizontal_flip,
            crop_padding=recipe.crop_padding,
            crop_mode=recipe.crop_mode,
            cutout=recipe.cutout,
            color=recipe.color,
            mixup=recipe.mixup,
            cutmix=recipe.cutmix,
        ),
        # Batch norm cannot normalise one value a channel.
        drop_last=recipe.batch_size > 1 and len(images) > 1 and len(images) % recipe.batch_size == 1,
        rank=processes.rank,
        world_size=processes.size,
    )


def _rehearse(recipe: Recipe, facts: DataFacts, network: nn.Module, batches: Batches) -> None:
    """Take two images' forward pass on a copy, so that what cannot work is refused before a file is written."""
    batch = next(batches.epoch(0))
    images, num_images = batch.images[:2], min(2, len(batch.labels))
    expected = (num_images, len(facts.classes))
    try:
        scores = copy.deepcopy(network).train()(images)
    except (ConvscopeError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{recipe.model} refuses a batch of shape {tuple(images.shape)}: {reason} "
            "Choose another model, batch size or image size.",
            call="train",
        ) from error
    if not isinstance(scores, Tensor):
        kind = f"a {type(scores).__name__}"
        if isinstance(scores, dict):
            kind += f" with {', '.join(map(repr, scores))}"
        raise UsageError(
            f"{recipe.model} returns {kind} for a batch of {num_images} images; only classifiers with one output, "
            "a tensor (N, classes), are trained here.",
            call="train",
        )
    if scores.shape != expected:
        raise UsageError(
            f"{recipe.model} returns {tuple(scores.shape)} for a batch of {num_images} images; a classifier of "
            f"{len(facts.classes)} classes must return {expected}.",
            call="train",
        )
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UsageError(f"{recipe.model} has no parameter to train.", call="train")
    frozen = [name for name, _ in network.named_parameters() if is_in(name, recipe.freeze)]
    if frozen and len(frozen) == len(list(network.parameters())) and recipe.freeze_epochs is None:
        raise UsageError("the recipe freezes every parameter; leave some to train.", call="train")
