"""What `convscope data` prints."""

from __future__ import annotations

from collections.abc import Sequence

from convscope.data.registry import DatasetEntry
from convscope.data.survey import DatasetSurvey
from convscope.errors import printable
from convscope.report.columns import table

__all__ = ["datasets_text", "survey_text"]

_FILES_AT_MOST = 20


def datasets_text(entries: Sequence[DatasetEntry]) -> str:
    """Return a table of the named data sets."""
    rows = [
        (
            entry.name,
            f"{entry.num_images['train']:,} + {entry.num_images['test']:,}",
            " x ".join(map(str, entry.image_shape)),
            str(len(entry.classes)),
            entry.state,
            entry.terms,
        )
        for entry in entries
    ]
    head = ("data set", "train + test images", "size", "classes", "state", "terms")
    return f"{table(head, rows)}\n\nconvscope data fetch NAME brings one here; convscope data show NAME shows it."


def survey_text(survey: DatasetSurvey) -> str:
    """Return the facts of one half of a data set: size, mean and deviation, images of each class, what is left out."""
    images = survey.images
    facts = survey.to_dict()
    mean, std = images.mean_std()
    shape = " x ".join(map(str, images.image_shape))
    lines = [
        f"{printable(images.name)}, {survey.split}: {len(images):,} images of {shape}, {len(images.classes)} classes"
        f"{' (resized)' if survey.resized else ''}",
        f"mean {' '.join(f'{value:.4f}' for value in mean)}, std {' '.join(f'{value:.4f}' for value in std)}"
        " (each channel, values from 0 to 1)",
        "",
        table(
            ("class", "images"),
            [
                (printable(name), f"{count:,}")
                for name, count in zip(images.classes, images.class_counts(), strict=True)
            ],
        ),
        "",
        f"broken files: {len(images.skipped)}; files passed over, hidden or no picture: {facts['ignored']}",
    ]
    lines += [f"  {printable(name)}" for name in images.skipped[:_FILES_AT_MOST]]
    if len(images.skipped) > _FILES_AT_MOST:
        lines.append(f"  and {len(images.skipped) - _FILES_AT_MOST} more")
    return "\n".join(lines)
