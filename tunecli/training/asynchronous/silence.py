"""Workers that neither answer nor die: a pipe does not tell, so time has to."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tunecli.errors import require

_LONGEST_GAP_S = 1.0  # between two looks; what is longer is the server's own absence


@dataclass(frozen=True, slots=True)
class SilenceLimits:
    """After how long a worker that says nothing counts as lost.

    Far too long rather than too short: a worker that is lost for nothing costs its start and its
    samples, a hang costs at most its share of the updates until it is seen.

    Args:
        answer_s: Seconds for a gradient, > 0, where none has taken long. The first one on a GPU
            loads and tunes kernels, and a machine that swaps stands still for seconds.
        times_slowest: As many times as long as the slowest answer so far, > 0, if that is more. A
            straggler is known after its first answer, and a later stage's larger batches take
            longer in proportion.
        start_s: Seconds for a start, > 0, or since another worker was ready, if that is less: many
            workers that start on few cores wait for each other. Reading torch from a network drive
            takes half a minute.
    """

    answer_s: float = 60.0
    times_slowest: float = 100.0
    start_s: float = 120.0

    def __post_init__(self) -> None:
        for name in ("answer_s", "times_slowest", "start_s"):
            require(getattr(self, name) > 0, name, "> 0", getattr(self, name))


class Silence:
    """How long each worker that should say something has said nothing.

    The clock stands still while nobody looks: after an evaluation, or Ctrl-Z and `fg`, the workers'
    answers are there, but had no chance to be heard.

    Args:
        num_workers: ≥ 1.
        limits: When a worker is overdue.
        now: Seconds from whenever.

    >>> times = iter([0.0, 0.5, 0.5, 600.0, 601.0, 601.75])
    >>> silence = Silence(1, limits=SilenceLimits(answer_s=2.5), now=lambda: next(times))
    >>> silence.begin(0, "answer")
    >>> [silence.overdue() for _ in range(5)]  # each gap counts for a second at most
    [[], [], [], [], [(0, 'did not answer for 3 s')]]
    """

    def __init__(
        self,
        num_workers: int,
        *,
        limits: SilenceLimits,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._now = now
        self._looked_at = now()
        self._clock = 0.0
        self._slowest = 0.0
        self._since: list[tuple[str, float] | None] = [None] * num_workers

    def begin(self, worker: int, awaited: str) -> None:
        """From here on the worker owes an `answer`, or has to `start`."""
        self._since[worker] = (awaited, self._clock)

    def end(self, worker: int) -> None:
        """The worker has said something, or is gone."""
        awaited, since = self._since[worker] or ("", 0.0)
        self._since[worker] = None
        if awaited == "answer":
            self._slowest = max(self._slowest, self._clock - since)
        elif awaited == "start":
            for other, silent in enumerate(self._since):
                if silent and silent[0] == "start":
                    self.begin(other, "start")

    def overdue(self) -> Sequence[tuple[int, str]]:
        """Look: who has been silent for too long, and what to say of it. To be called often."""
        now = self._now()
        self._clock += min(now - self._looked_at, _LONGEST_GAP_S)
        self._looked_at = now
        limits = self._limits
        limit_s = {
            "answer": max(limits.answer_s, limits.times_slowest * self._slowest),
            "start": limits.start_s,
        }
        return [
            (worker, f"did not {silent[0]} for {self._clock - silent[1]:.0f} s")
            for worker, silent in enumerate(self._since)
            if silent and self._clock - silent[1] > limit_s[silent[0]]
        ]
