"""Folders of JPEGs: packing them beside a Pillow-per-sample pipeline, and batches out of the packed file.

    python benchmarks/data_loading.py [FOLDER] [--images N]

The folder is made from the twenty photographs (512 to 1024 pixels) that foolbox 3.3.4 (MIT) carries, fetched by pip:
as they are, then random crops of 500 x 375 and of 1600 x 1200 (enlarged; as a camera's), saved at quality 90. The
pipeline that is compared opens, converts, resizes and crops each sample with Pillow, to the same pixels; it is what a
data loader does again in every epoch. Both run in turns: in one process, by its processor time, which other work on
the machine distorts less; and, from 2,048 images on, by the clock in as many processes as there are cores. Files are in
the page cache. Building includes reading, decoding, writing, checksums and fsync. The pixels of both are compared
before the times. Reading is timed in one thread, shuffled, mirrored, shifted and normalised by `Batches`.
Prints medians and their ratios; the ratios are what carries over to other machines.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from convscope.data import Augmentation, Batches, ImageSet, decode_image, fit_image, load_image_folder
from convscope.download import cache_folder
from convscope.training import environment
from imagenet_twenty import photographs

ROUNDS = 3


def make_folder(root: Path, sources: list[Path], num_images: int, shape: tuple[int, int] | None) -> Path:
    """Fill two class folders with the photographs, or with random crops of them of (height, width)."""
    random = np.random.default_rng(0)
    for index in range(num_images):
        content = sources[index % len(sources)].read_bytes()
        if shape is not None:
            height, width = shape
            picture = Image.open(io.BytesIO(content)).convert("RGB")
            share = random.uniform(0.6, 1) * min(picture.width / width, picture.height / height)
            left, top = (
                random.uniform(0, whole - share * side)
                for whole, side in ((picture.width, width), (picture.height, height))
            )
            box = (left, top, left + share * width, top + share * height)
            stream = io.BytesIO()
            picture.resize((width, height), Image.Resampling.BICUBIC, box=box).save(
                stream, "JPEG", quality=90
            )
            content = stream.getvalue()
        path = root / ("even" if index % 2 == 0 else "odd") / f"{index:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def by_pillow(path: Path, size: int) -> np.ndarray:
    """Return one sample (3, size, size), as a data set's `__getitem__` makes it."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    shrink = min(picture.width, picture.height) / size
    left, top = ((side - shrink * size) / 2 for side in picture.size)
    box = (left, top, picture.width - left, picture.height - top)
    resized = picture.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized).transpose(2, 0, 1).copy()


def pillow_pass(paths: list[Path], size: int, pool: Pool | None) -> None:
    """Make every sample once, and hand over nothing: what a data loader costs at the least."""
    if pool is None:
        for path in paths:
            by_pillow(path, size)
    else:
        list(pool.imap_unordered(_worker, [(path, size) for path in paths], chunksize=32))


def _worker(task: tuple[Path, int]) -> int:
    return by_pillow(*task).size


def build(root: Path, size: int, workers: int, *, exact: bool = False) -> ImageSet:
    """Pack the folder into a cache of its own."""
    with tempfile.TemporaryDirectory(dir=root.parent) as home:
        os.environ["CONVSCOPE_HOME"] = home
        return load_image_folder(root, size=size, packed=True, workers=workers, exact=exact)


def in_turns(
    functions: dict[str, Callable[[], object]], clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Return the median seconds of each function, run in turns."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(ROUNDS):
        for name, function in functions.items():
            start = clock()
            function()
            times[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def building(name: str, root: Path, size: int, cores: int) -> None:
    """Print how many times the images/s of Pillow the packing reaches."""
    paths = sorted(root.glob("*/*.jpg"))
    exact, reduced = (build(root, size, cores, exact=choice).images[:20] for choice in (True, False))
    for image, path in zip(exact, paths, strict=False):
        expected = by_pillow(path, size)
        assert np.array_equal(expected, fit_image(decode_image(path), size).transpose(2, 0, 1))
        assert np.array_equal(expected, image.numpy())
    apart = (exact.double() - reduced.double()).abs().mean().item()
    one, ours = in_turns(
        {"Pillow": lambda: pillow_pass(paths, size, None), "packing": lambda: build(root, size, 1)}
    ).values()
    print(
        f"  {name:22} to {size:3}: {one / ours:.2f}x in 1 process ({len(paths) / one:,.0f} -> "
        f"{len(paths) / ours:,.0f} images/s); reduced decoding differs by {apart:.2f} levels on average",
        flush=True,
    )
    if len(paths) < 2048:
        return
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        many, ours = in_turns(
            {"Pillow": lambda: pillow_pass(paths, size, pool), "packing": lambda: build(root, size, cores)},
            time.perf_counter,
        ).values()
    print(
        f"  {'':29} {many / ours:.2f}x in {cores} ({len(paths) / many:,.0f} -> {len(paths) / ours:,.0f} images/s)"
    )


def reading(root: Path, size: int) -> None:
    """Print images/s of one thread out of the packed file, in epochs like those of a training."""
    images = load_image_folder(root, size=size, packed=True)
    mean, std = images.mean_std()
    varied = Augmentation(horizontal_flip="random", crop_padding=4)
    served = {
        "normalised": Batches(images, 128, mean=mean, std=std, shuffle=True),
        "mirrored and normalised": Batches(
            images, 128, mean=mean, std=std, shuffle=True, augment=Augmentation(horizontal_flip="random")
        ),
        "mirrored, shifted and normalised": Batches(
            images, 128, mean=mean, std=std, shuffle=True, augment=varied
        ),
    }

    def epoch(batches: Batches) -> Callable[[], object]:
        return lambda: sum(len(batch.labels) for batch in batches.epoch(0))

    functions = {name: epoch(batches) for name, batches in served.items()}
    functions["raw uint8, shuffled"] = lambda: [
        images.images[index] for index in served["normalised"].order(0).split(128)
    ]
    for name, seconds in in_turns(functions).items():
        print(f"  {size:3} pixels, {name:33}: {len(images) / seconds:8,.0f} images/s a core")


def main() -> int:
    """Build, read, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=cache_folder("data") / "imagenet-twenty")
    parser.add_argument("--images", type=int, default=2048)
    options = parser.parse_args()
    sources = [path for path, _ in photographs(options.folder)]
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(1)
    facts = environment()
    print(f"Pillow {Image.__version__}, torch {torch.__version__}; {facts['cpu']}; {cores} cores")
    with tempfile.TemporaryDirectory() as folder:
        names = {"photographs, 512 x 512": None, "500 x 375": (375, 500), "1600 x 1200": (1200, 1600)}
        roots = {
            name: make_folder(
                Path(folder) / str(number), sources, options.images // (4 if number == 2 else 1), shape
            )
            for number, (name, shape) in enumerate(names.items())
        }
        print("building, times the images/s of Pillow per sample (equal pixels with exact=True)")
        for name, root in roots.items():
            for size in (224, 128, 32):
                building(name, root, size, cores)
        print("reading the packed file")
        os.environ["CONVSCOPE_HOME"] = folder
        for size in (224, 32):
            reading(roots["500 x 375"], size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
