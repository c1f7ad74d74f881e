"""A U-Net with and without skip connections on a real fluorescence image of nuclei, three seeds each.

The image, 512x512 with 125 nuclei drawn by hand, comes with the Python package stardist (BSD-3-Clause), which pip
downloads into a cache folder and nothing of which is installed or run. The left half trains, the right half tests.

    python benchmarks/skip_connections.py [--cache FOLDER] [--picture FILE.png]

Prints a table; exits with 1 if skip connections are not better on every seed. The settings were chosen before the first
run, for about a minute a run on two free cores: four levels, which see some 95 pixels, several nuclei wide; 16
channels, because 8 take nearly as long; Adam at its usual rate. The time a run took depends on what else ran.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from convscope.download import cache_folder, package_archive
from convscope.experiments import SkipConnections, SkipRun, skip_connections
from convscope.files import write_bytes
from convscope.report.figures import new_figure, picture_axes, write_png
from convscope.training import environment

PACKAGE = "stardist==0.9.2"
SHA256 = {
    "img2d": "f9ccc1571b92c861ff87e28463068b43f61bd47357ed0503f711e5cd1eb97750",
    "mask2d": "59ad5e820b7982ca9d13e946fa6e7f64e2714899e00a2ae6c69aa79aad53d46f",
}


def nuclei(cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the image and its mask, (512, 512) each, after fetching them where the cache lacks them."""
    arrays: list[np.ndarray] = []
    for name, expected in SHA256.items():
        path = cache / f"{name}.tif"
        if not path.is_file():
            fetch(cache)
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != expected:
            sys.exit(f"{path} is not the file of {PACKAGE}; remove it and run again.")
        arrays.append(np.asarray(Image.open(BytesIO(content))))
    return arrays[0], arrays[1]


def fetch(cache: Path) -> None:
    """Download the package's wheel through pip and take the two pictures out of it."""
    cache.mkdir(parents=True, exist_ok=True)
    with package_archive(PACKAGE) as archive:
        for name in SHA256:
            write_bytes(cache / f"{name}.tif", archive.read(f"stardist/data/images/{name}.tif"))


def row(run: SkipRun) -> str:
    """Return a run as a line of the table."""
    name = "with" if run.skip else "without"
    figures = f"{run.iou:10.4f}{run.edge_iou:12.4f}{run.train_iou:10.4f}{run.loss:9.4f}{run.seconds:9.0f}"
    return f"{name:8}{run.seed:5}{run.num_params:12,}{figures}"


def draw(result: SkipConnections, path: Path) -> None:
    """Write the test part, its truth and both predictions of the first seed side by side."""
    with_skip, without = result.of(True)[0], result.of(False)[0]
    figure = new_figure(10.6, 5.8)
    brightest = float(np.percentile(result.image, 99))  # the few mitotic nuclei would leave the others black
    panels = (
        ("test part", result.image / brightest),
        ("truth", result.truth),
        (f"with skips, IoU {with_skip.iou:.3f}", with_skip.predicted),
        (f"without, IoU {without.iou:.3f}", without.predicted),
    )
    for number, (title, picture) in enumerate(panels, start=1):
        axes = picture_axes(figure.add_subplot(1, len(panels), number), title)
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    write_png(figure, path)


def main() -> int:
    """Fetch, train, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=cache_folder("data") / "stardist-0.9.2")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    image, mask = nuclei(arguments.cache)

    facts = environment()
    print(f"{facts['cpu']} ({facts['cpu_capability']}), {facts['threads']} threads, torch {facts['torch']}")
    print(f"nuclei of {PACKAGE}: columns 0 to 255 train, 256 to 511 test")
    print(f"{'skip':8}{'seed':>5}{'parameters':>12}{'test IoU':>10}{'edge IoU':>12}{'train IoU':>10}", end="")
    print(f"{'loss':>9}{'seconds':>9}", flush=True)
    result = skip_connections(image, mask, listener=lambda run: print(row(run), flush=True))
    for skip, name in ((True, "with"), (False, "without")):
        ious, edges = ([getattr(run, figure) for run in result.of(skip)] for figure in ("iou", "edge_iou"))
        print(
            f"{name:8}mean of {len(ious)} seeds, standard deviation: test IoU {statistics.fmean(ious):.4f} "
            f"± {statistics.stdev(ious):.4f}, edge IoU {statistics.fmean(edges):.4f} ± {statistics.stdev(edges):.4f}"
        )
    print(f"gain of each seed: {', '.join(f'{gain:+.4f}' for gain in result.gains)}")
    print(
        f"U-Net of width {result.width} and depth {result.depth}; {result.steps} steps of {result.batch_size} "
        f"tiles of {result.tile}x{result.tile}, Adam {result.learning_rate}; edge: within 2 pixels of an outline"
    )
    if arguments.picture is not None:
        draw(result, arguments.picture)
    return 0 if min(result.gains) > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
