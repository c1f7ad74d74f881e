"""What `ops` and `nn` export: everything their files declare, each with an example."""

import pytest

from convscope import nn, ops


@pytest.mark.parametrize("package", [ops, nn])
def test_exports_are_sorted_and_there(package):
    names = package.__all__
    assert sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name)) == names
    assert all(hasattr(package, name) for name in names)


@pytest.mark.parametrize("package", [ops, nn])
def test_every_function_and_layer_has_an_example(package):
    for name in package.__all__:
        thing = getattr(package, name)
        if getattr(thing, "__module__", "").startswith("convscope"):
            assert ">>>" in (thing.__doc__ or ""), name
