"""How far a schedule was followed, as plain numbers: for whoever called what follows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

FORGOTTEN = 5  # updates in a row that a scheduler has not counted, from which on it was forgotten


@dataclass(slots=True)
class Progress:
    """What a scheduler writes down while it is used. It holds on to nothing else.

    Args:
        total: Σ T_i, the schedule's updates.
        made: Updates that the scheduler has counted.
        missed: The optimizer's updates since the scheduler counted one; it stays once the scheduler
            was `FORGOTTEN`.
    """

    total: int
    made: int = 0
    missed: int = 0

    def count(self, made: int) -> None:
        """The scheduler has come to update `made`."""
        self.made = made
        if self.missed < FORGOTTEN:
            self.missed = 0


_notes: ContextVar[list[Progress] | None] = ContextVar("_notes", default=None)


def begin(total: int) -> Progress:
    """The notes of a new scheduler; a `noted_progress` around sees them as well."""
    progress = Progress(total)
    notes = _notes.get()
    if notes is not None:
        notes.append(progress)
    return progress


@contextmanager
def noted_progress() -> Iterator[list[Progress]]:
    """The progress of every scheduler that is made inside, in this thread.

    >>> with noted_progress() as notes:
    ...     begin(100).count(3)
    >>> notes
    [Progress(total=100, made=3, missed=0)]
    """
    notes: list[Progress] = []
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)
