"""`convscope runs`: the runs below a folder, and some of them side by side."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from convscope.cli.output import print_json, say_written

app = App(
    name="runs",
    help="List the runs below a folder (runs, unless named), compare some of them.",
    help_format="plaintext",
)


@app.default
def list_(folder: Path = Path("runs"), /, *, json: bool = False) -> None:
    """List the runs below a folder, the newest first; damaged ones with what is wrong.

    Parameters
    ----------
    folder
        Where to look.
    json
        Print the runs as JSON.
    """
    from convscope.report.runs_text import runs_text
    from convscope.training import list_runs

    found = list_runs(folder)
    if json:
        print_json({"runs": [run.to_dict() for run in found]})
    else:
        print(runs_text(found))


@app.command
def compare(*runs: Path, output: Path | None = None, json: bool = False) -> None:
    """Lay runs side by side: what of their recipes differs, and what came of it.

    Parameters
    ----------
    runs
        Two or more run folders.
    output
        PNG file for their curves.
    json
        Print the comparison as JSON.
    """
    from convscope.report.runs_text import comparison_text
    from convscope.training import compare_runs

    found = compare_runs(runs)
    if output is not None:
        from convscope.report.figures import write_png
        from convscope.report.pictures import draw_learning

        write_png(draw_learning([(str(run.path), run) for run in found.runs]), output)
    if json:
        print_json(found.to_dict())
    else:
        print(comparison_text(found))
    say_written(*([output] if output else []))
