"""Gradients as they come from a transport: who is ready, whose turn it is, and who is lost."""

from collections import Counter
from collections.abc import Callable, Sequence

from tunecli.errors import RunError
from tunecli.training.asynchronous.messages import (
    Gradient,
    Transport,
    WorkerLost,
    WorkerReady,
)
from tunecli.training.asynchronous.record import DelayRecord
from tunecli.training.protocol import NotYetError

_PATIENCE_S = 0.25  # that of a trial, which looks around as often (see `Trial.advance`)


class Arrivals:
    """The workers of one run, from the first one's start to the last one's end.

    None is asked for anything before all are ready: whoever was ready first would train alone, and
    what the others then bring would be as old as they were slow to start.

    Args:
        transport: The workers, just started.
        record: Counts who is lost and who replaced.
        notes: Lines for the log, and how often each was written.
        turns: See `RemoteTraining`.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        record: DelayRecord,
        notes: Counter[str],
        turns: Sequence[int] | None,
    ) -> None:
        self._transport = transport
        self._record = record
        self._notes = notes
        self._turns = turns
        self._turn = 0
        self._waiting: dict[int, Gradient] = {}  # by worker; arrived and not yet taken
        self._ready: set[int] = set()
        self._begun = False
        self.alive = set(range(transport.num_workers))

    def next(self, ask: Callable[[int], None]) -> Gradient:
        """Wait for the next gradient; its worker then waits to be asked again.

        Args:
            ask: Gives a worker that has become ready something to do.

        Raises:
            NotYetError: Nothing has come for a quarter of a second.
            RunError: No worker is left.
        """
        while (gradient := self._take()) is None:
            match self._transport.receive(_PATIENCE_S):
                case None:
                    raise NotYetError
                case Gradient() as arrived:
                    self._waiting[arrived.worker] = arrived
                case WorkerReady(worker):
                    self._welcome(worker, ask)
                case WorkerLost(worker, reason):
                    self._lose(worker, reason, ask)
        return gradient

    def _take(self) -> Gradient | None:
        """The gradient that is next, if it is there."""
        if self._turns is None:
            return self._waiting.popitem()[1] if self._waiting else None
        while (worker := self._turns[self._turn % len(self._turns)]) not in self.alive:
            self._turn += 1
        gradient = self._waiting.pop(worker, None)
        self._turn += gradient is not None
        return gradient

    def _welcome(self, worker: int, ask: Callable[[int], None]) -> None:
        self._ready.add(worker)
        if self._begun:
            ask(worker)
        else:
            self._begin(ask)

    def _begin(self, ask: Callable[[int], None]) -> None:
        """Ask everybody, in their order, if everybody is there."""
        if self._ready == self.alive:
            self._begun = True
            for worker in sorted(self.alive):
                ask(worker)

    def _lose(self, worker: int, reason: str, ask: Callable[[int], None]) -> None:
        self._record.lost += 1
        self._waiting.pop(worker, None)  # the next one in its place would write over it
        self._ready.discard(worker)
        self._notes[f"worker {worker} {reason}"] += 1  # first, so that it is there whatever follows
        because = ""
        try:
            replaced = self._transport.replace(worker)
        except RunError as error:  # no more processes, or no memory: the others have theirs
            replaced, because = False, f", because {error}"
        if replaced:
            self._record.replaced += 1
            self._notes[f"another worker {worker} starts in its place"] += 1
            return
        self.alive.discard(worker)
        left = len(self.alive)
        self._notes[f"worker {worker} is not replaced, {left} left{because}"] += 1
        if not self.alive:
            raise RunError(
                f"no worker is left, the last one, worker {worker}, {reason}; make sure that the "
                "model trains with training.algorithm centralized and that the memory suffices for "
                "all workers, then go on with --resume"
            )
        if not self._begun:
            self._begin(ask)
