"""What this process has to compute with: processor, threads, memory, kernels, and how far each is trusted."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from convscope import kernels
from convscope.acceleration.process import keep_memory, prepare_process
from convscope.kernels import Verdict, tuned

__all__ = ["Denormals", "Machine", "describe_machine"]

Denormals = Literal["zero", "zero in some threads", "kept"]
_OPENMP = ("libgomp", "libiomp", "libomp")
_ALLOCATORS = ("libjemalloc", "libtcmalloc", "libmimalloc")
_DENORMAL_BITS = 0x00400000  # 5.9e-39 as a float32


@dataclass(frozen=True)
class Machine:
    """The facts of this process on this machine.

    `openmp` are the OpenMP runtimes in the process: one is shared by PyTorch and the native kernels. `library` is the
    path of the native library, None if there is none, for the reason in `reason`. `verdicts` say what the test of each
    kernel family found here; `tuned` routes were timed on this machine and stand in `tuned_path`.
    """

    processor: kernels.Processor
    torch_version: str
    threads: int
    onednn: bool
    openmp: tuple[str, ...]
    allocator: str
    keeps_memory: bool
    denormals: Denormals
    instruction_set: str | None
    library: str | None
    reason: str
    verdicts: tuple[Verdict, ...]
    tuned: int
    tuned_path: str

    @property
    def wrong(self) -> tuple[Verdict, ...]:
        """The kernel families that computed something wrong here, and are switched off."""
        return tuple(each for each in self.verdicts if each.cases and not each.passed)

    @property
    def problems(self) -> tuple[str, ...]:
        """What should be otherwise, one line each; what is merely absent is none."""
        lines = [
            f"the {each.family} kernels are wrong here and switched off: {each.worst} is off by {each.error:.1e}, "
            f"at most {each.bound:.1e} is rounding"
            for each in self.wrong
        ]
        if len(self.openmp) > 1:
            lines.append(
                f"{len(self.openmp)} OpenMP runtimes in one process, {' and '.join(self.openmp)}: their threads "
                "compete for the same cores"
            )
        return tuple(lines)

    def to_dict(self) -> dict[str, object]:
        """Return the machine as plain values."""
        facts: dict[str, object] = {
            name: value for name, value in vars(self).items() if name not in ("processor", "verdicts")
        }
        processor = {**asdict(self.processor), "native_bf16": self.processor.native_bf16}
        processor["features"] = list(self.processor.features)
        verdicts = [each.to_dict() for each in self.verdicts]
        problems = list(self.problems)
        return {
            "processor": processor,
            **facts,
            "openmp": list(self.openmp),
            "verdicts": verdicts,
            "problems": problems,
        }


def describe_machine(refresh: bool = False) -> Machine:
    """Describe this process as `accelerate` sets it up, and test the kernels that were not tested on this machine.

    Args:
        refresh: test all of them again.
    Example:
        >>> describe_machine().threads >= 1
        True
    """
    prepare_process()
    library = kernels.load()
    verdicts = tuple(kernels.self_test(refresh))
    mapped = _mapped()
    return Machine(
        processor=kernels.processor(),
        torch_version=torch.__version__,
        threads=torch.get_num_threads(),
        onednn=torch.backends.mkldnn.is_available(),
        openmp=tuple(name for name in mapped if name.startswith(_OPENMP)),
        allocator=next((name for name in mapped if name.startswith(_ALLOCATORS)), _c_library()),
        keeps_memory=keep_memory(),
        denormals=_denormals(),
        instruction_set=library.instruction_set,
        library=None if library.path is None else str(library.path),
        reason=library.reason,
        verdicts=verdicts,
        tuned=len(tuned.tuned()),
        tuned_path=str(tuned.path()),
    )


def _mapped() -> list[str]:
    """Return the names of the files that are mapped into this process, each path once."""
    try:
        lines = Path("/proc/self/maps").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []  # not Linux
    paths = dict.fromkeys(fields[5] for line in lines if len(fields := line.split(maxsplit=5)) == 6)
    return [os.path.basename(path) for path in paths]


def _c_library() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "unknown"
    except (AttributeError, OSError, ValueError):
        return "not glibc"


def _denormals() -> Denormals:
    """Multiply a denormal number by one in every thread of torch's pool and look at what is left.

    The setting belongs to a thread, and threads take it from the one that starts them.
    """
    numbers = torch.full((2**20,), _DENORMAL_BITS, dtype=torch.int32).view(torch.float32)
    share = float((numbers.mul(1.0).view(torch.int32) == 0).float().mean())
    return "zero" if share == 1 else "zero in some threads" if share else "kept"
