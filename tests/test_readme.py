"""The README and the pages it leads to are true: code runs, consoles answer as printed, links lead to files."""

import re
from pathlib import Path

import pytest

from convscope.cli.main import main

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text("utf-8")
ZOO = (ROOT / "docs" / "zoo.md").read_text("utf-8")
KERNELS = (ROOT / "docs" / "kernels.md").read_text("utf-8")


def blocks(kind, text=TEXT + ZOO + KERNELS):
    return re.findall(rf"```{kind}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.splitlines()[-1][:40])
def test_python_runs(code, capsys):
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def without_rounding(text):
    """Errors of the last bit differ from one processor to the next: read them all as 0."""
    return re.sub(r"\b(0\.0e\+00|\d\.\de-1[4-9])", "0", text)


def dialogues():
    """Each command of a console block with the answer that the README gives."""
    for block in blocks("console"):
        for part in block.split("$ convscope ")[1:]:
            command, _, answer = part.partition("\n")
            yield command, answer


@pytest.mark.parametrize(
    ("command", "answer"), list(dialogues()), ids=[command for command, _ in dialogues()]
)
def test_console_answers(command, answer, capsys):
    assert main(command.split()) == 0
    assert without_rounding(capsys.readouterr().out) == without_rounding(answer)


def test_there_is_something_to_run():
    assert len(blocks("python", TEXT)) >= 4
    assert len(blocks("python", ZOO)) == 3
    assert len(blocks("python", KERNELS)) == 1
    assert len(list(dialogues())) >= 3


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/zoo.md",
        "docs/kernels.md",
        "docs/training.md",
        "docs/trace.md",
        "docs/looking.md",
        "docs/experiments.md",
    ],
)
def test_links_lead_to_files(document):
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text("utf-8"))
    for link in links:
        assert link.startswith("https://") or ((ROOT / document).parent / link).exists(), link


def test_make_targets_named_here_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {"demo", "test", "check", "bench", "lab", "clean"} <= targets
    assert set(re.findall(r"`make ([a-z-]+)`", TEXT)) <= targets
