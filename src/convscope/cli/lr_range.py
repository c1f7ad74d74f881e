"""`convscope lr-range`: which learning rates a recipe can take."""

from __future__ import annotations

from pathlib import Path

from convscope.cli.output import print_json, say_written


def run(
    recipe: str = "fashion-cnn",
    /,
    *,
    data: str | None = None,
    lowest: float = 1e-5,
    highest: float = 10.0,
    steps: int = 100,
    output: Path | None = None,
    json: bool = False,
) -> None:
    """Raise the learning rate from far too low to far too high and show the loss: the range test of Smith (2015).

    Parameters
    ----------
    recipe
        A named recipe or a TOML file.
    data
        Another data set than the recipe's.
    lowest
        The rate of the first step.
    highest
        The rate of the last step.
    steps
        How many steps, a batch each.
    output
        A PNG of the curve.
    json
        Print rates and losses as JSON.
    """
    from convscope.report.terminal import range_test_text
    from convscope.training import lr_range_test, named_recipe

    chosen = named_recipe(recipe)
    found = lr_range_test(
        chosen if data is None else chosen.replace(data=data), lowest=lowest, highest=highest, steps=steps
    )
    if json:
        print_json(found.to_dict())
    else:
        print(range_test_text(found))
    if output is not None:
        from convscope.report.figures import write_png
        from convscope.report.training_pictures import draw_range_test

        say_written(write_png(draw_range_test(found), output))
