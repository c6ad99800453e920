"""Scripts that are written for a test, and whether their processes are still there."""

import contextlib
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunecli.recipe.script import ScriptSection
from tunecli.schedule import Schedule, Stage
from tunecli.training.script.trial import ScriptTrial

# 30 updates, 160 samples
SCHEDULE = Schedule((Stage(0.1, 0.9, 0.5, 8, 10), Stage(0.05, 0.95, 0.5, 4, 20)))
PRELUDE = """\
import json, os, signal, subprocess, sys, time
def answer(**keys): print(json.dumps(keys), flush=True)
def mark(name="pid"):
    file = os.path.join(os.environ["TUNECLI_FOLDER"], name)
    with open(file + ".part", "w") as out: out.write(str(os.getpid()))
    os.rename(file + ".part", file)
def wait_for(name):
    while not os.path.exists(os.path.join(os.environ["TUNECLI_FOLDER"], name)): time.sleep(0.005)
"""

MakeTrial = Callable[..., ScriptTrial]


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """`script(code)` writes it to a file, behind a few functions that tests need."""

    def written(code: str) -> Path:
        path = tmp_path / "train.py"
        path.write_text(PRELUDE + textwrap.dedent(code), encoding="utf-8")
        return path

    return written


@pytest.fixture
def make(script: Callable[[str], Path], tmp_path: Path) -> Iterator[MakeTrial]:
    """`make(code, …)`: a trial of that script that is closed with the test."""
    with contextlib.ExitStack() as stack:

        def made(
            code: str | None,
            *arguments: str,
            command: tuple[str, ...] | None = None,
            section: dict[str, Any] | None = None,
            takes: str = "schedule",
            **keywords: Any,
        ) -> ScriptTrial:
            if code is not None:
                path = script(code)
                # without site, which a script in a test does not need
                command = (sys.executable, "-S", str(path), *arguments)
            assert command is not None
            given = {"grace_s": 0.3, "takes": takes, "folder": str(tmp_path), **(section or {})}
            trial = ScriptTrial(
                command,
                ScriptSection.model_validate(given),
                SCHEDULE,
                folder=tmp_path / "trial",
                **{"seed": 3, **keywords},
            )
            stack.callback(trial.close)
            return trial

        yield made


def is_alive(pid: int) -> bool:
    """Whether it runs; one that only waits to be waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state not in (b"Z", b"X")


def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether something comes true within a time."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def pid_in(path: Path) -> int:
    """The process that a script has marked."""
    assert eventually(path.exists), path
    return int(path.read_text())
