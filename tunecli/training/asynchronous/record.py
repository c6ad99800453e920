"""What an asynchronous training measured: the delay of every update, and what went wrong."""

from collections import Counter
from typing import Any, Literal

BatchNorm = Literal["common", "mean of the workers"]


class DelayRecord:
    """Counts of what arrived at a parameter server.

    The delay of an update is the number of updates that were applied between the parameters that
    its gradient was computed at and the ones that it changed.

    Args:
        num_workers: ≥ 1.
    """

    def __init__(self, num_workers: int) -> None:
        self.delays: Counter[int] = Counter()
        self.workers = [0] * num_workers
        self.refused = 0
        self.lost = 0
        self.replaced = 0

    def applied(self, worker: int, delay: int) -> None:
        """Count one update."""
        self.delays[delay] += 1
        self.workers[worker] += 1

    @property
    def mean_delay(self) -> float | None:
        """Mean over the updates applied; None before the first."""
        updates = self.delays.total()
        if not updates:
            return None
        return sum(delay * count for delay, count in self.delays.items()) / updates

    def measurements(self, *, batch_norm: BatchNorm | None) -> dict[str, Any]:
        """The record as `Training.measurements` returns it, delays ascending.

        Args:
            batch_norm: Whose running statistics are evaluated; None without any.
        """
        return {
            "delays": {str(delay): self.delays[delay] for delay in sorted(self.delays)},
            "mean_delay": self.mean_delay,
            "workers": list(self.workers),
            "refused": self.refused,
            "lost": self.lost,
            "replaced": self.replaced,
            "batch_norm": batch_norm,
        }

    def state_dict(self) -> dict[str, Any]:
        """Plain values only."""
        return {
            "delays": dict(self.delays),
            "workers": list(self.workers),
            "refused": self.refused,
            "lost": self.lost,
            "replaced": self.replaced,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.delays = Counter(state["delays"])
        self.workers = list(state["workers"])
        self.refused, self.lost = state["refused"], state["lost"]
        self.replaced = state["replaced"]
