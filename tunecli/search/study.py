"""The search's Optuna study: one trial per learning rate and seed, nothing else to keep."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from tunecli.errors import RunError
from tunecli.search.events import TrialRecord, TrialRole
from tunecli.search.rule import Decision, MonotoneRule, Observation
from tunecli.search.sampler import BASELINE, CURVE, DIVERGED, IGNORED, REPEAT, MonotoneSampler
from tunecli.training import TrialOutcome

_NAME = "learning_rate"
_ANY_RATE = FloatDistribution(1e-307, 1e307, log=True)  # the grid may be extended


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial to run.

    Args:
        learning_rate: α₁.
        repeat: Which of the trials at this rate it is, from 0.
        seed: Its training seed.
        role: What it is for.
    """

    learning_rate: float
    repeat: int
    seed: int
    role: TrialRole = "walk"

    @property
    def key(self) -> tuple[float, int]:
        """What makes it the same trial."""
        return self.learning_rate, self.repeat


class SearchStudy:
    """The study in a run folder, opened or made.

    A finished trial holds the value (finite also when diverged), the parameter, and the attributes
    `seed`, `repeat`, `role`, `baseline`, `updates`, `samples`, `seconds`, `diverged`, `state`,
    `reason` and `curve` (pairs of the share of the trial's samples and the metric); an unfinished
    one is RUNNING and has its seed. What ran ahead and was not needed has failed.

    Args:
        path: The SQLite file.
        name: Name of the study, for Optuna's own tools.
        rule: Grid and stopping rule.
        total_samples: Samples that a trial draws if it goes to its end.

    Raises:
        RunError: The file is not a study or cannot be written.
    """

    def __init__(self, path: Path, name: str, rule: MonotoneRule, total_samples: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._sampler = MonotoneSampler(rule, name=_NAME)
        self._path = path
        self._total_samples = total_samples
        url = URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
        with self._errors():
            self._study = optuna.create_study(
                storage=url,
                study_name=name,
                sampler=self._sampler,
                direction="maximize" if rule.maximize else "minimize",
                load_if_exists=True,
            )

    def observations(self) -> list[Observation]:
        """The finished trials as the rule takes them."""
        with self._errors():
            return self._sampler.observations(self._study)

    def decide(self) -> Decision:
        """The rule's decision on the finished trials."""
        with self._errors():
            return self._sampler.decide(self._study)

    def records(self) -> tuple[TrialRecord, ...]:
        """The trials that have ended, in order."""
        with self._errors():
            trials = self._study.get_trials(deepcopy=False)
        return tuple(
            self._record(trial)
            for trial in trials
            if trial.state.is_finished() and "state" in trial.user_attrs
        )

    def unfinished(self) -> dict[int, Assignment]:
        """The trials that were broken off, by number."""
        with self._errors():
            trials = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return {trial.number: _assignment(trial) for trial in trials}

    def begin(self, wanted: Assignment) -> int:
        """Begin a trial, or go on with the one that was broken off; its number."""
        for number, assignment in self.unfinished().items():
            if assignment.key == wanted.key:
                return number
        attributes: dict[str, Any] = {
            "seed": wanted.seed,
            REPEAT: wanted.repeat,
            "role": wanted.role,
        }
        if wanted.role == "verify":
            attributes[IGNORED] = True
        trial = create_trial(
            state=TrialState.RUNNING,
            params={_NAME: wanted.learning_rate},
            distributions={_NAME: _ANY_RATE},
            user_attrs=attributes,
        )
        with self._errors():
            self._study.add_trial(trial)  # one transaction: a kill leaves all of it or nothing
            return len(self._study.get_trials(deepcopy=False)) - 1

    def finish(
        self,
        number: int,
        outcome: TrialOutcome,
        value: float,
        baseline: float | None,
        curve: tuple[float, ...],
    ) -> TrialRecord:
        """Store a trial that has ended by itself.

        Args:
            number: The trial's.
            outcome: What it came to.
            value: The metric; the worst one if diverged.
            baseline: The metric of a model that has learned nothing; None: not known.
            curve: The metric at each point of the outcome's curve.
        """
        state = "diverged" if outcome.diverged else "aborted" if outcome.given_up else "complete"
        shares = [point.samples / self._total_samples for point in outcome.curve]
        attributes: dict[str, object] = {
            BASELINE: baseline,
            DIVERGED: outcome.diverged,
            "updates": outcome.steps,
            "samples": outcome.samples,
            "seconds": outcome.seconds,
            "reason": outcome.reason,
            CURVE: list(zip(shares, curve, strict=True)),
            "state": state,
        }
        if outcome.measured:
            attributes["measured"] = outcome.measured
        return self._end(number, attributes, value)

    def cancel(self, number: int, *, updates: int, samples: int, seconds: float) -> TrialRecord:
        """Bill what ran ahead and was not needed."""
        bill = {"updates": updates, "samples": samples, "seconds": seconds}
        return self._end(number, {IGNORED: True, "state": "cancelled", **bill}, None)

    def _end(self, number: int, attributes: dict[str, object], value: float | None) -> TrialRecord:
        with self._errors():
            trial = self._trial(number)
            stored = optuna.trial.Trial(self._study, trial._trial_id)
            for name, attribute in attributes.items():
                stored.set_user_attr(name, attribute)
            if value is None:
                self._study.tell(number, state=TrialState.FAIL)
            else:
                self._study.tell(number, value)
            return self._record(self._trial(number))

    def _trial(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        attributes = trial.user_attrs
        total = self._total_samples
        return TrialRecord(
            learning_rate=trial.params[_NAME],
            seed=attributes["seed"],
            state=attributes["state"],
            value=trial.value,
            updates=attributes["updates"],
            samples=attributes["samples"],
            seconds=attributes["seconds"],
            role=attributes["role"],
            reason=attributes.get("reason", ""),
            curve=tuple((round(at * total), value) for at, value in attributes.get(CURVE, ())),
            measured=attributes.get("measured", {}),
        )

    def _errors(self) -> "_StorageErrors":
        return _StorageErrors(self._path)


class _StorageErrors:
    """Says in one sentence what the storage says in fifty lines."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        # Optuna wraps what fails in a transaction, not what fails while tables are made
        if isinstance(error, StorageInternalError | SQLAlchemyError):
            source = error.__cause__ if isinstance(error, StorageInternalError) else error
            cause = str(getattr(source, "orig", None) or error).splitlines()[0]
            remedy = "free some space or mend the permissions"
            if "locked" in cause:
                remedy = "another program writes to it: wait for it, or close it"
            raise RunError(
                f"{self._path} cannot be read or written: {cause}; {remedy}, then go on with "
                "--resume"
            ) from error


def _assignment(trial: FrozenTrial) -> Assignment:
    attributes = trial.user_attrs
    return Assignment(
        trial.params[_NAME], attributes[REPEAT], attributes["seed"], attributes["role"]
    )
