"""The tree of errors: exit codes, names told, and a call's name put in front."""

import copy
import pickle

import pytest

from convscope import errors
from convscope.errors import ConvscopeError, ShapeError, UnknownNameError, UsageError


def test_misuse_is_2_and_failure_is_1():
    codes = {name: getattr(errors, name).exit_code for name in errors.__all__ if name != "printable"}
    misuse = {name for name, code in codes.items() if code == 2}
    assert misuse == {"UsageError", "ShapeError", "UnknownNameError"}
    assert set(codes.values()) == {1, 2}


def test_usage_errors_are_value_errors():
    assert issubclass(ShapeError, ValueError)
    assert not issubclass(errors.RunError, ValueError)


def test_at_renames_and_keeps_the_class():
    error = UnknownNameError("mode", "sam", ["same", "full"]).at("convolve")
    assert str(error) == "convolve: unknown mode 'sam': did you mean 'same'? Known: 'same', 'full'."
    assert type(error) is UnknownNameError
    assert str(error.at("other")).startswith("other: unknown mode")


@pytest.mark.parametrize(
    "error", [ShapeError("a is 1.", call="f"), UnknownNameError("x", "y", ["z"], call="f")]
)
def test_errors_survive_copies_and_processes(error):
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (str(twin), type(twin)) == (str(error), type(error))


def test_a_long_list_of_names_is_cut():
    text = str(UnknownNameError("layer", "q", [f"layer{number}" for number in range(50)]))
    assert text.endswith("'layer19' and 30 more.")


def test_no_name_known():
    assert str(UnknownNameError("layer", "q", [])) == "unknown layer 'q': Known: none."


def test_base_without_call():
    assert str(ConvscopeError("plain.")) == "plain."
    assert isinstance(UsageError("x").at("y"), UsageError)
