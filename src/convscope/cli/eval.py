"""`convscope eval`: how good a run is, and on what it fails."""

from __future__ import annotations

from pathlib import Path

from convscope.cli.output import print_json, say_written


def run(
    run: Path,
    /,
    *,
    data: str | None = None,
    output: Path | None = None,
    report: Path | None = None,
    accelerate: bool = True,
    json: bool = False,
) -> None:
    """Measure a run on its test images: accuracy, confusion matrix, the mistakes themselves.

    Parameters
    ----------
    run
        A run folder.
    data
        Another data set with the same classes.
    output
        Folder for confusion.png and mistakes.png.
    report
        HTML file for the run's report: curves, the images behind each cell of the confusion matrix, calibration,
        filters and maps over the epochs.
    accelerate
        Run the network fused and by the fastest routes of this CPU.
    json
        Print the figures as JSON.
    """
    from convscope.files import make_folder
    from convscope.inspection import confusion_matrix, mistakes
    from convscope.report.terminal import evaluation_text
    from convscope.training import Run

    opened = Run.open(run)
    if output is not None:
        make_folder(output)
    images = opened.dataset("test", data)
    result = opened.evaluate(images, accelerate=accelerate)
    matrix = confusion_matrix(result.labels, result.predictions, result.classes)
    wrong = mistakes(result.labels, result.predictions, result.confidences, result.classes)
    if json:
        print_json(
            {
                **result.to_dict(),
                "confusion": matrix.to_dict(),
                "mistakes": [mistake.to_dict() for mistake in wrong],
            }
        )
    else:
        print(evaluation_text(result, matrix, wrong))
    if output is not None:
        from convscope.report.figures import write_png
        from convscope.report.pictures import draw_confusion, draw_mistakes

        say_written(
            write_png(draw_confusion(matrix), output / "confusion.png"),
            write_png(draw_mistakes(images, wrong[:40]), output / "mistakes.png"),
        )
    if report is not None:
        from convscope.report.run_report import write_run_report

        say_written(write_run_report(opened, report, images, result))
