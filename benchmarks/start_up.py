"""How long a person waits for `convscope --help`, beside what Python itself needs to start."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "convscope --help": ["-m", "convscope", "--help"],
    "convscope geometry --input 32 --kernel 5 --padding 2": (
        ["-m", "convscope", "geometry", "--input", "32", "--kernel", "5", "--padding", "2"]
    ),
}


def main() -> None:
    """Run the commands in turns and print medians and spread."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, arguments in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            times[name].append((time.perf_counter() - began) * 1e3)
    for name, values in times.items():
        print(
            f"{name}: median {statistics.median(values):.0f} ms, {min(values):.0f} to {max(values):.0f}, "
            f"n = {len(values)}"
        )


if __name__ == "__main__":
    main()
