"""What a script says, line by line: which lines are answers, and what they answer."""

import contextlib
import json
import math
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunecli.errors import RunError
from tunecli.training.script.log import shorten

MAX_LINE_BYTES = 65_536  # a longer line is no answer
_LARGEST_COUNT = 2**53
_PIECE_BYTES = 1 << 20
_PIECES_AT_ONCE = 64
_SEEN_BYTES = 256
_KEYS = ("step", "samples", "value", "train_loss", "test", "checkpoint", "diverged")
_QUOTED_KEYS = tuple(f'"{key}"'.encode() for key in _KEYS)
_LOOKS_LIKE_ONE = re.compile(rf"""["']?\b({"|".join(_KEYS)})["']?\s*[:=]""")


class BadAnswerError(Exception):
    """A line that is an answer, but not one that can be understood; the text says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One line of a script.

    Args:
        step: Updates made so far; 0 is the untrained model.
        samples: Samples drawn so far.
        value: The objective. NaN or an infinity: it has diverged.
        train_loss: Training loss since the answer before; likewise.
        test: The objective on the test set.
        checkpoint: Where the script has saved its state at this point.
        diverged: The script says that it has diverged.
        text: The line itself, shortened.
    """

    step: int | None = None
    samples: int | None = None
    value: float | None = None
    train_loss: float | None = None
    test: float | None = None
    checkpoint: str | None = None
    diverged: bool = False
    text: str = ""


def read_answer(line: bytes) -> Answer | None:
    """The answer that a line is, or None: then it is log.

    Raises:
        BadAnswerError: It has a key of an answer with something else than that key's kind of value.

    >>> read_answer(b'{"step": 10, "value": 0.9}').value, read_answer(b'{"epoch": 1}')
    (0.9, None)
    """
    try:
        # surrogateescape: a path with a byte that is no UTF-8 is still that path
        found = json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not any(key in found for key in _KEYS):
        return None
    text = show_line(line)
    try:
        values: dict[str, Any] = {
            key: _READERS[key](found[key], key) for key in _KEYS if key in found
        }
    except BadAnswerError as error:
        raise BadAnswerError(f"the script's answer {text} is bad: {error}") from None
    return Answer(text=text, **values)


def looks_like_an_answer(line: str) -> bool:
    """Whether somebody may have meant a line as an answer that is none.

    >>> looks_like_an_answer("{'value': 0.5}"), looks_like_an_answer("epoch 3 of 5")
    (True, False)
    """
    return _LOOKS_LIKE_ONE.search(line) is not None


def show_line(line: bytes) -> str:
    """A line as it can be shown in a message."""
    text = line.decode("utf-8", "replace").strip()
    return shorten("".join(c if c.isprintable() else "�" for c in text), 120)


class AnswerLines:
    """Cuts a stream of bytes into lines and keeps those that begin with a brace.

    Made for streams that are mostly something else: a piece without a key of an answer costs a
    search for those, and a line without an end is not kept.
    """

    def __init__(self) -> None:
        self._kept = b""  # the line that has not ended, as long as it can be an answer
        self._skipping = False  # it has not ended, and is none

    def feed(self, data: bytes) -> list[bytes]:
        """The next bytes; the lines among them that are complete and may be answers."""
        if self._skipping:
            end = data.find(b"\n")
            if end < 0:
                return []
            data = data[end + 1 :]
        elif self._kept:
            data = self._kept + data
        lines: list[bytes] = []
        # without a key of an answer only the line that goes on is of interest
        of_interest = b"{" in data and any(key in data for key in _QUOTED_KEYS)
        position = 0 if of_interest else data.rfind(b"\n") + 1
        while (brace := data.find(b"{", position)) >= 0:
            start = max(data.rfind(b"\n", position, brace) + 1, position)
            end = data.find(b"\n", brace)
            if end < 0:
                break
            if end - start <= MAX_LINE_BYTES and not data[start:brace].strip():
                lines.append(data[start:end])
            position = end + 1
        rest = data[max(data.rfind(b"\n", position) + 1, position) :]
        self._skipping = len(rest) > MAX_LINE_BYTES or rest.lstrip()[:1] not in (b"", b"{")
        self._kept = b"" if self._skipping else rest
        return lines

    def finish(self) -> list[bytes]:
        """The last line, where its end is missing."""
        kept, self._kept = self._kept, b""
        return [kept] if kept.strip() else []


class AnswerFile:
    """Follows a file that a script appends to, or writes anew with every answer.

    Args:
        path: It need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: object = None
        self._position = 0
        self._seen = b""  # the last bytes before the position
        self._lines = AnswerLines()

    def last_lines(self, count: int) -> list[str]:
        """The last lines of it that are not empty, whether they are answers or not."""
        text = ""
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MAX_LINE_BYTES))
            text = file.read(MAX_LINE_BYTES).decode("utf-8", "replace")
        return [show_line(line.encode()) for line in text.splitlines() if line.strip()][-count:]

    def poll(self, *, final: bool = False) -> list[bytes]:
        """Lines that were completed since the last call.

        Args:
            final: Nobody writes any more, so the last line is taken without its end.

        Raises:
            RunError: It is there and cannot be read.
        """
        try:
            # not blocking: the script may have made anything of that name, a pipe for one
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                lines = self._read(file, final=final)
        except FileNotFoundError:
            lines = []
        except OSError as error:
            raise RunError(
                f"the file of the script's answers, {self._path}, cannot be read: "
                f"{error.strerror}; let the script append lines to it, then go on with --resume"
            ) from error
        return [*lines, *(self._lines.finish() if final else [])]

    def _read(self, file: Any, *, final: bool) -> list[bytes]:
        status = os.fstat(file.fileno())
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        if stamp == self._stamp and not final:
            return []
        self._stamp = stamp
        file.seek(self._position - len(self._seen))
        if file.read(len(self._seen)) != self._seen:  # not what we have read: it is written anew
            self._position, self._seen, self._lines = 0, b"", AnswerLines()
            file.seek(0)
        lines: list[bytes] = []
        for _ in range(sys.maxsize if final else _PIECES_AT_ONCE):
            piece = file.read(_PIECE_BYTES)
            if not piece:
                break
            self._position += len(piece)
            self._seen = (self._seen + piece)[-_SEEN_BYTES:]
            lines += self._lines.feed(piece)
        else:
            self._stamp = None  # there may be more
        return lines


def _number(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        remedy = (
            "print it without quotes"
            if isinstance(value, str)
            else (
                'print NaN or "diverged": true where there is none because training diverged, '
                "else leave the key out"
            )
        )
        raise BadAnswerError(f"{key} must be a number but got {_shown(value)}; {remedy}")
    with contextlib.suppress(OverflowError):
        return float(value)
    return math.inf


def _count(value: object, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_COUNT:
        raise BadAnswerError(
            f"{key} must be a whole number ≥ 0 but got {_shown(value)}; count {_OF[key]}"
        )
    return value


def _path(value: object, key: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise BadAnswerError(
            f"{key} must be a path but got {_shown(value)}; leave the key out until there is one"
        )
    return value


def _truth(value: object, key: str) -> bool:
    if not isinstance(value, bool):
        raise BadAnswerError(f"{key} must be true or false but got {_shown(value)}; write true")
    return value


def _shown(value: object) -> str:
    return show_line(json.dumps(value).encode())


_OF = {"step": "updates made so far", "samples": "samples drawn so far"}
_READERS = {
    "step": _count,
    "samples": _count,
    "value": _number,
    "train_loss": _number,
    "test": _number,
    "checkpoint": _path,
    "diverged": _truth,
}
