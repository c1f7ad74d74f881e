"""What a training is made of, before its first step: images, network, batches; what cannot work is refused here."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from convscope.data import (
    Augmentation,
    Batch,
    Batches,
    ImageSet,
    list_datasets,
    load_dataset,
    load_image_folder,
)
from convscope.errors import ConvscopeError, DataError, UsageError
from convscope.models import create_seeded_model, load_weights, model_entry
from convscope.training.facts import DataFacts, build_network
from convscope.training.optimizers import is_in
from convscope.training.recipe import Recipe
from convscope.training.team import Team

__all__ = ["Preparation"]

_FITTED = 5000  # images that a network's first filters are fitted to


@dataclass(frozen=True, slots=True)
class Preparation:
    """Images, network and batches of a recipe.

    Attributes:
        head: beginnings of the names of the head's parameters.
        held_out: the images measured after epochs; `test` those looked at once in the end, where they are others.
    """

    recipe: Recipe
    facts: DataFacts
    network: nn.Module
    head: tuple[str, ...]
    batches: Batches
    held_out: ImageSet
    test: ImageSet | None

    @classmethod
    def of(cls, recipe: Recipe, processes: Team | None = None, *, resume: bool = False) -> Preparation:
        """Load the images, build the network, and try it on two of them.

        Args:
            resume: leave the network's weights random, since the run has its own.
        Raises:
            UsageError, DataError, WeightsError: the recipe and its data do not go together.
        """
        training, held_out, test = _image_sets(recipe)
        facts = DataFacts.of(training)
        network = build_network(recipe, facts)
        if not resume:
            _initialise(recipe, facts, network, training)
        batches = _batches(recipe, facts, training, processes or Team())
        _rehearse(recipe, facts, network, batches)
        return cls(recipe, facts, network, model_entry(recipe.model).head, batches, held_out, test)


def _image_sets(recipe: Recipe) -> tuple[ImageSet, ImageSet, ImageSet | None]:
    """Return the images to train on, those measured after epochs, and those looked at once in the end."""
    training = load_dataset(recipe.data, "train", size=recipe.image_size)
    if len(training.classes) < 2:
        raise DataError(
            f"{recipe.data!r} has one class only, {', '.join(training.classes)!r}; a classifier needs two or more.",
            call="train",
        )
    channels, height, width = training.image_shape
    mode = "L" if channels == 1 else "RGB"
    test = load_dataset(recipe.data, "test", size=(height, width), mode=mode)
    if test.classes != training.classes:
        raise DataError(
            f"{recipe.data!r} has {len(training.classes)} classes to train on and {len(test.classes)} to test "
            "on, or other names; both splits need the same class folders.",
            call="train",
        )
    if recipe.validation_share:
        training, held_out = training.split(recipe.validation_share, recipe.seed)
        return training, held_out, test
    folder = Path(recipe.data)
    if recipe.data in list_datasets() or not all(
        (folder / part).is_dir() for part in ("train", "val", "test")
    ):
        return training, test, None
    held_out = load_image_folder(folder, split="validation", size=(height, width), mode=mode)
    return training, held_out, test


def _initialise(recipe: Recipe, facts: DataFacts, network: nn.Module, images: ImageSet) -> None:
    """Give the network the weights that it starts from."""
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
        first = images.take(min(_FITTED, len(images)))
        fit_to(next(Batches(first, len(first), mean=facts.mean, std=facts.std).epoch(0)).images)


def _batches(recipe: Recipe, facts: DataFacts, images: ImageSet, processes: Team) -> Batches:
    """Return the training batches; too few images left over at the end of an epoch are left out of it."""
    augmentation = Augmentation(
        horizontal_flip=recipe.horizontal_flip,
        crop_padding=recipe.crop_padding,
        crop_mode=recipe.crop_mode,
        cutout=recipe.cutout,
        color=recipe.color,
        mixup=recipe.mixup,
        cutmix=recipe.cutmix,
    )
    augmentation.check_fits(facts.input_shape, "train")
    left_over = len(images) % recipe.batch_size
    # Batch norm cannot normalise one value a channel, and every process needs an image.
    too_few = 0 < left_over < max(2, processes.size) <= min(recipe.batch_size, len(images))
    return Batches(
        images,
        recipe.batch_size,
        mean=facts.mean,
        std=facts.std,
        shuffle=True,
        seed=recipe.seed,
        augment=augmentation,
        progressive_sizes=recipe.progressive_sizes,
        drop_last=too_few,
        rank=processes.rank,
        world_size=processes.size,
    )


def _rehearse(recipe: Recipe, facts: DataFacts, network: nn.Module, batches: Batches) -> None:
    """Take two images of each size through a copy, so that what cannot work is refused before a file is written."""
    epochs = {batches.image_shape(epoch): epoch for epoch in range(len(recipe.progressive_sizes) + 1)}
    for epoch in epochs.values():
        _rehearse_batch(recipe, facts, network, next(batches.epoch(epoch)))
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UsageError(f"{recipe.model} has no parameter to train.", call="train")
    frozen = [name for name, _ in network.named_parameters() if is_in(name, recipe.freeze)]
    if frozen and len(frozen) == len(list(network.parameters())) and recipe.freeze_epochs is None:
        raise UsageError("the recipe freezes every parameter; leave some to train.", call="train")


def _rehearse_batch(recipe: Recipe, facts: DataFacts, network: nn.Module, batch: Batch) -> None:
    images, num_images = batch.images[:2], min(2, len(batch.labels))
    expected = (num_images, len(facts.classes))
    try:
        scores = copy.deepcopy(network).train()(images)
    except (ConvscopeError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        sizes = "batch size or image size"
        if recipe.progressive_sizes:
            sizes = f"batch size, image size or progressive_sizes, now {list(recipe.progressive_sizes)}"
        raise UsageError(
            f"{recipe.model} refuses a batch of shape {tuple(images.shape)}: {reason} "
            f"Choose another model, {sizes}.",
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
