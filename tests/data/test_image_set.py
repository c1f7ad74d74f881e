"""`ImageSet`: what it accepts, what it hands out, what it measures."""

from __future__ import annotations

import json

import pytest
import torch
from refusals import refused

from convscope.data import ImageSet
from convscope.errors import DataError, ShapeError, UsageError


def numbered(
    labels: list[int], classes: tuple[str, ...] = ("cat", "dog", "owl"), channels: int = 1
) -> ImageSet:
    """Return images whose every pixel is their own number."""
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, channels, 2, 3)
    return ImageSet(images.contiguous(), torch.tensor(labels), classes, "pets")


def numbers(image_set: ImageSet) -> list[int]:
    return image_set.images[:, 0, 0, 0].tolist()


def test_subset_keeps_the_order_given_and_the_classes() -> None:
    pets = numbered([0, 1, 2, 1])
    part = pets.subset([3, 0, -1])
    assert numbers(part) == [3, 0, 3]
    assert part.labels.tolist() == [1, 0, 1]
    assert part.classes == pets.classes
    assert numbers(pets.subset(torch.tensor([2]))) == [2]
    assert len(pets) == 4


def test_take_is_the_first_images() -> None:
    assert numbers(numbered([0, 0, 1, 2]).take(3)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("n", "expected"),
    [(1, [0]), (2, [0, 3]), (3, [0, 3, 5]), (4, [0, 1, 3, 5]), (5, [0, 1, 3, 4, 5]), (6, [*range(6)])],
)
def test_take_balanced_goes_round_the_classes(n: int, expected: list[int]) -> None:
    assert numbers(numbered([0, 0, 0, 1, 1, 2]).take_balanced(n)) == expected


def test_take_balanced_when_a_class_has_no_image() -> None:
    assert numbers(numbered([2, 2, 0, 0]).take_balanced(2)) == [0, 2]


def test_mean_std_against_floating_point() -> None:
    images = torch.randint(256, (7, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = ImageSet(images, torch.zeros(7, dtype=torch.int64), ("a",), "noise").mean_std()
    scaled = images.double() / 255
    torch.testing.assert_close(torch.tensor(mean).double(), scaled.mean((0, 2, 3)))
    torch.testing.assert_close(torch.tensor(std).double(), scaled.std((0, 2, 3), correction=0))


@pytest.mark.parametrize(("channels", "shape"), [(1, (2, 3)), (3, (2, 3, 3))])
def test_picture_is_the_image_as_an_array(channels: int, shape: tuple[int, ...]) -> None:
    picture = numbered([0, 1, 2], channels=channels).picture(2)
    assert picture.shape == shape
    assert set(picture.flatten().tolist()) == {2}


def test_facts_are_plain_values() -> None:
    facts = numbered([0, 1, 1], channels=3).to_dict()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["class_counts"] == {"cat": 1, "dog": 2, "owl": 0}
    assert (facts["num_images"], facts["channels"], facts["height"], facts["width"]) == (3, 3, 2, 3)
    assert facts["size_bytes"] == 3 * 3 * 2 * 3


IMAGES = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 1])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (
            (IMAGES.float(), LABELS, ("a", "b")),
            UsageError,
            "images must be a torch.uint8 tensor, got torch.float32",
        ),
        (
            (IMAGES.numpy(), LABELS, ("a", "b")),
            UsageError,
            "images must be a torch.uint8 tensor, got ndarray",
        ),
        (
            (IMAGES, LABELS.int(), ("a", "b")),
            UsageError,
            "labels must be a torch.int64 tensor, got torch.int32",
        ),
        ((IMAGES[:, 0], LABELS, ("a", "b")), ShapeError, "the shape (N, C, H, W), got (3, 2, 2)"),
        ((IMAGES, LABELS[:2], ("a", "b")), ShapeError, "3 images need labels of shape (3,), got (2,)"),
        ((IMAGES[:0], LABELS[:0], ("a", "b")), DataError, "(0, 1, 2, 2) hold no pixel"),
        ((IMAGES, LABELS, ("a",)), DataError, "labels run from 0 to 1, but 1 classes allow 0 to 0"),
        ((IMAGES, LABELS - 1, ("a", "b")), DataError, "labels run from -1 to 0"),
        ((IMAGES, LABELS, ("a", "a")), UsageError, "classes must be different, non-empty strings"),
        ((IMAGES, LABELS, ("a", "")), UsageError, "classes must be different, non-empty strings"),
        ((IMAGES, LABELS, ("a", 1)), UsageError, "classes must be different, non-empty strings"),
    ],
)
def test_refusals_of_the_constructor(arguments: tuple, error: type, words: str) -> None:
    with refused(error, "ImageSet", words, exit_code=error.exit_code):
        ImageSet(*arguments, name="name")


@pytest.mark.parametrize("indices", [[], [[0]], [0.5], [True, False, True], "abc", None, 1])
def test_refusals_of_subset(indices: object) -> None:
    with refused(UsageError, "ImageSet.subset", "non-empty list of integers", exit_code=2):
        numbered([0, 1, 2]).subset(indices)  # type: ignore[arg-type]


@pytest.mark.parametrize("index", [3, -4])
def test_subset_refuses_an_index_outside(index: int) -> None:
    with refused(
        UsageError, "ImageSet.subset", f"index {index} is outside the 3 images", "Use 0 to 2", exit_code=2
    ):
        numbered([0, 1, 2]).subset([0, index])


@pytest.mark.parametrize("method", ["take", "take_balanced"])
@pytest.mark.parametrize("n", [0, 4, -1, 1.5, True, None])
def test_refusals_of_take(method: str, n: object) -> None:
    with refused(UsageError, f"ImageSet.{method}", "from 1 to 3", repr(n), exit_code=2):
        getattr(numbered([0, 1, 2]), method)(n)
