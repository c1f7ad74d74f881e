"""A small world to fetch from: sets of few images, their archives, a server on this machine, stubs of clients."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
from dataset_files import idx
from picture_files import saved

from convscope.data import fetched, fetching

CIFAR10 = tuple(f"data_batch_{number}.bin" for number in range(1, 6)), ("test_batch.bin",)
DEAD = "http://127.0.0.1:9"


class Server(http.server.ThreadingHTTPServer):
    """Serves files by name; `breaks` connections end after half of what is left, `refuse` answers 503 to all."""

    def __init__(self, files: dict[str, bytes], *, breaks: int = 0, refuse: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.breaks, self.refuse, self.asked = files, breaks, refuse, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server, start = self.server, 0
        assert isinstance(server, Server)
        asked = self.headers.get("Range")
        server.asked.append((self.path, asked))
        content = server.files.get(self.path.lstrip("/"))
        if server.refuse or content is None:
            self.send_error(503 if server.refuse else 404)
            return
        if asked:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        rest = content[start:]
        if server.breaks:
            server.breaks -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, format: str, *args: object) -> None:
        pass


def pixels(seed: int, count: int, shape: tuple[int, int, int] = (3, 32, 32)) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(count, *shape), dtype=np.uint8)


def cifar_files(*, coarse: bool = False, num_classes: int = 10, per_file: int = 10) -> dict[str, bytes]:
    """The published files, with `per_file` records each; labels go round the classes."""
    names = ("train.bin", "test.bin") if coarse else (*CIFAR10[0], *CIFAR10[1])
    files = {}
    for seed, name in enumerate(names):
        labels = (np.arange(per_file) + seed) % num_classes
        columns = [labels % 20, labels] if coarse else [labels]
        table = [column[:, None].astype(np.uint8) for column in columns]
        files[name] = np.concatenate([*table, pixels(seed, per_file).reshape(per_file, -1)], 1).tobytes()
    return files


def tar(files: dict[str, bytes], *extra: tuple[tarfile.TarInfo, bytes], packed: bool = True) -> bytes:
    """An archive of `extra` entries, then `files`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for entry, content in extra:
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), 1) if packed else buffer.getvalue()


def below(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


def strips(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same images as the strips of a package: a picture whose rows are the images, and lists of labels."""
    result, labels = {}, {"train": [], "test": []}
    for name, content in files.items():
        table = np.frombuffer(content, np.uint8).reshape(-1, 3073)
        rows = table[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).reshape(len(table), 1024, 3)
        result[name.replace(".bin", ".png")] = saved(rows, "PNG")
        labels["test" if name.startswith("test") else "train"] += table[:, 0].tolist()
    for split, numbers in labels.items():
        result[f"{split}_lables.json"] = json.dumps(numbers).encode()
    return result


def idx_files(num_train: int = 40, num_test: int = 20) -> dict[str, bytes]:
    files = {}
    for seed, (stem, count) in enumerate((("train", num_train), ("t10k", num_test))):
        files[f"{stem}-images-idx3-ubyte.gz"] = idx(pixels(seed, count, (1, 28, 28))[:, 0])
        files[f"{stem}-labels-idx1-ubyte.gz"] = idx((np.arange(count) % 10).astype(np.uint8))
    return {name: gzip.compress(content) for name, content in files.items()}


def digit_lists() -> dict[str, bytes]:
    return {
        f"{digit}.json": json.dumps(
            {"data": (pixels(digit, 5 + digit, (1, 28, 28)) / 255).ravel().tolist()}
        ).encode()
        for digit in range(10)
    }


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def shrink(monkeypatch, name: str, num_train: int, num_test: int, *, values=None, files=None) -> None:
    """Let a named set have few images, and no checksums but those given."""
    facts = replace(
        fetched.fetched_dataset(name),
        num_images={"train": num_train, "test": num_test},
        values=values or {},
        files=files or {},
    )
    monkeypatch.setitem(fetched._CATALOGUE, name, facts)


def point(monkeypatch, name: str, *addresses: tuple[tuple[str, str], ...]) -> None:
    """Let the origins of a set have these addresses."""
    origins = fetching._ORIGINS[name]
    changed = [replace(origin, addresses=at) for origin, at in zip(origins, addresses, strict=False)]
    monkeypatch.setitem(fetching._ORIGINS, name, tuple(changed))


def stub(folder: Path, monkeypatch, **programs: str) -> None:
    """Put shell scripts before everything else in PATH; `no_X` hides the program X."""
    folder.mkdir(exist_ok=True)
    for name, script in programs.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
