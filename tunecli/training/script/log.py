"""The log of a script, bounded: its beginning, and of the rest the end."""

import contextlib
import re
from pathlib import Path
from typing import BinaryIO

_RECENT_BYTES = 8192
_LINE_CHARACTERS = 200
_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)")


class BoundedLog:
    """Bytes appended to a file that never takes more than a given room on the disk.

    The first half of the room is filled and stays. What follows goes to two files beside it that
    take turns: when one is full the older one is dropped. `close` puts them behind the first half,
    with a line that says how much is missing. So after a kill, too, all that was kept is there, and
    a log that is opened again goes on where it was.

    A disk that is full costs log and nothing else.

    Args:
        path: The file; `<path>.older` and `<path>.newer` beside it while it is written.
        limit_bytes: Room for all three, ≥ 4.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self.dropped = 0  # bytes that are not kept
        self._older = path.with_name(path.name + ".older")
        self._newer = path.with_name(path.name + ".newer")
        self._first = limit_bytes // 2
        self._part = limit_bytes // 4
        self._sizes = [0, 0]  # of the older and the newer part
        self._recent = b""
        self._tail: BinaryIO | None = None
        self._gather()  # what a kill has left
        self._head = _opened(path, "ab")
        self._room = max(0, self._first - (self._head.tell() if self._head else 0))
        self._take_back()

    def write(self, data: bytes) -> None:
        """Append; what cannot be written is dropped."""
        self._recent = (self._recent + data)[-_RECENT_BYTES:]
        head, data = data[: self._room], data[self._room :]
        if head:
            self._room -= len(head)
            self._append(self._head, head)
        while data:
            if self._tail is None or self._sizes[1] >= self._part:
                self._turn()
            space = max(1, self._part - self._sizes[1])
            self._append(self._tail, data[:space])
            self._sizes[1] += min(space, len(data))
            data = data[space:]

    def line(self, text: str) -> None:
        """Append a line of our own."""
        start = b"" if self._recent.endswith(b"\n") or not self._recent else b"\n"
        self.write(start + text.encode("utf-8", "replace") + b"\n")

    def last_lines(self, count: int) -> list[str]:
        """The last lines that are not empty, made fit for a terminal."""
        text = _ESCAPES.sub("", self._recent.decode("utf-8", "replace"))
        lines = [line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").split("\n")]
        shown = ["".join(c if c.isprintable() else " " for c in line).rstrip() for line in lines]
        return [shorten(line, _LINE_CHARACTERS) for line in shown if line][-count:]

    def close(self) -> None:
        """Put the parts together; a second call does nothing."""
        for file in (self._head, self._tail):
            if file is not None:
                file.close()
        self._head = self._tail = None
        self._gather()

    def _turn(self) -> None:
        """Make the newer part the older one, and begin a new one."""
        if self._tail is not None:
            self._tail.close()
            self.dropped += self._sizes[0]
            with contextlib.suppress(OSError):
                self._newer.replace(self._older)
        self._sizes = [self._sizes[1], 0]
        self._tail = _opened(self._newer, "wb")

    def _append(self, file: BinaryIO | None, data: bytes) -> None:
        if file is not None:
            with contextlib.suppress(OSError):
                file.write(data)
                return
        self.dropped += len(data)

    def _gather(self) -> None:
        """The first part, a word on what is missing, the older and the newer part: one file."""
        parts = [part for part in (self._older, self._newer) if part.exists()]
        if not parts:
            return
        with contextlib.suppress(OSError):
            with self.path.open("ab") as whole:
                if self.dropped:
                    whole.write(f"\n[… {self.dropped:,} bytes are not kept …]\n".encode())
                for part in parts:
                    with part.open("rb") as file:
                        while piece := file.read(1 << 20):
                            whole.write(piece)
            for part in parts:
                part.unlink()

    def _take_back(self) -> None:
        """Go on with a log that is longer than its first half: the rest is the end so far."""
        if self._head is None or self._room:
            return
        with contextlib.suppress(OSError):
            with self.path.open("rb") as whole:
                whole.seek(self._first)
                while piece := whole.read(1 << 20):
                    self.write(piece)
            self._head.truncate(self._first)


def shorten(text: str, characters: int) -> str:
    """A text that is no longer than that.

    >>> shorten("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _opened(path: Path, mode: str) -> BinaryIO | None:
    try:
        return path.open(mode, buffering=0)  # type: ignore[return-value]  # raw, not buffered
    except OSError:
        return None
