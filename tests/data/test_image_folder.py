"""Folders of pictures: both layouts, and everything that can be wrong with them."""

from __future__ import annotations

import errno
import os
import shutil
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from dataset_files import pets, write
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import photograph, saved
from refusals import refused

from convscope.data import decode_image, fit_image, image_folder, load_image_folder
from convscope.data.image_folder import _cut, _Listing
from convscope.errors import DataError, UsageError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSCOPE_HOME", str(tmp_path_factory.mktemp("home")))


def values(image_set) -> list[int]:
    return image_set.images[:, 0, 0, 0].tolist()


# --------------------------------------------------------------------------------------------------- layouts


def test_plain_layout(tmp_path) -> None:
    data = load_image_folder(pets(tmp_path / "pets", {"dog": 2, "cat": 3}))
    assert data.classes == ("cat", "dog")
    assert data.name == "pets"
    assert data.images.shape == (5, 3, 6, 8)
    assert data.images.is_contiguous()
    assert data.labels.tolist() == [0, 0, 0, 1, 1]
    assert values(data) == [0, 1, 2, 0, 1]
    assert (data.ignored, data.skipped) == (0, ())


def test_grey_and_size(tmp_path) -> None:
    path = pets(tmp_path, {"a": 1, "b": 1}) / "a" / "000.png"
    path.write_bytes(saved(photograph(), "PNG"))
    data = load_image_folder(tmp_path, size=(5, 7), mode="L")
    assert data.images.shape == (2, 1, 5, 7)
    np.testing.assert_array_equal(data.images[0, 0], fit_image(decode_image(path, "L"), (5, 7)))


@pytest.mark.parametrize("test_name", ["test", "val", "valid", "validation"])
def test_train_and_test_layout(test_name: str, tmp_path) -> None:
    pets(tmp_path / "train", {"cat": 3, "dog": 2})
    pets(tmp_path / test_name, {"cat": 1, "dog": 1})
    assert len(load_image_folder(tmp_path)) == 5
    assert len(load_image_folder(tmp_path, split="train")) == 5
    test = load_image_folder(tmp_path, split="test")
    assert test.class_counts() == (1, 1)
    assert test.classes == ("cat", "dog")


def test_test_goes_before_val(tmp_path) -> None:
    for name, count in (("train", 2), ("val", 3), ("test", 4)):
        pets(tmp_path / name, {"cat": count, "dog": count})
    assert len(load_image_folder(tmp_path, split="test")) == 8


def test_a_class_may_be_called_train(tmp_path) -> None:
    assert load_image_folder(pets(tmp_path, {"bus": 2, "train": 3})).classes == ("bus", "train")


def test_plain_layout_is_split_the_same_way_each_time(tmp_path) -> None:
    root = pets(tmp_path, {"cat": 10, "dog": 250, "owl": 2})
    train, test = (load_image_folder(root, split=split) for split in ("train", "test"))  # type: ignore[arg-type]
    assert train.class_counts()[2] == test.class_counts()[2] == 1
    assert 30 <= test.class_counts()[1] <= 70  # a fifth, drawn file by file
    of_dogs = [set(np.array(values(part))[part.labels == 1].tolist()) for part in (train, test)]
    assert of_dogs[0] | of_dogs[1] == set(range(250))
    assert not of_dogs[0] & of_dogs[1]
    assert values(load_image_folder(root, split="test")) == values(test)
    assert values(load_image_folder(root, split="validation")) == values(test)
    assert values(load_image_folder(root, split="test", seed=1)) != values(test)
    assert (train.name[len(root.name) :], test.name[len(root.name) :]) == (
        " (without the held-out fifth, seed 0)",
        " (the held-out fifth, seed 0)",
    )


def test_files_that_are_added_leave_the_others_in_their_part(tmp_path) -> None:
    root = pets(tmp_path, {"cat": 30, "dog": 30})
    before = values(load_image_folder(root, split="validation"))
    for index in range(30):
        write(root / "cat" / f"new {index}.png", 99)
        write(root / "owl" / "deep" / f"{index}.png", 98)
    after = [value for value in values(load_image_folder(root, split="validation")) if value < 90]
    assert after == before


@settings(max_examples=200)
@given(
    names=st.sets(st.text("abcé", min_size=1, max_size=3), min_size=2, max_size=12), seed=st.integers(0, 9)
)
def test_each_class_is_held_out_in_part_and_never_whole(names: set[str], seed: int) -> None:
    root = Path("/pets")
    listing = _Listing(("a",), tuple((root / "a" / name, 0) for name in sorted(names)), Counter())
    train, held_out = (set(_cut(listing, root, split, seed).files) for split in ("train", "validation"))
    assert train | held_out == set(listing.files)
    assert not train & held_out
    assert train
    assert held_out


def test_validation_is_never_the_test_half(tmp_path) -> None:
    for name, count in (("train", 2), ("val", 3), ("test", 4)):
        pets(tmp_path / name, {"cat": count, "dog": count})
    assert len(load_image_folder(tmp_path, split="validation")) == 6
    shutil.rmtree(tmp_path / "val")
    with refused(DataError, "load_image_folder", "has train/ but no val/", "split='test'", exit_code=1):
        load_image_folder(tmp_path, split="validation")


def test_the_split_does_not_depend_on_where_the_folder_lies(tmp_path) -> None:
    here, there = (pets(tmp_path / name, {"cat": 20, "dog": 20}) for name in ("here", "some/where/else"))
    assert values(load_image_folder(here, split="test")) == values(load_image_folder(there, split="test"))


def test_what_is_passed_over_is_counted(tmp_path) -> None:
    root = pets(tmp_path, {"cat": 1, "dog": 1})
    for name in ("README.txt", ".DS_Store", "cat/Thumbs.db", "cat/.hidden.png", "dog/notes", ".git/x.png"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    data = load_image_folder(root)
    assert len(data) == 2
    assert data.ignored == 6  # the folder .git is one


def test_sub_folders_belong_to_their_class_and_extensions_may_be_capital(tmp_path) -> None:
    root = pets(tmp_path, {"cat": 1, "dog": 1})
    write(root / "cat" / "indoors" / "old" / "X.PNG", 77)
    assert 77 in values(load_image_folder(root))


def test_links_are_followed_where_they_cannot_loop(tmp_path) -> None:
    root = pets(tmp_path / "pets", {"cat": 1, "dog": 1})
    outside = pets(tmp_path / "elsewhere", {"owl": 2})
    (root / "cat" / "linked.png").symlink_to(outside / "owl" / "001.png")
    (root / "owl").symlink_to(outside / "owl")
    (root / "dog" / "all").symlink_to(root)
    data = load_image_folder(root)
    assert data.class_counts() == (2, 1, 2)
    assert data.ignored == 1


def test_many_classes_of_one_image(tmp_path) -> None:
    data = load_image_folder(pets(tmp_path, {f"class {index:03}": 1 for index in range(150)}))
    assert data.class_counts() == (1,) * 150


def test_names_of_any_kind(tmp_path) -> None:
    names = ["<script>", "-rf", "a\nb", "c..", "x" * 255, "Cat", "cat", "é", os.fsdecode(b"caf\xe9")]
    data = load_image_folder(pets(tmp_path, dict.fromkeys(names, 1)))
    assert set(data.classes) == {*names[:-1], "caf\\xe9"}
    assert "".join(data.classes).encode("utf-8")


# ---------------------------------------------------------------------------------------------------- faults


def test_missing_root_and_file_for_root(tmp_path) -> None:
    with refused(UsageError, "load_image_folder", "no such folder", "Check the path", exit_code=2):
        load_image_folder(tmp_path / "nowhere")
    with refused(UsageError, "load_image_folder", "is a file; a folder is expected", exit_code=2):
        load_image_folder(write(tmp_path / "x.png"))


def test_empty_folder(tmp_path) -> None:
    with refused(
        DataError, "load_image_folder", "no image in the 0 class folders", "root/<class>", exit_code=1
    ):
        load_image_folder(tmp_path)


def test_pictures_without_class_folders(tmp_path) -> None:
    write(tmp_path / "a.png")
    write(tmp_path / "b.png")
    with refused(DataError, "load_image_folder", "2 other files were passed over: 2 .png", exit_code=1):
        load_image_folder(tmp_path)


def test_no_picture_in_the_class_folders(tmp_path) -> None:
    for name in ("cat/a.heic", "cat/b.heic", "dog/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    words = ("no image in the 2 class folders", "3 other files were passed over: 2 .heic, 1 .txt")
    with refused(DataError, "load_image_folder", *words, exit_code=1):
        load_image_folder(tmp_path)


def test_one_class_only(tmp_path) -> None:
    with refused(
        DataError, "load_image_folder", "one class only, 'cat' with 3 images", "at least two", exit_code=1
    ):
        load_image_folder(pets(tmp_path, {"cat": 3}))


def test_empty_class(tmp_path) -> None:
    root = pets(tmp_path, {"cat": 3, "dog": 0, "owl": 0})
    with refused(
        DataError, "load_image_folder", "2 of 3 classes", "'dog', 'owl'", "remove the folders", exit_code=1
    ):
        load_image_folder(root)


def test_sizes_that_differ(tmp_path) -> None:
    root = pets(tmp_path, {"cat": 1, "dog": 1})
    write(root / "dog" / "tall.png", size=(9, 8))
    words = ("differ in size: 6 x 8 in 'cat/000.png', 9 x 8 in 'dog/tall.png'", "Give size=N")
    with refused(DataError, "load_image_folder", *words, exit_code=1):
        load_image_folder(root)
    assert load_image_folder(root, size=4).images.shape == (3, 3, 4, 4)


BAD = ("cat/001.png", "dog/000.png", "dog/gone.png", "dog/itself.png", "dog/pipe.png", "dog/zero.png")


def damaged(root: Path) -> Path:
    pets(root, {"cat": 3, "dog": 2})
    (root / "cat" / "001.png").write_bytes(b"<html>")
    (root / "dog" / "000.png").write_bytes(b"")
    (root / "dog" / "gone.png").symlink_to(root / "nowhere.png")
    (root / "dog" / "itself.png").symlink_to(root / "dog" / "itself.png")
    os.mkfifo(root / "dog" / "pipe.png")
    (root / "dog" / "zero.png").symlink_to("/dev/zero")
    return root


def test_bad_files_are_all_counted_and_the_first_is_named(tmp_path) -> None:
    words = ("6 of 9 images", "the first: decode_image: ", "cat/001.png", "an HTML page", "skip_bad=True")
    with refused(DataError, "load_image_folder", *words, exit_code=1):
        load_image_folder(damaged(tmp_path))


def test_bad_files_can_be_left_out_and_are_listed(tmp_path) -> None:
    data = load_image_folder(damaged(tmp_path), skip_bad=True)
    assert data.skipped == BAD
    assert data.class_counts() == (2, 1)
    assert values(data) == [0, 2, 1]


def test_a_tenth_is_corrupt(tmp_path) -> None:
    root = pets(tmp_path, {"cat": 60, "dog": 40})
    bad = [f"{name}/{index:03}.png" for name in ("cat", "dog") for index in range(5)]
    for name in bad:
        (root / name).write_bytes((root / name).read_bytes()[:40])
    for packed in (False, True):
        data = load_image_folder(root, size=6, skip_bad=True, packed=packed)
        assert data.skipped == tuple(bad)
        assert data.class_counts() == (55, 35)
        with refused(DataError, "load_image_folder", "10 of 100 images", "cat/000.png", exit_code=1):
            load_image_folder(root, size=6, packed=packed)


def test_links_that_lead_to_themselves_are_passed_over(tmp_path) -> None:
    root = pets(tmp_path, {"cat": 1, "dog": 1})
    (root / "owl").symlink_to(root / "owl")
    (root / "dog" / "deep").symlink_to(root / "dog" / "deep")
    assert load_image_folder(root).ignored == 2


def test_file_that_may_not_be_read_and_file_that_fails(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = pets(tmp_path, {"cat": 3, "dog": 1})
    opened = os.open

    def denied(path, *rest, **options):  # as root, permissions would not stop us
        for name, number in (("cat/000.png", errno.EACCES), ("cat/001.png", errno.EIO)):
            if os.fspath(path).endswith(name):
                raise OSError(number, os.strerror(number))
        return opened(path, *rest, **options)

    monkeypatch.setattr(os, "open", denied)
    assert load_image_folder(root, skip_bad=True).skipped == ("cat/000.png", "cat/001.png")
    with refused(DataError, "load_image_folder", "cannot read", "Permission denied", exit_code=1):
        load_image_folder(root)


@pytest.mark.parametrize("replaced", [False, True])
def test_files_that_go_between_listing_and_reading(
    replaced: bool, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = pets(tmp_path, {"cat": 2, "dog": 1})

    def listed(*arguments: object) -> None:
        (root / "cat" / "000.png").unlink()
        if replaced:
            write(root / "cat" / "000.png", 9, size=(20, 20))

    monkeypatch.setattr(image_folder, "_check_listing", listed)
    data = load_image_folder(root, size=6, skip_bad=True)
    assert values(data) == ([9, 1, 0] if replaced else [1, 0])
    assert data.skipped == (() if replaced else ("cat/000.png",))


def test_a_class_that_is_all_bad(tmp_path) -> None:
    root = pets(tmp_path, {"cat": 2, "dog": 1})
    (root / "dog" / "000.png").write_bytes(b"x")
    words = ("without the 1 images that cannot be decoded", "1 of 2 classes", "'dog'")
    with refused(DataError, "load_image_folder", *words, exit_code=1):
        load_image_folder(root, skip_bad=True)


def test_every_file_is_bad(tmp_path) -> None:
    root = pets(tmp_path, {"cat": 1, "dog": 1})
    for path in root.glob("*/*"):
        path.write_bytes(b"x")
    with refused(DataError, "load_image_folder", "2 of 2 images", exit_code=1):
        load_image_folder(root)
    with refused(DataError, "load_image_folder", "2 of 2 classes", "are empty", exit_code=1):
        load_image_folder(root, skip_bad=True)


def test_pixel_limit_reaches_the_decoder(tmp_path) -> None:
    root = pets(tmp_path, {"cat": 1, "dog": 1})
    with refused(DataError, "load_image_folder", "6 = 48 pixels; at most 40", exit_code=1):
        load_image_folder(root, max_pixels=40)


def test_halves_with_different_classes(tmp_path) -> None:
    pets(tmp_path / "train", {"cat": 1, "dog": 1})
    pets(tmp_path / "test", {"cat": 1, "owl": 1})
    with refused(DataError, "load_image_folder", "differ: 'dog', 'owl' in one of them only", exit_code=1):
        load_image_folder(tmp_path, split="test")


def test_train_without_test(tmp_path) -> None:
    pets(tmp_path / "train", {"cat": 1, "dog": 1})
    with refused(DataError, "load_image_folder", "has train/ but neither test/ nor val/", exit_code=1):
        load_image_folder(tmp_path, split="test")
    with refused(DataError, "load_image_folder", "has train/ but no val/. Add it.", exit_code=1):
        load_image_folder(tmp_path, split="validation")


def test_one_image_cannot_be_split(tmp_path) -> None:
    root = pets(tmp_path, {"cat": 1, "dog": 4})
    with refused(DataError, "load_image_folder", "class 'cat' has 1 image", "at least 2", exit_code=1):
        load_image_folder(root, split="train")


def test_names_that_only_look_the_same(tmp_path) -> None:
    forms = [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")]
    root = pets(tmp_path, dict.fromkeys(forms, 1))
    with refused(
        DataError, "load_image_folder", "several class folders that read 'é'", "Rename", exit_code=1
    ):
        load_image_folder(root)


def test_more_than_the_memory_holds(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", lambda _: 40)  # 40 pages of 40 bytes
    root = pets(tmp_path, {"cat": 8, "dog": 8})
    with refused(DataError, "load_image_folder", "16 images x 3 x 6 x 8", "Use a smaller size", exit_code=1):
        load_image_folder(root)


def test_folder_that_may_not_be_listed(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = pets(tmp_path, {"cat": 1, "dog": 1})

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)
    with refused(DataError, "load_image_folder", "cannot list", "Permission denied", exit_code=1):
        load_image_folder(root)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "CMYK"}, "mode must be 'RGB' or 'L', got 'CMYK'"),
        ({"split": "val"}, "split must be 'train', 'validation', 'test' or None, got 'val'"),
        ({"seed": 0.5}, "seed must be an integer, got 0.5"),
        ({"packed": "yes"}, "packed must be True, False or None, got 'yes'"),
        ({"packed": True}, "packed=True needs images of one size. Give size=N"),
        ({"workers": 0}, "workers must be an integer of at least 1, got 0"),
        ({"workers": True}, "got True"),
        ({"size": 0}, "size must be an integer or a (height, width) pair, each 1 to 16384 pixels, got 0"),
        ({"size": (3, 4, 5)}, "got (3, 4, 5)"),
        ({"size": "64"}, "got '64'"),
        ({"size": 64.0}, "got 64.0"),
        ({"size": True}, "got True"),
        ({"max_pixels": 0}, "max_pixels must be"),
    ],
)
def test_misuse(options: dict, words: str, tmp_path) -> None:
    root = pets(tmp_path, {"cat": 1, "dog": 1})
    with refused(UsageError, "load_image_folder", words, exit_code=2):
        load_image_folder(root, **options)
