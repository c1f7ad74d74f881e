"""What `ops` and `nn` export: everything their files declare, each with an example that runs."""

import doctest
import importlib
import pkgutil

import pytest

from convscope import nn, ops

FILES = [
    importlib.import_module(f"{package.__name__}.{found.name}")
    for package in (ops, nn)
    for found in pkgutil.iter_modules(package.__path__)
]


@pytest.mark.parametrize("package", [ops, nn])
def test_exports_are_sorted_and_there(package):
    names = package.__all__
    assert sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name)) == names
    assert all(hasattr(package, name) for name in names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.__name__)
def test_examples_run(file):
    result = doctest.testmod(file)
    assert result.failed == 0
    assert result.attempted > 0


@pytest.mark.parametrize("package", [ops, nn])
def test_every_function_and_layer_has_an_example(package):
    for name in package.__all__:
        thing = getattr(package, name)
        if getattr(thing, "__module__", "").startswith("convscope"):
            assert ">>>" in (thing.__doc__ or ""), name
