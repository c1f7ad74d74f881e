"""A file is replaced whole or stays as it was, whatever goes wrong."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from convscope import files
from convscope.errors import OutputError
from convscope.files import atomic_path, make_folder, write_bytes, write_json, write_text


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_content_and_readable_mode(tmp_path):
    write_json(tmp_path / "a.json", {"x": "é"})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n  "x": "é"\n}\n'
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o666 & ~umask
    assert names(tmp_path) == ["a.json"]


def test_a_block_that_raises_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_each_failing_system_call_leaves_the_old_file(tmp_path, monkeypatch, call, code):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        if call == "open":
            patch.setattr(files.tempfile, "mkstemp", fail)
        elif call == "fsync":
            patch.setattr(files.os, "fsync", fail)
        else:
            patch.setattr(files.Path, "replace", fail)
        with pytest.raises(OutputError, match=r"write: cannot write '.*a\.txt': "):
            write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_the_kernel_refuses_a_large_file(tmp_path):
    """A real limit of the operating system, in a process of its own."""
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "from convscope.files import write_bytes\n"
        "from convscope.errors import OutputError\n"
        "write_bytes(sys.argv[1], b'small')\n"
        "try:\n    write_bytes(sys.argv[1], b'x' * 100_000)\n"
        "except OutputError as error:\n    print(error)\n"
    )
    path = tmp_path / "a.bin"
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert "the file would exceed the size limit" in result.stdout
    assert path.read_bytes() == b"small"
    assert names(tmp_path) == ["a.bin"]


def test_refusals_say_the_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="does not exist; create it first"):
        write_bytes(tmp_path / "no" / "a", b"")
    with pytest.raises(OutputError, match="it is a folder; name a file"):
        write_bytes(tmp_path / "folder", b"")
    with pytest.raises(OutputError, match="a file, not a folder; choose another output"):
        write_bytes(tmp_path / "file" / "a", b"")
    with pytest.raises(OutputError, match=r"make_folder: cannot write .* a file of that name stands"):
        make_folder(tmp_path / "file")


def test_make_folder_probes_that_it_can_be_filled(tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "write", full)
    with pytest.raises(OutputError, match="no space is left on the device"):
        make_folder(tmp_path / "new")
    assert names(tmp_path / "new") == []
