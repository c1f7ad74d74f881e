"""How long a recipe trains on this machine, and how good its network is: several seeds, the test images used once.

    convscope data fetch cifar10
    python benchmarks/training/speedrun.py speedrun-90 --seeds 0 1 2 [--output RUNS] [--json FILE]

The time is the whole of training: loading and preparing the data, building and fusing the network, the self-test of the
kernels where it has not run yet, all steps, all checkpoints. The final measurement on the test images is apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from convscope.report.terminal import table
from convscope.training import cpu_name, environment, named_recipe, train


def main() -> None:
    """Train each seed and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("recipe")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    folder = arguments.output or Path(tempfile.mkdtemp())
    recipe = named_recipe(arguments.recipe)
    if arguments.epochs:
        recipe = recipe.replace(epochs=arguments.epochs)
    facts = environment()
    print(f"{cpu_name()}, {facts['threads']} threads, torch {facts['torch']}, {facts['time']}")
    rows, results = [], []
    for seed in arguments.seeds:
        run = train(recipe, output=folder / f"{arguments.recipe}-{seed}", seed=seed)
        phases: dict[str, float] = {}
        for row in run.metrics:
            for phase, seconds in row["phases"].items():
                phases[phase] = phases.get(phase, 0.0) + seconds
        seconds = sum(value for phase, value in phases.items() if phase != "evaluation")
        accuracy = run.metrics[-1]["acc@1"]
        results.append({"seed": seed, "accuracy": accuracy, "seconds": seconds, "phases": phases})
        shown = (f"{phases.get(name, 0.0):.1f}" for name in ("preparation", "data", "training", "saving"))
        rows.append(
            (str(seed), f"{accuracy:.2%}", f"{seconds:.0f}", *shown, f"{phases.get('evaluation', 0.0):.1f}")
        )
        print(f"seed {seed}: {accuracy:.2%} in {seconds:.0f} s", file=sys.stderr)
    head = ("seed", "accuracy", "seconds", "preparation", "data", "steps", "saving", "(test)")
    print(table(head, rows))
    accuracies = [result["accuracy"] for result in results]
    times = [result["seconds"] for result in results]
    spread = f" ± {statistics.stdev(accuracies):.2%}" if len(accuracies) > 1 else ""
    print(
        f"{recipe.epochs} epochs, batch {recipe.batch_size}: mean accuracy {statistics.mean(accuracies):.2%}{spread}, "
        f"mean time {statistics.mean(times):.0f} s"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps({"environment": facts, "runs": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
