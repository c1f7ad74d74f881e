"""`convscope train`: a recipe, some changes, a run folder."""

from __future__ import annotations

import tomllib
from functools import partial
from pathlib import Path

from convscope.cli.output import console, print_json, say_written
from convscope.errors import UsageError


def run(
    recipe: str | None = None,
    /,
    *,
    model: str | None = None,
    model_option: list[str] | None = None,
    weights: str | None = None,
    freeze: list[str] | None = None,
    freeze_epochs: int | None = None,
    data: str | None = None,
    image_size: int | None = None,
    validation_share: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    optimizer: str | None = None,
    lr: float | None = None,
    bias_lr_scale: float | None = None,
    head_lr_scale: float | None = None,
    weight_decay: float | None = None,
    momentum: float | None = None,
    unit_filters: bool | None = None,
    schedule: str | None = None,
    warmup: float | None = None,
    milestones: list[float] | None = None,
    loss: str | None = None,
    label_smoothing: float | None = None,
    horizontal_flip: str | None = None,
    crop_padding: int | None = None,
    crop_mode: str | None = None,
    cutout: int | None = None,
    color: float | None = None,
    mixup: float | None = None,
    cutmix: float | None = None,
    progressive_sizes: list[int] | None = None,
    average: str | None = None,
    average_decay: float | None = None,
    average_every: int | None = None,
    test_views: str | None = None,
    evaluate_every: int | None = None,
    checkpoint_every: int | None = None,
    keep_checkpoints: int | None = None,
    on_divergence: str | None = None,
    seed: int | None = None,
    accelerate: bool | None = None,
    precision: str | None = None,
    output: Path | None = None,
    resume: Path | None = None,
    report: bool = True,
    tensorboard: bool = False,
    json: bool = False,
) -> None:
    """Train a network on the packaged images, a fetched data set or a folder of yours; leaves a run folder.

    Ctrl-C saves and stops; --resume goes on. Flags that are not given keep the recipe's values.

    Parameters
    ----------
    recipe
        A named recipe (fashion-cnn, unless --model is given), or the path of a TOML file such as a run's recipe.toml.
    model
        A network of the zoo, such as perceptron, mlp, lenet5, small_vgg or resnet18.
    model_option
        An argument of the network as name=value, the value as in TOML; may be given several times.
    weights
        Start from published weights (default) or a file; a head for other classes starts at random.
    freeze
        The beginning of names of parameters that stay as they are, or backbone; may be given several times.
    freeze_epochs
        For how many epochs they are frozen; all, unless given.
    data
        fashion-mnist, a name of `convscope data list`, or a folder with train/<class>/ and test/<class>/.
    image_size
        Pixels a side to which a folder's images are resized.
    validation_share
        Of the training images, held out for measurements after epochs; the test images are then used once.
    optimizer
        adamw, sgd or muon.
    bias_lr_scale
        Times the learning rate, for biases and normalisation.
    head_lr_scale
        Times the learning rate, for the head.
    unit_filters
        Scale filters before normalisation to a mean norm of one after each step.
    schedule
        Of the learning rate: onecycle, cosine, linear, step or constant.
    warmup
        Share of all steps over which the rate rises.
    milestones
        Shares of all steps at which the schedule step divides by ten.
    loss
        softmax or hinge.
    horizontal_flip
        none, random or alternating.
    crop_mode
        What a moved image shows at its border: constant (black) or reflect.
    cutout
        Side in pixels of a square that is blanked.
    color
        Strength of changes of brightness, contrast and saturation, below 1.
    mixup
        Alpha of the Beta distribution by which images are mixed; 0 for not.
    cutmix
        The same for pasting a part of one image into another.
    progressive_sizes
        Pixels a side to which an epoch's training images are shrunk: given once for each of the first epochs.
    average
        Of the weights: none, ema or lookahead.
    test_views
        What a measurement averages: one, mirror or mirror-shift.
    evaluate_every
        Epochs between measurements; 0 for the end only.
    checkpoint_every
        Steps between checkpoints, besides those after epochs.
    keep_checkpoints
        How many of the newest are kept besides the best.
    on_divergence
        stop, or rollback to the last checkpoint with half the learning rate.
    accelerate
        Run the network fused and by the fastest routes of this CPU; on unless switched off.
    precision
        Of the fused network: auto (bf16 where the CPU has instructions for it), fp32 or bf16.
    output
        The run folder to make; by default runs/ and the model's name.
    resume
        A run folder to go on with, with its own recipe.
    report
        Write report.html into the run folder in the end.
    tensorboard
        Also write the figures for TensorBoard, into tensorboard/ in the run folder.
    json
        Print the run as JSON.
    """
    given = dict(locals())
    for name in ("recipe", "model_option", "output", "resume", "report", "tensorboard", "json"):
        del given[name]
    from convscope.report.progress import training_progress
    from convscope.report.terminal import run_text
    from convscope.training import Recipe, Run, is_first_process, named_recipe, train

    changes = {name: value for name, value in given.items() if value is not None}
    if model_option:
        changes["model_options"] = _options(model_option)
    if resume is not None and (recipe or changes or output):
        raise UsageError("a resumed run keeps its own recipe and folder; give --resume alone.", call="train")
    if resume is not None:
        chosen = Run.open(resume).recipe
    else:
        base = Recipe() if model and not recipe else named_recipe(recipe or "fashion-cnn")
        if "model_options" in changes and changes.get("model", base.model) == base.model:
            changes["model_options"] = {**base.model_options, **changes["model_options"]}
        chosen = base.replace(**changes)
    folder = resume or output or Path("runs") / chosen.model
    with training_progress(console(stderr=json)) as listener:
        finished = train(
            None if resume else chosen,
            output=folder,
            resume=resume is not None,
            tensorboard=tensorboard,
            listener=partial(listener, chosen.model),
        )
    if not is_first_process():
        return
    if json:
        print_json(finished.to_dict())
    else:
        print(run_text(finished))
    if report:
        from convscope.report.run_report import REPORT, write_run_report

        say_written(write_run_report(finished, finished.path / REPORT))


def _options(pairs: list[str]) -> dict[str, object]:
    """Read name=value pairs, the values as TOML."""
    options: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise UsageError(f"--model-option is {pair!r}; it must be name=value.", call="train")
        try:
            options[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError as error:
            if not value.replace("_", "").replace("-", "").isalnum():
                raise UsageError(
                    f"--model-option {pair!r}: the value is no TOML: {error}.", call="train"
                ) from error
            options[name] = value  # a word without quotes
    return options
