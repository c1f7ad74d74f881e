"""The training loop: plain torch, every random choice a function of the recipe's seed."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from convscope.acceleration import accelerate
from convscope.data import Augmentation, Batches, ImageSet, load_dataset
from convscope.errors import (
    ConvscopeError,
    DataError,
    NonFiniteLossError,
    OutputError,
    RunError,
    UsageError,
)
from convscope.files import write_json
from convscope.models import save_weights
from convscope.training import folder
from convscope.training.checkpoint import Position, load_checkpoint, save_checkpoint
from convscope.training.environment import environment
from convscope.training.evaluation import evaluate, loss_of
from convscope.training.recipe import Recipe, named_recipe
from convscope.training.run import DataFacts, Run, build_network
from convscope.training.stopping import StopRequest, TrainingInterrupted

__all__ = ["EpochDone", "Listener", "StepDone", "train"]


@dataclass(frozen=True, slots=True)
class StepDone:
    """One optimiser step: the loss of its batch and the running accuracy of its epoch."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    lr: float
    images_per_second: float


@dataclass(frozen=True, slots=True)
class EpochDone:
    """One epoch: the metrics row that the run folder keeps."""

    epoch: int
    epochs: int
    metrics: dict[str, Any]


Listener = Callable[[StepDone | EpochDone], None]


def train(
    recipe: Recipe | str | None = None,
    data: str | Path | None = None,
    output: str | Path = "runs/last",
    seed: int | None = None,
    *,
    resume: bool = False,
    listener: Listener | None = None,
    **changes: object,
) -> Run:
    """Train a network and leave a run folder; return the run.

    Writes the recipe, the environment, the weights before training, then after each epoch the weights, a
    metrics row and a checkpoint, each file whole or not at all. Ctrl-C or SIGTERM finishes the step, saves and
    raises; `resume=True` then goes on to the bit-same result (same machine, same threads).

    Args:
        recipe: a `Recipe`, or the name of one (`RECIPES`); by default `fashion-cnn`.
        data, seed, changes: replace these fields of the recipe.
        output: the run folder; it must not hold a run, unless resuming.
        resume: go on with the run in `output`, with its own recipe.
        listener: called after each step and epoch; the library itself prints nothing.
    Raises:
        UsageError: a field, a model or a data set that does not exist.
        DataError: fewer than two classes to tell apart.
        RunError: `output` holds a run, or another process is writing it.
        OutputError: the folder cannot be written; nothing half-written stays.
        NonFiniteLossError: the loss became NaN or infinite; the run keeps the weights of its last good epoch.
        TrainingInterrupted: a signal asked to stop; the run is saved as it was.
    Example:
        >>> import tempfile
        >>> recipe = Recipe(model="perceptron", epochs=1, batch_size=500)
        >>> run = train(recipe, output=tempfile.mkdtemp() + "/run")
        >>> run.status, run.metrics[0]["acc@1"] > 0.6
        ('finished', True)
    """
    path = Path(output)
    if resume:
        if changes or data is not None or seed is not None or recipe is not None:
            raise UsageError("a resumed run keeps its own recipe; give none with resume.", call="train")
        recipe = Recipe.from_dict(folder.read_json(path / folder.RECIPE))
    elif recipe is None or isinstance(recipe, str):
        recipe = named_recipe(recipe or "fashion-cnn")
    elif not isinstance(recipe, Recipe):
        raise UsageError(
            f"recipe is a {type(recipe).__name__}; give a Recipe or the name of one.", call="train"
        )
    if data is not None:
        changes["data"] = str(data)
    if seed is not None:
        changes["seed"] = seed
    recipe = recipe.replace(**changes)
    if Path(recipe.data).is_dir():
        recipe = recipe.replace(
            data=str(Path(recipe.data).resolve())
        )  # so that the run is found from anywhere

    size = recipe.image_size
    training = load_dataset(recipe.data, "train", size=size)
    if len(training.classes) < 2:
        raise DataError(
            f"{recipe.data!r} has one class only, {', '.join(training.classes)!r}; a classifier needs two or more.",
            call="train",
        )
    facts = DataFacts.of(training)
    held_out = load_dataset(
        recipe.data, "test", size=facts.input_shape[1:], mode="L" if facts.input_shape[0] == 1 else "RGB"
    )
    if held_out.classes != training.classes:
        raise DataError(
            f"{recipe.data!r} has {len(training.classes)} classes to train on and {len(held_out.classes)} to test "
            "on, or other names; both splits need the same class folders.",
            call="train",
        )
    network = build_network(recipe, facts)
    batches = _batches(recipe, facts, training)
    _rehearse(recipe, facts, network, batches)
    with folder.run_lock(path, resume=resume):
        weight_bytes = sum(value.numel() * value.element_size() for value in network.state_dict().values())
        folder.check_free_space(path, 6 * weight_bytes + 1_000_000)  # two weights, checkpoint of three, text
        _Training(recipe, facts, network, path).fit(batches, held_out, resume=resume, listener=listener)
    return Run.open(path)


class _Training:
    """One training in its locked folder."""

    def __init__(self, recipe: Recipe, facts: DataFacts, network: nn.Module, path: Path) -> None:
        self.recipe, self.facts, self.path = recipe, facts, path
        # Channels last: a step of the small VGG takes a fifth less time on the CPUs measured.
        self.network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if recipe.accelerate:
            accelerate(self.network, recipe.precision)
        self.optimizer = _optimizer(recipe, network)
        self.loss = loss_of(recipe)
        self.metrics: list[dict[str, Any]] = []
        self.at = Position()
        self.kept = "before training"  # where the weights on the disk stand

    def fit(self, batches: Batches, held_out: ImageSet, *, resume: bool, listener: Listener | None) -> None:
        if resume:
            self._take_up()
        else:
            write_json(self.path / folder.RECIPE, self.recipe.to_dict())
            write_json(self.path / folder.ENVIRONMENT, environment())
            self._set_status("running")
            self._save_weights(folder.INITIAL_WEIGHTS)
            self._save()
        self._set_status("running")
        try:
            with StopRequest() as stop:
                for epoch in range(self.at.epoch, self.recipe.epochs):
                    self._epoch(epoch, batches, stop, listener)
                    self._close_epoch(epoch, held_out, listener)
                self._set_status("finished")
                if stop.signal_number:
                    raise self._interrupted(stop.signal_number, "the run is finished")
        except (TrainingInterrupted, NonFiniteLossError):
            raise
        except BaseException:
            with contextlib.suppress(OutputError):
                self._set_status("failed")
            raise

    def _take_up(self) -> None:
        state = folder.read_json(self.path / folder.STATE)
        if state.get("data") != json.loads(json.dumps(self.facts.to_dict())):
            raise RunError(
                f"{str(self.path)!r} was trained on other images than {self.recipe.data!r} holds now; "
                "start a new run, or restore the images.",
                call="train",
            )
        self.at = load_checkpoint(self.path / folder.CHECKPOINT, self.network, self.optimizer)
        self.metrics = folder.read_metrics(self.path)[: self.at.epoch]
        self.kept = self._place()

    def _epoch(self, epoch: int, batches: Batches, stop: StopRequest, listener: Listener | None) -> None:
        recipe, at, steps = self.recipe, self.at, len(batches)
        self.network.train()
        done_before, began = at.seconds, time.perf_counter()
        # A resumed run did the first at.step batches; the order is a function of seed and epoch.
        for step, batch in enumerate(batches.epoch(epoch, start=at.step), start=at.step):
            images, labels = batch.images, batch.labels
            if stop.signal_number:
                self._interrupt(stop.signal_number)
            lr = recipe.lr_at((epoch * steps + step) / (recipe.epochs * steps))
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            scores = self.network(images)
            loss = self.loss(scores, labels)
            value = float(loss.detach())
            if not math.isfinite(value):
                self._diverge(
                    f"the loss is {value} in epoch {epoch + 1} at step {step + 1}, learning rate {lr:g}"
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            at.step = step + 1
            at.loss_sum += value * len(labels)
            at.num_right += int((scores.detach().argmax(dim=1) == labels).sum())
            at.num_seen += len(labels)
            at.seconds = done_before + time.perf_counter() - began
            if listener is not None:
                rate, accuracy = at.num_seen / at.seconds, at.num_right / at.num_seen
                listener(StepDone(epoch + 1, recipe.epochs, at.step, steps, value, accuracy, lr, rate))

    def _close_epoch(self, epoch: int, held_out: ImageSet, listener: Listener | None) -> None:
        """Measure, and only if all is finite, save: a bad step must not replace good weights."""
        recipe, at = self.recipe, self.at
        self._check_weights()
        result = evaluate(
            self.network,
            held_out,
            mean=self.facts.mean,
            std=self.facts.std,
            loss=self.loss,
            accelerate=self.recipe.accelerate,
        )
        if not math.isfinite(result.loss):
            self._diverge(
                f"the loss on the test images is {result.loss} after epoch {epoch + 1}, step {at.step}"
            )
        row = {
            "epoch": epoch + 1,
            "train_loss": at.loss_sum / at.num_seen,
            "train_acc@1": at.num_right / at.num_seen,
            "val_loss": result.loss,
            "acc@1": result.accuracy,
            "lr": recipe.lr_at((epoch + 1) / recipe.epochs),
            "seconds": at.seconds,
            "images_per_second": at.num_seen / at.seconds,
        }
        self.metrics.append(row)
        self.at = Position(epoch=epoch + 1)
        self._save()
        if listener is not None:
            listener(EpochDone(epoch + 1, recipe.epochs, row))

    def _check_weights(self) -> None:
        for key, value in self.network.state_dict().items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                self._diverge(
                    f"the weights {key} are no longer finite in epoch {self.at.epoch + 1} after step {self.at.step}"
                )

    def _diverge(self, what: str) -> NoReturn:
        self._set_status("diverged")
        raise NonFiniteLossError(
            f"{what}; {str(self.path)!r} keeps the weights of {self.kept}. "
            f"Lower the learning rate (now {self.recipe.lr:g}).",
            call="train",
        )

    def _interrupt(self, number: int) -> NoReturn:
        self._check_weights()
        self._save()
        self._set_status("interrupted")
        raise self._interrupted(
            number,
            f"epoch {self.at.epoch + 1} of {self.recipe.epochs} after step {self.at.step}; the run is saved in "
            f"{str(self.path)!r}, resume goes on with it",
        )

    def _interrupted(self, number: int, where: str) -> TrainingInterrupted:
        return TrainingInterrupted(f"train: stopped by {signal.Signals(number).name}: {where}.", number)

    def _place(self) -> str:
        if self.at.step:
            return f"epoch {self.at.epoch + 1} after step {self.at.step}"
        return f"epoch {self.at.epoch}" if self.at.epoch else "before training"

    def _save(self) -> None:
        self._save_weights(folder.WEIGHTS)
        folder.write_metrics(self.path, self.metrics)
        save_checkpoint(self.path / folder.CHECKPOINT, self.network, self.optimizer, self.at)
        self.kept = self._place()

    def _save_weights(self, name: str) -> None:
        metadata = {key: json.dumps(value) for key, value in self.facts.to_dict().items()}
        metadata["model"] = self.recipe.model
        metadata["model_options"] = json.dumps(dict(self.recipe.model_options))
        save_weights(self.network, self.path / name, metadata)

    def _set_status(self, status: str) -> None:
        write_json(self.path / folder.STATE, {"status": status, "data": self.facts.to_dict()})


def _batches(recipe: Recipe, facts: DataFacts, images: ImageSet) -> Batches:
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
        augment=Augmentation("random" if recipe.horizontal_flip else "none", recipe.crop_padding),
        # Batch norm cannot normalise one value a channel.
        drop_last=recipe.batch_size > 1 and len(images) > 1 and len(images) % recipe.batch_size == 1,
    )


def _rehearse(recipe: Recipe, facts: DataFacts, network: nn.Module, batches: Batches) -> None:
    """Take one step's forward pass on a copy, so that what cannot work is refused before a file is written."""
    images, labels, *_ = next(batches.epoch(0))
    expected = (len(labels), len(facts.classes))
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
            f"{recipe.model} returns {kind} for a batch of {len(labels)} images; only classifiers with one output, "
            "a tensor (N, classes), are trained here.",
            call="train",
        )
    if scores.shape != expected:
        raise UsageError(
            f"{recipe.model} returns {tuple(scores.shape)} for a batch of {len(labels)} images; a classifier of "
            f"{len(facts.classes)} classes must return {expected}.",
            call="train",
        )


def _optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        network.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
    )
