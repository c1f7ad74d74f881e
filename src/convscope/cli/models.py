"""`convscope models`: the zoo, its figures, and weights that others have published."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from convscope.cli.output import console, print_json

app = App(
    name="models",
    help="The zoo: list it, show one network, fetch published weights.",
    help_format="plaintext",
)


@app.command(name="list")
def list_(pattern: str = "*", /, *, json: bool = False) -> None:
    """List the networks of the zoo.

    Parameters
    ----------
    pattern
        A shell pattern, such as "*res*".
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
    if json:
        print_json({"models": [entry.to_dict() for entry in entries]})
    else:
        print(models_text(entries))


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
    import torch

    from convscope.models import create_model, model_entry
    from convscope.report.model_text import model_text
    from convscope.trace import trace

    entry = model_entry(name)
    with torch.device("meta"):
        network = create_model(name).eval()
    found = trace(network, (1, *entry.input_shape))
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
