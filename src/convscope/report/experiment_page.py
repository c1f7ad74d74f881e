"""The report of an experiment: one HTML file with claim, verdict, table, charts and pictures."""

from __future__ import annotations

from html import escape
from pathlib import Path

from convscope.experiments import Chart, ExperimentResult, PictureRow
from convscope.files import write_text
from convscope.inspection import scale_of
from convscope.report import charts
from convscope.report.charts import Axis, Line, line_chart
from convscope.report.colours import scale_text
from convscope.report.experiment_text import outcome_rows, run_line
from convscope.report.html import Page
from convscope.report.strips import data_address, plane_strips, thumbnail

__all__ = ["experiment_page", "write_experiment_report"]

_COLOURS = 6

_STYLE = (
    """
.verdict { font-size: 1.15rem; font-weight: 600; margin: 4px 0; }
.row img { width: 100%; image-rendering: pixelated; margin: 4px 0 0; }
.row { margin: 16px 0; }
.shots { display: flex; flex-wrap: wrap; gap: 10px; }
.shots figure { text-align: center; overflow: visible; }
.shots img { width: 112px; height: auto; image-rendering: pixelated; margin: 0 auto 2px; }
.shots figcaption { font-size: .78rem; max-width: 124px; }
.wide { overflow-x: auto; }
"""
    + charts.STYLE
)


def write_experiment_report(result: ExperimentResult, path: str | Path) -> Path:
    """Write an experiment's report as one HTML file that needs nothing else; return its path.

    Raises:
        OutputError: the file cannot be written; nothing half-written stays.
    """
    write_text(path, experiment_page(result))
    return Path(path)


def experiment_page(result: ExperimentResult) -> str:
    """Return the report as HTML."""
    experiment, outcome = result.experiment, result.outcome
    page = Page(experiment.title, run_line(result), _STYLE)
    page.section("verdict", "Claim and verdict")
    page.paragraph(experiment.claim)
    page.markup(f'<p class="verdict">Verdict: {escape(outcome.verdict)}</p>')
    page.paragraph(outcome.reason)
    page.section("setup", "How it was tested")
    page.paragraph(experiment.setup)
    page.section("table", "In figures")
    page.markup('<div class="wide">')
    page.table(outcome.columns, outcome_rows(outcome))
    page.markup("</div>")
    if any(
        not isinstance(cell, str | int | float) and not cell.is_exact
        for row in outcome.rows
        for cell in row.cells
    ):
        page.paragraph("In brackets: 95 % confidence intervals.")
    if outcome.charts:
        page.section("charts", "Curves")
        page.markup('<div class="charts">' + "".join(_chart(chart) for chart in outcome.charts) + "</div>")
    if outcome.pictures:
        page.section("pictures", "Pictures")
        for row in outcome.pictures:
            page.markup(_pictures(row))
    return page.render()


def _chart(chart: Chart) -> str:
    lines = [
        Line(curve.name, curve.points, number % _COLOURS, curve.band, len(curve.points) <= 12)
        for number, curve in enumerate(chart.curves)
    ]
    x_axis = Axis(chart.x_label, log=chart.log_x)
    return line_chart(chart.title, lines, x_axis, Axis(chart.y_label, percent=chart.percent, log=chart.log_y))


def _pictures(row: PictureRow) -> str:
    title = f"<h3>{escape(row.title)}</h3>"
    names = row.names or ("",) * len(row.planes)
    if row.planes.dim() == 4:
        shots = [data_address(thumbnail(picture.numpy(), 224)) for picture in row.planes]
        below = ""
    else:
        scale = scale_of([row.planes])
        shots = [data_address(plane_strips(plane[None], scale, 1)[0]) for plane in row.planes]
        below = f'<p class="lead">{escape(scale_text(scale).capitalize())}.</p>'
    figures = "".join(
        f'<figure><img alt="{escape(name or row.title)}" src="{address}">'
        f"<figcaption>{escape(name)}</figcaption></figure>"
        for name, address in zip(names, shots, strict=True)
    )
    return f'{title}<div class="shots">{figures}</div>{below}'
