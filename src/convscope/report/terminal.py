"""What commands print: plain text of a result's facts."""

from __future__ import annotations

from collections.abc import Sequence

from convscope.errors import printable
from convscope.experiments import Tour
from convscope.inspection import ConfusionMatrix, Mistake
from convscope.report.columns import table
from convscope.signal import Slide
from convscope.training import Evaluation, Prediction, RangeTest, Run
from convscope.training.sweep import Sweep

__all__ = [
    "evaluation_text",
    "prediction_text",
    "predictions_text",
    "range_test_text",
    "run_text",
    "signal_text",
    "sweep_text",
    "tour_text",
]


def tour_text(tour: Tour) -> str:
    """Return the figures of the demonstration."""
    networks, loops = tour.networks, tour.loops
    rows = [
        (
            name,
            f"{entry.num_params:,}",
            f"{entry.evaluation.accuracy:.2%}",
            str(len(entry.run.metrics)),
            f"{entry.seconds:.1f} s",
        )
        for name, entry in (("MLP", networks.mlp), ("CNN", networks.cnn))
    ]
    height, width = tour.layers.photograph.shape[:2]
    return "\n".join(
        (
            "",
            f"Three random layers on the {height} x {width} cat: Python loops {loops.loops_seconds:.2f} s, convscope "
            f"{loops.seconds * 1e3:.2f} ms (median of {loops.repeats}): {loops.ratio:,.0f} times faster, outputs "
            f"{loops.relative_difference:.0e} of the largest value apart",
            "",
            f"One value of the first layer, {tour.value}",
            "",
            table(("network", "parameters", "test accuracy", "epochs", "training"), rows),
            f"The MLP has {networks.parameter_ratio:.1f} times the parameters.",
        )
    )


def run_text(run: Run) -> str:
    """Return one line on a finished run."""
    last = run.metrics[-1]
    tested = f"; test accuracy {last['test_acc@1']:.2%}" if "test_acc@1" in last else ""
    return (
        f"{run.recipe.model} on {printable(run.recipe.data)}: accuracy {last['acc@1']:.2%} after {len(run.metrics)} "
        f"epochs{tested}; the run is in {run.path}"
    )


def range_test_text(found: RangeTest) -> str:
    """Return the loss at a dozen of the rates, the suggested rate, and where the loss grew away."""
    count = len(found.lrs)
    chosen = sorted({round(at * (count - 1) / 11) for at in range(12)}) if count else []
    rows = [(f"{found.lrs[at]:.2e}", f"{found.losses[at]:.4f}", f"{found.smoothed[at]:.4f}") for at in chosen]
    end = (
        "the loss never grew away"
        if found.diverged is None
        else f"the loss grew away at {found.diverged:.2g}"
    )
    return "\n".join(
        (
            table(("learning rate", "loss", "smoothed"), rows),
            "",
            f"steepest fall at {found.suggested:.2g}, a good highest rate; {end}",
        )
    )


def sweep_text(found: Sweep) -> str:
    """Return the trials of a sweep, the best first."""
    names = list(found.trials[0].changes) if found.trials else []
    rows = [
        (
            str(trial.path.name),
            *(
                f"{trial.changes[name]:.4g}"
                if isinstance(trial.changes[name], float)
                else str(trial.changes[name])
                for name in names
            ),
            "failed" if trial.accuracy is None else f"{trial.accuracy:.2%}",
        )
        for trial in found.trials
    ]
    failures = [f"{trial.path.name}: {printable(trial.error)}" for trial in found.trials if trial.error]
    return "\n".join((table(("trial", *names, "accuracy"), rows), *failures))


def evaluation_text(evaluation: Evaluation, matrix: ConfusionMatrix, wrong: Sequence[Mistake]) -> str:
    """Return accuracy, loss, each class's recall and precision, and the most frequent mistakes."""
    counts = matrix.counts.sum(dim=1).tolist()
    rows = [
        (printable(name), str(count), f"{recall:.1%}", f"{precision:.1%}")
        for name, count, recall, precision in zip(
            matrix.classes, counts, matrix.recall, matrix.precision, strict=True
        )
    ]
    pairs = [
        f"{printable(true)} taken for {printable(predicted)}: {count} times"
        for true, predicted, count in matrix.worst_pairs()
    ]
    return "\n".join(
        (
            f"accuracy {evaluation.accuracy:.2%} of {len(evaluation.labels)} images, loss {evaluation.loss:.4f}, "
            f"{len(wrong)} mistakes",
            "",
            table(("class", "images", "recall", "precision"), rows),
            *(["", *pairs] if pairs else []),
        )
    )


def prediction_text(prediction: Prediction) -> str:
    """Return one line: the picture, then its likeliest classes."""
    pairs = zip(prediction.classes, prediction.probabilities, strict=True)
    return f"{printable(prediction.name)}: " + ", ".join(
        f"{printable(label)} {share:.1%}" for label, share in pairs
    )


def predictions_text(network: str, predictions: Sequence[Prediction]) -> str:
    """Return a table for each picture, best class first."""
    blocks = [printable(network)]
    for entry in predictions:
        rows = [
            (printable(label), f"{share:.2%}")
            for label, share in zip(entry.classes, entry.probabilities, strict=True)
        ]
        blocks += ["", table((printable(entry.name), "probability"), rows)]
    return "\n".join(blocks)


def signal_text(slides: Sequence[Slide]) -> str:
    """Return, for each operation, its value at the shift shown, and what exchanging f and g changes."""
    rows = [
        (
            slide.operation,
            f"{slide.t:.4g}",
            f"{slide.integral:.6g}",
            f"{slide.commutativity_error:.1e}",
            "yes" if slide.commutes else "no",
        )
        for slide in slides
    ]
    return table(("operation", "at t", "value", "commutativity error", "commutes"), rows)
