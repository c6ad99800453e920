"""The append-only file of a stability measurement's finished points."""

import json
import os
from pathlib import Path
from typing import Any

from tunecli.errors import RunError


class PointLog:
    """The finished points of a measurement, a JSON line each; a cut-off line is dropped.

    Args:
        path: The file; it need not exist.

    Raises:
        RunError: The file cannot be read or written, or a line of it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.points: dict[tuple[int, float], dict[str, Any]] = {}
        try:
            content = path.read_bytes() if path.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                with path.open("r+b") as file:
                    file.truncate(len(whole))
        except OSError as error:
            raise self._failed(error) from error
        try:
            for line in whole.splitlines():
                self._add(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} cannot be read ({error}); remove the damaged line, then go on with "
                "--resume"
            ) from error

    def append(self, point: dict[str, Any]) -> None:
        """Add a point; it is on the disk when this returns.

        Raises:
            RunError: The file cannot be written.
        """
        try:
            with self._path.open("ab") as file:
                file.write((json.dumps(point, allow_nan=False) + "\n").encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._failed(error) from error
        self._add(point)

    def _add(self, point: dict[str, Any]) -> None:
        self.points[point["delay"], point["momentum"]] = point

    def _failed(self, error: OSError) -> RunError:
        return RunError(
            f"{self._path} cannot be read or written: {error.strerror}; free some space or mend "
            "the permissions, then go on with --resume"
        )
