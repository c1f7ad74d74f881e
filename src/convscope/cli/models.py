"""`convscope models`: the zoo, its figures, and weights that others have published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from convscope.cli.output import console, print_json

if TYPE_CHECKING:
    from convscope.models import ModelEntry
    from convscope.trace import Trace

app = App(
    name="models",
    help="The zoo: list it, show one network, fetch published weights.",
    help_format="plaintext",
)


@app.command(name="list")
def list_(pattern: str = "*", /, *, counts: bool = False, json: bool = False) -> None:
    """List the networks of the zoo.

    Parameters
    ----------
    pattern
        A shell pattern, such as "*res*".
    counts
        Trace each and add its parameters and MACs for one image of its own shape; a few seconds for all.
    json
        Print the entries as JSON.
    """
    from convscope.errors import UnknownNameError
    from convscope.models import list_models, model_entry
    from convscope.report.model_text import models_text

    names = list_models(pattern)
    if not names:
        raise UnknownNameError("model", pattern, list_models(), call="models list")
    entries = [model_entry(name) for name in names]
    traces = [_traced(entry) for entry in entries] if counts else []
    if json:
        figures = [{"num_params": found.num_params, "macs": found.macs} for found in traces] or [{}] * len(
            names
        )
        print_json({"models": [{**e.to_dict(), **known} for e, known in zip(entries, figures, strict=True)]})
    else:
        print(models_text(entries, traces))


@app.command
def show(name: str, /, *, json: bool = False) -> None:
    """Tell all that is known of a network: source, parameters, MACs, published weights and their preparation.

    Parameters
    ----------
    name
        A network of the zoo.
    json
        Print the facts as JSON.
    """
    from convscope.models import model_entry
    from convscope.report.model_text import model_text

    entry = model_entry(name)
    found = _traced(entry)
    if json:
        print_json({**entry.to_dict(), "num_params": found.num_params, "macs": found.macs})
    else:
        print(model_text(entry, found))


@app.command
def fetch(*names: str, weights: str = "default", folder: Path | None = None, json: bool = False) -> None:
    """Fetch published weights, verified by the checksum in their name; what was broken off goes on where it stopped.

    Parameters
    ----------
    names
        Networks of the zoo.
    weights
        default, or another name that `convscope models show` lists.
    folder
        Where to keep them; by default the cache, below CONVSCOPE_HOME if that is set.
    json
        Print the paths as JSON.
    """
    from convscope.errors import UsageError
    from convscope.models import fetch_weights, model_entry, published_weights
    from convscope.report.progress import transfer

    if not names:
        raise UsageError(
            "no network given; name at least one of `convscope models list`.", call="models fetch"
        )
    wanted = [published_weights(model_entry(name).name, weights) for name in names]
    paths: list[Path] = []
    for entry in wanted:
        with transfer(entry.file, console(stderr=True)) as progress:
            paths.append(fetch_weights(entry, folder, progress))
    if json:
        print_json({"paths": [str(path) for path in paths]})
    else:
        print("\n".join(map(str, paths)))


def _traced(entry: ModelEntry) -> Trace:
    """Trace a network of the zoo on one image of its own shape; nothing is allocated."""
    import torch

    from convscope.models import create_model
    from convscope.trace import trace

    with torch.device("meta"):
        network = create_model(entry.name).eval()
    return trace(network, (1, *entry.input_shape))
