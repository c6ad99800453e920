"""What a search tells while it runs; whoever watches decides how to show it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tunecli.recipe import Recipe
from tunecli.schedule import Schedule
from tunecli.schedule.asynchronous import DelayScaling
from tunecli.search.metric import Metric
from tunecli.search.probe import Probe
from tunecli.search.rule import Stop

Phase = Literal["search", "final"]


TrialState = Literal["complete", "diverged", "aborted", "cancelled"]
TrialRole = Literal["walk", "repeat", "narrow", "verify", "ahead", "final"]


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A trial, ended: one entry of `trials` in result.json.

    Args:
        learning_rate: α₁.
        seed: Its training seed.
        state: `aborted`: given up early; `cancelled`: ran ahead of the search and was not needed.
        value: The metric; a finite worst value if diverged, the last one if ended early.
        updates: Updates made.
        samples: Samples drawn.
        seconds: Time in the trial.
        role: What the search wanted it for.
        reason: Why it diverged or was given up.
        curve: The metric along the way as (samples, value), the untrained model first.
        measured: What the training algorithm measured besides; empty for most.
        split: What the value was measured on: `test` for the final trainings, unless a script
            tells nothing of a test set.
    """

    learning_rate: float
    seed: int
    state: TrialState
    value: float | None
    updates: int
    samples: int
    seconds: float
    role: TrialRole = "walk"
    reason: str = ""
    curve: tuple[tuple[int, float], ...] = ()
    measured: dict[str, Any] = field(default_factory=dict)
    split: Literal["validation", "test"] = "validation"


@dataclass(frozen=True, slots=True)
class SearchStarted:
    """Before the first trial.

    Args:
        recipe: What is searched.
        schedule: The schedule at the grid's first rate; its lengths hold at every rate.
        training_samples: Size of the training set; None: a script does not tell.
        metric: What is compared.
        most_trials: Trials in the worst case.
        usual_trials: Trials that such a search usually takes.
        finished: Trials found in the folder (a resumed run).
        device: Where the trials run.
        workers: How many trials run side by side.
        scaling: What a delay makes of the rates; None without one.
    """

    recipe: Recipe
    schedule: Schedule
    training_samples: int | None
    metric: Metric
    most_trials: int
    usual_trials: int
    finished: tuple[TrialRecord, ...]
    device: str
    workers: int = 1
    scaling: DelayScaling | None = None


@dataclass(frozen=True, slots=True)
class DelayMeasuring:
    """Before everything else: real workers are about to be watched for their delay."""

    num_workers: int


@dataclass(frozen=True, slots=True)
class TrialStarted:
    """A trial begins, or goes on from a checkpoint; `log` is its script's, where one trains."""

    phase: Phase
    learning_rate: float
    seed: int
    total_steps: int
    log: Path | None = None


@dataclass(frozen=True, slots=True)
class TrialProgressed:
    """A trial has advanced.

    `curve` is the metric at each evaluation so far, `silent_s` for how long a script has not
    answered.
    """

    phase: Phase
    learning_rate: float
    seed: int
    steps: int
    samples: int
    seconds: float
    curve: tuple[float, ...]
    silent_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TrialFinished:
    """A trial has ended; its value is the validation metric, or the test metric in the final."""

    phase: Phase
    record: TrialRecord


@dataclass(frozen=True, slots=True)
class SearchStopped:
    """The rule has decided; the final training follows, if there is a rate to train with."""

    stop: Stop
    explanation: str


@dataclass(frozen=True, slots=True)
class ProbeFinished:
    """The ramp before the walk has found where to begin, or has not."""

    probe: Probe


Event = (
    DelayMeasuring
    | SearchStarted
    | ProbeFinished
    | TrialStarted
    | TrialProgressed
    | TrialFinished
    | SearchStopped
)
Notify = Callable[[Event], None]
