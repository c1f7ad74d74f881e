"""`load_dataset`: by name, by folder, and by a name that nobody knows. And what the package exports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_files import pets, write_four_files
from picture_files import saved
from refusals import refused

import convscope.data
from convscope.data import fit_image, list_datasets, list_fetched, load_dataset
from convscope.errors import DataError, UnknownNameError, UsageError


def test_the_packaged_name_loads_in_both_halves() -> None:
    (name,) = set(list_datasets()) - set(list_fetched())
    train, test = load_dataset(name), load_dataset(name, "test")
    assert train.name == test.name == name == "fashion-mnist"
    assert train.classes == test.classes
    assert train.image_shape == test.image_shape
    assert len(train) > len(test)


def test_a_set_that_is_not_here_names_the_command(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CONVSCOPE_HOME", str(tmp_path))
    for name in list_fetched():
        with refused(DataError, "load_dataset", f"convscope data fetch {name}.", exit_code=1):
            load_dataset(name)
    assert not list(tmp_path.iterdir())


def test_grey_set_in_another_size_and_in_colour() -> None:
    native = load_dataset("fashion-mnist", "test")
    changed = load_dataset("fashion-mnist", "test", size=(20, 40), mode="RGB")
    assert changed.images.shape == (2000, 3, 20, 40)
    assert torch.equal(changed.labels, native.labels)
    for index in (0, 1999):
        expected = fit_image(native.images[index, 0].numpy(), (20, 40))
        for channel in changed.images[index]:
            np.testing.assert_array_equal(channel.numpy(), expected)
    assert torch.equal(load_dataset("fashion-mnist", "test", size=28, mode="L").images, native.images)


def test_folder_of_pictures(tmp_path) -> None:
    root = pets(tmp_path, {"cat": 5, "dog": 5})
    for path in (root, str(root)):
        train, test = load_dataset(path), load_dataset(path, "test", size=4, mode="L")
        assert len(train) + len(test) == 10
        assert (train.image_shape, test.image_shape) == ((3, 6, 8), (1, 4, 4))


def test_folder_of_idx_files(tmp_path) -> None:
    write_four_files(tmp_path, suffix=".gz")
    assert load_dataset(tmp_path).images.shape == (60, 1, 4, 5)
    assert load_dataset(str(tmp_path), "test", size=8, mode="RGB").images.shape == (40, 3, 8, 8)


def test_a_folder_named_like_a_set_is_read_when_written_as_a_path(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    pets(tmp_path / "fashion-mnist", {"cat": 2, "dog": 2})
    pets(tmp_path / "photos", {"cat": 2, "dog": 2})
    assert len(load_dataset("fashion-mnist", "test")) == 2000
    assert len(load_dataset("./fashion-mnist", "test")) == 2
    assert len(load_dataset(Path("fashion-mnist"), "test")) == 2
    assert len(load_dataset("photos", "test")) == 2


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("fashion-mnits", "did you mean 'fashion-mnist' or"),
        ("zzz", "Known: 'cifar10', 'cifar100', 'fashion-mnist'"),
    ],
)
def test_unknown_name(name: str, hint: str) -> None:
    with refused(UnknownNameError, "load_dataset", repr(name), "no folder of that name", hint, exit_code=2):
        load_dataset(name)


@pytest.mark.parametrize("path", ["no/such/folder", "./photos", "/nowhere", "", "nul\0/x"])
def test_missing_folder(path: str) -> None:
    with refused(UsageError, "load_dataset", "no such folder", repr(path), "fashion-mnist", exit_code=2):
        load_dataset(path)


def test_file_for_a_folder(tmp_path) -> None:
    path = tmp_path / "photos.zip"
    path.write_bytes(saved(np.zeros((2, 2), np.uint8), "PNG"))
    with refused(UsageError, "load_dataset", "is a file; a folder is expected. Unpack it", exit_code=2):
        load_dataset(path)


def test_empty_folder(tmp_path) -> None:
    with refused(DataError, "load_image_folder", "no image", exit_code=1):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "val"}, "split must be 'train' or 'test', got 'val'"),
        ({"mode": "grey"}, "mode must be 'RGB', 'L' or None, got 'grey'"),
        ({"size": (0, 3)}, "size must be an integer or a (height, width) pair"),
        ({"name_or_path": 7}, "must be a name or a path, got int"),
        ({"name_or_path": b"fashion-mnist"}, "must be a name or a path, got bytes"),
    ],
)
def test_misuse(options: dict, words: str) -> None:
    with refused(UsageError, "load_dataset", words, exit_code=2):
        load_dataset(**{"name_or_path": "fashion-mnist", **options})


def test_a_size_that_the_memory_does_not_hold() -> None:
    with refused(
        DataError, "load_dataset", "12,000 images x 3 x 16384 x 16384", "Use a smaller size", exit_code=1
    ):
        load_dataset("fashion-mnist", size=16384, mode="RGB")


# ------------------------------------------------------------------------------------------------ the package


def test_every_exported_name_has_a_docstring_with_an_example() -> None:
    for name in convscope.data.__all__:
        value = getattr(convscope.data, name)
        if callable(value):
            assert ">>>" in (value.__doc__ or ""), name


def test_exports_are_sorted_complete_and_found() -> None:
    exported = convscope.data.__all__
    assert set(exported) <= set(dir(convscope.data))
    imported = [
        alias.name
        for node in ast.walk(ast.parse(Path(convscope.data.__file__).read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("convscope.data.")
        for alias in node.names
    ]
    assert sorted(imported) == sorted(exported)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        convscope.data.nothing  # noqa: B018


def test_importing_the_package_and_decoding_leave_torch_out() -> None:
    program = "import sys, convscope.data as d; assert 'PIL' not in sys.modules; d.cat(); print('torch' in sys.modules)"
    for extra, expected in (
        ("", "False\n"),
        ("; d.ImageSet; print('torch' in sys.modules)", "False\nTrue\n"),
    ):
        run = subprocess.run(
            [sys.executable, "-c", program + extra], capture_output=True, text=True, check=True
        )
        assert run.stdout == expected
