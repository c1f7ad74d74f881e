"""The packaged subset, the IDX reader beneath it, and the tool that made it."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import re
import struct
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from dataset_files import idx, write_four_files
from refusals import refused

from convscope.data import FASHION_MNIST_CLASSES, cat_path, load_fashion_mnist, load_idx_folder, read_idx
from convscope.errors import DataError, UsageError

PACKAGED = cat_path().parent
ROOT = Path(__file__).parents[2]


def load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "make_fashion_subset", ROOT / "tools/make_fashion_subset.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ------------------------------------------------------------------------------------- the packaged files


def test_credits_name_every_packaged_file_with_its_checksum() -> None:
    credited = dict(re.findall(r"^ +([0-9a-f]{64})  (\S+)$", (PACKAGED / "CREDITS.md").read_text(), re.M))
    found = {hashlib.sha256(path.read_bytes()).hexdigest(): path.name for path in PACKAGED.iterdir()}
    assert {digest: name for digest, name in found.items() if name != "CREDITS.md"} == credited


# The digests were taken from the full set with NumPy alone.
@pytest.mark.parametrize(
    ("split", "per_class", "first_labels", "mean", "digest"),
    [
        (
            "train",
            1200,
            [9, 0, 0, 3, 0, 2, 7, 2, 5, 5],
            0.2865329,
            "979127814c8cc83f89ae2294df45859fd429b5fbdd39c07c9423882d57b1a828",
        ),
        (
            "test",
            200,
            [9, 2, 1, 1, 6, 1, 4, 6, 5, 7],
            0.2852956,
            "8e8b02fc2db0ff9ed2d481ff30f8bd7cc5c88205cb131d7f4a0c19448f6957c9",
        ),
    ],
)
def test_packaged_subset(split, per_class: int, first_labels: list[int], mean: float, digest: str) -> None:
    fashion = load_fashion_mnist(split)
    assert fashion.images.shape == (10 * per_class, 1, 28, 28)
    assert fashion.class_counts() == (per_class,) * 10
    assert fashion.labels[:10].tolist() == first_labels
    assert fashion.mean_std()[0][0] == pytest.approx(mean, abs=1e-6)
    values = fashion.images.numpy().tobytes() + fashion.labels.numpy().astype(np.uint8).tobytes()
    assert hashlib.sha256(values).hexdigest() == digest


def test_first_pixels_are_those_of_the_full_set() -> None:
    boot = load_fashion_mnist("train").images[0, 0]
    assert boot[3, 12:20].tolist() == [1, 0, 0, 13, 73, 0, 0, 1]
    assert FASHION_MNIST_CLASSES[9] == "Ankle boot"


def test_two_loads_do_not_share_memory() -> None:
    load_fashion_mnist("test").images.zero_()
    assert load_fashion_mnist("test").images.any()


def test_unknown_split() -> None:
    with refused(UsageError, "load_fashion_mnist", "'train' or 'test', got 'val'", exit_code=2):
        load_fashion_mnist("val")  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------- the IDX format


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4), (1, 2, 3, 4)])
def test_read_idx(shape: tuple[int, ...], packed: bool, tmp_path) -> None:
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path = tmp_path / "values"
    path.write_bytes(gzip.compress(idx(values)) if packed else idx(values))
    read = read_idx(path)
    np.testing.assert_array_equal(read, values)
    assert read.flags.writeable


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


GOOD = idx(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "(0 bytes) starts with nothing"),
        (b"\0\0\x08", "starts with 00 00 08;"),
        (b"\0\0\x0d\1" + bytes(20), "starts with 00 00 0d 01; an IDX file of bytes"),
        (b"\0\0\x08\0" + bytes(20), "1 to 4 axes"),
        (b"\0\0\x08\5" + bytes(40), "1 to 4 axes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "starts with 89 50 4e 47"),
        (GOOD[:11], "ends within its header: 3 axes need 12 bytes of sizes, 7 are there"),
        (GOOD[:-1], "announces (2, 2, 3), 12 values, but holds only 11"),
        (GOOD + b"\0", "announces (2, 2, 3), 12 values, but holds more than that"),
        (struct.pack(">4BI", 0, 0, 8, 1, 0), "announces (0,), 0 values; 1 to"),
        (struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3), "values; 1 to 2,147,483,648 are read"),
        (struct.pack(">4BI", 0, 0, 8, 1, 2**31), "more than its 8 bytes can unpack to"),
        (packed(GOOD)[:-9], "damaged or cut off gzip file"),
        (packed(GOOD)[:10], "damaged or cut off gzip file"),
        (packed(GOOD)[:-8] + bytes(8), "damaged or cut off gzip file"),
        (packed(GOOD[:-1]), "holds only 11"),
        (packed(GOOD + b"\0"), "holds more than that"),
        (packed(bytes(10_000_000)), "starts with 00 00 00 00"),
    ],
)
def test_faults_of_an_idx_file(content: bytes, words: str, tmp_path) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with refused(DataError, "read_idx", str(path), words, exit_code=1):
        read_idx(path)


def test_every_cut_of_a_gzipped_idx_file_is_refused(tmp_path) -> None:
    path = tmp_path / "cut.gz"
    whole = gzip.compress(GOOD)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with refused(DataError, "read_idx", "cut.gz", exit_code=1):
            read_idx(path)


def test_missing_idx_file(tmp_path) -> None:
    with refused(UsageError, "read_idx", "no such file", exit_code=2):
        read_idx(tmp_path / "nothing")


# ------------------------------------------------------------------------------------------ the full four files


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_folder_with_the_four_files(suffix: str, tmp_path) -> None:
    write_four_files(tmp_path, suffix=suffix)
    train, test = load_idx_folder(tmp_path), load_idx_folder(tmp_path, "test")
    assert train.images.shape == (60, 1, 4, 5)
    assert test.images.shape == (40, 1, 4, 5)
    assert train.classes == tuple("0123456789")
    assert train.name == tmp_path.name
    assert train.labels.dtype == torch.int64


def test_both_halves_have_the_classes_of_either(tmp_path) -> None:
    write_four_files(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx((np.arange(40) % 3).astype(np.uint8)))
    assert load_idx_folder(tmp_path, "test").classes == tuple("0123456789")


def test_garments_are_known_by_their_labels(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_four_files(tmp_path)
    labels = read_idx(tmp_path / "train-labels-idx1-ubyte")
    digest = hashlib.sha256(labels.tobytes()).hexdigest()
    monkeypatch.setitem(load_idx_folder.__globals__["_FASHION_MNIST_LABELS"], "train", digest)
    assert load_idx_folder(tmp_path, "train").classes == FASHION_MNIST_CLASSES


def test_faults_of_the_four_files(tmp_path) -> None:
    with refused(UsageError, "load_idx_folder", "holds no 'train-images-idx3-ubyte(.gz)'", exit_code=2):
        load_idx_folder(tmp_path)
    with refused(UsageError, "load_idx_folder", "'train' or 'test', got 'val'", exit_code=2):
        load_idx_folder(tmp_path, "val")
    write_four_files(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(np.zeros(59, np.uint8)))
    with refused(DataError, "load_idx_folder", "(60, 4, 5)", "(59,)", "belong together", exit_code=1):
        load_idx_folder(tmp_path)
    labels.write_bytes(idx(np.full(60, 4, np.uint8)))
    with refused(DataError, "load_idx_folder", "all 60 labels", "are 4", "at least two classes", exit_code=1):
        load_idx_folder(tmp_path)


# ---------------------------------------------------------------------------------------------------- the tool


def test_tool_keeps_the_first_of_each_class_bit_for_bit(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write_four_files(source, suffix=".gz")
    outputs = [tmp_path / "one", tmp_path / "two"]
    for output in outputs:
        assert load_tool().main([str(source), "--output", str(output), "--train", "3", "--test", "2"]) == 0
    printed = capsys.readouterr().out
    files = sorted(path.name for path in outputs[0].iterdir())
    assert len(files) == 4
    for name in files:
        content = (outputs[0] / name).read_bytes()
        assert content == (outputs[1] / name).read_bytes()
        assert content[:10] == b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"  # no name, no time, level 9, no system
        assert f"{hashlib.sha256(content).hexdigest()}  {name}" in printed
    labels = read_idx(source / "train-labels-idx1-ubyte.gz")
    kept = [i for i in range(60) if list(labels[:i]).count(labels[i]) < 3]
    np.testing.assert_array_equal(read_idx(outputs[0] / "fashion-train-labels-idx1-ubyte.gz"), labels[kept])
    np.testing.assert_array_equal(
        read_idx(outputs[0] / "fashion-train-images-idx3-ubyte.gz"),
        read_idx(source / "train-images-idx3-ubyte.gz")[kept],
    )


def test_tool_refuses_a_folder_without_the_files(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load_tool().main([str(tmp_path)]) == 2
    assert "holds no 'train-images-idx3-ubyte(.gz)'" in capsys.readouterr().err


def test_tool_refuses_more_images_than_there_are(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    write_four_files(tmp_path)
    assert (
        load_tool().main([str(tmp_path), "--output", str(tmp_path / "out"), "--train", "7", "--test", "1"])
        == 1
    )
    assert "class 0 has 6 images, 7 are asked for" in capsys.readouterr().err
