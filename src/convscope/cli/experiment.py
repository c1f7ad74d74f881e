"""`convscope experiment`: a claim about networks, put to the test here."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from convscope.cli.output import console, int_list, passing_line, print_json, say_written
from convscope.errors import UsageError

app = App(
    name="experiment",
    help="Put claims about networks to the test: experiment list, experiment NAME.",
    help_format="plaintext",
)


@app.default
def run(
    name: str,
    /,
    *,
    quick: bool = False,
    full: bool = False,
    seeds: str = "0,1,2",
    output: Path | None = None,
    json: bool = False,
) -> None:
    """Run an experiment and say whether its claim holds here; `experiment list` names them.

    Parameters
    ----------
    name
        The experiment.
    quick
        On packaged data, within three minutes on two cores; this is the default.
    full
        On fetched data, mostly CIFAR-10, for as long as it takes.
    seeds
        Whole numbers, separated by commas: each is a repetition.
    output
        HTML file for the report, with charts and pictures.
    json
        Print claim, table, curves and verdict as JSON.
    """
    from convscope.experiments import get_experiment
    from convscope.report.experiment_page import write_experiment_report
    from convscope.report.experiment_text import experiment_text

    if quick and full:
        raise UsageError("give --quick or --full, not both.", call="experiment")
    experiment = get_experiment(name)
    with passing_line() as show:
        result = experiment.run(full=full, seeds=int_list("--seeds", seeds), say=show)
    if output is not None:
        write_experiment_report(result, output)
    if json:
        print_json(result.to_dict())
    else:
        console().print(experiment_text(result))
    say_written(*([output] if output else []))


@app.command(name="list")
def list_(*, json: bool = False) -> None:
    """List the experiments in the order of the source document.

    Parameters
    ----------
    json
        Print names, claims and set-ups as JSON.
    """
    from convscope.experiments import get_experiment, list_experiments
    from convscope.report.experiment_text import experiments_text

    found = [get_experiment(name) for name in list_experiments()]
    if json:
        rows = [
            {"name": each.name, "title": each.title, "claim": each.claim, "setup": each.setup}
            for each in found
        ]
        print_json({"experiments": rows})
    else:
        console().print(experiments_text(found))
