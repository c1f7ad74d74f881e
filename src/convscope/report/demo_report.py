"""The report of `convscope demo`: its pictures as files, and one HTML page that holds them all."""

from __future__ import annotations

from pathlib import Path

from convscope.experiments import Contestant, Tour
from convscope.files import write_bytes, write_json, write_text
from convscope.report.figures import png
from convscope.report.html import Page
from convscope.report.pictures import (
    draw_confusion,
    draw_learning,
    draw_mistakes,
    draw_three_layers,
    draw_value,
)
from convscope.report.planes import draw_before_after

__all__ = ["REPORT", "write_demo_report"]

REPORT = "report.html"


def write_demo_report(tour: Tour, folder: str | Path) -> Path:
    """Write the demonstration's pictures, its figures as JSON and the page; return the page's path."""
    folder = Path(folder)
    networks, loops = tour.networks, tour.loops
    pictures = {
        "three-layers": draw_three_layers(tour.layers, loops),
        "one-value": draw_value(tour.value, tour.layers.photograph),
        "learning": draw_learning([("MLP", networks.mlp.run), ("CNN", networks.cnn.run)]),
        "feature-maps": draw_before_after(tour.maps, "maps"),
        "filters": draw_before_after(tour.kernels, "filters"),
        "confusion": draw_confusion(tour.confusion),
        "mistakes": draw_mistakes(tour.test_images, tour.wrong),
    }
    images = {name: png(figure) for name, figure in pictures.items()}
    for name, content in images.items():
        write_bytes(folder / f"{name}.png", content)
    write_json(folder / "facts.json", tour.to_dict())

    environment = networks.cnn.run.environment
    page = Page(
        "A convolutional network, laid open",
        f"convscope {environment['convscope']}, torch {environment['torch']}, {environment['cpu']}, "
        f"{environment['threads']} threads, {environment['time']}",
    )

    page.section("three-layers", "Three random layers")
    page.paragraph(
        "The cat goes through three 3x3 convolutions whose filters are drawn from a normal distribution and never "
        "trained, with LeakyReLU(0.1) between them. Each layer, before its activation, is min-max normalised to "
        "0..255. Outlines stand out "
        "even so: a random filter is still a small comparison of neighbouring pixels."
    )
    page.picture(images["three-layers"], "the photograph and the maps of three random layers")
    page.table(
        ("the three layers computed by", "seconds", "how often measured"),
        [
            ("Python loops, value by value", f"{loops.loops_seconds:.3f}", "once"),
            ("convscope", f"{loops.seconds:.6f}", f"median of {loops.repeats}"),
            (
                "ratio",
                f"{loops.ratio:,.0f}",
                f"outputs differ by {loops.relative_difference:.1e} of the largest",
            ),
        ],
    )

    page.section("one-value", "One value, taken apart")
    page.paragraph(
        "Every number in the first layer's maps comes about like this one: window times weights, channel by "
        "channel, all products added, then the bias. The kernel is not turned round: what networks call "
        "convolution is the cross-correlation of signal processing."
    )
    page.picture(images["one-value"], "window, weights and products of one output value")
    page.preformatted(str(tour.value))

    page.section("networks", "An MLP and a CNN")
    page.paragraph(
        f"Both were trained and tested on the same images. The MLP has {networks.parameter_ratio:.1f} times the CNN's "
        "parameters: a weight of its first layer meets one pixel only, a weight of a convolution is used all over "
        "the image."
    )
    page.table(
        ("network", "parameters", "test accuracy", "epochs", "training seconds"),
        [_row("MLP", networks.mlp), _row("CNN", networks.cnn)],
    )
    page.picture(images["learning"], "test accuracy and training loss by epoch")

    true = tour.test_images.classes[int(tour.test_images.labels[tour.sample])]
    page.section("feature-maps", "Feature maps before and after training")
    page.paragraph(
        f"What each convolution of the CNN makes of test image {tour.sample} ({true}), with the weights it began "
        "with and with those it learned. Both share one colour scale a layer, which holds 99 % of their values."
    )
    page.picture(images["feature-maps"], "feature maps before and after training on one scale")

    page.section("filters", "Filters before and after training")
    page.paragraph(
        "The kernels themselves. Of deeper layers a row is one filter, a column what it does to one of the maps before."
    )
    page.picture(images["filters"], "filters before and after training on one scale")

    page.section("mistakes", "What the CNN confuses")
    page.picture(images["confusion"], "confusion matrix of the CNN on the test images")
    page.table(
        ("taken for another class most often", "images"),
        [(f"{true} as {predicted}", str(count)) for true, predicted, count in tour.confusion.worst_pairs()],
    )
    page.paragraph("The mistakes it was surest of:")
    page.picture(images["mistakes"], "test images that the CNN takes for another class")

    write_text(folder / REPORT, page.render())
    return folder / REPORT


def _row(name: str, contestant: Contestant) -> tuple[str, ...]:
    return (
        f"{name} ({contestant.run.recipe.model})",
        f"{contestant.num_params:,}",
        f"{contestant.evaluation.accuracy:.2%}",
        str(len(contestant.run.metrics)),
        f"{contestant.seconds:.1f}",
    )
