"""What every training algorithm offers, and the plain records that a trial leaves behind."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from tunecli.data.load import Split


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Mean loss and accuracy (share of right answers in [0, 1]) over one split."""

    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A trial at one moment: after `steps` updates and `samples` drawn.

    `train_loss` is the mean over the updates since the point before, None at the start.
    """

    steps: int
    samples: int
    train_loss: float | None
    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """What one training run came to.

    Args:
        diverged: Whether the run was ended because the learning rate is too large.
        reason: Why it counts as diverged, or was given up; empty otherwise.
        untrained: Validation before the first update.
        final: Validation after the last update; None when diverged.
        steps: Updates made.
        samples: Samples drawn.
        seconds: Time in the trial, evaluations included.
        batch_sizes: The batches that the model saw, as (batch size, updates in a row).
        curve: Validation along the way, the untrained point first.
        given_up: Whether the run was ended early because it was not worth its end.
        measured: What the algorithm measured on the way (see `Training.measurements`).
    """

    diverged: bool
    reason: str
    untrained: Evaluation
    final: Evaluation | None
    steps: int
    samples: int
    seconds: float
    batch_sizes: tuple[tuple[int, int], ...]
    curve: tuple[CurvePoint, ...]
    given_up: bool = False
    measured: dict[str, Any] = field(default_factory=dict)


class Training(Protocol):
    """A training algorithm in progress. A step is one update of the parameters."""

    @property
    def total_steps(self) -> int:
        """Updates that the whole run makes."""

    @property
    def steps(self) -> int:
        """Updates made so far."""

    @property
    def samples(self) -> int:
        """Samples drawn so far."""

    @property
    def batch_sizes(self) -> tuple[tuple[int, int], ...]:
        """The batches that the model saw so far, as (batch size, updates in a row)."""

    def step(self) -> Tensor:
        """Make one update; return the batch's mean loss before it, detached, on the device."""

    def evaluate(self, split: Split) -> Evaluation:
        """Evaluate the parameters as they are; trains nothing and draws no random number."""

    def weights(self) -> dict[str, Tensor]:
        """The model's `state_dict` as `evaluate` sees it, in memory of its own, on the CPU."""

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on exactly from here; tensors and plain values only."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""

    def measurements(self) -> dict[str, Any]:
        """What was measured so far beside loss and accuracy, as plain JSON; empty if nothing is."""

    def take_notes(self) -> list[str]:
        """What happened since the last call that a person should find in the trial's log."""

    def close(self) -> None:
        """End whatever runs beside the training; a second call does nothing."""
