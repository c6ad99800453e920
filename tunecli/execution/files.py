"""Writing files so that a reader never sees half of one: aside first, then moved."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from tunecli.errors import RunError

RESULT_FORMAT = 1  # of result.json; raised when a reader would break


def write_aside(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file through `write`, flush it to the disk, then move it to `path`.

    After a kill or a full disk at any instruction, `path` is the old file or the new one. A kill
    can leave the file aside, `.<name>.part`; the next write takes its place. One process at a time
    may write in a folder, which a run's lock sees to. What is no file, `/dev/null` or a pipe, is
    written to as it is: moved over, it would be gone.

    Raises:
        OSError: The file cannot be written; what stood at `path` is untouched.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            write(file)
        return
    aside = aside_of(path)
    try:
        with aside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def aside_of(path: Path) -> Path:
    """Where `write_aside` writes before it moves the file to `path`."""
    return path.with_name(f".{path.name}.part")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text aside, then move it.

    Raises:
        RunError: The file cannot be written.
    """
    try:
        write_aside(path, lambda file: file.write(text.encode()))
    except OSError as error:
        raise RunError(
            f"{path} cannot be written: {error.strerror}; free some space or mend the permissions, "
            "then go on with --resume"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON aside, then move it; NaN and infinity are refused, JSON has neither."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        RunError: The file cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RunError(f"{path} is not valid JSON ({error}); was it edited?") from error
