"""Where the trials of a study come from: its log as far as that goes, then training."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from tunecli.data.load import Split, Splits, load_splits
from tunecli.recipe.data import AnyData
from tunecli.search.compare.log import Curve, StudyLog, TrialLine, TrialState
from tunecli.search.metric import Metric
from tunecli.training import CurvePoint, Trial
from tunecli.training.trial import GivesUp

SEEDS_PER_STUDY = 1000

# told the curve so far, without the untrained model, and what a model that has learned nothing
# gets; answers how and why to give the trial up
Watch = Callable[[Curve, float], tuple[TrialState, str] | None]
# makes a fresh trial from a training seed and the data, to be given up as the third one says
Build = Callable[[int, Splits, GivesUp], Trial]


class StudyCancelledError(Exception):
    """The study was asked to stop; its log holds what is finished."""


class ReplayMismatchError(Exception):
    """The log does not hold what the study chooses now."""


def training_seed(study_seed: int, repeat: int) -> int:
    """A training seed; no two studies share one.

    >>> training_seed(0, 0), training_seed(0, 1), training_seed(3, 0)
    (0, 1, 3000)
    """
    return SEEDS_PER_STUDY * study_seed + repeat


@dataclass(frozen=True, slots=True)
class Setting:
    """What all trials of a study share.

    Args:
        data: The recipe's `data` section.
        metric: What is compared.
        divergence_factor: The recipe's.
        device: Where to train.
        study_seed: Seed of the study.
        budget: Samples that the study may draw.
        samples_per_trial: Samples of one full trial.
    """

    data: AnyData
    metric: Metric
    divergence_factor: float
    device: torch.device
    study_seed: int
    budget: int
    samples_per_trial: int


@dataclass(frozen=True, slots=True)
class Request:
    """The next trial of a study.

    Args:
        parameters: What was chosen.
        repeat: Which of the study's training seeds.
        samples: What the trial draws if it is trained to its end.
        build: Makes the trial.
        watch: Told the curve at every evaluation but the last.
    """

    parameters: dict[str, float]
    repeat: int
    samples: int
    build: Build
    watch: Watch


class Bench:
    """Gives a study its trials, one after the other, and keeps its books.

    A trial that the log holds is read back: its curve is shown to `watch` as it was when it was
    trained, so whatever else depends on it (a pruner's memory) comes out the same.

    Args:
        setting: What all trials share.
        log: The study's log.
        cancelled: Asked several times a second.
        on_trial: Called after every trial that was trained.
    """

    def __init__(
        self,
        setting: Setting,
        log: StudyLog,
        *,
        cancelled: Callable[[], bool],
        on_trial: Callable[["Bench"], None],
    ) -> None:
        self.setting = setting
        self.lines: list[TrialLine] = []
        self._log = log
        self._cancelled = cancelled
        self._on_trial = on_trial
        self._splits, self._test = _data(setting.data, setting.device)
        self._owed = 0
        # a process's first optimizer makes torch import its compiler, which takes a second or two:
        # no trial is to be billed for that
        torch.optim.SGD([torch.zeros(1)], lr=0.1)
        self._clock = time.perf_counter()

    @property
    def splits(self) -> Splits:
        """Training and validation data."""
        return self._splits

    @property
    def samples(self) -> int:
        """Samples drawn so far."""
        return sum(line.samples for line in self.lines) + self._owed

    @property
    def affords_another(self) -> bool:
        """Whether a full trial would still end within the budget; another one cannot count."""
        setting = self.setting
        # a study whose trials cost nothing would never end
        most_trials = 20 * (setting.budget // setting.samples_per_trial + 1)
        within = self.samples + setting.samples_per_trial <= setting.budget
        return within and len(self.lines) < most_trials

    def owe(self, samples: int) -> None:
        """Bill samples that were drawn before the first trial to that trial."""
        self._owed += samples

    def trial(self, request: Request) -> TrialLine:
        """One trial, from the log or trained.

        Raises:
            ReplayMismatchError: The log has another trial in this place.
            StudyCancelledError: The study was asked to stop.
            RunError: The log cannot be written.
        """
        number = len(self.lines)
        if number < len(self._log.lines):
            line = _replayed(self._log.lines[number], request)
            self._owed = 0  # it was billed when the line was written
            self.lines.append(line)
        else:
            line, self._owed = self._trained(number, request), 0
            self._log.append(line)
            self.lines.append(line)
            self._on_trial(self)
        self._clock = time.perf_counter()
        return line

    def _trained(self, number: int, request: Request) -> TrialLine:
        setting, metric = self.setting, self.setting.metric
        seed = training_seed(setting.study_seed, request.repeat)
        given_up: list[tuple[TrialState, str]] = []

        def gives_up(points: Sequence[CurvePoint]) -> str | None:
            worst, baseline = self._scale(points[0])
            found = request.watch(self._curve(points, request.samples, worst), baseline)
            given_up.extend([found] if found else [])
            return found[1] if found else None

        trial = request.build(seed, self._splits, gives_up)
        while not trial.finished:
            if self._cancelled():
                raise StudyCancelledError
            trial.advance()
        seconds = time.perf_counter() - self._clock  # the test below is for the books only
        worst, baseline = self._scale(trial.curve[0])
        curve = self._curve(trial.curve, request.samples, worst)
        state, reason = given_up[0] if given_up else ("complete", "")
        if trial.diverged_because:
            state, reason = "diverged", trial.diverged_because
        tested = None
        if state == "complete":
            tested = _clamped(metric.of(trial.training.evaluate(self._test)), worst, metric)
        return TrialLine(
            number=number,
            parameters=request.parameters,
            repeat=request.repeat,
            seed=seed,
            state=state,
            reason=reason,
            value=worst if state == "diverged" else curve[-1][1],
            baseline=baseline,
            test=tested,
            updates=trial.training.steps,
            samples=trial.training.samples + self._owed,
            seconds=seconds,
            curve=curve,
        )

    def _scale(self, untrained: CurvePoint) -> tuple[float, float]:
        """The worst value there is, and what a model that has learned nothing gets."""
        metric, start = self.setting.metric, untrained.evaluation
        worst = metric.worst(start, self.setting.divergence_factor)
        baseline = metric.baseline(start, self._splits["validation"].classes())
        assert baseline is not None  # at least the untrained model's
        return worst, baseline

    def _curve(self, points: Sequence[CurvePoint], samples: int, worst: float) -> Curve:
        metric = self.setting.metric
        return tuple(
            (point.samples / samples, _clamped(metric.of(point), worst, metric))
            for point in points[1:]
        )


def _replayed(line: TrialLine, request: Request) -> TrialLine:
    if line.parameters != request.parameters or line.repeat != request.repeat:
        raise ReplayMismatchError(
            f"trial {line.number} was {line.parameters} but would now be {request.parameters}"
        )
    given_up, end = None, 0
    for end, (share, _) in enumerate(line.curve, 1):
        given_up = request.watch(line.curve[:end], line.baseline) if share < 1 else None
        if given_up:
            break
    expected = (line.state, line.reason) if line.state in ("pruned", "aborted") else None
    if given_up != expected or end < len(line.curve):
        raise ReplayMismatchError(f"trial {line.number} ended otherwise than it would now")
    return line


@lru_cache(maxsize=1)
def _data(data: AnyData, device: torch.device) -> tuple[Splits, Split]:
    """Training and validation data, and the test set, once per process."""
    splits = load_splits(data, ("train", "validation"))
    return splits, load_splits(data, ("test",)).in_memory("test").to(device)


def _clamped(value: float, worst: float, metric: Metric) -> float:
    """A finite value that is not worse than a diverged trial's."""
    if not math.isfinite(value):
        return worst
    return max(value, worst) if metric.maximize else min(value, worst)
