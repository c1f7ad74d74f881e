"""`convscope sweep`: many trainings of one recipe with other values."""

from __future__ import annotations

from pathlib import Path

from convscope.cli.output import print_json
from convscope.errors import UsageError


def run(
    recipe: str = "fashion-cnn",
    /,
    *,
    search: list[str],
    output: Path = Path("sweeps/last"),
    trials: int = 8,
    seed: int = 0,
    cpus_per_trial: int = 1,
    early_stopping: bool = False,
    json: bool = False,
) -> None:
    """Train a recipe many times with values drawn from a space, by Ray Tune (pip install "convscope[tune]").

    Accuracies are of images held out of the training images. Started again, it goes on with what was broken off.

    Parameters
    ----------
    recipe
        A named recipe or a TOML file.
    search
        What to vary: lr=log:1e-3:1e-1, batch_size=64,128 or epochs=integers:2:8; may be given several times.
    output
        The folder of the trials' run folders.
    trials
        How many trainings.
    seed
        Of the draws.
    cpus_per_trial
        Threads of each training.
    early_stopping
        End trainings that fall behind (ASHA).
    json
        Print the trials as JSON.
    """
    from convscope.report.terminal import sweep_text
    from convscope.training.sweep import parse_search, sweep

    space = dict(parse_search(text) for text in search)
    if not space:
        raise UsageError("--search is missing; say what to vary.", call="sweep")
    found = sweep(
        recipe,
        space,
        output,
        trials=trials,
        seed=seed,
        cpus_per_trial=cpus_per_trial,
        early_stopping=early_stopping,
    )
    if json:
        print_json(found.to_dict())
    else:
        print(sweep_text(found))
