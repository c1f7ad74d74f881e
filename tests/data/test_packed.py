"""Folders decoded once into a file: the same pixels whoever decodes, made anew only when a picture changed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_files import pets, write
from picture_files import photograph, saved
from refusals import refused

from convscope.data import Augmentation, Batches, decode_image, fit_image, load_image_folder, packed, packing
from convscope.data.packed import PackedImages, pack_images
from convscope.data.packing import Fitting, picture_file
from convscope.errors import DataError, OutputError

FITTING = Fitting((8, 10), "RGB", exact=True, max_pixels=1_000_000)


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CONVSCOPE_HOME", str(folder))
    return folder


def photographs(root: Path, count: int = 150) -> Path:
    """Lay out pictures of all kinds in two classes."""
    random = np.random.default_rng(3)
    for index in range(count):
        pixels = np.roll(photograph(48 + index % 5, 60), index, axis=1)
        kind = ("JPEG", "PNG", "WEBP")[index % 3]
        path = root / ("cat" if index < count // 3 else "dog") / f"{random.integers(10**9):09}.{kind.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(saved(pixels, kind))
    return root


def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes be worth their start for a few files."""
    monkeypatch.setattr(packing, "_PORTION", 8)
    monkeypatch.setattr(packing, "_FILES_A_PROCESS", 8)


def pack(root: Path, *, fitting: Fitting = FITTING, workers: int = 1, part: str = "") -> PackedImages:
    names = sorted(os.fspath(path.relative_to(root)) for path in root.glob("*/*"))
    files = [picture_file(root, name, 0) for name in names]
    return pack_images(root, part, files, fitting, workers=workers, call="load_image_folder")


# ---------------------------------------------------------------------------------------------------- pixels


def test_the_pixels_are_those_of_decode_and_fit(tmp_path) -> None:
    root = photographs(tmp_path, 9)
    images = pack(root).images
    for image, path in zip(images, sorted(root.glob("*/*")), strict=True):
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), fit_image(decode_image(path), (8, 10)))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_packed_and_in_memory_are_the_same_set(mode, tmp_path) -> None:
    root = photographs(tmp_path, 20)
    (root / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    here, there = (
        load_image_folder(root, size=16, mode=mode, packed=choice, skip_bad=True) for choice in (False, True)
    )
    assert torch.equal(here.images, there.images)
    assert torch.equal(here.labels, there.labels)
    assert (here.classes, here.name, here.skipped) == (there.classes, there.name, there.skipped)


def test_any_number_of_workers_writes_the_same_bytes(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photographs(tmp_path / "pets", 60)
    for index, path in enumerate(sorted(root.glob("*/*"))):
        if index % 10 == 4:
            path.write_bytes(path.read_bytes()[:30])
    small_portions(monkeypatch)
    found = []
    for workers in (1, 2, 3):
        monkeypatch.setenv("CONVSCOPE_HOME", str(tmp_path / f"home {workers}"))
        result = pack(root, workers=workers)
        assert result.was_built
        places = [place for place, _ in result.broken]
        found.append((result.path.read_bytes(), result.kept, places, result.shards))
    assert found[0] == found[1] == found[2]
    assert len(found[0][1]) == 54
    assert len(found[0][2]) == 6


def test_batches_are_those_of_memory(tmp_path) -> None:
    root = photographs(tmp_path, 20)
    sets = [load_image_folder(root, size=16, packed=choice) for choice in (False, True)]
    served = [
        list(
            Batches(
                image_set,
                7,
                mean=(0.5,) * 3,
                std=(0.2,) * 3,
                shuffle=True,
                seed=4,
                augment=Augmentation(horizontal_flip="random", crop_padding=2),
            ).epoch(3)
        )
        for image_set in sets
    ]
    for one, other in zip(*served, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


def test_what_is_written_into_the_tensor_does_not_reach_the_file(tmp_path) -> None:
    root = photographs(tmp_path, 6)
    first = pack(root)
    before = first.images.clone()
    first.images.fill_(7)
    assert torch.equal(pack(root).images, before)
    assert first.damaged_shards() == ()


def test_only_large_sets_are_packed_unasked(home: Path, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photographs(tmp_path, 6)
    load_image_folder(root, size=16)
    assert not (home / "packed").exists()
    monkeypatch.setattr("convscope.data.image_folder._IN_MEMORY_BYTES", 6 * 3 * 16 * 16 - 1)
    load_image_folder(root, size=16)
    assert (home / "packed").exists()


# ------------------------------------------------------------------------------------------------ the kept file


def test_a_folder_is_decoded_once(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photographs(tmp_path, 6)
    assert pack(root).was_built

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(packed, "decode_into", never)
    assert not pack(root).was_built


@pytest.mark.parametrize("change", ["content", "time", "added", "removed", "renamed"])
def test_a_changed_folder_is_decoded_again(change: str, home: Path, tmp_path) -> None:
    root = photographs(tmp_path, 6)
    old = pack(root)
    path = min(root.glob("*/*"))
    if change == "content":
        path.write_bytes(saved(photograph(90, 90), "PNG"))
    elif change == "time":
        os.utime(path, ns=(1, 1))
    elif change == "added":
        write(root / "cat" / "new.png")
    elif change == "removed":
        path.unlink()
    else:
        path.rename(path.with_name("other.jpg"))
    new = pack(root)
    assert new.was_built
    assert len(new.images) == len(list(root.glob("*/*")))
    assert [entry.name for entry in home.rglob("*.bin")] == [new.path.name]
    assert len(old.images) == 6
    assert int(old.images.sum()) > 0  # who has it open keeps it


def test_other_options_have_files_of_their_own(home: Path, tmp_path) -> None:
    root = photographs(tmp_path, 6)
    options = [FITTING, Fitting((8, 8), "RGB", True, 10**6), Fitting((8, 10), "L", True, 10**6)]
    options.append(Fitting((8, 10), "RGB", False, 10**6))
    for fitting in options:
        assert pack(root, fitting=fitting).was_built
    assert pack(root, part="train").was_built
    assert not pack(root).was_built
    assert len(list(home.rglob("*.bin"))) == 5


def test_the_index_says_what_is_there(tmp_path) -> None:
    root = photographs(tmp_path, 6)
    (root / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    result = pack(root)
    index = json.loads((result.path.parent / "index.json").read_text())
    assert index["num_images"] == 6
    assert {name for name, *_ in index["files"]} == {os.fspath(p.relative_to(root)) for p in root.glob("*/*")}
    assert index["shards"] == [hashlib.sha256(result.path.read_bytes()).hexdigest()]
    ((position, reason, unread),) = index["broken"]
    assert index["files"][position][0] == "cat/broken.jpg"
    assert "cat/broken.jpg" in reason
    assert not unread


def test_names_of_any_bytes(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_PORTION", 2)
    monkeypatch.setattr(packing, "_FILES_A_PROCESS", 2)
    names = ["<script>", "-rf", "a\nb", "x" * 240, os.fsdecode(b"caf\xe9")]
    root = tmp_path / os.fsdecode(b"r\xe9sum\xe9 \n")
    for name in names:
        write(root / "cat" / f"{name}.png")
    assert pack(root, workers=2).was_built
    assert not pack(root).was_built


def test_damage_is_found(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_SHARD_BYTES", 1000)
    root = photographs(tmp_path, 12)
    result = pack(root)
    assert len(result.shards) == 3  # 12 x 240 bytes
    assert result.damaged_shards() == ()
    with result.path.open("r+b") as file:
        file.seek(1500)
        file.write(b"\1\2\3")
    assert result.damaged_shards() == (1,)
    os.truncate(result.path, 2000)
    assert result.damaged_shards() == (1, 2)
    assert pack(root).was_built  # the length is looked at each time


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"pixels": 3}', b"\xff"])
def test_an_index_that_is_none(content: bytes, tmp_path) -> None:
    root = photographs(tmp_path, 3)
    (pack(root).path.parent / "index.json").write_bytes(content)
    assert pack(root).was_built


def test_what_could_not_be_read_is_tried_again_and_what_is_damaged_is_not(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = photographs(tmp_path, 6)
    (root / "cat" / "broken.png").write_bytes(b"x")
    opened = os.open

    def denied(path, *rest, **options):
        if os.fspath(path).endswith(".webp"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", denied)
        assert len(pack(root).broken) == 3
        assert not pack(root).was_built
    again = pack(root)
    assert again.was_built
    assert len(again.broken) == 1
    assert not pack(root).was_built


# ---------------------------------------------------------------------------------------------------- faults


def nothing_left(home: Path) -> bool:
    return not [entry.name for entry in home.rglob("*") if entry.is_file() and entry.name != ".lock"]


def test_too_little_room(home: Path, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photographs(tmp_path, 6)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    with refused(OutputError, "load_image_folder", "0.00 GB are free", "CONVSCOPE_HOME", exit_code=1):
        pack(root)
    assert nothing_left(home)


@pytest.mark.parametrize("function", ["posix_fallocate", "pwrite", "fsync", "replace"])
def test_a_disk_that_is_full_in_the_middle(
    function: str, home: Path, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = photographs(tmp_path, 6)
    names = list((root / "cat").iterdir())
    (home / "packed").mkdir()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if function == "fsync":
            patch.setattr("convscope.files.flush", full)
        elif function == "replace":
            patch.setattr(Path, "replace", full)
        else:
            patch.setattr(os, function, full)
        with refused(OutputError, "load_image_folder", "no space is left on the device", exit_code=1):
            pack(root)
    assert nothing_left(home)
    assert list((root / "cat").iterdir()) == names
    assert pack(root).was_built


def test_a_full_disk_reaches_the_caller_from_a_worker(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photographs(tmp_path, 30)
    small_portions(monkeypatch)
    files = [picture_file(root, os.fspath(path.relative_to(root)), 0) for path in sorted(root.glob("*/*"))]
    with pytest.raises(OSError, match="No space left on device"):
        packing.decode_into(Path("/dev/full"), root, files, FITTING, 2, "load_image_folder")


def test_a_file_system_without_reservations(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    assert len(pack(photographs(tmp_path, 6)).images) == 6


def test_a_killed_worker_is_an_error_and_no_hang(
    home: Path, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = photographs(tmp_path)
    small_portions(monkeypatch)
    started, ask = [], packing._ask

    def killed(process, request, *, call):
        if process not in started:
            started.append(process)
            if len(started) == 2:
                process.kill()
        return ask(process, request, call=call)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "_ask", killed)
        words = ("killed by SIGKILL among the 8 files from", "nothing was kept", "workers=1")
        with refused(DataError, "load_image_folder", *words, exit_code=1):
            pack(root, workers=3)
    assert nothing_left(home)
    assert all(process.returncode is not None for process in started)
    assert pack(root, workers=3).was_built


def test_this_process_decodes_while_another_starts(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photographs(tmp_path, 30)
    small_portions(monkeypatch)
    decoded, ask, decode = [], packing._ask, packing._decode

    def here(output, request, *, fitting):
        decoded.append(len(request))
        return decode(output, request, fitting=fitting)

    def late(process, request, *, call):
        deadline = time.monotonic() + 20
        while sum(decoded) < 30 - len(request) and time.monotonic() < deadline:
            time.sleep(0.01)
        return ask(process, request, call=call)

    monkeypatch.setattr(packing, "_decode", here)
    monkeypatch.setattr(packing, "_ask", late)
    assert len(pack(root, workers=2).kept) == 30
    assert sum(decoded) in (22, 24)  # all but the one request of the other


def test_each_process_resizes_by_one_thread(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photographs(tmp_path, 30)
    small_portions(monkeypatch)
    threads, decode = [], packing._decode

    def here(output, request, *, fitting):
        threads.append(torch.get_num_threads())
        return decode(output, request, fitting=fitting)

    monkeypatch.setattr(packing, "_decode", here)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for workers in (1, 2):
            shutil.rmtree(os.environ["CONVSCOPE_HOME"], ignore_errors=True)
            assert pack(root, workers=workers).was_built
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert len(threads) > 4
    assert set(threads) == {1}


def test_a_killed_builder_leaves_no_lock_and_no_rubbish(home: Path, tmp_path) -> None:
    root = photographs(tmp_path, 60)
    code = (
        "import os, signal, sys\n"
        "from convscope.data import load_image_folder\n"
        "die = lambda done, of: os.kill(os.getpid(), signal.SIGKILL)\n"
        "load_image_folder(sys.argv[1], size=16, packed=True, workers=1, progress=die)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, root], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert list(home.rglob("*.tmp"))
    assert len(load_image_folder(root, size=16, packed=True, workers=1)) == 60
    assert not list(home.rglob("*.tmp"))


def test_workers_end_when_their_parent_is_killed(tmp_path) -> None:
    root = photographs(tmp_path)
    code = (
        "import os, signal, sys\n"
        "from convscope.data import load_image_folder, packing\n"
        "packing._PORTION = packing._FILES_A_PROCESS = 8\n"
        "start = packing.subprocess.Popen\n"
        "def noted(*arguments, **options):\n"
        "    process = start(*arguments, **options)\n"
        "    print(process.pid, flush=True)\n"
        "    return process\n"
        "packing.subprocess.Popen = noted\n"
        "die = lambda done, of: os.kill(os.getpid(), signal.SIGKILL)\n"
        "load_image_folder(sys.argv[1], size=16, packed=True, workers=3, progress=die)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    numbers = [int(line) for line in ended.stdout.split()]
    assert len(numbers) == 2
    deadline = time.monotonic() + 20
    while any(is_running(number) for number in numbers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(number) for number in numbers)


def is_running(number: int) -> bool:
    try:
        return b"convscope.data.packing" in Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return False


def test_two_processes_build_once(tmp_path) -> None:
    root = photographs(tmp_path, 60)
    code = (
        "import sys\n"
        "from convscope.data import load_image_folder\n"
        "note = lambda done, of: print('building', flush=True) if done == of else None\n"
        "images = load_image_folder(sys.argv[1], size=16, packed=True, workers=1, progress=note).images\n"
        "print(int(images.sum()))\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, root], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate()[0].split() for process in both]
    assert sorted(map(len, said)) == [1, 2]
    assert said[0][-1] == said[1][-1]


def test_progress_counts_to_the_end(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photographs(tmp_path, 30)
    small_portions(monkeypatch)
    told: list[tuple[int, int]] = []
    for workers in (1, 2):
        options = {"size": 16, "packed": True, "split": "train", "seed": workers}
        load_image_folder(root, **options, workers=workers, progress=lambda *said: told.append(said))
        assert told[-1][0] == told[-1][1] > 20
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        told.clear()


def test_every_file_is_broken(tmp_path) -> None:
    root = pets(tmp_path, {"cat": 2, "dog": 1})
    for path in root.glob("*/*"):
        path.write_bytes(b"x")
    with refused(DataError, "load_image_folder", "3 of 3 images", exit_code=1):
        load_image_folder(root, size=8, packed=True)
    with refused(DataError, "load_image_folder", "2 of 2 classes", "are empty", exit_code=1):
        load_image_folder(root, size=8, packed=True, skip_bad=True)


def test_ctrl_c_leaves_nothing(home: Path, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photographs(tmp_path)
    small_portions(monkeypatch)

    def interrupt(done: int, of: int) -> None:
        raise KeyboardInterrupt

    for workers in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            load_image_folder(root, size=16, packed=True, workers=workers, progress=interrupt)
        assert nothing_left(home)


def test_a_set_larger_than_memory_can_be_opened(tmp_path) -> None:
    num_images = 400_000  # of 150 kB: 60 GB, of which the disk holds nothing
    path = tmp_path / "pixels.bin"
    path.touch()
    os.truncate(path, num_images * 3 * 224 * 224)
    images = packed._mapped(path, num_images, (3, 224, 224))
    assert images[-1].sum() == 0
    images[5, 0, 0, 0] = 1
    assert images[5].sum() == 1
