"""From the command to the picture: `convscope look` on a photograph of 12 megapixels, in processes of their own.

The photograph is the packaged cat, made 4000 x 3000 and given fine noise, so that the JPEG is as large as a camera's.
Time is the wall clock's from the start of the process to its end, memory the largest that was resident (`ru_maxrss`).
The first round warms the disk's cache and is left out.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from convscope.data import cat
from convscope.models import fetch_weights, published_weights
from convscope.training import environment

ROUNDS = 5
PHOTOGRAPH = "{photograph}"
COMMANDS = {
    "resnet50, published weights": "resnet50 {photograph} --weights default",
    "resnet50, random weights": "resnet50 {photograph}",
    "the same, all layers drawn": "resnet50 {photograph} --weights default --layers all",
    "random beside published": "resnet50 {photograph} --weights default --compare random",
    "2,048 maps of the last block": "resnet50 {photograph} --weights default --layers layer4",
    "spectra and shifts": "resnet50 {photograph} --weights default --spectra",
    "random_filters, any size": "random_filters {photograph}",
}


def photograph(path: Path) -> None:
    """Write a photograph of 12 megapixels."""
    picture = np.asarray(Image.fromarray(cat()).resize((4000, 3000), Image.Resampling.BICUBIC)).astype(
        np.int16
    )
    noise = np.random.default_rng(0).integers(-12, 13, picture.shape, dtype=np.int16)
    Image.fromarray((picture + noise).clip(0, 255).astype(np.uint8)).save(path, quality=92)


def measured(command: str) -> tuple[float, float]:
    """Run a command in a process of its own; return seconds and the most megabytes that it held."""
    began = time.perf_counter()
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "convscope", "look", *command.split()],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"failed: {command}")
    return time.perf_counter() - began, used.ru_maxrss / 1e3


def main() -> None:
    """Measure the commands in turns and print medians and ranges."""
    facts = environment()
    print(f"{facts['cpu']} ({facts['cpu_capability']}), {facts['threads']} threads, torch {facts['torch']}")
    fetch_weights(published_weights("resnet50"))
    chosen = [name for name in COMMANDS if not sys.argv[1:] or name in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "photograph.jpg")
        photograph(place)
        print(f"a JPEG of 4000 x 3000 pixels, {place.stat().st_size / 1e6:.1f} MB; {ROUNDS} rounds in turns")
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in chosen}
        for _ in range(ROUNDS + 1):
            for name in chosen:
                command = COMMANDS[name].replace(PHOTOGRAPH, str(place))
                found[name].append(measured(f"{command} --output {folder}/picture.png"))
    for name, pairs in found.items():
        seconds, megabytes = zip(*pairs[1:], strict=True)
        print(
            f"{name:30} median {statistics.median(seconds):.2f} s, {min(seconds):.2f} to {max(seconds):.2f}; "
            f"at most {max(megabytes):,.0f} MB"
        )


if __name__ == "__main__":
    main()
