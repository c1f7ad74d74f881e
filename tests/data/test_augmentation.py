"""Augmentation: against one image at a time, and the same for any batch size and number of processes."""

from __future__ import annotations

import math

import pytest
import torch
from refusals import refused
from torch.nn.functional import pad

from convscope.data import Augmentation, Batches, ImageSet
from convscope.data.augmentation import draw_variation
from convscope.data.mixing import draw_mixing
from convscope.errors import ShapeError, UsageError

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
EVERYTHING = Augmentation("alternating", 2, "reflect", cutout=3, color=0.4, mixup=0.5, cutmix=1.0)


def noise(num_images: int = 23, channels: int = 3, height: int = 7, width: int = 9) -> ImageSet:
    generator = torch.Generator().manual_seed(5)
    shape = (num_images, channels, height, width)
    images = torch.randint(1, 256, shape, dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.arange(num_images) % 3, ("a", "b", "c"), "noise")


def serve(data: ImageSet, augment: Augmentation | None, size: int = 5, **options) -> Batches:
    channels = data.image_shape[0]
    return Batches(
        data, size, **{"mean": MEAN[:channels], "std": STD[:channels], "augment": augment, **options}
    )


def raw(images: torch.Tensor) -> torch.Tensor:
    """Undo the normalisation, in the 0..255 of the pictures but not rounded."""
    channels = images.shape[1]
    mean, std = (torch.tensor(values[:channels]).view(-1, 1, 1) for values in (MEAN, STD))
    return (images * std + mean) * 255


def whole(batches: Batches, number: int = 0) -> torch.Tensor:
    """All images of an epoch in the order of the set."""
    served = list(batches.epoch(number))
    images = torch.cat([batch.images for batch in served])
    return images[torch.cat([batch.index for batch in served]).argsort()]


# ------------------------------------------------------------------------------------------------ one by one


@pytest.mark.parametrize("mode", ["constant", "reflect"])
@pytest.mark.parametrize("flip", ["none", "random", "alternating"])
@pytest.mark.parametrize("channels", [1, 3])
def test_flip_and_crop_equal_a_loop_of_torch_functions(mode, flip, channels: int) -> None:
    data, padding, epoch = noise(channels=channels), 3, 3
    augment = Augmentation(flip, padding, mode)
    drawn = draw_variation(augment, 8, epoch, 23, 7, 9)
    assert drawn.corners is not None
    found = raw(whole(serve(data, augment, seed=8, shuffle=True), epoch))
    for place, image in enumerate(data.images.float()):
        if drawn.flips is not None and drawn.flips[place]:
            image = torch.flip(image, (2,))
        framed = pad(image[None], [padding] * 4, mode=mode)[0]
        row, column = drawn.corners[place].tolist()
        window = framed[:, row : row + 7, column : column + 9]
        torch.testing.assert_close(found[place], window, rtol=0, atol=1e-3)


def test_cutout_blanks_a_square_to_the_mean_and_nothing_else() -> None:
    data, side = noise(200), 4
    drawn = draw_variation(Augmentation(cutout=side), 0, 0, 200, 7, 9)
    plain, holed = whole(serve(data, None)), whole(serve(data, Augmentation(cutout=side)))
    assert drawn.holes is not None
    assert set(drawn.holes[:, 0].tolist()) == set(range(-2, 5))
    assert set(drawn.holes[:, 1].tolist()) == set(range(-2, 7))
    for place, (row, column) in enumerate(drawn.holes.tolist()):
        expected = plain[place].clone()
        expected[:, max(row, 0) : row + side, max(column, 0) : column + side] = 0
        assert torch.equal(holed[place], expected)


def recolored(image: torch.Tensor, brightness: float, contrast: float, saturation: float) -> torch.Tensor:
    """What torchvision documents of adjust_brightness, adjust_contrast and adjust_saturation, in float64."""

    def grey(pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) == 1:
            return pixels
        return 0.2989 * pixels[:1] + 0.587 * pixels[1:2] + 0.114 * pixels[2:]

    image = (image.double() * brightness).clamp(0, 255)
    image = (contrast * image + (1 - contrast) * grey(image).mean()).clamp(0, 255)
    if len(image) == 3:
        image = (saturation * image + (1 - saturation) * grey(image)).clamp(0, 255)
    return image


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_equals_the_published_formulas(channels: int) -> None:
    data, augment = noise(60, channels), Augmentation(color=0.7)
    drawn = draw_variation(augment, 4, 2, 60, 7, 9)
    found = raw(whole(serve(data, augment, seed=4), 2))
    assert drawn.factors is not None
    for place, image in enumerate(data.images):
        # Half a level from rounding the result, some more from the mean of whole levels.
        expected = recolored(image, *drawn.factors[place].tolist())
        torch.testing.assert_close(found[place].double(), expected, rtol=0, atol=0.6)


def test_colour_by_hand() -> None:
    """Two grey pixels: 100 and 200 brightened by 1.2 are 120 and 240, 60 from their mean 180 each."""
    images = torch.tensor([100, 200], dtype=torch.uint8).view(1, 1, 1, 2)
    data = ImageSet(images, torch.tensor([0]), ("a", "b"), "two")
    augment = Augmentation(color=0.5)
    drawn = draw_variation(augment, 0, 0, 1, 1, 2)
    assert drawn.factors is not None
    drawn.factors.copy_(torch.tensor([[1.2, 0.5, 9.0]]))
    assert drawn.vary(data.images, torch.tensor([0])).flatten().tolist() == [150, 210]


# ------------------------------------------------------------------------------------------------ statistics


def test_alternating_flip_shows_both_sides_in_two_epochs() -> None:
    augment = Augmentation("alternating")
    epochs = [draw_variation(augment, 3, epoch, 5000, 2, 2).flips for epoch in range(4)]
    first, second, third, fourth = (flips.clone() for flips in epochs if flips is not None)
    assert torch.equal(second, ~first)
    assert torch.equal(third, first)
    assert torch.equal(fourth, second)
    assert abs(first.double().mean().item() - 0.5) < 4 * 0.5 / math.sqrt(5000)
    other = draw_variation(augment, 4, 0, 5000, 2, 2).flips
    assert other is not None
    assert 2300 < int((other == first).sum()) < 2700


def test_random_flip_is_drawn_anew() -> None:
    flips = [draw_variation(Augmentation("random"), 3, epoch, 5000, 2, 2).flips for epoch in (0, 1)]
    assert flips[0] is not None
    assert flips[1] is not None
    assert 2300 < int((flips[0] == flips[1]).sum()) < 2700


def test_corners_and_factors_are_uniform() -> None:
    drawn = draw_variation(Augmentation(crop_padding=2, color=0.3), 0, 0, 25_000, 8, 8)
    assert drawn.corners is not None
    assert drawn.factors is not None
    counts = torch.bincount(drawn.corners[:, 0] * 5 + drawn.corners[:, 1], minlength=25)
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 52  # chi square, 24 degrees of freedom, p = 0.001
    assert 0.7 <= float(drawn.factors.min()) < 0.701
    assert 1.299 < float(drawn.factors.max()) <= 1.3
    assert torch.allclose(drawn.factors.mean(0), torch.ones(3), atol=0.005)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_of_mixup_follow_beta(alpha: float) -> None:
    from scipy.stats import beta, kstest

    mixing = draw_mixing(Augmentation(mixup=alpha), 0, 0, 0, 4000, 8, 8)
    assert mixing is not None
    assert kstest(mixing.share.double().numpy(), beta(alpha, alpha).cdf).pvalue > 1e-3
    assert sorted(mixing.partner.tolist()) == list(range(4000))


def test_boxes_of_cutmix() -> None:
    """The box has the drawn area before it is cut off: with alpha 1 its mean is 1/2, less afterwards."""
    mixing = draw_mixing(Augmentation(cutmix=1.0), 0, 0, 0, 4000, 60, 40)
    assert mixing is not None
    assert mixing.low is not None
    assert mixing.high is not None
    assert bool((mixing.low >= 0).all())
    assert bool((mixing.high <= torch.tensor([60, 40])).all())
    area = (mixing.high - mixing.low).prod(1).double() / 2400
    torch.testing.assert_close(mixing.share.double(), 1 - area, rtol=0, atol=1e-6)
    assert 0.25 < float(area.mean()) < 0.45
    middle = (mixing.low.double() + mixing.high).mean(0) / 2
    torch.testing.assert_close(middle, torch.tensor([30.0, 20.0]).double(), rtol=0.03, atol=0)


def test_a_coin_decides_between_mixup_and_cutmix() -> None:
    kinds = [draw_mixing(EVERYTHING, 0, 0, batch, 2, 8, 8) for batch in range(400)]
    assert 150 < sum(mixing is not None and mixing.low is not None for mixing in kinds) < 250


# ------------------------------------------------------------------------------------------------ mixing


def test_mixup_blends_images_as_it_says() -> None:
    data = noise()
    plain = whole(serve(data, Augmentation("random")))
    for number, batch in enumerate(serve(data, Augmentation("random", mixup=1.0), shuffle=True).epoch(0)):
        mixing = draw_mixing(Augmentation(mixup=1.0), 0, 0, number, len(batch.index), 7, 9)
        assert mixing is not None
        assert batch.share is not None
        assert batch.other_labels is not None
        others = batch.index[mixing.partner]
        assert torch.equal(batch.labels, data.labels[batch.index])
        assert torch.equal(batch.other_labels, data.labels[others])
        share = batch.share.view(-1, 1, 1, 1)
        expected = share * plain[batch.index] + (1 - share) * plain[others]
        torch.testing.assert_close(batch.images, expected)


def test_cutmix_pastes_as_much_as_it_says() -> None:
    data = noise()
    plain = whole(serve(data, None))
    for batch in serve(data, Augmentation(cutmix=1.0), 23, shuffle=True).epoch(0):
        mixing = draw_mixing(Augmentation(cutmix=1.0), 0, 0, 0, 23, 7, 9)
        assert mixing is not None
        assert batch.share is not None
        own, other = plain[batch.index], plain[batch.index[mixing.partner]]
        kept, pasted = ((batch.images == source).all(1) for source in (own, other))
        assert bool((kept | pasted).all())
        differs = mixing.partner != torch.arange(23)
        share = kept.double().mean((1, 2))
        torch.testing.assert_close(share[differs], batch.share.double()[differs], rtol=0, atol=1e-6)


def test_batches_that_are_not_mixed_say_so() -> None:
    batch = next(serve(noise(), Augmentation("random")).epoch(0))
    assert batch.other_labels is None
    assert batch.share is None


# ------------------------------------------------------------------------------------------------ the same again


@pytest.mark.parametrize("augment", [None, EVERYTHING, Augmentation("random", 1, mixup=1.0)])
@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_together_serve_what_one_would(augment: Augmentation | None, world_size: int) -> None:
    one = list(serve(noise(), augment, 10, shuffle=True, seed=6).epoch(3))
    shares = [
        list(serve(noise(), augment, 10, shuffle=True, seed=6, rank=rank, world_size=world_size).epoch(3))
        for rank in range(world_size)
    ]
    for alone, *parts in zip(one, *shares, strict=True):
        sizes = [len(part.index) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        for expected, *found in zip(alone, *parts, strict=True):
            if expected is None:
                assert found == [None] * world_size
            else:
                assert torch.equal(torch.cat(found), expected)


@pytest.mark.parametrize("chunk", [1, 400, 10**6])
def test_images_depend_on_neither_batch_nor_chunk_nor_order(chunk: int, monkeypatch) -> None:
    from convscope.data import batches

    augment = Augmentation("alternating", 2, "reflect", cutout=3, color=0.4)
    expected = whole(serve(noise(), augment, 23))
    monkeypatch.setattr(batches, "_CHUNK_ELEMENTS", chunk)
    assert torch.equal(whole(serve(noise(), augment, 4, shuffle=True)), expected)


@pytest.mark.parametrize("augment", [Augmentation(mixup=1.0), Augmentation(cutmix=1.0)])
def test_mixed_images_do_not_depend_on_the_chunk(augment: Augmentation, monkeypatch) -> None:
    from convscope.data import batches

    expected = whole(serve(noise(), augment))
    monkeypatch.setattr(batches, "_CHUNK_ELEMENTS", 400)
    assert torch.equal(whole(serve(noise(), augment)), expected)


def test_resuming_inside_an_epoch_with_everything_on() -> None:
    batches = serve(noise(), EVERYTHING, shuffle=True, seed=1)
    for found, expected in zip(batches.epoch(2, start=3), list(batches.epoch(2))[3:], strict=True):
        for value, wanted in zip(found, expected, strict=True):
            assert isinstance(value, torch.Tensor)
            assert isinstance(wanted, torch.Tensor)
            assert torch.equal(value, wanted)


def test_the_set_and_the_global_random_state_are_left_alone() -> None:
    data = noise()
    before, state = data.images.clone(), torch.get_rng_state()
    for batch in serve(data, EVERYTHING, 23).epoch(0):
        batch.images.zero_()
    assert torch.equal(data.images, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_memory_mapped_images_are_served_like_others(tmp_path) -> None:
    data = noise()
    (tmp_path / "images").write_bytes(data.images.numpy().tobytes())
    mapped = torch.from_file(str(tmp_path / "images"), size=data.images.numel(), dtype=torch.uint8)
    same = ImageSet(mapped.view(data.images.shape), data.labels, data.classes, "mapped")
    assert torch.equal(whole(serve(same, EVERYTHING)), whole(serve(data, EVERYTHING)))


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"horizontal_flip": True},
            "horizontal_flip must be one of 'none', 'random', 'alternating', got True",
        ),
        ({"horizontal_flip": "sometimes"}, "got 'sometimes'"),
        ({"crop_mode": "wrap"}, "crop_mode must be one of 'constant', 'reflect', got 'wrap'"),
        ({"crop_padding": -1}, "crop_padding must be an integer of at least 0, got -1"),
        ({"crop_padding": 1.5}, "crop_padding must be an integer of at least 0, got 1.5"),
        ({"crop_padding": None}, "crop_padding must be an integer of at least 0, got None"),
        ({"cutout": True}, "cutout must be an integer of at least 0, got True"),
        ({"color": 1.5}, "color must be a number from 0 to 1, got 1.5"),
        ({"color": float("nan")}, "color must be a number from 0 to 1, got nan"),
        ({"mixup": -0.1}, "mixup must be a finite number of at least 0, got -0.1"),
        ({"cutmix": float("inf")}, "cutmix must be a finite number of at least 0, got inf"),
        ({"cutmix": "1"}, "cutmix must be a finite number of at least 0, got '1'"),
    ],
)
def test_refusals_of_augmentation(options: dict, words: str) -> None:
    with refused(UsageError, "Augmentation", words, exit_code=2):
        Augmentation(**options)


@pytest.mark.parametrize(
    ("augment", "channels", "words"),
    [
        (
            Augmentation(crop_padding=8),
            3,
            "crop_padding is 8; images of 7 x 9 pixels with crop_mode 'constant' take at",
        ),
        (Augmentation(crop_padding=7, crop_mode="reflect"), 3, "'reflect' take at most 6"),
        (Augmentation(cutout=8), 3, "cutout is 8; the shorter side of images of 7 x 9 pixels is 7"),
        (Augmentation(color=0.1), 2, "color is 0.1, but images of 2 channels"),
    ],
)
def test_refusals_of_augmentation_that_does_not_fit(augment: Augmentation, channels: int, words: str) -> None:
    with refused(ShapeError, "Batches", words, exit_code=2):
        serve(noise(channels=channels), augment)


def test_the_largest_that_fits_is_taken() -> None:
    for augment in (
        Augmentation("none", 7),
        Augmentation("none", 6, "reflect"),
        Augmentation(cutout=7, color=1.0),
    ):
        assert whole(serve(noise(), augment)).isfinite().all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"world_size": 0}, "world_size must be an integer of at least 1, got 0"),
        ({"rank": 2, "world_size": 2}, "rank must be an integer from 0 to 1, got 2"),
        ({"rank": -1}, "rank must be an integer from 0 to 0, got -1"),
        (
            {"world_size": 4},
            "the last batch has 3 image(s) for world_size 4; each process needs one. Use drop_last, or",
        ),
        ({"world_size": 6, "drop_last": True}, "a batch has 5 image(s) for world_size 6"),
    ],
)
def test_refusals_of_shares(options: dict, words: str) -> None:
    with refused(UsageError, "Batches", words, exit_code=2):
        serve(noise(), None, 5, **options)
