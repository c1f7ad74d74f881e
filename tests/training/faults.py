"""A file system that fails at its n-th call, and children that die: what the tests of saving share."""

import builtins
import contextlib
import io
import os
import traceback
import warnings

CALLS = ("open", "fsync", "rename", "replace", "unlink", "mkdir", "rmdir", "write")
DIED = 9


class Faults:
    """Counts calls that change files, or lay them out; at call number `at` does `act` in its place.

    What is written in pieces is written by half before it fails.
    """

    def __init__(self, at, act):
        self.at, self.act, self.count, self.armed, self.log = at, act, 0, False, []

    def called(self, name, what):
        if not self.armed:
            return False
        self.count += 1
        self.log.append((name, what if isinstance(what, int) else os.fspath(what)))
        return self.count == self.at

    @contextlib.contextmanager
    def here(self):
        """Patch the calls while the block runs."""
        saved = {name: getattr(os, name) for name in CALLS}
        real_open = io.open

        def patched(name):
            def call(first, *args, **kwargs):
                if self.called(name, first):
                    if name == "write":
                        saved["write"](first, args[0][: len(args[0]) // 2])
                    self.act()
                return saved[name](first, *args, **kwargs)

            return call

        faults = self

        class Counted(io.FileIO):
            def write(self, content):
                if faults.called("write", self.name):
                    super().write(bytes(content)[: len(content) // 2])
                    faults.act()
                return super().write(content)

        def opened(file, mode="r", buffering=-1, *args, **kwargs):
            if self.called("open", file):
                self.act()
            if not self.armed or isinstance(file, int) or not set(mode) & set("wax+"):
                return real_open(file, mode, buffering, *args, **kwargs)
            raw = Counted(file, mode.replace("b", "").replace("t", ""))
            if "b" in mode:
                return raw if buffering == 0 else io.BufferedWriter(raw)
            return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")

        try:
            for name in CALLS:
                setattr(os, name, patched(name))
            io.open = builtins.open = opened
            yield self
        finally:
            for name, call in saved.items():
                setattr(os, name, call)
            io.open = builtins.open = real_open


def failing(code):
    def act():
        raise OSError(code, os.strerror(code))

    return act


def dying():
    os._exit(DIED)


def start(work):
    """Run `work` in a forked child, which ends with 0, 1 after an error, or as `work` ends it; return its id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of threads; the child has the forking one alone
        child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child):
    """Wait for a child and return its exit code, below 0 the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
