"""Decode the files of a folder into places of one file, by this process and others beside it.

The others are Python's own, started anew with `-m convscope.data.packing`; requests and answers are lines of JSON. A
process decodes the pictures of a request, writes each at its place, and answers which it could not decode. One that is
killed shows in the end of its answers, so nothing waits for it; one whose parent is killed reads the end of its
requests, and ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from convscope.data.fitted import decode_fitted
from convscope.data.regular_file import read_regular_file
from convscope.errors import BadImageError, ConvscopeError, DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Broken", "Fitting", "PictureFile", "Progress", "can_be_read", "decode_into", "picture_file"]

Broken = tuple[int, str, bool]  # position, reason, and whether the file could not even be read
Progress = Callable[[int, int], None]
_Request = list[tuple[int, str]]  # place in the output, path

_PORTION = 64  # files of one request
_FILES_A_PROCESS = 1024  # one takes two seconds to start, in which this process decodes some 700
# glibc gives the memory of each picture back, and has to fetch it anew for the next one, unless told not to.
_KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**26), "MALLOC_TRIM_THRESHOLD_": str(2**28)}
_MAX_FILE_BYTES = 2**29
_SECONDS_TO_END = 10


@dataclass(frozen=True)
class PictureFile:
    """A file below the packed folder: relative name, label, and what tells that it has changed."""

    name: str
    label: int
    num_bytes: int
    time_ns: int


@dataclass(frozen=True)
class Fitting:
    """Say how files become pixels of one size, as the arguments of `decode_fitted` do."""

    size: tuple[int, int]
    mode: Literal["RGB", "L"]
    exact: bool
    max_pixels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """The (C, H, W) of every image."""
        return (3 if self.mode == "RGB" else 1, *self.size)

    @property
    def num_bytes(self) -> int:
        """The bytes of one image."""
        channels, height, width = self.shape
        return channels * height * width

    def decode(self, path: str | os.PathLike[str]) -> np.ndarray:
        """Return the pixels of a file, (H, W) or (H, W, 3)."""
        return decode_fitted(path, self.size, self.mode, exact=self.exact, max_pixels=self.max_pixels)


def picture_file(root: Path, name: str, label: int) -> PictureFile:
    """Look a file up; one that is gone has size and time -1."""
    try:
        status = os.stat(root / name)
    except (OSError, ValueError):
        return PictureFile(name, label, -1, -1)
    return PictureFile(name, label, status.st_size, status.st_mtime_ns)


def can_be_read(path: str | os.PathLike[str]) -> bool:
    """Tell whether the bytes of a file can be had, whatever they are."""
    try:
        read_regular_file(path, "load_image_folder", DataError, _MAX_FILE_BYTES)
    except ConvscopeError:
        return False
    return True


def decode_into(
    output: Path,
    root: Path,
    files: Sequence[PictureFile],
    fitting: Fitting,
    workers: int,
    call: str,
    progress: Progress | None = None,
) -> list[Broken]:
    """Decode file after file to its place in `output`; return those that cannot be decoded, in their order.

    Raises:
        DataError: a process was killed, or ended otherwise before its work was done.
        OSError: `output` cannot be written.
    """
    requests = [
        [
            (place, os.fspath(root / files[place].name))
            for place in range(start, min(start + _PORTION, len(files)))
        ]
        for start in range(0, len(files), _PORTION)
    ]
    broken: list[Broken] = []
    done = 0
    with _one_thread():
        for num_files, found in _answers(output, requests, fitting, workers, call):
            done += num_files
            broken += found
            if progress is not None:
                progress(done, len(files))
    return sorted(broken)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch resize by one thread meanwhile: more wait for each other longer than a picture takes."""
    import torch

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _answers(
    output: Path, requests: list[_Request], fitting: Fitting, workers: int, call: str
) -> Iterator[tuple[int, list[Broken]]]:
    """Yield for each request how many files it had and which are broken; in any order."""
    num_files = sum(map(len, requests))
    workers = min(workers, 1 + num_files // _FILES_A_PROCESS, len(requests)) if sys.executable else 1
    if workers <= 1:
        with output.open("r+b") as file:
            for request in requests:
                yield len(request), _decode(file.fileno(), request, fitting=fitting)
        return
    waiting = list(reversed(requests))
    answers: list[tuple[int, list[Broken]]] = []

    def work(answer: Callable[[_Request], list[Broken]]) -> None:
        while True:
            try:
                request = waiting.pop()
            except IndexError:
                return
            answers.append((len(request), answer(request)))

    with (
        output.open("r+b") as file,
        _processes(workers - 1, output, fitting) as processes,
        ThreadPoolExecutor(workers) as pool,
    ):
        pending = {pool.submit(work, partial(_ask, process, call=call)) for process in processes}
        pending.add(pool.submit(work, partial(_decode, file.fileno(), fitting=fitting)))
        try:
            while pending:
                ended, pending = wait(pending, timeout=0.1, return_when=FIRST_EXCEPTION)
                for future in ended:
                    future.result()
                while answers:
                    yield answers.pop()
        except BaseException:
            waiting.clear()
            for process in processes:
                process.kill()  # what they have written so far is thrown away
            raise


@contextlib.contextmanager
def _processes(workers: int, output: Path, fitting: Fitting) -> Iterator[list[subprocess.Popen[bytes]]]:
    paths = [path or os.getcwd() for path in sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **_KEPT_MEMORY}
    command = [
        sys.executable,
        "-P",
        "-m",
        "convscope.data.packing",
        os.fspath(output),
        json.dumps(asdict(fitting)),
    ]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(workers):
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
            processes.append(process)
        yield processes
    finally:
        for process in processes:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a process see the end of its requests, and wait for it."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(OSError):  # a killed one has closed the other end
        process.stdin.close()
    process.stdout.close()
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ask(process: subprocess.Popen[bytes], request: _Request, *, call: str) -> list[Broken]:
    assert process.stdin is not None
    assert process.stdout is not None
    answer = b""
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    if not answer.endswith(b"\n"):
        code = process.wait()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise DataError(
            f"a decoding process was {how} among the {len(request)} files from {request[0][1]!r} on; nothing was "
            "kept. If memory ran out, give workers=1.",
            call=call,
        )
    content = json.loads(answer)
    if "failed" in content:
        raise OSError(*content["failed"])
    return [(place, reason, unread) for place, reason, unread in content["broken"]]


def _decode(output: int, request: _Request, *, fitting: Fitting) -> list[Broken]:
    broken: list[Broken] = []
    for place, path in request:
        try:
            pixels = fitting.decode(path)
        except (BadImageError, UsageError) as error:  # UsageError: a link to nowhere, or a file just deleted
            broken.append((place, str(error), not can_be_read(path)))
            continue
        planes = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        _write(output, planes.tobytes(), place * fitting.num_bytes)
    return broken


def _write(output: int, content: bytes, at: int) -> None:
    left = memoryview(content)
    while left:
        written = os.pwrite(output, left, at)
        left, at = left[written:], at + written


def _main() -> None:
    """Answer requests from standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    options = json.loads(sys.argv[2])
    fitting = Fitting(**{**options, "size": tuple(options["size"])})
    with open(sys.argv[1], "r+b") as file:
        for line in sys.stdin.buffer:
            try:
                answer: dict[str, object] = {
                    "broken": _decode(file.fileno(), json.loads(line), fitting=fitting)
                }
            except OSError as error:
                answer = {"failed": [error.errno, error.strerror]}
            sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    _main()
