"""The log of one study: a line per finished trial, safe against a kill at any instruction."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from tunecli.errors import RunError

TrialState = Literal["complete", "diverged", "pruned", "aborted"]
Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class TrialLine:
    """One finished trial of a study.

    Args:
        number: Counted from 0 within the study.
        parameters: What was chosen; `momentum` and the others only where they are searched.
        repeat: Which of the study's training seeds, from 0.
        seed: That training seed.
        state: `pruned` by the study's own pruner, `aborted` by the early abort.
        reason: Why it did not reach its end; empty when complete.
        value: The validation metric, finite: the last one seen, or the worst one when diverged.
        baseline: What a model that has learned nothing gets.
        test: The test metric of a complete trial, for the books only; None for the others.
        updates: Updates made.
        samples: Samples drawn, which is what is billed; those of a probe are the first trial's.
        seconds: Time spent: choosing the parameters, training, validating.
        curve: The validation metric as (share of the trial's samples, value), ascending, the
            untrained model left out.
    """

    number: int
    parameters: dict[str, float]
    repeat: int
    seed: int
    state: TrialState
    reason: str
    value: float
    baseline: float
    test: float | None
    updates: int
    samples: int
    seconds: float
    curve: Curve


class StudyLog:
    """The append-only file of a study's trials.

    A line counts once it ends with a line break; what a kill left of the last line is cut off.

    Args:
        path: The file; it need not exist.

    Raises:
        RunError: The file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes() if path.exists() else b""
            self.lines, good = _read(content)
            if good < len(content):
                with path.open("r+b") as file:
                    file.truncate(good)
        except OSError as error:
            raise _cannot_write(path, error) from error

    def append(self, line: TrialLine) -> None:
        """Add a trial; it is on the disk when this returns.

        Raises:
            RunError: The file cannot be written.
        """
        text = json.dumps(asdict(line), allow_nan=False) + "\n"
        try:
            with self.path.open("ab") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        self.lines.append(line)

    def start_again(self) -> None:
        """Set the log aside and begin an empty one.

        Raises:
            RunError: The file cannot be moved.
        """
        try:
            self.path.replace(self.path.with_name(f"{self.path.name}.set-aside"))
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        self.lines = []


def _read(content: bytes) -> tuple[list[TrialLine], int]:
    """The lines that are whole, and how many bytes they take."""
    lines: list[TrialLine] = []
    good = 0
    for raw in _whole_lines(content):
        line = _parse(raw)
        if line is None or line.number != len(lines):
            break
        lines.append(line)
        good += len(raw)
    return lines, good


def _whole_lines(content: bytes) -> Iterator[bytes]:
    for raw in content.splitlines(keepends=True):
        if raw.endswith(b"\n"):
            yield raw


def _parse(raw: bytes) -> TrialLine | None:
    try:
        entry: dict[str, Any] = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(entry, dict) or entry.keys() != {field.name for field in fields(TrialLine)}:
        return None
    return TrialLine(**{**entry, "curve": tuple((at, value) for at, value in entry["curve"])})


def _cannot_write(path: Path, error: OSError) -> RunError:
    return RunError(
        f"{path} cannot be read or written: {error.strerror}; free some space or mend the "
        "permissions, then go on with --resume"
    )
