"""Batches: equal to plain normalisation, and the same again for the same seed, epoch and position."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from picture_files import photograph, saved
from refusals import refused

from convscope.data import (
    Augmentation,
    Batches,
    ImageSet,
    cat,
    fit_image,
    load_dataset,
    load_image_folder,
    normalise,
    prepare,
)
from convscope.errors import ShapeError, UsageError

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def noise(num_images: int = 23, channels: int = 3, height: int = 7, width: int = 9) -> ImageSet:
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(
        1, 256, (num_images, channels, height, width), dtype=torch.uint8, generator=generator
    )
    return ImageSet(images, torch.arange(num_images) % 3, ("a", "b", "c"), "noise")


def batches(image_set: ImageSet, batch_size: int = 5, **options) -> Batches:
    return Batches(image_set, batch_size, **{"mean": MEAN, "std": STD, **options})


def epoch(served: Batches, number: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*(batch[:2] for batch in served.epoch(number)), strict=True)
    return torch.cat(images), torch.cat(labels)


def plain(images: torch.Tensor) -> torch.Tensor:
    """Normalise by the definition, in float64."""
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (MEAN, STD))
    return ((images.double() / 255 - mean) / std).float()


def raw(images: torch.Tensor) -> torch.Tensor:
    """Undo the normalisation."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return ((images * std + mean) * 255).round().to(torch.uint8)


def test_without_shuffling_the_set_is_normalised_in_its_order() -> None:
    data = noise()
    images, labels = epoch(batches(data))
    assert images.dtype == torch.float32
    assert next(batches(data).epoch(0)).images.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(images, plain(data.images), rtol=1e-6, atol=1e-6)
    assert torch.equal(labels, data.labels)
    assert torch.equal(images, normalise(data.images, MEAN, STD))


def test_shuffling_permutes_images_together_with_labels() -> None:
    data = noise()
    served = batches(data, shuffle=True, seed=1)
    order = served.order(4)
    assert sorted(order.tolist()) == list(range(23))
    images, labels = epoch(served, 4)
    assert torch.equal(raw(images), data.images[order])
    assert torch.equal(labels, data.labels[order])


@pytest.mark.parametrize("augment", [None, Augmentation(horizontal_flip="random", crop_padding=2)])
def test_an_epoch_is_a_function_of_seed_and_number(augment: Augmentation | None) -> None:
    first = batches(noise(), shuffle=True, seed=8, augment=augment)
    epochs = [epoch(first, number)[0] for number in (0, 1, 2)]
    torch.manual_seed(999)
    again = batches(noise(), shuffle=True, seed=8, augment=augment)
    for number in (2, 0, 1):
        assert torch.equal(epoch(again, number)[0], epochs[number])
    other_seed = epoch(batches(noise(), shuffle=True, seed=9, augment=augment), 0)[0]
    for image_list in (epochs[1], epochs[2], other_seed):
        assert not torch.equal(image_list, epochs[0])


def test_seed_and_epoch_do_not_add_up() -> None:
    assert not torch.equal(
        batches(noise(), shuffle=True, seed=0).order(1), batches(noise(), shuffle=True, seed=1).order(0)
    )


def test_the_first_order_of_seed_0_is_the_same_on_every_machine() -> None:
    assert batches(noise(8), shuffle=True, seed=0).order(0).tolist() == [0, 4, 5, 3, 7, 2, 6, 1]


@pytest.mark.parametrize("start", [0, 1, 3, 5])
def test_resuming_inside_an_epoch(start: int) -> None:
    served = batches(noise(), shuffle=True, seed=2, augment=Augmentation("random", 3))
    whole = list(served.epoch(6))
    rest = list(served.epoch(6, start=start))
    assert len(rest) == len(whole) - start
    for (images, labels, *_), (expected, expected_labels, *_) in zip(rest, whole[start:], strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(labels, expected_labels)


def test_the_batch_size_changes_neither_order_nor_augmentation() -> None:
    options = {"shuffle": True, "seed": 2, "augment": Augmentation("random", 2)}
    small, large = (epoch(batches(noise(), size, **options), 1) for size in (4, 11))
    assert torch.equal(small[0], large[0])
    assert torch.equal(small[1], large[1])


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    epoch(batches(noise(), shuffle=True, augment=Augmentation("random", 2)))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_images_of_the_set_are_left_alone() -> None:
    data = noise()
    before = data.images.clone()
    for images, *_ in batches(data, 23, augment=Augmentation("random", 2)).epoch(0):
        images.zero_()
    assert torch.equal(data.images, before)


def test_flip_mirrors_half_of_the_images_and_nothing_else() -> None:
    data = noise(400, height=2, width=3)
    images = raw(epoch(batches(data, 64, augment=Augmentation(horizontal_flip="random")))[0])
    mirrored = (images == data.images.flip(3)).flatten(1).all(1)
    same = (images == data.images).flatten(1).all(1)
    assert bool((mirrored ^ same).all())
    assert 150 < int(mirrored.sum()) < 250


def test_crop_moves_each_image_by_at_most_the_padding() -> None:
    data = noise(300, height=4, width=5)
    padding = 2
    images = raw(epoch(batches(data, 50, augment=Augmentation(crop_padding=padding)))[0])
    moves = set()
    for image, original in zip(images, data.images, strict=True):
        framed = torch.nn.functional.pad(original, [padding] * 4)
        found = [
            (dy, dx)
            for dy in range(2 * padding + 1)
            for dx in range(2 * padding + 1)
            if torch.equal(framed[:, dy : dy + 4, dx : dx + 5], image)
        ]
        assert len(found) == 1  # the noise has no black, so every move looks different
        moves.add(found[0])
    assert len(moves) == 25


@pytest.mark.parametrize("augment", [Augmentation(horizontal_flip="random"), Augmentation(crop_padding=2)])
def test_each_epoch_is_varied_anew(augment: Augmentation) -> None:
    served = batches(noise(), augment=augment)
    assert not torch.equal(epoch(served, 0)[0], epoch(served, 1)[0])


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "sizes"),
    [(5, False, [5] * 4 + [3]), (5, True, [5] * 4), (23, True, [23]), (50, False, [23])],
)
def test_sizes_of_the_batches(batch_size: int, drop_last: bool, sizes: list[int]) -> None:
    served = batches(noise(), batch_size, drop_last=drop_last)
    assert [len(batch.labels) for batch in served.epoch(0)] == sizes
    assert len(served) == len(sizes)
    assert served.num_images == sum(sizes)


# ---------------------------------------------------------------------------------------------------- prepare


def test_prepare_equals_the_way_of_the_training_images() -> None:
    fashion = load_dataset("fashion-mnist", "test").take(1)
    mean, std = fashion.mean_std()
    served, *_ = next(Batches(fashion, 1, mean=mean, std=std).epoch(0))
    assert torch.equal(prepare(fashion.images[0, 0].numpy(), mean, std, 1, 28), served)
    resized, *_ = next(
        Batches(
            load_dataset("fashion-mnist", "test", size=40, mode="RGB").take(1), 1, mean=MEAN, std=STD
        ).epoch(0)
    )
    assert torch.equal(prepare(fashion.images[0, 0].numpy(), MEAN, STD, 3, 40), resized)


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_prepare_equals_the_way_of_a_folder(mode, channels: int, tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "photo.png").write_bytes(saved(photograph(), "PNG"))
    mean, std = MEAN[:channels], STD[:channels]
    data = load_image_folder(tmp_path, size=(20, 31), mode=mode)
    served, *_ = next(Batches(data, 1, mean=mean, std=std).epoch(0))
    assert torch.equal(prepare(photograph(), mean, std, channels, (20, 31)), served)


def test_prepare_changes_the_channels() -> None:
    grey = prepare(cat(), (0.5,), (0.5,), 1, (30, 40))
    assert grey.shape == (1, 1, 30, 40)
    colour = prepare(cat()[..., 0].copy(), MEAN, STD, 3, 32)
    assert colour.shape == (1, 3, 32, 32)
    assert torch.equal(raw(colour)[0, 0], raw(colour)[0, 2])


def test_fit_image_keeps_the_centre_and_the_proportions() -> None:
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = 200
    assert fit_image(wide, 4).tolist() == [[200] * 4] * 4
    np.testing.assert_array_equal(fit_image(wide.T.copy(), 4), [[200] * 4] * 4)
    assert fit_image(wide, (4, 12)) is wide
    assert fit_image(np.full((5, 1000, 3), 9, np.uint8), (32, 16)).tolist() == [[[9] * 3] * 16] * 32


def test_fit_image_averages_when_it_shrinks() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    small = fit_image(stripes, 8).astype(int)
    assert np.abs(small[:, 1:-1] - 127.5).max() < 8  # picking single pixels would give stripes again


def test_fit_image_against_torch() -> None:
    from torch.nn.functional import interpolate

    pixels = photograph(48, 60)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].double()
    for size in (24, 96):
        scaled = interpolate(
            tensor[..., 6:54], size=(size, size), mode="bilinear", antialias=True, align_corners=False
        )
        difference = torch.from_numpy(fit_image(pixels, size)).permute(2, 0, 1)[None] - scaled
        assert difference[..., 2:-2].abs().max() < 1.01  # Pillow rounds to integers once per axis


# ---------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"batch_size": 2.0}, "batch_size must be an integer of at least 1, got 2.0"),
        (
            {"batch_size": 24, "drop_last": True},
            "batch_size 24 with drop_last leaves no batch of the 23 images",
        ),
        ({"seed": 0.5}, "seed must be an integer, got 0.5"),
        ({"mean": (0.5,)}, "mean must hold one finite number for each of the 3 channel(s), got (0.5,)"),
        ({"mean": 0.5}, "mean must hold one finite number for each of the 3 channel(s), got 0.5"),
        ({"mean": (0.5, float("nan"), 0.5)}, "mean must hold one finite number"),
        ({"std": (0.5, 0.5)}, "std must hold one finite number for each of the 3 channel(s)"),
        ({"std": (0.5, 0.0, 0.5)}, "std must be above 0 in every channel, got (0.5, 0.0, 0.5)"),
    ],
)
def test_refusals_of_batches(options: dict, words: str) -> None:
    with refused(UsageError, "Batches", words, exit_code=2):
        batches(noise(), **options)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((-1,), "number must be an integer of at least 0, got -1"),
        ((1.0,), "got 1.0"),
        ((0, 6), "a batch from 0 to 5, got 6"),
    ],
)
def test_refusals_of_epoch_come_before_the_first_batch(arguments: tuple, words: str) -> None:
    with refused(UsageError, "Batches.epoch", words, exit_code=2):
        batches(noise()).epoch(*arguments)


def test_refusals_of_normalise() -> None:
    with refused(
        ShapeError, "normalise", "uint8 of shape (N, C, H, W), got torch.float32 of shape", exit_code=2
    ):
        normalise(torch.zeros(1, 3, 2, 2), MEAN, STD)
    with refused(ShapeError, "normalise", "shape (3, 2, 2)", exit_code=2):
        normalise(torch.zeros(3, 2, 2, dtype=torch.uint8), MEAN, STD)
    with refused(UsageError, "normalise", "mean must hold", exit_code=2):
        normalise(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), MEAN, STD)


@pytest.mark.parametrize(
    ("call", "image", "options", "words"),
    [
        ("prepare", "cat.png", {}, "must be a numpy array, got str. Use decode_image first"),
        ("prepare", np.zeros((4, 4)), {}, "uint8 of shape (H, W) or (H, W, 3), got float64 of shape (4, 4)"),
        ("prepare", np.zeros((4, 4, 4), np.uint8), {}, "got uint8 of shape (4, 4, 4)"),
        ("prepare", np.zeros((0, 4), np.uint8), {}, "got uint8 of shape (0, 4)"),
        ("prepare", np.zeros((4, 4), np.uint8), {"channels": 2}, "1 or 3 channels, got channels = 2"),
        (
            "prepare",
            np.zeros((4, 4), np.uint8),
            {"mean": (0.5,)},
            "mean must hold one finite number for each of the 3",
        ),
        (
            "fit_image",
            np.zeros((4, 4), np.uint8),
            {"size": -1},
            "size must be an integer or a (height, width) pair",
        ),
    ],
)
def test_refusals_of_prepare(call: str, image: object, options: dict, words: str) -> None:
    with refused(UsageError, call, words, exit_code=2):
        prepare(image, **{"mean": MEAN, "std": STD, "channels": 3, "size": 4, **options})  # type: ignore[arg-type]
