"""`convscope train`: a recipe, some changes, a run folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from convscope.cli.output import console, print_json
from convscope.errors import UsageError


def run(
    recipe: str | None = None,
    /,
    *,
    model: str | None = None,
    data: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    optimizer: str | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    momentum: float | None = None,
    schedule: str | None = None,
    loss: str | None = None,
    label_smoothing: float | None = None,
    horizontal_flip: bool | None = None,
    crop_padding: int | None = None,
    image_size: int | None = None,
    seed: int | None = None,
    accelerate: bool | None = None,
    precision: str | None = None,
    output: Path | None = None,
    resume: Path | None = None,
    json: bool = False,
) -> None:
    """Train a network on the packaged images or on a folder of yours; leaves a run folder.

    Ctrl-C saves and stops; --resume goes on. Flags that are not given keep the recipe's values.

    Parameters
    ----------
    recipe
        A named recipe: fashion-cnn (unless --model is given), fashion-mlp, fashion-lenet5, fashion-perceptron.
    model
        A network of the zoo, such as perceptron, mlp, lenet5, small_vgg or resnet18.
    data
        fashion-mnist, or a folder with train/<class>/ and test/<class>/.
    optimizer
        adamw or sgd.
    schedule
        Of the learning rate: onecycle, cosine or constant.
    loss
        softmax or hinge.
    image_size
        Pixels a side to which a folder's images are resized.
    accelerate
        Run the network fused and by the fastest routes of this CPU; on unless switched off.
    precision
        Of the fused network: auto (bf16 where the CPU has instructions for it), fp32 or bf16.
    output
        The run folder to make; by default runs/ and the model's name.
    resume
        A run folder to go on with, with its own recipe.
    json
        Print the run as JSON.
    """
    from convscope.report.progress import training_progress
    from convscope.report.terminal import run_text
    from convscope.training import Recipe, Run, named_recipe, train

    changes = {
        name: value
        for name, value in (
            ("model", model),
            ("data", data),
            ("epochs", epochs),
            ("batch_size", batch_size),
            ("optimizer", optimizer),
            ("lr", lr),
            ("weight_decay", weight_decay),
            ("momentum", momentum),
            ("schedule", schedule),
            ("loss", loss),
            ("label_smoothing", label_smoothing),
            ("horizontal_flip", horizontal_flip),
            ("crop_padding", crop_padding),
            ("image_size", image_size),
            ("seed", seed),
            ("accelerate", accelerate),
            ("precision", precision),
        )
        if value is not None
    }
    if resume is not None and (recipe or changes or output):
        raise UsageError("a resumed run keeps its own recipe and folder; give --resume alone.", call="train")
    if resume is not None:
        chosen = Run.open(resume).recipe
    else:
        base = Recipe() if model and not recipe else named_recipe(recipe or "fashion-cnn")
        chosen = base.replace(**changes)
    folder = resume or output or Path("runs") / chosen.model
    with training_progress(console(stderr=json)) as listener:
        finished = train(
            None if resume else chosen,
            output=folder,
            resume=resume is not None,
            listener=partial(listener, chosen.model),
        )
    if json:
        print_json(finished.to_dict())
    else:
        print(run_text(finished))
