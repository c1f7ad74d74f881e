"""A full disk, a folder that cannot be written, two trainings in one folder: one line, and what is saved stays."""

import contextlib
import errno
import json
import os
import resource
import signal
import subprocess

import pytest
from faults import ended, start

from convscope import files as writing
from convscope.cli.main import main
from convscope.errors import OutputError, RunError
from convscope.training import EpochDone, Run, StepDone, Warned, loop, train
from convscope.training import folder as layout
from convscope.training.checkpoint import Checkpoints
from convscope.training.metrics import JsonLines, read_json_lines


@pytest.fixture
def tmp_path(memory_folder):
    return memory_folder


class Disk:
    """A disk that is full while `full` is true: no file gets a byte more."""

    def __init__(self, monkeypatch):
        self.full = False
        write = writing.Path.write_bytes
        append = JsonLines._write

        def write_bytes(path, content):
            if self.full:
                write(path, content[: len(content) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(path, content)

        def append_lines(lines):
            if self.full:
                raise OutputError("train: cannot write the lines: no space is left on the device.")
            append(lines)

        monkeypatch.setattr(writing.Path, "write_bytes", write_bytes)
        monkeypatch.setattr(JsonLines, "_write", append_lines)


def content(run):
    newest = Checkpoints(run.path).latest(pytest.fail)
    names = (newest.weights, newest.path / "training.safetensors", run.path / layout.METRICS)
    return [path.read_bytes() for path in names]


def test_a_disk_that_is_full_for_a_while(folder, quick, tmp_path, monkeypatch):
    """Training goes on with a warning, the old checkpoint stays; with space again nothing is missing."""
    whole = train(quick, data=folder, output=tmp_path / "whole", checkpoint_every=2)
    disk, warned = Disk(monkeypatch), []

    def listener(event):
        if isinstance(event, StepDone):
            step = 5 * (event.epoch - 1) + event.step
            disk.full = 5 <= step < 13
            if disk.full and step > 5:
                assert Checkpoints(tmp_path / "run").latest(pytest.fail).position.step == 4
        if isinstance(event, Warned):
            warned.append(event.message)

    run = train(quick, data=folder, output=tmp_path / "run", checkpoint_every=2, listener=listener)
    assert run.status == "finished"
    assert content(run) == content(whole)
    assert "no space is left on the device" in warned[0]
    assert "Training goes on; the figures are kept in memory and written later." in warned[0]
    assert "Training goes on; the checkpoint of epoch 1 after step 4 stays." in warned[1]
    assert not list(run.path.rglob("*tmp*"))


def test_the_best_that_could_not_be_saved_is_not_the_best(folder, quick, tmp_path, monkeypatch):
    """The second epoch measures best and is not saved; the third is the best of what is on the disk."""
    accuracies = iter([0.5, 0.9, 0.7])
    measured = loop.evaluate

    def evaluated(*args, **named):
        found = measured(*args, **named)
        object.__setattr__(found, "accuracy", next(accuracies))
        return found

    monkeypatch.setattr(loop, "evaluate", evaluated)
    disk = Disk(monkeypatch)

    def listener(event):
        if isinstance(event, StepDone):
            disk.full = event.epoch == 2

    run = train(quick, data=folder, output=tmp_path / "run", listener=listener)
    assert [row["acc@1"] for row in run.metrics] == [0.5, 0.9, 0.7]
    assert Checkpoints(run.path).best().position.best == 0.7
    assert (run.path / "BEST").read_text() == "step-000015\n"


def test_a_last_save_that_fails_is_an_error(folder, quick, tmp_path, monkeypatch, capsys):
    disk = Disk(monkeypatch)

    def listener(event):
        disk.full = disk.full or (isinstance(event, EpochDone) and event.epoch == 2)

    with pytest.raises(OutputError, match="no space is left on the device"):
        train(quick, data=folder, output=tmp_path / "run", listener=listener)
    disk.full = False
    assert Checkpoints(tmp_path / "run").latest(pytest.fail).position.epoch == 2
    assert train(output=tmp_path / "run", resume=True).status == "finished"


def test_a_stop_on_a_full_disk_says_so(folder, quick, tmp_path, monkeypatch):
    disk = Disk(monkeypatch)

    def listener(event):
        if isinstance(event, StepDone) and event.epoch == 2:
            disk.full = True
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(OutputError, match="no space is left on the device"):
        train(quick, data=folder, output=tmp_path / "run", listener=listener)
    assert Checkpoints(tmp_path / "run").latest(pytest.fail).position.epoch == 1


@pytest.fixture(params=["a disk of 3 MB", "files of 20 kB"])
def small_disk(request, tmp_path):
    """A place with room for the first checkpoints of a perceptron and no more; without root, files may be too small."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = request.param.startswith("a disk") and os.geteuid() == 0
    if mounted:
        command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    yield place, mounted
    if mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_real_disk_that_fills_up(folder, quick, tmp_path, monkeypatch, small_disk):
    """The kernel's own refusal, and a reader afterwards finds a whole checkpoint."""
    place, mounted = small_disk
    filler = place / "filler"

    def work():
        warned = []

        def listener(event):
            if isinstance(event, Warned):
                warned.append(event.message)
            if isinstance(event, EpochDone) and event.epoch == 1:
                if mounted:
                    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                        while file.write(bytes(4096)):
                            pass
                else:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
                    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            if isinstance(event, EpochDone) and event.epoch == 2:
                assert any("Training goes on; the checkpoint of epoch 1 stays" in line for line in warned)
                os._exit(3)

        train(quick, data=folder, output=place / "run", model="perceptron", listener=listener)

    assert ended(start(work)) == 3
    found = Checkpoints(place / "run").latest(pytest.fail)
    assert found.position.epoch == 1
    filler.unlink(missing_ok=True)
    resumed = train(output=place / "run", resume=True)
    whole = train(quick, data=folder, output=tmp_path / "whole", model="perceptron")
    assert content(resumed) == content(whole)


def test_a_folder_that_cannot_be_written(folder, quick, tmp_path, capsys, monkeypatch):
    """Root may write anywhere, so that the refusal is made: by a parent that is a file, and by the system's word."""
    (tmp_path / "file").write_text("mine")
    data = ["--data", str(folder), "--model", "perceptron"]
    assert main(["train", *data, "--output", str(tmp_path / "file" / "run")]) == 1
    assert "cannot write" in capsys.readouterr().err

    def refused(*args, **named):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(writing.tempfile, "mkstemp", refused)
        assert main(["train", *data, "--output", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert "the file system is read-only; choose another output" in said
    assert len(said.splitlines()) == 1


def test_two_trainings_in_one_folder_and_one_that_was_killed(folder, quick, tmp_path):
    """The second is refused while the first lives; its lock dies with it, and the run can be taken over."""
    ready, told = os.pipe()

    def work():
        def listener(event):
            if isinstance(event, EpochDone):
                os.write(told, b".")
                signal.pause()

        train(quick, data=folder, output=tmp_path / "run", listener=listener)

    child = start(work)
    os.read(ready, 1)
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    try:
        with pytest.raises(
            RunError, match="is in use by another process; wait for it or choose another output"
        ):
            train(output=tmp_path / "run", resume=True)
        with pytest.raises(RunError, match="is in use by another process"):
            train(quick, data=folder, output=tmp_path / "run")
        assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
        assert Run.open(tmp_path / "run").status == "running"
    finally:
        os.kill(child, signal.SIGKILL)
    assert ended(child) == -signal.SIGKILL
    assert Run.open(tmp_path / "run").status == "killed"
    left = (
        tmp_path / "run" / ".state.json.abc_123.tmp"
    )  # as one that is killed while it replaces a file leaves
    left.write_text("half")
    (tmp_path / "run" / ".mine.tmp").write_text("not ours")
    assert train(output=tmp_path / "run", resume=True).status == "finished"
    assert not left.exists()
    assert (tmp_path / "run" / ".mine.tmp").exists()


def test_a_lock_file_that_was_removed_is_no_lock(tmp_path, monkeypatch):
    """Between opening and locking, the run that held it failed and removed its files."""
    flock = layout.fcntl.flock

    def late(file, how):
        (tmp_path / layout.LOCK).unlink()
        (tmp_path / layout.LOCK).touch()  # and a third process has begun
        flock(file, how)

    monkeypatch.setattr(layout.fcntl, "flock", late)
    with pytest.raises(RunError, match="is in use by another process"), layout.hold_folder(tmp_path):
        raise AssertionError("held")


def test_a_crash_after_a_checkpoint_in_the_first_epoch_keeps_the_run(folder, quick, tmp_path):
    def fail(event):
        if isinstance(event, StepDone) and event.step == 4:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(quick, data=folder, output=tmp_path / "run", listener=fail, checkpoint_every=3)
    whole = train(quick, data=folder, output=tmp_path / "whole", checkpoint_every=3)
    assert content(train(output=tmp_path / "run", resume=True)) == content(whole)


def test_lines_that_could_not_be_written_wait(tmp_path):
    """Short writes, failing ones, and a failing truncation: each line stands in the file once, whole, in order."""
    lines = JsonLines(tmp_path / "metrics.jsonl")
    real, moods = (
        lines._file,
        iter([3, None, OSError(errno.ENOSPC, "full"), 5, OSError(errno.EIO, "bad"), None] * 9),
    )

    class Moody:
        fileno = real.fileno
        truncated = 0

        def write(self, data):
            mood = next(moods)
            if isinstance(mood, OSError):
                real.write(data[:2])
                raise mood
            return real.write(data[:mood])

        def truncate(self, size):
            self.truncated += 1
            if self.truncated % 2:
                raise OSError(errno.EIO, "bad")
            return real.truncate(size)

        def close(self):
            real.close()

    lines._file = Moody()
    failed = 0
    for number in range(20):
        try:
            lines.append({"step": number})
        except OutputError:
            failed += 1
    lines._file = real
    size = lines.flush()
    lines.close()
    assert failed
    assert [row["step"] for row in read_json_lines(tmp_path / "metrics.jsonl")] == list(range(20))
    assert size == (tmp_path / "metrics.jsonl").stat().st_size
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1]) == {"step": 19}


def test_a_size_beyond_the_end_adds_nothing(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    lines = JsonLines(tmp_path / "metrics.jsonl", 1000)
    lines.append({"step": 2})
    lines.close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'


def test_run_of_a_file_of_other_json(folder, quick, tmp_path):
    run = train(quick, data=folder, output=tmp_path / "run", epochs=1)
    path = run.path / "metrics.jsonl"
    path.write_text("3\n" + path.read_text())
    with pytest.raises(RunError, match="line 1 is no JSON object"):
        Run.open(run.path)
