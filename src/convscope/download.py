"""Fetching a file from its publisher: resumed where it was broken off, verified, put in place whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from convscope.errors import DownloadError, UsageError
from convscope.files import make_folder, output_error

__all__ = ["cache_folder", "download", "package_archive", "sha256_of"]

Progress = Callable[[int, int | None], None]

_SECONDS = 30  # without a byte
_ATTEMPTS = 3
_PIP_SECONDS = 600
_PIECE = 1 << 18


def cache_folder(kind: str) -> Path:
    """Return where fetched files of a kind are kept: below CONVSCOPE_HOME, or the user's cache folder.

    Example:
        >>> cache_folder("weights").name
        'weights'
    """
    home = os.environ.get("CONVSCOPE_HOME")
    if home:
        return Path(home).expanduser() / kind
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "convscope" / kind


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, path: Path, *, sha256: str, progress: Progress | None = None) -> None:
    """Fetch a file to `path`.

    What has arrived is kept beside it as `.part`, also after an error, and the next call goes on from there. The
    file takes its place when its SHA-256 is right; until then what stood there stays.

    Args:
        sha256: the checksum, or the beginning of it, in hexadecimal.
        progress: called with the bytes that have arrived and, where the server told it, the bytes of the whole.
    Raises:
        DownloadError: the server cannot be reached, refuses, breaks off every time, or sends another file.
        OutputError: the folder cannot be written.
        UsageError: an address that is not http or https.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"{url!r} is no http or https address.", call="download")
    make_folder(path.parent)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise DownloadError(
                    f"another process is fetching {path.name}; wait for it.", call="download"
                ) from error
            _arrive(url, part, sha256, progress)
            os.fsync(file.fileno())
            part.replace(path)
    except OSError as error:
        raise output_error("download", part, error) from error


def _arrive(url: str, part: Path, sha256: str, progress: Progress | None) -> None:
    """Bring the part to its end and check it; one that was begun from another version is fetched anew."""
    resumed = part.stat().st_size > 0
    _transfer(url, part, progress)
    found = sha256_of(part)
    if not found.startswith(sha256) and resumed:
        os.truncate(part, 0)
        _transfer(url, part, progress)
        found = sha256_of(part)
    if not found.startswith(sha256):
        part.unlink()
        raise DownloadError(
            f"{url} sent another file than was published: its SHA-256 begins with {found[: len(sha256)]}, not "
            f"{sha256}. It was thrown away and nothing replaced; try again, or another network.",
            call="download",
        )


def _transfer(url: str, part: Path, progress: Progress | None) -> None:
    reason, attempt = "", 0
    while attempt < _ATTEMPTS:
        if attempt:
            time.sleep(0.2 * attempt)
        before = part.stat().st_size
        attempt += 1
        try:
            if _transfer_once(url, part, progress):
                return
            reason = "the connection closed before the end"
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise DownloadError(f"{url} answers {error.code} {error.reason}.", call="download") from error
            reason = f"it answers {error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        if part.stat().st_size > before:
            attempt = 0  # a connection that breaks off but brings something is worth another one
    kept = "what has arrived is kept and the next try goes on from there"
    if not part.stat().st_size:
        part.unlink()
        kept = "nothing has arrived"
    raise DownloadError(
        f"{urlsplit(url).hostname} cannot be reached for {url} ({reason}); {kept}. Offline, put the "
        f"file itself at {str(part)[: -len('.part')]!r}.",
        call="download",
    )


def _transfer_once(url: str, part: Path, progress: Progress | None) -> bool:
    """Fetch what is missing and tell whether all of it came."""
    have = part.stat().st_size
    request = urllib.request.Request(url, headers={"User-Agent": "convscope", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        if (
            error.code == 416 and have
        ):  # nothing is missing; or it is another file, which the checksum will tell
            error.close()
            return True
        raise
    with answer:
        if have and answer.status != 206:  # the server knows no ranges
            os.truncate(part, 0)
            have = 0
        length = answer.headers.get("Content-Length")
        whole = have + int(length) if length and length.isdigit() else None
        with part.open("ab") as file:
            while piece := _read(answer):
                try:
                    file.write(piece)
                except OSError as error:
                    raise output_error("download", part, error) from error
                have += len(piece)
                if progress is not None:
                    progress(have, whole)
    return whole is None or have >= whole


def _read(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(_PIECE)
    except http.client.IncompleteRead as error:
        return error.partial


@contextmanager
def package_archive(package: str) -> Iterator[zipfile.ZipFile]:
    """Yield the wheel of a package of the Python registry, which pip downloads and does not install.

    Args:
        package: with its version, `foolbox==3.3.4`.
    Raises:
        DownloadError: pip is missing, cannot reach the registry, or brings no wheel.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        try:
            subprocess.run(
                [*command, "--dest", folder, package], check=True, capture_output=True, timeout=_PIP_SECONDS
            )
            (wheel,) = Path(folder).glob("*.whl")
            archive = zipfile.ZipFile(wheel)
        except (subprocess.SubprocessError, OSError, ValueError, zipfile.BadZipFile) as error:
            lines = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
            raise DownloadError(
                f"the package {package} cannot be had by pip{f' ({lines[-1][:200]})' if lines else ''}.",
                call="package_archive",
            ) from error
        with archive:
            yield archive
