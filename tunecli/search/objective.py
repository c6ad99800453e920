"""The search for a person's own function: from learning rate to validation metric."""

import inspect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import SupportsFloat

from optuna.storages import BaseStorage
from optuna.study import Study

from tunecli.errors import InvalidValueError, RunError, require
from tunecli.search.explain import explain
from tunecli.search.objective_study import (
    FinishedTrial,
    Objective,
    Walk,
    one_number,
    open_study,
)
from tunecli.search.rule import MonotoneRule, Stop, StopReason, Strategy

__all__ = ["FinishedTrial", "Found", "search"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Args:
        learning_rate: α₁, the best rate.
        value: Its validation metric, the mean over its seeds.
        reason: Why the search ended.
        explanation: The same in a sentence, with the numbers that decided.
        trials: Every trial that finished, in order; those of an interrupted search come first.
        stop: The evidence: rate by rate, what was compared, whether the best lies at an edge.
        study: The Optuna study; a diverged trial has the worst finite value and the user attribute
            `diverged`.
    """

    learning_rate: float
    value: float
    reason: StopReason
    explanation: str
    trials: tuple[FinishedTrial, ...]
    stop: Stop
    study: Study

    def __str__(self) -> str:
        """Rate, value, why, and from how many trials: what a person wants to read."""
        diverged = sum(trial.value is None for trial in self.trials)
        return (
            f"best learning rate {self.learning_rate:g}, value {self.value:.6g}\n"
            f"stopped because {self.explanation}\n"
            f"{len(self.trials)} trial(s)" + (f", {diverged} diverged" if diverged else "")
        )


def search(
    objective: Objective,
    learning_rates: Iterable[SupportsFloat],
    *,
    seeds: Sequence[int] = (0,),
    maximize: bool = True,
    strategy: Strategy = "geometric",
    patience: int = 1,
    baseline: float | None = None,
    perfect: float | None = None,
    extend: int = 0,
    resolution: float | None = None,
    max_trials: int | None = None,
    storage: str | Path | BaseStorage | None = None,
    study_name: str = "search",
    n_jobs: int = 1,
    verbose: bool | None = None,
) -> Found:
    """Find the learning rate at which `objective` is best, by the walk upward of `MonotoneRule`.

    The objective trains once and returns the validation metric: never the test set's, which the
    choice would then be fitted to. Diverged is what returns NaN or infinity, or raises
    `FloatingPointError`. Any other exception ends the search at once. With several seeds it is
    called with the seed as second argument, and makes weights and batches depend on it alone.

    Args:
        objective: `objective(learning_rate)`, or with several seeds `objective(learning_rate,
            seed)`; returns one number (a tensor with one element will do).
        learning_rates: The rates to choose from, ascending, at least two. A factor of 2 from one to
            the next is common.
        seeds: With several, the last two rates, and those too close to call, are trained with all
            of them; `paper` trains every rate with all of them.
        maximize: Whether a larger metric is better; False for a loss.
        strategy: `geometric` begins inside the grid and walks up, `paper` from its smallest rate.
        patience: Successive rates without improvement after which the walk stops, ≥ 1.
        baseline: What a model gets that has learned nothing (0.1 for an accuracy over ten equal
            classes): rates that are too small to learn are then no reason to stop.
        perfect: What a perfect model gets, 1 for an accuracy; with `baseline`, or neither.
        extend: Rates that may be added beyond each edge of the grid, ≥ 0; not with `paper`.
        resolution: Narrow down until neighbours of the best are at most this factor apart, > 1;
            None: only the rates given are tried. Not with `paper`.
        max_trials: Calls of the objective after which to stop in any case.
        storage: Where finished trials are kept: path of an SQLite file, URL or storage of Optuna;
            None: in memory. Called again with the same storage, an interrupted search goes on, and
            nothing finished is run again.
        study_name: Of the study in the storage; another one for another function, and one process
            at a time.
        n_jobs: Threads that run ahead; the rate found is the same. Each calls the objective, so it
            must not use a global random state (`torch.manual_seed`) then. An exception or Ctrl-C
            is raised at once; other calls that are running cannot be killed, go on to their end,
            and are not counted.
        verbose: Whether to write a line per trial to stderr; None: where that is a terminal. The
            result is a line there in any case, unless this is False.

    Raises:
        InvalidValueError: An argument is outside its range, the objective returns no number, or
            the storage has a study of another search.
        RunError: Training diverged at every rate, or the storage cannot be opened.

    >>> from tunecli import search
    >>> def train(learning_rate):  # returns the validation accuracy
    ...     return 0.9 - (learning_rate - 0.5) ** 2 if learning_rate < 2 else float("nan")
    >>> found = search(train, [0.1, 0.2, 0.4, 0.8, 1.6])
    >>> found.learning_rate, found.value, found.reason.value, len(found.trials)
    (0.4, 0.89, 'no_improvement', 3)
    """
    _require_seeds(seeds)
    _require_callable(objective, several=len(seeds) > 1)
    _require_scale(baseline, perfect, maximize=maximize)
    require(n_jobs >= 1, "n_jobs", "≥ 1", n_jobs, "1 runs nothing ahead")
    rule = MonotoneRule(
        learning_rates=_rates(learning_rates),
        strategy=strategy,
        repeats=len(seeds),
        patience=patience,
        maximize=maximize,
        perfect=perfect,
        max_trials=max_trials,
        extend=extend,
        resolution=resolution,
    )
    study = open_study(storage, study_name, rule)
    walk = Walk(
        objective,
        rule,
        tuple(seeds),
        baseline,
        study,
        kept=storage is not None,
        verbose=verbose,
    )
    walk.check()
    stop = walk.to_the_end() if n_jobs == 1 else walk.side_by_side(n_jobs)
    explanation = _explain(stop, rule)
    if stop.learning_rate is None or stop.value is None:
        raise RunError(f"{explanation}; pass smaller learning_rates, or a larger max_trials")
    walk.tell(
        f"search: best learning rate {stop.learning_rate:g}, value {stop.value:.6g}; stopped "
        f"because {explanation}"
    )
    return Found(
        learning_rate=stop.learning_rate,
        value=stop.value,
        reason=stop.reason,
        explanation=explanation,
        trials=tuple(walk.finished()),
        stop=stop,
        study=study,
    )


def _rates(learning_rates: Iterable[SupportsFloat]) -> tuple[float, ...]:
    name = "learning_rates"
    try:
        rates = [one_number(rate) for rate in learning_rates]
    except TypeError:  # nothing that can be walked through
        rates = []
    known = [rate for rate in rates if rate is not None]
    require(
        len(known) == len(rates) >= 2,
        name,
        "at least two numbers",
        repr(learning_rates),
        "[0.05, 0.1, 0.2, 0.4, 0.8], say",
    )
    ascending = sorted(set(known)) == known
    require(ascending, name, "strictly ascending", known, "pass sorted(set(learning_rates))")
    return tuple(known)


def _require_seeds(seeds: Sequence[int]) -> None:
    whole = isinstance(seeds, Sequence) and all(isinstance(seed, int) for seed in seeds)
    distinct = whole and len(set(seeds)) == len(seeds) >= 1
    require(distinct, "seeds", "one or more distinct whole numbers", repr(seeds), "(0, 1, 2), say")


def _require_callable(objective: Objective, *, several: bool) -> None:
    require(
        callable(objective), "objective", "a function", repr(objective), "pass train, not train()"
    )
    try:
        signature = inspect.signature(objective)
    except (TypeError, ValueError):  # some built-ins have none
        return
    try:
        signature.bind(*(0.1, 0)[: 1 + several])
    except TypeError:
        takes = "(learning_rate, seed) with several seeds" if several else "(learning_rate)"
        raise InvalidValueError(
            f"objective must take {takes} but got {signature}; functools.partial fixes what else "
            "it takes"
        ) from None


def _require_scale(baseline: float | None, perfect: float | None, *, maximize: bool) -> None:
    if baseline is None and perfect is None:
        return
    if baseline is None or perfect is None:
        given = "perfect" if baseline is None else "baseline"
        raise InvalidValueError(
            f"baseline and perfect must be given together but got only {given}; between them it is "
            "told whether anything was learned"
        )
    order = baseline < perfect if maximize else perfect < baseline
    finite = math.isfinite(baseline) and math.isfinite(perfect)
    better = "larger" if maximize else "smaller"
    require(order and finite, "perfect", f"{better} than baseline ({baseline})", perfect)


def _explain(stop: Stop, rule: MonotoneRule) -> str:
    beyond = {"top": "larger", "bottom": "smaller", None: ""}[stop.edge]
    told = explain(stop, rule) + (f"; it lies at the edge, try {beyond} rates" if beyond else "")
    return told + (
        "; if the value is a loss, pass maximize=False" if _like_a_loss(stop, rule) else ""
    )


def _like_a_loss(stop: Stop, rule: MonotoneRule) -> bool:
    """Whether the smallest rate is best, and every larger one worse: so does a loss look."""
    points = sorted(stop.points, key=lambda point: point.learning_rate)
    values = [point.value for point in points if point.value is not None]
    falling = len(values) >= 2 and all(low < high for high, low in pairwise(values))
    smallest = stop.learning_rate is not None and stop.learning_rate <= rule.learning_rates[0]
    return rule.maximize and smallest and falling
