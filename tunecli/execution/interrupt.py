"""Ctrl-C once: stop at the next safe point. Twice: stop at once."""

import contextlib
import os
import signal
from types import FrameType, TracebackType
from typing import Protocol, Self

from tunecli.errors import InterruptedRunError


class StopRequest(Protocol):
    """What a running trial asks whether to stop: a signal, or whoever started the trial."""

    @property
    def requested(self) -> bool:
        """Whether to stop at the next safe point."""

    @property
    def signal_number(self) -> int | None:
        """The signal that an interrupted run reports."""


def check_stop(request: StopRequest) -> None:
    """For work that has no checkpoint of its own and is begun again.

    Raises:
        InterruptedRunError: A stop was requested.
    """
    if request.requested:
        assert request.signal_number is not None
        raise InterruptedRunError("stopped on request", request.signal_number)


class Interrupt:
    """Turns the first SIGINT or SIGTERM into a request, the second into an immediate exit.

    As a context manager it installs its handlers and puts the old ones back. Nothing is lost by
    the immediate exit either: files are written aside and then moved.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._previous: dict[int, object] = {}

    @property
    def requested(self) -> bool:
        """Whether the run was asked to stop."""
        return self.signal_number is not None

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() gave us

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            if os.isatty(2):
                os.write(2, b"\x1b[?25h\n")  # a live view has hidden the cursor
            with contextlib.suppress(OSError):
                os.write(2, b"stopped at once; --resume goes on from the last checkpoint\n")
            os._exit(128 + number)
        self.signal_number = number
