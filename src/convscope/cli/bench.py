"""`convscope bench`: a network as PyTorch runs it beside the same network accelerated."""

from __future__ import annotations

from typing import Literal

from convscope.cli.network import open_for_images
from convscope.cli.output import passing_line, print_json
from convscope.errors import ConvscopeError


def run(
    network: str,
    /,
    *,
    batch_size: int = 16,
    size: int | None = None,
    rounds: int = 5,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    tune: bool = False,
    train: bool = True,
    json: bool = False,
) -> None:
    """Time a network plain, channels-last and accelerated, in turns: steps of training and of inference.

    The results are compared first. The exit code is 1 if they differ by more than rounding.

    Parameters
    ----------
    network
        A network of the zoo, a run folder, or module:callable of your own code, such as my_networks:build.
    batch_size
        Images in a step.
    size
        Pixels a side; by default what the network was made for, 224 for your own code.
    rounds
        How often each is timed.
    precision
        Of the accelerated network: fp32, bf16, or auto, which is bf16 where the CPU has instructions for it.
    tune
        First time the ways to compute each convolution of the network, and keep the fastest for this machine.
    train
        Also time steps of training; --no-train: inference only.
    json
        Print the comparison as JSON.
    """
    opened, shape = open_for_images(network, batch_size, size)
    from convscope.acceleration import compare, random_images
    from convscope.report.bench_text import bench_text

    with passing_line() as show:
        try:
            found = compare(
                opened.network,
                random_images(shape),
                precision=precision,
                rounds=rounds,
                train=train,
                tune=tune,
                listener=show,
            )
        except ConvscopeError as error:
            raise error.at("bench") from error
    if json:
        print_json(found.to_dict())
    else:
        print(bench_text(found))
    if found.problems:
        raise ConvscopeError(found.problems[0], call="bench")
