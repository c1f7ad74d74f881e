"""Run experiments and write docs/experiments.md from what they found.

    python tools/make_experiments.py [NAME ...] [--full]

What each found is kept as JSON in docs/experiments/, `NAME.json` of the quick run and `NAME-full.json` of the full one;
the page is made of all files there. Without names only the page is made.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from convscope.experiments import Interval, get_experiment, list_experiments
from convscope.files import make_folder, write_json, write_text
from convscope.report.experiment_text import cell_text, threads_text

DOCS = Path(__file__).parents[1] / "docs"
HEAD = """# Experiments

`convscope experiment list` names them, `convscope experiment NAME` runs one on packaged data within three minutes on
two cores, `--full` on CIFAR-10 or what is said below; `--output report.html` keeps charts and pictures. A verdict is a
rule stated before the run, applied to 95 % confidence intervals over seeds (in brackets): it *holds*, *does not hold
here*, or is *undecided*. This page is made by `python tools/make_experiments.py`. Runs on one thread shared the
machine, and some in full were paused: their seconds say nothing of speed.
"""


def main() -> None:
    """Run what is named, then write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.names:
        result = get_experiment(name).run(full=arguments.full, say=print)
        make_folder(DOCS / "experiments")
        write_json(DOCS / "experiments" / f"{name}{'-full' if arguments.full else ''}.json", result.to_dict())
        print(f"{name}: {result.outcome.verdict} in {result.seconds:.0f} s")
    write_text(DOCS / "experiments.md", page())


def page() -> str:
    """Return the page in Markdown."""
    parts = [HEAD]
    for name in list_experiments():
        experiment = get_experiment(name)
        parts += [f"## {experiment.title}", "", f"`convscope experiment {name}`. {experiment.claim}", ""]
        parts += [f"*{experiment.setup}*", ""]
        for kind in ("", "-full"):
            path = DOCS / "experiments" / f"{name}{kind}.json"
            if path.is_file():
                parts += _found(json.loads(path.read_text()))
    return "\n".join(parts)


def _found(facts: dict[str, Any]) -> list[str]:
    machine = facts["environment"]
    seeds = ", ".join(map(str, facts["seeds"]))
    lines = [
        f"**{'In full' if facts['full'] else 'Quick'}, on {facts['data']}: {facts['verdict']}.** {facts['reason']}",
        "",
        f"Seeds {seeds}; {facts['seconds']:.0f} s on {threads_text(machine)} of {machine['cpu']}, torch "
        f"{machine['torch']}, {machine['time'][:10]}.",
        "",
    ]
    columns = list(facts["table"][0])
    lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in facts["table"]:
        cells = (_cell(row[column], column in facts["percent"]) for column in columns)
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _cell(cell: Any, percent: bool) -> str:
    return cell_text(Interval(**cell) if isinstance(cell, dict) else cell, percent)


if __name__ == "__main__":
    main()
