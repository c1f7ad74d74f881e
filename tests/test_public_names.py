"""What packages export exists, is documented, and is listed in order."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import convscope

MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(convscope.__path__, "convscope.")
    if name != "convscope.__main__"
]


@pytest.mark.parametrize("name", ["convscope", *MODULES])
def test_every_exported_name_exists_and_is_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    for entry in getattr(module, "__all__", ()):
        value = getattr(module, entry)
        if inspect.isfunction(value) or inspect.isclass(value):
            assert inspect.getdoc(value), f"{name}.{entry} has no docstring"


@pytest.mark.parametrize(
    "name", [name for name in MODULES if name.count(".") == 1 and not name.endswith("cli")]
)
def test_public_methods_are_documented(name):
    module = importlib.import_module(name)
    for entry in getattr(module, "__all__", ()):
        value = getattr(module, entry)
        if inspect.isclass(value):
            for member, function in vars(value).items():
                if inspect.isfunction(function) and not member.startswith("_"):
                    assert inspect.getdoc(function), f"{name}.{entry}.{member} has no docstring"


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="module 'convscope' has no attribute 'create_modle'"):
        convscope.create_modle  # noqa: B018


def loaded_after(statement):
    code = f"import sys\n{statement}\nprint('torch' in sys.modules, 'numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout.split()


def test_importing_the_package_is_cheap():
    assert loaded_after("import convscope") == ["False", "False"]


def test_the_cheap_import_test_can_fail():
    assert loaded_after("import convscope; convscope.ops") == ["True", "True"]


def test_no_lazy_name_is_that_of_a_module():
    """Importing a module puts it under its name in the package, over what should have been resolved there."""
    modules = {name.rpartition(".")[2] for name in MODULES if name.startswith("convscope.data.")}
    assert not modules & set(importlib.import_module("convscope.data").__all__)
