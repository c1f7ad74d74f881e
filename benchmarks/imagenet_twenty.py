"""MobileNetV2 with its published ImageNet weights on twenty labelled photographs and the packaged cat.

    python benchmarks/imagenet_twenty.py [FOLDER]

FOLDER keeps what is fetched (by default below the cache folder). The photographs are the twenty JPEGs that foolbox
3.3.4 (MIT) carries, named `imagenet_NN_LABEL.jpg` with torchvision's class indices; pip fetches the package. The
weights come as `convscope models fetch mobilenet_v2` fetches them. Prints each answer; exits with 1 below 17 of 20, or
if the cat is no cat.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from convscope.data import cat, decode_image
from convscope.download import cache_folder, package_archive
from convscope.models import create_model, imagenet_classes, weights_info
from convscope.training import environment, predict

PACKAGE = "foolbox==3.3.4"
CATS = ("tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat")


def photographs(folder: Path) -> list[tuple[Path, int]]:
    """Return the twenty files and their labels, fetching the package that holds them if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    if len(list(folder.glob("imagenet_*.jpg"))) != 20:
        with package_archive(PACKAGE) as archive:
            for name in archive.namelist():
                if name.startswith("foolbox/data/imagenet_"):
                    (folder / Path(name).name).write_bytes(archive.read(name))
    return [(path, int(path.stem.rsplit("_", 1)[1])) for path in sorted(folder.glob("imagenet_*.jpg"))]


def main() -> int:
    """Predict, print, return the exit code."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else cache_folder("data") / "imagenet-twenty"
    network = create_model("mobilenet_v2", weights="default")
    files = photographs(folder)
    classes = imagenet_classes()
    facts = environment()
    print(f"{weights_info(network).source}; torch {torch.__version__}; {facts['cpu']}")
    answers = predict(
        network, [decode_image(path) for path, _ in files], top=5, names=[p.name for p, _ in files]
    )
    first = top5 = 0
    for (path, label), answer in zip(files, answers, strict=True):
        right = answer.classes[0] == classes[label]
        first += right
        top5 += classes[label] in answer.classes
        said = f"{answer.classes[0]} {answer.probabilities[0]:.1%}"
        print(f"  {path.name:24} {classes[label]:24} {'right' if right else 'WRONG':6} {said}")
    (answer,) = predict(network, [cat()], top=3)
    shares = ", ".join(
        f"{name} {p:.1%}" for name, p in zip(answer.classes, answer.probabilities, strict=True)
    )
    print(f"top-1 {first} of {len(files)}, top-5 {top5} of {len(files)}; the packaged cat: {shares}")
    return 0 if first >= 17 and len(files) == 20 and answer.classes[0] in CATS else 1


if __name__ == "__main__":
    sys.exit(main())
