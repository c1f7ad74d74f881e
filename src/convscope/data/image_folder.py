"""A folder of pictures, one sub-folder for each class."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from convscope.data.decode import check_max_pixels, decode_image
from convscope.data.image_set import ImageSet
from convscope.data.packed import pack_images
from convscope.data.packing import Fitting, picture_file
from convscope.data.resize import size_pair
from convscope.errors import BadImageError, DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

__all__ = ["IMAGE_EXTENSIONS", "check_memory", "load_image_folder"]

IMAGE_EXTENSIONS = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".gif",
        ".webp",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".pfm",
    ]
)
_VALIDATION_FOLDERS = ("val", "valid", "validation")
_HELD_OUT_FOLDERS = {"test": ("test", *_VALIDATION_FOLDERS), "validation": _VALIDATION_FOLDERS}
_HELD_OUT = 0.2
_IN_MEMORY_BYTES = 2**30
_LAYOUT = (
    "root/<class>/*.jpg, or root/train/<class>/*.jpg with root/val/<class>/*.jpg or root/test/<class>/*.jpg"
)


@dataclass(frozen=True)
class _Listing:
    """What lies in the class folders: (path, label) of every picture, and how many files are none."""

    classes: tuple[str, ...]
    files: tuple[tuple[Path, int], ...]
    ignored: Counter[str]
    part: str = ""  # which of the lists of files that one folder may have
    is_drawn: bool = False

    @property
    def counts(self) -> dict[str, int]:
        labels = Counter(label for _, label in self.files)
        return {name: labels[index] for index, name in enumerate(self.classes)}


def load_image_folder(
    root: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    mode: Literal["RGB", "L"] = "RGB",
    split: Literal["train", "validation", "test"] | None = None,
    seed: int = 0,
    skip_bad: bool = False,
    max_pixels: int = 40_000_000,
    exact: bool = False,
    packed: bool | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImageSet:
    """Read `root/<class>/*`, or one part of `root/train/<class>/*` and `root/val/<class>/*` or `root/test/<class>/*`.

    Classes are the folder names, sorted; sub-folders of a class belong to it. Hidden files and files that are not
    named like a picture are passed over and counted (`ImageSet.ignored`). Symbolic links to files and to class
    folders are followed, deeper links to folders are not.

    A set of up to 1 GiB is decoded into memory. A larger one is decoded once into a file below the cache folder,
    by several processes, and read from there as memory-mapped images; that file serves every later call until a
    picture is added, removed or changed (`ImageSet.images` is an ordinary tensor in both cases, of the same pixels).

    Shapes:
        images (N, 3, H, W) for "RGB", (N, 1, H, W) for "L"
    Args:
        size: every picture is brought to it by `fit_image`. None keeps the pictures as they are, which must
            then have one size.
        mode: colour or grey.
        split: "train"; "validation", which is `val/`; or "test", which is `test/` or else `val/`. Without a `train/`
            folder about a fifth of each class, at least one picture, is held out of "train" and is both others. None
            reads everything, or `train/`.
        seed: of the fifth that is held out. Each file is drawn by a digest of the seed and its name below `root`, so
            files that are added leave the others where they are.
        skip_bad: leave out files that cannot be decoded, and list them in `ImageSet.skipped`.
        max_pixels: pictures with more are refused.
        exact: decode JPEGs in full before shrinking them to `size`; see `decode_fitted` for the difference.
        packed: True reads through the file also what would fit into memory, False never does. It needs a `size`.
        workers: processes that decode into the file, this one among them; by default one for each core.
        progress: called while the file is made, with how many pictures are decoded and how many there are.
    Raises:
        UsageError: there is no such folder, or an argument is not as above.
        DataError: no class folder, one class only, a class without pictures, files that cannot be decoded,
            sizes that differ, or more pixels than the memory of this machine holds.
        OutputError: the file of decoded pictures cannot be written, or there is no room for it.
    Example:
        >>> load_image_folder("/nowhere", size=64)
        Traceback (most recent call last):
        ...
        convscope.errors.UsageError: load_image_folder: no such folder: '/nowhere'. Check the path.
    """
    if mode not in ("RGB", "L"):
        raise UsageError(f"load_image_folder: mode must be 'RGB' or 'L', got {mode!r}.")
    if split not in ("train", "validation", "test", None):
        raise UsageError(
            f"load_image_folder: split must be 'train', 'validation', 'test' or None, got {split!r}."
        )
    check_max_pixels(max_pixels, "load_image_folder")
    pair = None if size is None else size_pair(size, "load_image_folder")
    _check_packing(seed, packed, pair, workers)
    root = Path(root)
    listing = _list_split(root, split, seed)
    _check_listing(listing, root)
    fitting = None if pair is None else Fitting(pair, mode, exact, max_pixels)
    if fitting is not None and _is_packed(packed, len(listing.files) * fitting.num_bytes):
        num_workers = workers or len(os.sched_getaffinity(0))
        images, kept, bad = _from_pack(listing, root, fitting, num_workers, progress)
    else:
        images, kept, bad = _decode_all(listing, root, fitting, mode, max_pixels)
    _check_bad(listing, kept, bad, root, skip_bad)
    return ImageSet(
        images,
        torch.tensor([listing.files[index][1] for index in kept]),
        listing.classes,
        _readable(root.resolve().name) + (f" ({listing.part})" if listing.is_drawn else ""),
        ignored=listing.ignored.total(),
        skipped=tuple(_readable(str(path.relative_to(root))) for path, _ in bad),
    )


def check_memory(num_images: int, channels: int, height: int, width: int, call: str) -> None:
    """Refuse a set that would not fit into four fifths of this machine's memory."""
    try:
        available = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 0.8)
    except (AttributeError, ValueError, OSError):  # not a POSIX system: let the allocation decide
        return
    needed = num_images * channels * height * width
    if needed > available:
        raise DataError(
            f"{call}: {num_images:,} images x {channels} x {height} x {width} are {needed / 1e9:.1f} GB; "
            f"{available / 1e9:.1f} GB of memory can be used. Use a smaller size, mode 'L' or fewer images."
        )


def _check_packing(seed: object, packed: object, size: tuple[int, int] | None, workers: int | None) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UsageError(f"load_image_folder: seed must be an integer, got {seed!r}.")
    if packed not in (True, False, None):
        raise UsageError(f"load_image_folder: packed must be True, False or None, got {packed!r}.")
    if packed and size is None:
        raise UsageError("load_image_folder: packed=True needs images of one size. Give size=N.")
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise UsageError(f"load_image_folder: workers must be an integer of at least 1, got {workers!r}.")


def _is_packed(packed: bool | None, num_bytes: int) -> bool:
    return num_bytes > _IN_MEMORY_BYTES if packed is None else packed


def _list_split(root: Path, split: str | None, seed: int) -> _Listing:
    if not root.exists():
        raise UsageError(f"load_image_folder: no such folder: {str(root)!r}. Check the path.")
    if not root.is_dir():
        raise UsageError(
            f"load_image_folder: {str(root)!r} is a file; a folder is expected. Unpack it, or name its folder."
        )
    # A folder of trains and buses has a class "train": only one with folders inside is a training half.
    if not (root / "train").is_dir() or not _class_folders(root / "train")[0]:
        everything = _list_classes(root)
        return everything if split is None else _cut(everything, root, split, seed)
    train = replace(_list_classes(root / "train"), part="train")
    if split in (None, "train"):
        return train
    for name in _HELD_OUT_FOLDERS[split]:
        if (root / name).is_dir():
            held_out = replace(_list_classes(root / name), part=name)
            if held_out.classes != train.classes:
                odd = sorted(set(held_out.classes) ^ set(train.classes))
                raise DataError(
                    f"load_image_folder: the classes of {str(root / name)!r} and of its train/ differ: "
                    f"{_names(odd)} in one of them only. Give both the same class folders."
                )
            return held_out
    if split == "test":
        raise DataError(
            f"load_image_folder: {str(root)!r} has train/ but neither test/ nor val/. Add one of them."
        )
    way_out = "Add it, or use split='test'." if (root / "test").is_dir() else "Add it."
    raise DataError(f"load_image_folder: {str(root)!r} has train/ but no val/. {way_out}")


def _list_classes(root: Path) -> _Listing:
    folders, loose = _class_folders(root)
    ignored = Counter(_kind(name) for name in loose)
    classes = tuple(_readable(folder.name) for folder in folders)
    same = Counter(unicodedata.normalize("NFC", name) for name in classes)
    twins = [name for name, count in same.items() if count > 1]
    if twins:
        raise DataError(
            f"load_image_folder: {str(root)!r} has several class folders that read {twins[0]!r}, written with "
            "different Unicode characters. Rename or merge them."
        )
    files = []
    for label, folder in enumerate(folders):
        for path, is_picture in _walk(folder):
            if is_picture:
                files.append((path, label))
            else:
                ignored[_kind(path.name)] += 1
    return _Listing(classes, tuple(files), ignored)


def _class_folders(root: Path) -> tuple[list[Path], list[str]]:
    """Return the class folders, sorted by name, and the names of everything else that lies beside them."""
    folders, others = [], []
    with _scan(root) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and _is_folder(entry):
                folders.append(Path(entry.path))
            else:
                others.append(entry.name)
    return sorted(folders, key=lambda folder: folder.name), others


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield every file below a class folder, sorted, and whether it is named like a picture."""
    with _scan(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        hidden = entry.name.startswith(".")
        if entry.is_dir(follow_symlinks=False) and not hidden:
            yield from _walk(Path(entry.path))
        elif hidden or _is_folder(entry):  # a link to a folder may lead back up: count it, do not follow it
            yield Path(entry.path), False
        else:
            yield Path(entry.path), Path(entry.name).suffix.lower() in IMAGE_EXTENSIONS


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _scan(folder: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
    try:
        return os.scandir(folder)
    except OSError as error:
        raise DataError(
            f"load_image_folder: cannot list {str(folder)!r}: {error.strerror}. Check its permissions."
        ) from error


def _cut(everything: _Listing, root: Path, split: str, seed: int) -> _Listing:
    """Hold out the files of each class whose digest is in the lowest fifth; at least one, and at most half of them."""
    files = []
    for label, name in enumerate(everything.classes):
        drawn = {path: _draw(path, root, seed) for path, of_class in everything.files if of_class == label}
        if len(drawn) == 1:
            raise DataError(
                f"load_image_folder: class {name!r} has 1 image; a training and a test half need at least 2. "
                "Add images, or give train/ and test/ folders."
            )
        draws = sorted(drawn.values()) or [0.0]
        limit = min(max(_HELD_OUT, np.nextafter(draws[0], 1)), draws[len(draws) // 2])
        files += [(path, label) for path, draw in drawn.items() if (draw < limit) == (split != "train")]
    part = f"{'without the' if split == 'train' else 'the'} held-out fifth, seed {seed}"
    return _Listing(everything.classes, tuple(files), everything.ignored, part, is_drawn=True)


def _draw(path: Path, root: Path, seed: int) -> float:
    """Return a number in 0 .. 1 that depends on nothing but the seed and the name below the root."""
    name = os.fsencode(path.relative_to(root)).replace(os.sep.encode(), b"/")
    digest = hashlib.sha256(f"{seed}:".encode() + name).digest()
    return int.from_bytes(digest[:6]) / 2**48


def _check_listing(listing: _Listing, root: Path) -> None:
    name = str(root)
    also = ""
    if listing.ignored:
        kinds = ", ".join(f"{count} {kind}" for kind, count in listing.ignored.most_common(3))
        also = f" ({listing.ignored.total():,} other files were passed over: {kinds})"
    if not listing.files:
        raise DataError(
            f"load_image_folder: no image in the {len(listing.classes)} class folders of {name!r}{also}. "
            f"Arrange the files as {_LAYOUT}."
        )
    if len(listing.classes) == 1:
        raise DataError(
            f"load_image_folder: {name!r} has one class only, {listing.classes[0]!r} with {len(listing.files)} "
            f"images{also}; at least two are needed. Arrange the files as {_LAYOUT}."
        )
    empty = [of_class for of_class, count in listing.counts.items() if count == 0]
    if empty:
        raise DataError(
            f"load_image_folder: {len(empty)} of {len(listing.classes)} classes of {name!r} have no image: "
            f"{_names(empty)}{also}. Add images or remove the folders."
        )


def _from_pack(
    listing: _Listing,
    root: Path,
    fitting: Fitting,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[Tensor, Sequence[int], list[tuple[Path, str]]]:
    files = [picture_file(root, os.fspath(path.relative_to(root)), label) for path, label in listing.files]
    packed = pack_images(
        root, listing.part, files, fitting, workers=workers, call="load_image_folder", progress=progress
    )
    return packed.images, packed.kept, [(listing.files[at][0], reason) for at, reason in packed.broken]


def _decode_all(
    listing: _Listing, root: Path, fitting: Fitting | None, mode: Literal["RGB", "L"], max_pixels: int
) -> tuple[Tensor, Sequence[int], list[tuple[Path, str]]]:
    """Decode into one tensor (N, C, H, W); also return which files are in it, and which are not and why."""
    channels = 3 if mode == "RGB" else 1
    images = np.empty((0, channels, 1, 1), np.uint8)
    kept: list[int] = []
    bad: list[tuple[Path, str]] = []
    for index, decoded in enumerate(_decoded(listing, fitting, mode, max_pixels)):
        path = listing.files[index][0]
        if isinstance(decoded, str):
            bad.append((path, decoded))
            continue
        height, width = decoded.shape[:2]
        if not kept:
            check_memory(len(listing.files), channels, height, width, "load_image_folder")
            images = np.empty((len(listing.files), channels, height, width), np.uint8)
        if images.shape[2:] != (height, width):
            raise DataError(
                f"load_image_folder: the images of {str(root)!r} differ in size: {images.shape[2]} x "
                f"{images.shape[3]} in {_short(listing.files[kept[0]][0], root)}, {height} x {width} in "
                f"{_short(path, root)}. Give size=N to resize and crop them all."
            )
        images[len(kept)] = decoded.reshape(height, width, channels).transpose(2, 0, 1)
        kept.append(index)
    return torch.from_numpy(images[: len(kept)]), kept, bad


def _decoded(
    listing: _Listing, fitting: Fitting | None, mode: Literal["RGB", "L"], max_pixels: int
) -> Iterable[np.ndarray | str]:
    """Yield each picture, or the reason why there is none, in the order of the listing."""

    def decode(file: tuple[Path, int]) -> np.ndarray | str:
        try:
            if fitting is None:
                return decode_image(file[0], mode, max_pixels=max_pixels)
            return fitting.decode(file[0])
        except (BadImageError, UsageError) as error:  # UsageError: a link to nowhere, or a file just deleted
            return str(error)

    num_threads = os.cpu_count() or 1
    with ThreadPoolExecutor(num_threads) as pool:
        # In portions, so that a slow reader never has the whole folder decoded and waiting.
        for start in range(0, len(listing.files), 16 * num_threads):
            yield from pool.map(decode, listing.files[start : start + 16 * num_threads])


def _check_bad(
    listing: _Listing, kept: Sequence[int], bad: Sequence[tuple[Path, str]], root: Path, skip_bad: bool
) -> None:
    if bad and not skip_bad:
        raise DataError(
            f"load_image_folder: {len(bad)} of {len(listing.files)} images of {str(root)!r} cannot be used; the "
            f"first: {bad[0][1]} Remove them, or leave them out with skip_bad=True."
        )
    left = Counter(listing.files[index][1] for index in kept)
    empty = [name for label, name in enumerate(listing.classes) if not left[label]]
    if empty:
        raise DataError(
            f"load_image_folder: without the {len(bad)} images that cannot be decoded, {len(empty)} of "
            f"{len(listing.classes)} classes of {str(root)!r} are empty: {_names(empty)}. Add images."
        )


def _readable(name: str) -> str:
    """Write bytes of a file name that are not UTF-8 as backslash escapes, so that any text file can hold it."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _kind(name: str) -> str:
    return "hidden" if name.startswith(".") else Path(name).suffix.lower() or "without extension"


def _short(path: Path, root: Path) -> str:
    return repr(str(path.relative_to(root)))


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
