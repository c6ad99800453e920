"""Start-up of the commands that need no torch.

    python tests/benchmarks/bench_startup.py [--rounds 15]

Whole processes, wall clock, in turn with `python -c pass`. The goal is 150 ms for `--help` and for
`schedule` with numbers; with a recipe, pydantic's import and model building come on top. (That
torch, optuna and numpy stay unimported is a test, tests/test_architecture.py.)
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

NUMBERS = ["schedule", "--learning-rate", "0.3", "--batch-size", "256", "--steps", "1000"]
WORKERS = ["--asynchronous", "--workers", "32", "--json"]
DELAYS = Path(__file__).with_name("delays.json")  # of four workers, one of them slow
HISTOGRAM = ["--asynchronous", "--delay-histogram", str(DELAYS), "--json"]
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "tunecli --help": ["-m", "tunecli", "--help"],
    "tunecli schedule … --format json": ["-m", "tunecli", *NUMBERS, "--format", "json"],
    "tunecli schedule … (table)": ["-m", "tunecli", *NUMBERS],
    "tunecli schedule … --asynchronous": ["-m", "tunecli", *NUMBERS, *WORKERS],
    "tunecli schedule … --delay-histogram": ["-m", "tunecli", *NUMBERS, *HISTOGRAM],
    "tunecli stability --delay 16": ["-m", "tunecli", "stability", "--delay", "16", "--json"],
    "tunecli schedule RECIPE": ["-m", "tunecli", "schedule", "digits-cnn", "learning_rate=0.3"],
    "tunecli validate RECIPE": ["-m", "tunecli", "validate", "digits-cnn"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds + 1):  # the first round warms the file cache
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
            times[name].append(1000 * (time.perf_counter() - started))
    print(f"python {platform.python_version()}, {platform.machine()}, n={rounds}, milliseconds")
    for name, column in times.items():
        kept = column[1:]
        print(f"{name:<38} {statistics.median(kept):5.0f}  ({min(kept):.0f}–{max(kept):.0f})")


if __name__ == "__main__":
    main()
