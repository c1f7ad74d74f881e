"""`convscope audit`: what is odd about a network, before hours are spent on it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from convscope.cli.network import open_network
from convscope.cli.output import print_json
from convscope.errors import ConvscopeError, UsageError

_UNITS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}


def run(
    network: str,
    /,
    *,
    input: str | None = None,
    image: Path | None = None,
    object_size: int | None = None,
    memory_limit: str | None = None,
    gradients: bool | None = None,
    train: bool = False,
    weights: str | None = None,
    fail_on: Literal["error", "warning", "never"] = "error",
    json: bool = False,
) -> None:
    """Findings about an architecture on an input: place, numbers, reason, remedy.

    Parameters
    ----------
    network
        A network of the zoo, a run folder, or module:callable of your own code, such as my_networks:build.
    input
        Its input, such as 1x3x224x224; the zoo and runs know their own.
    image
        Run on a picture (or on cat, the packaged one): dead units and saturation are looked for too.
    object_size
        Pixels of the smallest thing to recognise: the receptive field is compared with it.
    memory_limit
        Memory that a pass may take, such as 2GB or 512MiB.
    gradients
        Look for parameters without gradient; by default where a pass back is quick.
    weights
        Of a network of the zoo: default for published ones, or a file; without, random ones.
    train
        In training mode.
    fail_on
        The severity from which the exit code is 1.
    json
        Print the findings as JSON.
    """
    from convscope.inspection import audit

    limit = None if memory_limit is None else bytes_of(memory_limit)
    opened = open_network(network, input, image=image, train=train, weights=weights)
    found = audit(
        opened.network,
        opened.given(image),
        object_size=object_size,
        memory_limit=limit,
        gradients=gradients,
    )
    if json:
        print_json(found.to_dict())
    else:
        print(found)
    severe = [] if fail_on == "never" else found.of("error")
    if fail_on == "warning":
        severe += found.of("warning")
    if severe:
        kinds = ", ".join(dict.fromkeys(f"{finding.severity} {finding.kind}" for finding in severe))
        raise ConvscopeError(f"found {kinds}; --fail-on never ends with 0 all the same.", call="audit")


def bytes_of(text: str) -> int:
    """Read `2GB`, `512MiB` or `100000` as bytes.

    Example:
        >>> bytes_of("2GB"), bytes_of("0.5 KiB"), bytes_of("100000")
        (2000000000, 512, 100000)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?", text.strip().lower())
    if found is None:
        raise UsageError(f"--memory-limit {text!r} is no size such as 2GB, 512MiB or 100000.", call="audit")
    return int(float(found.group(1)) * _UNITS[found.group(2) or ""])
