"""`convscope demo`: the source document's experiments, run and reported."""

from __future__ import annotations

from pathlib import Path

from convscope.cli.output import console, print_json


def run(*, output: Path = Path("demo"), seed: int = 0, json: bool = False) -> None:
    """Random filters on a photograph, one value taken apart, two small networks: trained, explained, in one report.

    Parameters
    ----------
    output
        Folder for the report, the pictures and the two run folders; an earlier demo there is replaced.
    seed
        Of the random filters, the networks' weights and the order of the images.
    json
        Print the figures as JSON.
    """
    from convscope.experiments import demo_folder, take_tour
    from convscope.report.demo_report import write_demo_report
    from convscope.report.progress import training_progress
    from convscope.report.terminal import tour_text
    from convscope.training import Recipe

    Recipe(seed=seed)  # refuses a seed out of its range before the folder is touched
    news = console(stderr=json)
    with demo_folder(output) as folder, training_progress(news) as listener:
        tour = take_tour(
            folder,
            seed,
            listener=listener,
            say=news.print,
        )
        report = write_demo_report(tour, folder)
    if json:
        print_json({**tour.to_dict(), "report": str(report)})
    else:
        print(tour_text(tour))
        print(f"report: {report}")
