"""Preparation of pictures beside torchvision's own transforms, on the packaged cat and its turned copy.

Runs in an environment of its own, like `zoo.py`. Prints for every published file whether the prepared pictures are the
same and the beginning of the SHA-256 of the pixels before normalisation, which `tests/data/test_preprocess.py` holds.
"""

from __future__ import annotations

import hashlib
import sys

import numpy as np
import torch
import torchvision  # pyright: ignore[reportMissingImports]
from PIL import Image

from convscope.data import cat, preprocess, visible_part
from convscope.models import list_models, list_weights, published_weights


def main() -> int:
    """Compare, print, return the exit code."""
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}")
    wrong = 0
    for name in list_models():
        for version in list_weights(name):
            facts = published_weights(name, version).preprocessing
            (theirs,) = (w for w in torchvision.models.get_model_weights(name) if w.name.lower() == version)
            transform = theirs.transforms()
            if name == "googlenet":  # see published.py: the network would undo ImageNet's mean and std
                transform.mean = transform.std = [0.5, 0.5, 0.5]
            difference = 0.0
            for picture in (cat(), np.ascontiguousarray(cat().transpose(1, 0, 2))):
                ours, wanted = preprocess(picture, facts)[0], transform(Image.fromarray(picture))
                same = ours.shape == wanted.shape
                difference = max(difference, float((ours - wanted).abs().max()) if same else float("inf"))
            wrong += not difference <= 1e-5
            pixels = np.ascontiguousarray(visible_part(cat(), facts))
            digest = hashlib.sha256(pixels.tobytes()).hexdigest()[:16]
            print(f"{name:20} {version:24} {digest} {difference:8.1e}")
    print(f"{wrong} mismatches" if wrong else "no mismatch")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
