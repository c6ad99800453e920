"""What every training algorithm offers, and the plain records that a trial leaves behind."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from tunecli.data.load import AnySplit


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model comes to on one split.

    Args:
        loss: Mean loss; None where it is not known (a script that reports something else).
        accuracy: Share of right answers in [0, 1]; None where there are no classes.
        metrics: The recipe's other metrics, by name.
    """

    loss: float | None
    accuracy: float | None
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A trial at one moment: after `steps` of its schedule and `samples` drawn.

    `steps` is the position in the schedule: more than the updates made, where those that were due
    could not be made any more. `train_loss` is the mean over the updates since the point before,
    None at the start.
    """

    steps: int
    samples: int
    train_loss: float | None
    loss: float | None
    accuracy: float | None
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def evaluation(self) -> Evaluation:
        """What was measured there."""
        return Evaluation(self.loss, self.accuracy, self.metrics)


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """What one training run came to.

    Args:
        diverged: Whether the run was ended because the learning rate is too large.
        reason: Why it counts as diverged, or was given up; empty otherwise.
        untrained: Validation before the first update; None where a script does not tell.
        final: Validation after the last update; None when diverged.
        steps: Updates made: the steps of the training that changed the parameters.
        samples: Samples drawn, for updates or in vain.
        seconds: Time in the trial, evaluations included.
        batch_sizes: The batches of the updates, as (batch size, updates in a row).
        curve: Validation along the way, the untrained point first.
        given_up: Whether the run was ended early because it was not worth its end.
        measured: What the algorithm measured on the way (see `Training.measurements`), and the
            recipe's own metrics at the last evaluation, as `metrics`.
    """

    diverged: bool
    reason: str
    untrained: Evaluation | None
    final: Evaluation | None
    steps: int
    samples: int
    seconds: float
    batch_sizes: tuple[tuple[int, int], ...]
    curve: tuple[CurvePoint, ...]
    given_up: bool = False
    measured: dict[str, Any] = field(default_factory=dict)


def named_values(evaluation: Evaluation) -> Iterator[tuple[str, float]]:
    """Everything that was measured, by name; the loss first."""
    if evaluation.loss is not None:
        yield "loss", evaluation.loss
    if evaluation.accuracy is not None:
        yield "accuracy", evaluation.accuracy
    yield from evaluation.metrics.items()


class NotYetError(Exception):
    """What a step waits for has not come yet: nothing has changed, and it can be taken again."""


class Training(Protocol):
    """A training algorithm in progress. A step is one update of the parameters."""

    @property
    def total_steps(self) -> int:
        """Updates that the whole run makes."""

    @property
    def steps(self) -> int:
        """Updates made so far, and those that were due when nothing usable came any more."""

    @property
    def samples(self) -> int:
        """Samples drawn so far, for updates or in vain."""

    @property
    def batch_sizes(self) -> tuple[tuple[int, int], ...]:
        """The batches of the updates made so far, as (batch size, updates in a row)."""

    def step(self) -> Tensor:
        """Make one update; return the batch's mean loss before it, detached, on the device.

        The loss is NaN where no update can be made any more, because nothing finite comes.

        Raises:
            NotYetError: What it waits for has not come for a quarter of a second. Nothing has
                changed: call again, or leave it.
        """

    def evaluate(self, split: AnySplit) -> Evaluation:
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


class Progressing(Protocol):
    """What can be asked of a trial's training, whoever trains: this program or a script."""

    @property
    def total_steps(self) -> int:
        """Updates that the whole run makes; 0 where nobody knows."""

    @property
    def steps(self) -> int:
        """Updates made so far."""

    @property
    def samples(self) -> int:
        """Samples drawn so far."""

    def take_notes(self) -> list[str]:
        """What happened since the last call that a person should find in the trial's log."""

    def close(self) -> None:
        """End whatever runs beside the trial; a second call does nothing."""


class RunnableTrial(Protocol):
    """A trial that is advanced piece by piece: `Trial`, or a script's `ScriptTrial`."""

    seconds: float
    diverged_because: str
    given_up_because: str

    @property
    def training(self) -> Progressing:
        """Who trains."""

    @property
    def curve(self) -> list[CurvePoint]:
        """Validation along the way."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""

    def advance(self) -> None:
        """Go on for about a quarter of a second, or to the end if that comes first."""

    def outcome(self) -> TrialOutcome:
        """What the finished trial came to."""

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on from here; tensors and plain values only."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""


def wait_for_step(training: Training, check_stop: Callable[[], None]) -> Tensor:
    """`training.step()`, however long it takes.

    Args:
        training: Has a step left.
        check_stop: Called before the step, and several times a second while that has to wait; what
            it raises ends the wait.

    Returns:
        The loss that `Training.step` returns.
    """
    while True:
        check_stop()
        try:
            return training.step()
        except NotYetError:
            continue
