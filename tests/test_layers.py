"""The one direction of import (ARCHITECTURE.md, "Layers"), read from the syntax tree of every module."""

import ast
from pathlib import Path

import pytest

import convscope

SOURCE = Path(convscope.__file__).parent
# A package may import those in earlier rows; those of its own row it may not.
LAYERS = (
    ("errors",),
    ("files", "display"),
    ("download",),
    ("geometry",),
    ("signal", "kernels"),
    ("ops",),
    ("nn",),
    ("models", "acceleration"),
    ("trace",),
    ("data", "inspection"),
    ("training",),
    ("experiments",),
    ("report", "export"),
    ("serve", "lab"),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}


def imports_of(path):
    """Every module of convscope that a file names in an import, at any depth of its code."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = (
                [node.module] if node.module != "convscope" else [f"convscope.{a.name}" for a in node.names]
            )
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "convscope")


def violations(package, names):
    """The imports that do not come from the left of `package`."""
    wrong = []
    for name in names:
        other = name.split(".")[1] if "." in name else ""
        if other in ("__version__", package):
            continue
        if other not in RANK or RANK[other] >= RANK[package]:
            wrong.append(name)
    return wrong


def modules():
    return sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def package_of(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_come_from_the_left(path):
    assert violations(package_of(path), imports_of(path)) == []


def test_the_rule_can_be_broken():
    assert violations("geometry", ["convscope.errors", "convscope.ops"]) == ["convscope.ops"]
    assert violations("data", ["convscope"]) == ["convscope"]
    assert violations("data", ["convscope.inspection"]) == ["convscope.inspection"]
    assert violations("report", ["convscope.training", "convscope.unheard_of"]) == ["convscope.unheard_of"]


def test_every_package_has_its_layer():
    assert {package_of(path) for path in modules()} <= set(RANK)


def test_foreign_imports_are_declared():
    """What is imported from outside is a dependency in pyproject.toml or the standard library."""
    import sys
    import tomllib

    project = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = project["dependencies"] + extras["fast"] + extras["tune"]
    names = {entry.split(">")[0].split("=")[0].split("[")[0].strip() for entry in declared}
    known = {name.replace("pillow", "PIL") for name in names} | set(sys.stdlib_module_names) | {"convscope"}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                roots = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                roots = {(node.module or "").split(".")[0]}
            else:
                continue
            assert roots <= known, f"{path} imports {roots - known}"
