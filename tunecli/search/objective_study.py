"""The Optuna study of a person's own function: opened, walked to its stop, and read."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import SupportsFloat

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import TrialState, create_trial
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from tunecli.errors import InvalidValueError, RunError, require, warn_once
from tunecli.schedule.progress import FORGOTTEN, Progress, noted_progress
from tunecli.search.rule import Continue, Decision, MonotoneRule, Stop
from tunecli.search.sampler import BASELINE, DIVERGED, REPEAT, MonotoneSampler
from tunecli.search.stop_rule import ahead

Objective = Callable[..., SupportsFloat]

_NAME = "learning_rate"
_SEED, _SECONDS = "seed", "seconds"
_COMPLETE = 0.95  # of a schedule: a gradient scaler may have skipped a few updates
_ANY_RATE = FloatDistribution(1e-307, 1e307, log=True)  # the grid may be extended


@dataclass(frozen=True, slots=True)
class FinishedTrial:
    """One call of the objective.

    Args:
        learning_rate: α₁.
        seed: The seed that it was for.
        value: What the objective returned; None where training diverged.
        seconds: How long it took.
    """

    learning_rate: float
    seed: int
    value: float | None
    seconds: float


class Walk:
    """Runs what the rule asks for, and writes down what has finished.

    Nothing is written before a trial has ended, and then all of it at once: whatever kills the
    process leaves a study of finished trials.
    """

    def __init__(
        self,
        objective: Objective,
        rule: MonotoneRule,
        seeds: tuple[int, ...],
        baseline: float | None,
        study: Study,
        *,
        kept: bool,
        verbose: bool | None,
    ) -> None:
        self._objective = objective
        self._rule = rule
        self._seeds = seeds
        self._baseline = baseline
        self._study = study
        self._sampler = MonotoneSampler(rule)
        self._kept = kept
        self._verbose = verbose
        self._writing = Lock()
        self._given_up = False  # what is still running comes too late

    def check(self) -> None:
        """Whether the trials that the study has are this search's.

        Raises:
            InvalidValueError: They are not.
        """
        named = f"the study {self._study.study_name!r}"
        remedy = "give another study_name or storage for another search"
        for trial in self._study.get_trials(deepcopy=False):
            ours = trial.user_attrs.keys() >= {REPEAT, _SEED, DIVERGED, _SECONDS}
            require(ours, named, "one that search made", "trials of others", remedy)
            repeat, seed = trial.user_attrs[REPEAT], trial.user_attrs[_SEED]
            wanted = self._seeds[repeat] if repeat < len(self._seeds) else seed
            require(seed == wanted, f"seed {repeat + 1} of {named}", f"{wanted}", seed, remedy)
        try:
            self._decide()
        except InvalidValueError as error:
            raise InvalidValueError(f"{named} is another search's: {error}; {remedy}") from None
        if found := len(self._study.get_trials(deepcopy=False)):
            self.tell(
                f"search: {found} finished trial(s) taken from {named} in the storage; if the "
                "objective has changed since, give another study_name"
            )

    def tell(self, line: str) -> None:
        """A line on stderr, unless the person wants none."""
        if self._verbose is not False:
            sys.stderr.write(f"{line}\n")

    def to_the_end(self) -> Stop:
        """One trial after the other, in this thread."""
        with self._telling_of_an_interrupt():
            while not isinstance(decision := self._decide(), Stop):
                self._run(decision)
        return decision

    def side_by_side(self, n_jobs: int) -> Stop:
        """Up to `n_jobs` trials at once, those ahead of the walk included.

        What ends the search ends it at once. Threads cannot be killed: trials that are running
        then go on, but what they come to is dropped, as the caller may have begun anew by then.
        """
        running: dict[tuple[float, int], Future[None]] = {}
        pool = ThreadPoolExecutor(n_jobs)
        try:
            with self._telling_of_an_interrupt():
                while not isinstance(decision := self._decide(), Stop):
                    seen = self._sampler.observations(self._study)
                    for request in ahead(self._rule, seen, n_jobs):
                        key = request.learning_rate, request.repeat
                        if key not in running and len(running) < n_jobs:
                            running[key] = pool.submit(self._run, request)
                    wait(running.values(), return_when=FIRST_COMPLETED)
                    for key in [key for key, future in running.items() if future.done()]:
                        running.pop(key).result()  # raises what the objective raised
                for future in as_completed(running.values()):  # they ran ahead
                    future.result()
        except BaseException:
            with self._writing:
                self._given_up = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()
        return decision

    def finished(self) -> Iterator[FinishedTrial]:
        """What the study has, as plain data."""
        for trial in self._study.get_trials(deepcopy=False):
            attributes = trial.user_attrs
            yield FinishedTrial(
                learning_rate=trial.params[_NAME],
                seed=attributes[_SEED],
                value=None if attributes[DIVERGED] else trial.value,
                seconds=attributes[_SECONDS],
            )

    @contextmanager
    def _telling_of_an_interrupt(self) -> Iterator[None]:
        """Says what there is, before Ctrl-C passes on with its traceback."""
        try:
            yield
        except KeyboardInterrupt:
            remedy = (
                "call it again with the same storage and study_name to go on"
                if self._kept
                else "storage='search.db' would have kept what is finished"
            )
            self.tell(f"\nsearch: interrupted; {self._best_so_far()}; {remedy}")
            raise

    def _best_so_far(self) -> str:
        trials = list(self.finished())
        by_rate: dict[float, list[float]] = {}
        for trial in trials:
            if trial.value is not None:
                by_rate.setdefault(trial.learning_rate, []).append(trial.value)
        if not by_rate:
            return f"{len(trials)} trial(s) finished, none with a value"
        means = {rate: sum(values) / len(values) for rate, values in by_rate.items()}
        best = (max if self._rule.maximize else min)(means, key=lambda rate: means[rate])
        return f"best of {len(trials)} trial(s): learning rate {best:g}, value {means[best]:.6g}"

    def _decide(self) -> Decision:
        return self._sampler.decide(self._study)

    def _run(self, request: Continue) -> None:
        rate, seed = request.learning_rate, self._seeds[request.repeat]
        began, clock = datetime.now(), time.perf_counter()
        value = self._call(rate, seed)
        seconds = time.perf_counter() - clock
        attributes = {
            REPEAT: request.repeat,
            _SEED: seed,
            DIVERGED: value is None,
            _SECONDS: seconds,
        }
        if self._baseline is not None:
            attributes[BASELINE] = self._baseline
        worst = -sys.float_info.max if self._rule.maximize else sys.float_info.max
        trial = create_trial(
            state=TrialState.COMPLETE,
            value=worst if value is None else value,
            params={_NAME: rate},
            distributions={_NAME: _ANY_RATE},
            user_attrs=attributes,
        )
        trial.datetime_start = began
        with self._writing:
            if self._given_up:
                return
            self._study.add_trial(trial)
        if self._verbose or (self._verbose is None and sys.stderr.isatty()):
            whose = f", seed {seed}" if len(self._seeds) > 1 else ""
            result = "diverged" if value is None else f"{value:.6g}"
            sys.stderr.write(f"learning rate {rate:g}{whose}: {result} ({seconds:.1f} s)\n")

    def _call(self, rate: float, seed: int) -> float | None:
        """What the objective returns; None where that is divergence."""
        arguments = (rate, seed) if len(self._seeds) > 1 else (rate,)
        try:
            with noted_progress() as notes:
                answer = self._objective(*arguments)
        except FloatingPointError:
            return None
        value = one_number(answer)
        if value is None:
            raise InvalidValueError(
                f"objective must return one number but got {answer!r:.100} at the learning rate "
                f"{rate:g}; return the validation metric"
            )
        if not math.isfinite(value):
            return None
        _warn_of_a_part(notes)
        return value


def open_study(storage: str | Path | BaseStorage | None, name: str, rule: MonotoneRule) -> Study:
    """The study in a storage, made where there is none.

    Args:
        storage: Path of an SQLite file, URL or storage of Optuna, or None: in memory.
        name: Of the study.
        rule: Says the direction.

    Raises:
        InvalidValueError: The path is in no folder.
        RunError: The storage cannot be opened.
    """
    where: str | BaseStorage | None
    if isinstance(storage, Path) or (isinstance(storage, str) and "://" not in storage):
        folder = Path(storage).expanduser().absolute().parent
        require(
            folder.is_dir(), "storage", "a file in a folder that exists", str(storage), "make it"
        )
        path = str(Path(storage).expanduser())
        where = URL.create("sqlite", database=path).render_as_string(hide_password=False)
    else:
        where = storage
    with _quiet():
        try:
            return optuna.create_study(
                storage=where,
                study_name=name,
                direction="maximize" if rule.maximize else "minimize",
                sampler=MonotoneSampler(rule),
                load_if_exists=True,
            )
        except (StorageInternalError, SQLAlchemyError) as error:
            source = error.__cause__ if isinstance(error, StorageInternalError) else error
            cause = str(getattr(source, "orig", None) or error).splitlines()[0]
            raise RunError(
                f"{storage} cannot be opened as a study: {cause}; give the path of a new file, or "
                "of one that search has made"
            ) from error


def _warn_of_a_part(notes: list[Progress]) -> None:
    for progress in notes:
        # of a scheduler that was forgotten, its own warning has told
        if progress.missed < FORGOTTEN and progress.made < _COMPLETE * progress.total:
            warn_once(
                "part of a schedule",
                f"the objective returned after {progress.made} of its schedule's "
                f"{progress.total} updates: has the DataLoader "
                "batch_sampler=StageBatchSampler(len(data), schedule), and is scheduler.step() "
                "called after every update? Where training ended early on purpose, nothing is "
                "wrong",
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's line about a new study; the level is the caller's again afterwards."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def one_number(value: object) -> float | None:
    """A float, an integer, or an array or tensor with one element; None for all else."""
    if isinstance(value, bool | str | bytes) or not isinstance(value, SupportsFloat):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return None
