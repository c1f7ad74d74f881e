"""Temporary files of tests, and of the examples in docstrings, go where pytest removes them."""

import tempfile

import pytest


@pytest.fixture(autouse=True, scope="session")
def temporary_folder(tmp_path_factory):
    before = tempfile.tempdir
    tempfile.tempdir = str(tmp_path_factory.mktemp("temporary"))
    yield
    tempfile.tempdir = before
