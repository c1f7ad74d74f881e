"""Put the network of a run into the package: its weights in half precision, its run card in their metadata and as text.

    python tools/ship_weights.py RUN RECIPE NAME [--output DIR]

RUN is the folder of a run of RECIPE whose network was measured on the test images once, in the end; NAME is what
`weights=` will call it. The file in half precision is measured on the same images again, with one view of each image,
as that is what people get.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from convscope.files import write_bytes, write_text
from convscope.models import Preprocessing, WeightsInfo, create_model
from convscope.models import published as packaged
from convscope.models.weights import save_weights
from convscope.training import Run, evaluate
from convscope.training.recipe_file import recipe_text


def main() -> None:
    """Write the weights and their card."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("recipe")
    parser.add_argument("name")
    parser.add_argument("--output", type=Path, default=Path(packaged.__file__).parent / "packaged")
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    recipe, facts, last, machine = run.recipe, run.facts, run.metrics[-1], run.environment
    network = run.network()
    for parameter in network.parameters():
        parameter.data = parameter.data.half()  # statistics of batch norm stay as they are
    side = facts.input_shape[1]
    info = WeightsInfo("", facts.classes, Preprocessing(side, side, "bilinear", facts.mean, facts.std))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_weights(network, path)
        options: dict[str, Any] = dict(recipe.model_options)
        loaded = create_model(recipe.model, weights=path, **options)
        images = run.dataset("test")
        shipped = evaluate(loaded, images, mean=facts.mean, std=facts.std)
        seconds = sum(
            value for row in run.metrics for phase, value in row["phases"].items() if phase != "evaluation"
        )
        card = {
            "trained by": f"convscope {machine['convscope']}, recipe {arguments.recipe}, seed {recipe.seed}, "
            f"{recipe.epochs} epochs in {seconds:.0f} s on {machine['threads']} threads of {machine['cpu']}, torch "
            f"{machine['torch']}, {str(machine['time'])[:10]}",
            "trained on": f"the {len(run.dataset('train')):,} training images of {recipe.data}",
            "measured": f"{last['acc@1']:.2%} of the {len(images):,} test images with the recipe's views "
            f"({recipe.test_views}), used once; this file, in half precision, {shipped.accuracy:.2%} with one view",
            "meant for": "looking into a trained network; it knows ten classes, in pictures of 32x32 pixels",
            "terms": "convscope's; the images it learned from are CIFAR-10 (Krizhevsky, 2009)",
        }
        metadata = {
            **info.to_metadata(),
            "model": recipe.model,
            "model_options": json.dumps(dict(recipe.model_options)),
            "name": arguments.name,
            "accuracy": f"{100 * shipped.accuracy:.2f}",
            "card": json.dumps(card),
        }
        save_weights(network, path, metadata)
        content = path.read_bytes()
    stem = f"{recipe.model}-{arguments.name}"
    path = arguments.output / f"{stem}-{hashlib.sha256(content).hexdigest()[:8]}.safetensors"
    write_bytes(path, content)
    for older in arguments.output.glob(f"{stem}-*.safetensors"):
        if older != path:
            older.unlink()  # of two files of one name nobody could say which is meant
    lines = [f"# {recipe.model}, {arguments.name}", "", f"`{path.name}`, {len(content) / 1e6:.1f} MB", ""]
    lines += [f"- {key}: {value}" for key, value in card.items()]
    lines += ["", "The recipe:", "", *(f"    {line}".rstrip() for line in recipe_text(recipe).splitlines())]
    write_text(arguments.output / f"{stem}.md", "\n".join(lines) + "\n")
    print(f"{path.name}: {len(content):,} bytes, {shipped.accuracy:.2%} with one view")


if __name__ == "__main__":
    main()
