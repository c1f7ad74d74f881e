"""Recipes as TOML: the named ones of the package, files of people, and the one that a run folder keeps."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from convscope.errors import ConvscopeError, UnknownNameError, UsageError
from convscope.training.recipe import Recipe

__all__ = ["RECIPE_VERSION", "list_recipes", "named_recipe", "parse_recipe", "recipe_text"]

# Of the meaning of the fields; a recipe of another version is refused, not guessed at.
RECIPE_VERSION = 1
_NAMED = Path(__file__).parent / "named"


def recipe_text(recipe: Recipe) -> str:
    """Return a recipe as TOML that `parse_recipe` reads back to an equal one; fields that are None are left out.

    Example:
        >>> print(recipe_text(Recipe(epochs=3, model_options={"widths": [8, 16]})))
        version = 1
        model = "small_vgg"
        ...
        epochs = 3
        ...
        [model_options]
        widths = [8, 16]
        <BLANKLINE>
    """
    facts = recipe.to_dict()
    options = facts.pop("model_options")
    assert isinstance(options, Mapping)
    lines = [f"version = {RECIPE_VERSION}"]
    lines += [f"{name} = {_toml(value)}" for name, value in facts.items() if value is not None]
    if options:
        lines += [
            "",
            "[model_options]",
            *(f"{_toml_key(name)} = {_toml(value)}" for name, value in options.items()),
        ]
    return "\n".join(lines) + "\n"


def parse_recipe(text: str, source: str) -> Recipe:
    """Read a recipe from TOML; fields that are not there keep their defaults.

    Args:
        source: what to call it in errors.
    Raises:
        UsageError: it is no TOML, of another version, or a value is outside its range.
        UnknownNameError: a field that does not exist; the nearest names are told.
    Example:
        >>> parse_recipe("version = 1\\nepochs = 3", "my.toml").epochs
        3
        >>> parse_recipe("version = 7", "my.toml")
        Traceback (most recent call last):
        convscope.errors.UsageError: my.toml: the recipe is of version 7, this program reads version 1; ...
    """
    try:
        facts = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source}: no recipe in TOML: {error}.") from error
    version = facts.pop("version", None)
    if version is None:
        raise UsageError(
            f"{source}: the recipe does not say its version; write `version = {RECIPE_VERSION}` on top."
        )
    if type(version) is not int or version != RECIPE_VERSION:
        raise UsageError(
            f"{source}: the recipe is of version {version!r}, this program reads version {RECIPE_VERSION}; use the "
            "program that wrote it, or write the recipe anew."
        )
    try:
        return Recipe.from_dict(facts)
    except ConvscopeError as error:
        raise error.at(source) from error


@cache
def list_recipes() -> tuple[str, ...]:
    """Return the names of the recipes in the package.

    Example:
        >>> "fashion-cnn" in list_recipes()
        True
    """
    return tuple(sorted(path.stem for path in _NAMED.glob("*.toml")))


def named_recipe(name: str) -> Recipe:
    """Return a recipe of the package by name, or of a TOML file by its path.

    Raises:
        UnknownNameError: neither a known name nor a file; the nearest names are told.
        UsageError: the file is no recipe.
    Example:
        >>> named_recipe("fashion-lenet5").model
        'lenet5'
    """
    if name in list_recipes():
        return parse_recipe((_NAMED / f"{name}.toml").read_text("utf-8"), name)
    path = Path(name)
    if path.suffix == ".toml" or path.name != name:
        try:
            return parse_recipe(path.read_text("utf-8"), str(path))
        except (OSError, ValueError) as error:
            if isinstance(error, ConvscopeError):
                raise
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"recipe file {name!r} cannot be read: {reason}.", call="train") from error
    raise UnknownNameError("recipe", name, list_recipes(), call="train")


def _toml(value: object) -> str:
    """Return a plain value as TOML; its strings and whole numbers are those of JSON."""
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{_toml_key(str(name))} = {_toml(each)}" for name, each in value.items()) + "}"
        )
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return _toml_string(value)
    if value is None or not isinstance(value, (bool, int, float)):
        raise UsageError(
            f"recipe_text: {value!r} cannot stand in a recipe; use numbers, words, lists and tables."
        )
    return repr(value) if type(value) is float else json.dumps(value)


def _toml_key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _toml_string(name)


def _toml_string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
