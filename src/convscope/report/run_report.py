"""The report of a run: one HTML file without scripts, in which every cell of the confusion matrix opens its images."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from convscope.data import ImageSet
from convscope.files import write_text
from convscope.inspection import Film
from convscope.report import charts
from convscope.report.charts import Axis, Line, bar_chart, line_chart
from convscope.report.colours import scale_text
from convscope.report.html import Page
from convscope.report.strips import data_address, plane_strips, thumbnail
from convscope.training import Evaluation, Review, Run, review

__all__ = ["REPORT", "run_page", "write_run_report"]

REPORT = "report.html"
_CELL_IMAGES = 24  # at most, of a cell of the confusion matrix
_PANEL_BYTES = 6_000_000  # of all those images together
_MATRIX_CLASSES = 40  # more make a table that nobody can read
_PAIRS = 60

_STYLE = (
    """
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 200px), 1fr)); gap: 12px;
  margin: 14px 0; }
.figures div { border: 1px solid var(--rule); border-radius: 6px; padding: 8px 12px; }
.figures dt { color: var(--faint); font-size: .85rem; }
.figures dd { margin: 0; font-size: 1.35rem; font-weight: 600; }
.figures small { display: block; font-size: .8rem; font-weight: 400; color: var(--faint); }
.wide { overflow-x: auto; }
.beside { display: flex; flex-wrap: wrap; gap: 12px 36px; align-items: center; }
.beside ol { padding-left: 1.4em; }
.beside .many { columns: 300px; column-gap: 3em; padding-left: 2em; }
.matrix { border-collapse: separate; border-spacing: 2px; }
.matrix th { font-weight: 400; font-size: .85rem; padding: 2px 8px 2px 0; border: 0; text-align: right; }
.matrix th:first-child { text-align: right; }
.matrix thead th { vertical-align: bottom; padding: 2px 0; text-align: center; }
.matrix thead span { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 12em; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; display: inline-block; }
.matrix tbody th { max-width: 14em; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.matrix td { padding: 0; border: 0; min-width: 38px; text-align: center; border-radius: 3px; }
.matrix td a { display: block; padding: 6px 2px; color: inherit; text-decoration: none; border-radius: 3px;
  font-variant-numeric: tabular-nums; }
.matrix td a:hover, .matrix td a:focus-visible { outline: 2px solid var(--ink); }
.matrix .right { background: rgb(47 111 176 / var(--share)); }
.matrix .wrong { background: rgb(217 98 43 / var(--share)); }
.matrix .strong { color: #fff; }
.matrix tbody td:last-child { padding-left: 10px; font-size: .85rem; white-space: nowrap; }
.matrix tr:last-child td { font-size: .8rem; white-space: nowrap; padding-top: 4px; }
.matrix .none { color: var(--faint); }
.cell { display: none; border: 1px solid var(--rule); border-radius: 6px; padding: 10px 14px; margin-top: 12px;
  scroll-margin-top: 45vh; }
.cell:target { display: block; }
.shots { display: grid; grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); gap: 10px; }
.shots figure { text-align: center; overflow: visible; }
.shots img { width: 84px; height: 84px; object-fit: contain; image-rendering: pixelated; margin: 0 auto 2px;
  background: #000; border-radius: 3px; }
.shots figcaption { font-size: .78rem; line-height: 1.3; overflow-wrap: anywhere; }
.film { width: 100%; }
.film th { white-space: nowrap; width: 1%; font-weight: 400; font-size: .85rem; border: 0; padding: 3px 12px 3px 0; }
.film td { border: 0; padding: 3px 0; }
.film img { width: 100%; image-rendering: pixelated; margin: 0; border-radius: 2px; }
.sample { width: 112px; image-rendering: pixelated; margin: 8px 0; background: #000; }
.bars { width: 100%; }
.bars td:last-child { width: 60%; padding-right: 0; }
.bars span { display: block; height: 14px; border-radius: 2px; background: var(--blue); }
.pairs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 0 28px; }
.facts td { text-align: left; overflow-wrap: anywhere; }
.facts th { text-align: left; font-weight: 400; vertical-align: top; }
.facts .changed th, .facts .changed td { font-weight: 600; }
"""
    + charts.STYLE
)


def write_run_report(
    run: Run, path: str | Path, images: ImageSet | None = None, evaluation: Evaluation | None = None
) -> Path:
    """Write a run's report as one HTML file that needs nothing else; return its path.

    Args:
        images, evaluation: as in `review`.
    Raises:
        OutputError: the file cannot be written; nothing half-written stays.
        RunError, UsageError: the run's weights or data cannot be used.
    """
    write_text(path, run_page(review(run, images, evaluation)))
    return Path(path)


def run_page(found: Review) -> str:
    """Return the report as HTML."""
    run, recipe = found.run, found.run.recipe
    page = Page(
        f"{recipe.model} on {found.images.name}",
        f"{found.run.path.name}: {run.status} after {len(run.metrics)} of {recipe.epochs} epochs, "
        f"{len(found.images):,} test images, convscope {run.environment.get('convscope', '?')}, "
        f"{run.environment.get('time', '?')}",
        _STYLE,
    )
    page.section("figures", "In figures")
    page.markup(_figures(found))
    page.section("curves", "Learning curves")
    _curves(page, found)
    page.section("confusion", "What is taken for what")
    _confusion(page, found)
    page.section("mistakes", "Most wrong")
    _mistakes(page, found)
    page.section("unsure", "Most unsure")
    _unsure(page, found)
    page.section("calibration", "Does it know what it knows?")
    _calibration(page, found)
    page.section("films", "Filters and feature maps over the epochs")
    _films(page, found)
    page.section("time", "Where the time went")
    _time(page, found)
    page.section("recipe", "Recipe and environment")
    _recipe(page, found)
    return page.render()


def _figures(found: Review) -> str:
    run, metrics = found.run, found.run.metrics
    entries = [
        ("accuracy", _percent(found.evaluation.accuracy), f"of {len(found.images):,} test images"),
        ("loss", f"{found.evaluation.loss:.4f}", "mean over the test images"),
    ]
    if found.best is not None:
        entries.append(("best measured", _percent(found.best[1]), f"after epoch {found.best[0]}"))
    entries += [
        ("calibration error", _percent(found.calibration.expected_error), "confidence against accuracy"),
        ("parameters", f"{found.num_params:,}", run.recipe.model),
    ]
    if metrics:
        last = metrics[-1]
        entries.append(("time", _duration(found.seconds), f"for {_count(len(metrics), 'epoch')}"))
        if "images_per_second" in last:
            entries.append(("images a second", f"{last['images_per_second']:,.0f}", "training, last epoch"))
        if last.get("share_of_limit") is not None:
            entries.append(
                (
                    "of the machine's limit",
                    f"{last['share_of_limit']:.0%}".replace("%", " %"),
                    "matrix products",
                )
            )
    return (
        '<dl class="figures">'
        + "".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(figure)}<small>{escape(note)}</small></dd></div>"
            for name, figure, note in entries
        )
        + "</dl>"
    )


def _curves(page: Page, found: Review) -> None:
    per = found.steps_per_epoch or 1
    x_axis = Axis("epoch", low=0) if found.steps_per_epoch else Axis("step", whole=True)
    metrics = found.run.metrics
    held_out = "held-out images" if found.run.recipe.validation_share else "test images"
    rows = [row for row in metrics if "images_per_second" in row]
    if not found.curve:
        page.paragraph("The run has not taken a step yet.")
        return
    losses = [
        Line(
            "training, a step",
            [(point.step / per, point.mean) for point in found.curve],
            0,
            [(point.step / per, point.low, point.high) for point in found.curve],
        )
    ]
    measured = [row for row in metrics if "val_loss" in row]
    if measured:
        losses.append(Line(held_out, [(row["epoch"], row["val_loss"]) for row in measured], 1, marked=True))
    pictures = [line_chart("Loss", losses, x_axis, Axis("loss"))]
    if metrics:
        whole = Axis("epoch", whole=True)
        lines = [
            Line("training images", [(row["epoch"], row["train_acc@1"]) for row in metrics], 0, marked=True)
        ]
        if measured:
            lines.append(Line(held_out, [(row["epoch"], row["acc@1"]) for row in measured], 1, marked=True))
        pictures.append(line_chart("Accuracy", lines, whole, Axis("accuracy", percent=True)))
    rates = [(point.step / per, point.lr) for point in found.curve]
    pictures.append(
        line_chart("Learning rate", [Line("a step", rates, 2)], x_axis, Axis("learning rate", low=0))
    )
    if rows:
        speed = Line("training", [(row["epoch"], row["images_per_second"]) for row in rows], 2, marked=True)
        pictures.append(
            line_chart(
                "Speed of training", [speed], Axis("epoch", whole=True), Axis("images a second", low=0)
            )
        )
    page.markup(f'<div class="charts">{"".join(pictures)}</div>')
    page.paragraph(
        "The loss of training is the mean of some steps that follow each other; the band runs from their least to "
        "their greatest. Training images are measured while the network learns, with the recipe's augmentation, so "
        "their accuracy may lie below that of images without."
    )


def _confusion(page: Page, found: Review) -> None:
    matrix, classes = found.confusion, found.images.classes
    numbers = {name: number for number, name in enumerate(classes)}
    few = len(classes) <= _MATRIX_CLASSES
    if few:
        page.paragraph(
            "Rows are the true classes, columns what the network said. Choose a cell to see its images below. "
            "Blue: the share of the class that was recognised; orange, four times as strong: the share that was taken "
            "for another."
        )
    else:
        page.paragraph(f"{len(classes)} classes are too many for a table; these are confused most often.")
    pairs = "".join(
        f'<li><a href="#cell-{numbers[true]}-{numbers[said]}">{escape(true)} taken for {escape(said)}</a>: '
        f"{_images(count)}</li>"
        for true, said, count in matrix.worst_pairs(10 if few else _PAIRS)
    )
    title = "<h3>Most often</h3>" if few and pairs else ""
    table = _matrix(found) if few else ""
    listed = f"<ol>{pairs}</ol>" if few else f'<ol class="many">{pairs}</ol>'
    page.markup(f'<div class="beside">{table}<div>{title}{listed}</div></div>')
    page.markup(_panels(found))


def _matrix(found: Review) -> str:
    matrix, classes = found.confusion, found.images.classes
    counts, shares = matrix.counts.tolist(), matrix.shares.tolist()
    head = "".join(
        f'<th scope="col" title="{escape(name)}"><span>{escape(name)}</span></th>' for name in classes
    )
    rows = "".join(
        f'<tr><th scope="row" title="{escape(name)}">{escape(name)}</th>'
        + "".join(
            _matrix_cell(row, column, counts[row][column], shares[row][column], classes)
            for column in range(len(classes))
        )
        + f"<td>{'' if recall != recall else _percent(recall, 1)}</td></tr>"
        for row, (name, recall) in enumerate(zip(classes, matrix.recall, strict=True))
    )
    last = "".join(f"<td>{'' if value != value else _percent(value, 0)}</td>" for value in matrix.precision)
    return (
        f'<div class="wide"><table class="matrix"><thead><tr><th></th>{head}<th scope="col"><span>recall</span></th>'
        f'</tr></thead><tbody>{rows}<tr><th scope="row">precision</th>{last}<td></td></tr></tbody></table></div>'
    )


def _matrix_cell(row: int, column: int, count: int, share: float, classes: Sequence[str]) -> str:
    if not count:
        return '<td class="none">·</td>'
    strength = share if row == column else min(1.0, 4 * share)
    kind = ("right" if row == column else "wrong") + (" strong" if strength > 0.7 else "")
    told = f"{count} of {classes[row]} {'recognised' if row == column else f'taken for {classes[column]}'}"
    return (
        f'<td class="{kind}" style="--share:{strength:.2f}"><a href="#cell-{row}-{column}" title="{escape(told)}" '
        f'aria-label="{escape(told)}">{count}</a></td>'
    )


def _panels(found: Review) -> str:
    """Return a hidden panel of images for each cell that holds some; its link shows it."""
    classes, counts = found.images.classes, found.confusion.counts.tolist()
    cells = [
        (row, column) for row in range(len(classes)) for column in range(len(classes)) if counts[row][column]
    ]
    if len(classes) > _MATRIX_CLASSES:
        numbers = {name: number for number, name in enumerate(classes)}
        cells = [(numbers[true], numbers[said]) for true, said, _ in found.confusion.worst_pairs(_PAIRS)]
    limit = _images_a_cell(found, [counts[row][column] for row, column in cells])
    parts = []
    for row, column in cells:
        indices, what = found.cell(row, column), classes[row]
        if row != column:
            what += f" taken for {classes[column]}"
        more = len(indices) - limit
        note = f"the {limit} surest; {more:,} more are not shown" if more > 0 else "surest first"
        shots = "".join(
            _shot(
                found,
                index,
                f"{_percent(float(found.evaluation.confidences[index]), 0)}",
                f"test image {index}, {what}",
            )
            for index in indices[:limit]
        )
        parts.append(
            f'<div class="cell" id="cell-{row}-{column}"><h3>{escape(what)}: {_images(len(indices))}</h3>'
            f'<p class="lead">{note}. <a href="#confusion">Close</a></p><div class="shots">{shots}</div></div>'
        )
    return "".join(parts)


def _images_a_cell(found: Review, counts: Sequence[int]) -> int:
    """Return how many images of a cell are shown, so that the file stays within its bounds."""
    sample = range(0, len(found.images), max(1, len(found.images) // 32))
    sizes = [len(data_address(thumbnail(found.images.picture(index)))) + 220 for index in sample]
    mean = sum(sizes) / len(sizes)
    limits = range(_CELL_IMAGES, 1, -1)
    return next(
        (limit for limit in limits if mean * sum(min(count, limit) for count in counts) <= _PANEL_BYTES), 1
    )


def _shot(found: Review, index: int, caption: str, alt: str) -> str:
    address = data_address(thumbnail(found.images.picture(index)))
    return (
        f'<figure><img alt="{escape(alt)}" title="{escape(alt)}" src="{address}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _mistakes(page: Page, found: Review) -> None:
    if not found.wrong:
        page.paragraph("The network recognised every image.")
        return
    page.paragraph("The images it took for another class, those first of which it was surest.")
    shots = "".join(
        _shot(
            found,
            each.index,
            f"{each.true}, taken for {each.predicted}, {_percent(each.confidence, 0)}",
            f"test image {each.index}, {each.true} taken for {each.predicted}",
        )
        for each in found.wrong
    )
    page.markup(f'<div class="shots">{shots}</div>')


def _unsure(page: Page, found: Review) -> None:
    page.paragraph(
        "The images whose two likeliest classes are nearest to each other in probability, right or wrong."
    )
    shots = "".join(
        _shot(
            found,
            each.index,
            f"{each.predicted} or {each.runner_up}? It is {each.true}",
            f"test image {each.index}, {each.true}: {each.predicted} ahead of {each.runner_up} by {each.margin:.4f}",
        )
        for each in found.unsure
    )
    page.markup(f'<div class="shots">{shots}</div>')


def _calibration(page: Page, found: Review) -> None:
    bins = found.calibration.bins
    page.paragraph(
        f"Expected calibration error {_percent(found.calibration.expected_error)}, the largest of a bin "
        f"{_percent(found.calibration.largest_error)}: the images are put into {len(bins)} bins by the probability of "
        "the class that was said, and accuracy and mean probability of each bin are compared (Guo et al., 2017). "
        "Bars below the line: surer than right."
    )
    x_axis = Axis("confidence", low=0.0, high=1.0, percent=True)
    accuracy = [(each.low, each.high, each.accuracy) for each in bins if each.accuracy is not None]
    counts = [(each.low, each.high, float(each.count)) for each in bins]
    ideal = Line("as sure as right", [(0.0, 0.0), (1.0, 1.0)], 0, dashed=True)
    pictures = bar_chart(
        "Accuracy by confidence",
        accuracy,
        x_axis,
        Axis("accuracy", low=0.0, high=1.0, percent=True),
        [ideal],
        name="accuracy of the bin",
    ) + bar_chart("Images by confidence", counts, x_axis, Axis("images", low=0.0), colour=2)
    page.markup(f'<div class="charts">{pictures}</div>')
    page.markup("<details><summary>The bins as numbers</summary>")
    page.table(
        ("confidence", "images", "accuracy", "mean confidence"),
        [
            (
                f"{_percent(each.low, 1)} to {_percent(each.high, 1)}",
                f"{each.count:,}",
                "" if each.accuracy is None else _percent(each.accuracy, 1),
                "" if each.confidence is None else _percent(each.confidence, 1),
            )
            for each in bins
        ],
    )
    page.markup("</details>")


def _films(page: Page, found: Review) -> None:
    if found.no_films:
        page.paragraph(f"Nothing to show: {found.no_films}")
        return
    page.paragraph(
        "Each row is an epoch; all rows of a layer share one scale, which holds 99 % of their values, so that "
        "what grows becomes stronger."
    )
    if found.filters is not None:
        shown = len(found.filters.frames[0])
        channels = found.filters.frames[0].shape[1]
        what = scale_text(found.filters.scale, coloured=channels == 3)
        page.heading(f"Filters of {found.filters.layer}: {_some(shown, found.filters.total)}")
        page.paragraph(what[0].upper() + what[1:] + ".")
        page.markup(_film_table(found.filters, "filters", 32))
    if found.picture is not None and found.maps:
        page.heading(f"Feature maps of one held-out image ({found.label})")
        address = data_address(thumbnail(_picture(found)))
        page.markup(f'<img class="sample" alt="the image, {escape(found.label)}" src="{address}">')
    for film in found.maps:
        shown, size = len(film.frames[0]), " x ".join(map(str, film.frames[0].shape[1:]))
        page.heading(f"{film.layer}: {_some(shown, film.total)} maps, {size}")
        page.paragraph(scale_text(film.scale).capitalize() + ".")
        page.markup(_film_table(film, "maps", 16))


def _picture(found: Review):
    assert found.picture is not None
    picture = found.picture
    return picture[0].numpy() if len(picture) == 1 else picture.permute(1, 2, 0).contiguous().numpy()


def _film_table(film: Film, what: str, columns: int) -> str:
    rows = []
    for name, values in zip(film.names, film.frames, strict=True):
        png, width = plane_strips(values, film.scale, columns)
        rows.append(
            f'<tr><th scope="row">{name}</th><td><img alt="{what} of {escape(film.layer)}, {name}" '
            f'style="max-width:{min(9 * width, 900)}px" src="{data_address(png)}"></td></tr>'
        )
    return f'<table class="film">{"".join(rows)}</table>'


def _time(page: Page, found: Review) -> None:
    if not found.phases:
        page.paragraph("No epoch was finished.")
        return
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{_duration(found.phases[name])}</td><td>{_percent(share, 1)}</td>"
        f'<td><span style="width:{100 * share:.2f}%"></span></td></tr>'
        for name, share in found.phase_shares.items()
    )
    page.markup(
        '<table class="bars"><thead><tr><th scope="col">phase</th><th scope="col">time</th>'
        f'<th scope="col">share</th><th></th></tr></thead><tbody>{rows}</tbody></table>'
    )
    page.paragraph("Of the finished epochs, in this process; saving after the last epoch is not in it.")


def _recipe(page: Page, found: Review) -> None:
    facts, changed = found.run.recipe.to_dict(), found.changed
    ordered = [*changed, *(name for name in facts if name not in changed)]
    recipe = "".join(
        f'<tr{" class=changed" if name in changed else ""}><th scope="row">{escape(name)}</th>'
        f"<td>{escape(_value(facts[name]))}</td></tr>"
        for name in ordered
    )
    environment = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>'
        for name, value in found.run.environment.items()
    )
    page.paragraph("In bold what differs from the defaults of a recipe.")
    page.markup(
        f'<div class="pairs"><div><h3>Recipe</h3><table class="facts">{recipe}</table></div>'
        f'<div><h3>Environment</h3><table class="facts">{environment}</table></div></div>'
    )


def _value(value: object) -> str:
    if value is None or value == [] or value == {}:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _some(shown: int, total: int) -> str:
    return f"the first {shown} of {total}" if shown < total else f"all {total}"


def _images(count: int) -> str:
    return _count(count, "image")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _percent(share: float, places: int = 2) -> str:
    return f"{100 * share:.{places}f} %"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
