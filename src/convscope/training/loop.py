"""The training loop: plain torch, every random choice a function of the recipe's seed."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from convscope.acceleration import accelerate
from convscope.data import Batch, ImageSet
from convscope.data.augmentation import draw_generator
from convscope.errors import NonFiniteLossError, OutOfMemoryError, OutputError, RunError, UsageError
from convscope.files import write_json, write_text
from convscope.models import load_weights, save_weights
from convscope.training import folder
from convscope.training.averaging import WeightAverage
from convscope.training.checkpoint import Checkpoint, Checkpoints, Position
from convscope.training.clock import Clock
from convscope.training.environment import environment
from convscope.training.evaluation import Evaluation, evaluate, loss_of
from convscope.training.events import EpochDone, Listener, StepDone, Warned
from convscope.training.facts import build_network
from convscope.training.freezing import Freezing
from convscope.training.memory import StepMemory, free_bytes, is_out_of_memory
from convscope.training.metrics import JsonLines, whole_lines
from convscope.training.optimizers import Optimizers
from convscope.training.preparation import Preparation
from convscope.training.recipe_file import recipe_text
from convscope.training.snapshots import save_snapshot
from convscope.training.speed import images_per_second_limit
from convscope.training.stopping import StopRequest, TrainingInterrupted
from convscope.training.team import Team

__all__ = ["Training"]

_ROLLBACKS = 3


class Training:
    """One training in its locked folder."""

    def __init__(
        self, prepared: Preparation, path: Path, listener: Listener | None, clock: Clock, team: Team
    ) -> None:
        recipe, network, head = prepared.recipe, prepared.network, prepared.head
        self.recipe, self.facts, self.path, self.team = recipe, prepared.facts, path, team
        self.batches, self.held_out, self.test = prepared.batches, prepared.held_out, prepared.test
        # Channels last: a step of the small VGG takes a fifth less time on the CPUs measured.
        self.network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.freezing = Freezing(recipe, network, head)
        self.optimizers = Optimizers(recipe, network, head)
        self.average = WeightAverage(recipe, network)
        self.united = team.unite(self.network)
        if recipe.accelerate:
            accelerate(self.network, recipe.precision)
        with clock.of("preparation"):
            shapes = {self.batches.image_shape(epoch) for epoch in range(recipe.epochs if team.writes else 0)}
            self.limits = {shape: images_per_second_limit(network, shape) for shape in shapes}
        self.loss = loss_of(recipe)
        self.checkpoints = Checkpoints(path, recipe.keep_checkpoints)
        self.at = Position()
        self.kept = "before training"  # where the weights on the disk stand
        self.clock, self.listener = clock, listener if team.writes else None
        self.unsaved: OutputError | None = None  # why the last save failed
        self.stopping = 0  # the signal that asked the team to stop
        self.last_index = torch.empty(0, dtype=torch.int64)  # the images of the last step

    def fit(self, *, resume: bool) -> None:
        """Train to the end, saving on the way; `resume` goes on from the newest checkpoint that is whole."""
        if resume:
            self._take_up()
        else:
            self._begin()
        names = (folder.METRICS, folder.TIMES) if self.team.writes else ()
        self.lines = {name: JsonLines(self.path / name, self.at.sizes.get(name, 0)) for name in names}
        try:
            self._set_status("running")
            if not resume:
                self._save(required=True)
                self._snapshot()
            with StopRequest() as stop:
                while self.at.epoch < self.recipe.epochs:
                    try:
                        self._epoch(self.at.epoch, stop)
                    except _Diverged as diverged:
                        self._roll_back(diverged)
                self._finish()
                if self.stopping:
                    raise self._interrupted(self.stopping, "the run is finished")
        except (TrainingInterrupted, NonFiniteLossError):
            raise
        except BaseException:
            with contextlib.suppress(OutputError):
                self._set_status("failed")
            raise
        finally:
            for file in self.lines.values():
                file.close()

    def _begin(self) -> None:
        if not self.team.writes:
            return
        write_text(self.path / folder.RECIPE, recipe_text(self.recipe))
        write_json(self.path / folder.ENVIRONMENT, environment())
        self._set_status("running")
        self._save_weights(self.path / folder.INITIAL_WEIGHTS)

    def _take_up(self) -> None:
        state = folder.read_state(self.path)
        if state.get("data") != json.loads(json.dumps(self.facts.to_dict())):
            raise RunError(
                f"{str(self.path)!r} was trained on other images than {self.recipe.data!r} holds now; "
                "start a new run, or restore the images.",
                call="train",
            )
        checkpoint, damaged = self.checkpoints.sound(self._check_lines)
        if checkpoint is None:  # the weights are dearer than the figures of how they came about
            checkpoint = self.checkpoints.latest()
            damaged = [
                f"figures of steps before {checkpoint.path.name} are lost: {message}" for message in damaged
            ]
        for message in damaged:
            self._warn(f"train: {message} The run goes on from {checkpoint.path.name}.")
        self._load(checkpoint)
        self.team.wait()
        if self.team.writes:
            self.checkpoints.go_on_from(checkpoint)

    def _check_lines(self, checkpoint: Checkpoint) -> None:
        """Raise ValueError if the metrics of the steps before a checkpoint are not all there.

        A run that goes on from an earlier checkpoint writes them again.
        """
        path, size = self.path / folder.METRICS, checkpoint.position.sizes.get(folder.METRICS, 0)
        found = whole_lines(path, size)
        if found != size:
            raise ValueError(f"{str(path)!r} has {found:,} whole bytes of the {size:,} that belong to it")

    def _load(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint into the network, the optimisers and the averages.

        Raises:
            RunError: it is whole, and not of this recipe.
        """
        tensors = checkpoint.training_tensors()

        def under(prefix: str) -> dict[str, Tensor]:
            return {
                key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
            }

        position = checkpoint.position
        trained = under("network.")
        wanted = self.network.state_dict() if self.average.stands_apart else {}
        try:
            if position.epoch > self.recipe.epochs or position.step >= len(self.batches):
                raise ValueError(f"it stands at step {position.step} of epoch {position.epoch + 1}")
            if any(key.split(".")[0] not in ("optimizer", "average", "network") for key in tensors) or {
                key: (value.shape, value.dtype) for key, value in trained.items()
            } != {key: (value.shape, value.dtype) for key, value in wanted.items()}:
                raise ValueError("the tensors of training are of another network")
            load_weights(self.network, checkpoint.weights)
            self.optimizers.load_tensors(under("optimizer."))
            self.average.load_tensors(under("average."))
            if self.average.stands_apart:
                self.network.load_state_dict(trained)
        except ValueError as error:
            reason = " ".join(str(getattr(error, "message", error)).split()).rstrip(".")
            raise RunError(
                f"checkpoint {str(checkpoint.path)!r} belongs to another recipe: {reason}.", call="train"
            ) from error
        self.at = position
        self.kept = self._place()

    def _epoch(self, epoch: int, stop: StopRequest) -> None:
        recipe, at, steps = self.recipe, self.at, len(self.batches)
        self.network.train()
        self.freezing.apply(epoch, self.network)
        began, done, first = time.perf_counter(), 0, at.step
        # A resumed run did the first at.step batches; the order is a function of seed and epoch.
        served = iter(self.batches.epoch(epoch, start=at.step))
        for step in range(at.step, steps):
            with self.clock.of("data"), self._within_memory():
                batch = next(served)
            with self.clock.of("training"), self._within_memory():
                lr = at.lr_scale * recipe.lr_at((epoch * steps + step) / (recipe.epochs * steps))
                value, right, seen = self._step(batch, lr, epoch, step, stop)
                self.average.update(epoch * steps + step + 1, recipe.epochs * steps)
            at.step = step + 1
            at.loss_sum += value * seen
            at.num_right += right
            at.num_seen += seen
            done += seen
            spent = time.perf_counter() - began
            rate = done / spent
            with self.clock.of("recording"):
                self._record(folder.METRICS, {"step": epoch * steps + at.step, "loss": value, "lr": lr})
            if self.listener is not None:
                accuracy = at.num_right / at.num_seen
                seconds_left = self._steps_left() * spent / (at.step - first)
                self.listener(
                    StepDone(
                        epoch + 1,
                        recipe.epochs,
                        at.step,
                        steps,
                        value,
                        accuracy,
                        lr,
                        rate,
                        self._share_of_limit(rate, epoch),
                        seconds_left,
                    )
                )
            if self.team.size == 1:
                self.stopping = stop.signal_number
            if at.step < steps:
                if self.stopping:
                    self._interrupt(self.stopping)
                if recipe.checkpoint_every and (epoch * steps + at.step) % recipe.checkpoint_every == 0:
                    self._check_weights()
                    self._save()
        self._close_epoch(epoch)

    def _step(
        self, batch: Batch, lr: float, epoch: int, step: int, stop: StopRequest
    ) -> tuple[float, int, int]:
        """Take one step; return the loss of all its images, how many are right, and how many they are."""
        own = len(batch.labels)
        with torch.random.fork_rng(devices=[]):
            # Dropout and its like: a function of seed, step and process, so that a resumed run draws the same.
            generator = draw_generator("step", self.recipe.seed, epoch, step, self.team.rank)
            torch.manual_seed(generator.initial_seed())
            scores = self.united(batch.images)
        loss = self.loss(scores, batch.labels, batch.other_labels, batch.share)
        right = int((scores.detach().argmax(dim=1) == batch.labels).sum())
        total, num_right, seen, stopping = self.team.sum(
            (float(loss.detach()) * own, right, own, stop.signal_number)
        )
        value = total / seen
        if not math.isfinite(value):
            raise _Diverged(
                f"the loss is {value} in epoch {epoch + 1} at step {step + 1}, learning rate {lr:g}, images "
                f"{_brief(batch.index)}"
            )
        self.stopping = int(stopping)  # all stop at the same step
        self.optimizers.zero_grad()
        (loss * (own * self.team.size / seen)).backward()
        if not self.optimizers.gradients_are_finite():
            raise _Diverged(
                f"a gradient is not finite in epoch {epoch + 1} at step {step + 1}, learning rate {lr:g}, images "
                f"{_brief(batch.index)}"
            )
        self.last_index = batch.index
        self.optimizers.step(lr)
        return value, int(num_right), int(seen)

    @contextlib.contextmanager
    def _within_memory(self) -> Iterator[None]:
        """Say of a step for which there is no memory what it needs, what is free and which batch size fits."""
        try:
            yield
            return
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)  # with them the step's tensors go
        self.optimizers.zero_grad()
        raise OutOfMemoryError(self._memory_words(), call="train")

    def _memory_words(self) -> str:
        size, processes, free = self.recipe.batch_size, self.team.size, free_bytes()
        words = f"there is no memory for a step of batch size {size}"
        way_out = "a smaller batch size"
        try:
            step = StepMemory.of(build_network(self.recipe, self.facts), self.facts.input_shape)
        except (UsageError, MemoryError, RuntimeError):
            step = None  # no figures, then
        if step is not None and free is not None:
            words += f": it needs about {step.step_bytes(-(-size // processes)):,} bytes, {free:,} are free"
            fits = min(processes * step.largest_batch(free), size - 1)
            way_out = f"batch_size={fits}, which fits" if fits else "a smaller image size or network"
        return (
            f"{words}. Start a new run with {way_out}; {str(self.path)!r} keeps the weights of {self.kept}."
            if self.checkpoints.after_first_step()
            else f"{words}. Start again with {way_out}."
        )

    def _close_epoch(self, epoch: int) -> None:
        """Measure, and only if all is finite, save: a bad step must not replace good weights."""
        recipe, at = self.recipe, self.at
        self._check_weights()
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "train_loss": at.loss_sum / at.num_seen,
            "train_acc@1": at.num_right / at.num_seen,
            "lr": at.lr_scale * recipe.lr_at((epoch + 1) / recipe.epochs),
        }
        last = epoch + 1 == recipe.epochs
        best = False
        if last or (recipe.evaluate_every and (epoch + 1) % recipe.evaluate_every == 0):
            result = self._evaluate(self.held_out)
            self._check_loss(result, "held-out")
            row |= {"val_loss": result.loss, "acc@1": result.accuracy}
            best = result.accuracy > at.best
        if last and self.test is not None:
            result = self._evaluate(self.test)
            self._check_loss(result, "test")
            row |= {"test_loss": result.loss, "test_acc@1": result.accuracy}
        self._record(folder.METRICS, row)
        times = self.clock.take()
        spent = times.get("training", 0.0) + times.get("data", 0.0)
        shown = {
            "epoch": epoch + 1,
            "seconds": spent,
            "images_per_second": at.num_seen / spent,
            "share_of_limit": self._share_of_limit(at.num_seen / spent, epoch),
            "phases": times,
        }
        self._record(folder.TIMES, shown)
        self.at = Position(
            epoch=epoch + 1,
            lr_scale=at.lr_scale,
            rollbacks=at.rollbacks,
            best=row["acc@1"] if best else at.best,
            best_step=(epoch + 1) * len(self.batches) if best else at.best_step,
            rollback_step=at.rollback_step,
        )
        self._save(best=best, required=last)
        if self.unsaved is not None:  # weights that were not saved are not the best that there are
            self.at.best, self.at.best_step = at.best, at.best_step
        self._snapshot()
        if self.listener is not None:
            done = (epoch + 1) * len(self.batches)
            self.listener(EpochDone(epoch + 1, recipe.epochs, {**row, **shown}, done))

    def _share_of_limit(self, images_per_second: float, epoch: int) -> float | None:
        limit = self.limits.get(self.batches.image_shape(epoch))
        return None if limit is None else images_per_second / (limit * self.team.size)

    def _steps_left(self) -> float:
        """Return what is left to do, in steps of this epoch; a step costs as much as its images have pixels."""
        pixels = [
            math.prod(self.batches.image_shape(epoch)) for epoch in range(self.at.epoch, self.recipe.epochs)
        ]
        return len(self.batches) * sum(pixels) / pixels[0] - self.at.step

    def _evaluate(self, images: ImageSet) -> Evaluation:
        recipe = self.recipe
        share = self.team.share_of(len(images))
        own = images if self.team.size == 1 else images.subset(range(share.start, share.stop))
        with self.clock.of("evaluation"), self.average.in_place():
            result = evaluate(
                self.network,
                own,
                mean=self.facts.mean,
                std=self.facts.std,
                loss=self.loss,
                views=recipe.test_views,
                accelerate=recipe.accelerate,
                precision=recipe.precision,
            )
        return result if self.team.size == 1 else self._united(result, images, share)

    def _united(self, own: Evaluation, images: ImageSet, share: slice) -> Evaluation:
        """Put together what each process measured on its share of the images."""

        def together(part: Tensor) -> Tensor:
            whole = torch.zeros(len(images), dtype=part.dtype)
            whole[share] = part
            return self.team.sum_tensor(whole)

        loss, right = self.team.sum(
            (own.loss * len(own.labels), float((own.predictions == own.labels).sum()))
        )
        return Evaluation(
            right / len(images),
            loss / len(images),
            together(own.predictions),
            together(own.confidences),
            images.labels,
            images.classes,
            together(own.runners_up),
            together(own.margins),
        )

    def _finish(self) -> None:
        if self.unsaved is not None:
            raise self.unsaved
        self.team.wait()
        self._set_status("finished")

    def _check_loss(self, result: Evaluation, which: str) -> None:
        if not math.isfinite(result.loss):
            raise _Diverged(
                f"the loss on the {which} images is {result.loss} after epoch {self.at.epoch + 1}, step {self.at.step}"
            )

    def _check_weights(self) -> None:
        """Raise _Diverged if anything that a checkpoint would hold is not finite."""
        kept = {f"weights {key}": value for key, value in self.network.state_dict().items()}
        kept |= {f"averaged weights {key}": value for key, value in self.average.slow.items()}
        kept |= {f"optimiser's values {key}": value for key, value in self.optimizers.tensors().items()}
        for name, value in kept.items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise _Diverged(
                    f"the {name} are no longer finite in epoch {self.at.epoch + 1} after step {self.at.step}, images "
                    f"{_brief(self.last_index)}"
                )

    def _roll_back(self, diverged: _Diverged) -> None:
        """Go back to the last checkpoint with half the learning rate, or end the run."""
        if self.recipe.on_divergence == "stop" or self.at.rollbacks >= _ROLLBACKS:
            with contextlib.suppress(OutputError):
                self._set_status("diverged")
            raise NonFiniteLossError(
                f"{diverged}; {str(self.path)!r} keeps the weights of {self.kept}. "
                f"Lower the learning rate (now {self.recipe.lr * self.at.lr_scale:g}).",
                call="train",
            ) from None
        # Killed before the next checkpoint, the run diverges again at the same step and comes back here: as bit-exact.
        scale, rollbacks = self.at.lr_scale / 2, self.at.rollbacks + 1
        checkpoint = self.checkpoints.at(self.at.rollback_step, self._warn)
        self._load(checkpoint)
        self.team.wait()
        if self.team.writes:
            self.checkpoints.go_on_from(checkpoint)
        self.at = replace(self.at, lr_scale=scale, rollbacks=rollbacks)
        for name, file in self.lines.items():
            file.cut(self.at.sizes.get(name, 0))
        self._warn(
            f"train: {diverged}; going on from {self.kept} with the learning rate times {scale:g} "
            f"({rollbacks} of {_ROLLBACKS} times)."
        )

    def _interrupt(self, number: int) -> NoReturn:
        self._check_weights()
        self._save(required=True, asked=False)
        with contextlib.suppress(OutputError):  # what counts is saved
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

    def _save(self, *, best: bool = False, required: bool = False, asked: bool = True) -> None:
        """Write a checkpoint; where it cannot be written and another will follow, warn and go on.

        Args:
            asked: the recipe asks for it; else it is a stop's.
        """
        number, before = self.at.epoch * len(self.batches) + self.at.step, self.at.rollback_step
        if asked:
            self.at.rollback_step = number
        if not self.team.writes:
            self.kept = self._place()
            return
        with self.clock.of("saving"):
            try:
                self.at.sizes = {name: file.flush() for name, file in self.lines.items()}
                tensors = {f"optimizer.{key}": value for key, value in self.optimizers.tensors().items()}
                tensors |= {f"average.{key}": value for key, value in self.average.tensors().items()}
                if self.average.stands_apart:
                    tensors |= {f"network.{key}": value for key, value in self.network.state_dict().items()}
                packed = {
                    key: value.detach().clone(memory_format=torch.contiguous_format)
                    for key, value in tensors.items()
                }
                with self.average.in_place():
                    self.checkpoints.save(number, self._save_weights, packed, self.at, best=best)
            except OutputError as error:
                if required:
                    raise
                self.unsaved, self.at.rollback_step = error, before
                self._warn(f"{error} Training goes on; the checkpoint of {self.kept} stays.")
                return
        self.unsaved = None
        self.kept = self._place()

    def _snapshot(self) -> None:
        """Keep how the network looks now; a picture that cannot be written is no reason to stop."""
        if not self.team.writes:
            return
        with self.clock.of("saving"), self.average.in_place():
            try:
                save_snapshot(self.path, self.at.epoch, self.network, self.held_out, self.facts)
            except OutputError as error:
                self._warn(f"{error} Training goes on; the report will lack this epoch's filters and maps.")

    def _record(self, name: str, row: dict[str, Any]) -> None:
        if name not in self.lines:
            return
        try:
            self.lines[name].append(row)
        except OutputError as error:
            if self.unsaved is None:  # once is enough
                self._warn(f"{error} Training goes on; the figures are kept in memory and written later.")
            self.unsaved = error

    def _save_weights(self, path: Path) -> None:
        metadata = {key: json.dumps(value) for key, value in self.facts.to_dict().items()}
        metadata["model"] = self.recipe.model
        metadata["model_options"] = json.dumps(dict(self.recipe.model_options))
        save_weights(self.network, path, metadata)

    def _set_status(self, status: str) -> None:
        if not self.team.writes:
            return
        write_json(
            self.path / folder.STATE,
            {"version": folder.VERSION, "status": status, "data": self.facts.to_dict()},
        )

    def _warn(self, message: str) -> None:
        if self.listener is not None:
            self.listener(Warned(message))


class _Diverged(Exception):
    """A loss or a weight that is no longer finite, in words."""


def _brief(index: Tensor) -> str:
    numbers = index.tolist()
    shown = ", ".join(map(str, numbers[:8]))
    return shown if len(numbers) <= 8 else f"{shown} and {len(numbers) - 8} more"
