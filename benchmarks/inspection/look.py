"""From the command to the picture: `convscope look` on a photograph of 12 megapixels, in processes of their own.

The photograph is the packaged cat, made 4000 x 3000 and given fine noise, so that the JPEG is as large as a camera's.
The weights are a file of the size and with the preparation of ResNet-50's published ones, which need not be fetched.
Time is the wall clock's from the start of the process to its end, and the processor's; memory the most that was
resident. The first round warms the disk's cache and is left out. `python look.py NAME...` measures some of them.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from convscope.data import cat
from convscope.models import create_seeded_model, published_weights, save_weights
from convscope.training import environment

ROUNDS = 5
COMMANDS = {
    "maps": "resnet50 {photograph} --weights {weights}",
    "random": "resnet50 {photograph}",
    "all layers": "resnet50 {photograph} --weights {weights} --layers all",
    "beside random": "resnet50 {photograph} --weights {weights} --compare random",
    "2,048 maps": "resnet50 {photograph} --weights {weights} --layers layer4",
    "spectra": "resnet50 {photograph} --weights {weights} --spectra",
    "any size": "random_filters {photograph}",
}


class Measured(NamedTuple):
    """Seconds of the clock and of the processor, and the most megabytes held."""

    wall: float
    processor: float
    megabytes: float


def photograph(path: Path) -> None:
    """Write a photograph of 12 megapixels."""
    picture = np.asarray(Image.fromarray(cat()).resize((4000, 3000), Image.Resampling.BICUBIC)).astype(
        np.int16
    )
    noise = np.random.default_rng(0).integers(-12, 13, picture.shape, dtype=np.int16)
    Image.fromarray((picture + noise).clip(0, 255).astype(np.uint8)).save(path, quality=92)


def weights(path: Path) -> None:
    """Write weights of ResNet-50 that say how pictures are prepared for them."""
    facts = published_weights("resnet50").preprocessing.to_dict()
    text = json.dumps(facts)
    save_weights(create_seeded_model("resnet50", 1), path, {"preprocessing": text})


def measured(command: str) -> Measured:
    """Run a command in a process of its own."""
    began = time.perf_counter()
    arguments = [sys.executable, "-m", "convscope", "look", *command.split()]
    quiet = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    _, status, used = os.wait4(os.posix_spawn(sys.executable, arguments, os.environ, file_actions=quiet), 0)
    if status:
        raise SystemExit(f"failed: {command}")
    wall = time.perf_counter() - began
    return Measured(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3)


def main() -> None:
    """Measure the commands in turns and print medians and ranges."""
    facts = environment()
    print(f"{facts['cpu']} ({facts['cpu_capability']}), {facts['threads']} threads, torch {facts['torch']}")
    chosen = sys.argv[1:] or list(COMMANDS)
    with tempfile.TemporaryDirectory() as folder:
        places = {name: Path(folder, name) for name in ("photograph.jpg", "weights.safetensors")}
        photograph(places["photograph.jpg"])
        weights(places["weights.safetensors"])
        size = places["photograph.jpg"].stat().st_size / 1e6
        print(
            f"a JPEG of 4000 x 3000 pixels, {size:.1f} MB; {ROUNDS} rounds in turns; load {os.getloadavg()[0]:.1f}"
        )
        found: dict[str, list[Measured]] = {name: [] for name in chosen}
        for _ in range(ROUNDS + 1):
            for name in chosen:
                command = COMMANDS[name].format(
                    photograph=places["photograph.jpg"], weights=places["weights.safetensors"]
                )
                found[name].append(measured(f"{command} --output {folder}/picture.png"))
    for name, rounds in found.items():
        walls, processor, megabytes = zip(*rounds[1:], strict=True)
        print(
            f"{name:14} median {statistics.median(walls):.2f} s, {min(walls):.2f} to {max(walls):.2f}; processor "
            f"{statistics.median(processor):.2f} s; at most {max(megabytes):,.0f} MB"
        )


if __name__ == "__main__":
    main()
