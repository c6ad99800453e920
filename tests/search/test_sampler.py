"""The sampler against Optuna's own suite, and as a walk that must end and must be resumable."""

import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, PartialFixedSampler
from optuna.study import Study
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)
from optuna.trial import FrozenTrial, Trial, TrialState

from tunecli.errors import InvalidValueError
from tunecli.search import (
    Continue,
    MonotoneRule,
    MonotoneSampler,
    Observation,
    Stop,
    StopReason,
    decide,
    optimize,
)
from tunecli.search.rule import Strategy

paper_rule = partial(MonotoneRule, strategy="paper")
RATES = (0.1, 0.2, 0.4, 0.8, 1.6)
UP = paper_rule(learning_rates=RATES)
DOWN = paper_rule(learning_rates=RATES, maximize=False, perfect=0.0)

Objective = Callable[[Trial], float]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


class TestOptunaSuiteBesideTheWalk(BasicSamplerTestCase, SingleOnlySamplerTestCase):
    """The whole suite; its parameters are not the walked one, the walk must not disturb them."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: MonotoneSampler(DOWN, seed=0)

    # of RelativeSamplerTestCase this one; the others index `sample_relative`'s answer, which is
    # empty for every sampler that samples independently
    test_trial_relative_params = RelativeSamplerTestCase.test_trial_relative_params


class TestOptunaSuiteOnTheWalkedParameter(SingleOnlySamplerTestCase):
    """The suite's tests with the parameter `x` walked, where they can be.

    They cannot where `x` is an integer or categorical, or its range holds no positive number (the
    error is tested below), nor where `optimize(n_trials=10)` must make ten trials: the walk stops
    by itself.
    """

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        rule = paper_rule(learning_rates=(0.1, 0.2), maximize=False, perfect=0.0)
        return lambda: MonotoneSampler(rule, name="x", seed=0)

    @pytest.mark.parametrize(
        "distribution",
        [
            FloatDistribution(-1.0, 1.0),
            FloatDistribution(0.0, 1.0),
            FloatDistribution(1e-7, 1.0, log=True),
            FloatDistribution(-10, 10, step=0.1),
            FloatDistribution(-10.2, 10.2, step=0.1),
        ],
    )
    def test_float(
        self, sampler: Callable[[], BaseSampler], distribution: FloatDistribution
    ) -> None:
        BasicSamplerTestCase().test_float(sampler, distribution)

    test_nan_objective_value = BasicSamplerTestCase.test_nan_objective_value
    test_partial_fixed_sampling = BasicSamplerTestCase.test_partial_fixed_sampling
    test_sample_single_distribution = BasicSamplerTestCase.test_sample_single_distribution
    test_trial_relative_params = RelativeSamplerTestCase.test_trial_relative_params

    @pytest.mark.parametrize(
        "distribution",
        [
            FloatDistribution(-1.0, 0.0),
            FloatDistribution(0.15, 1.0),
            FloatDistribution(0.0, 0.15),
            IntDistribution(0, 10),
            CategoricalDistribution([0.1, 0.2]),
        ],
    )
    def test_distribution_that_cannot_hold_the_grid_is_refused(
        self, sampler: Callable[[], BaseSampler], distribution: BaseDistribution
    ) -> None:
        study = optuna.create_study(sampler=sampler())
        with pytest.raises(InvalidValueError) as caught:
            study.ask({"x": distribution})
        assert str(caught.value).startswith(
            "x must be a float whose range and step hold the grid, from 0.1 to 0.2, but got "
        )
        assert str(caught.value).endswith("; widen the range in suggest_float")


def _study(sampler: BaseSampler, **how: Any) -> Study:
    return optuna.create_study(**{"direction": "maximize", "sampler": sampler, **how})


def _rate(trial: Trial) -> float:
    return trial.suggest_float("learning_rate", RATES[0], RATES[-1])


def _peak_at_half(trial: Trial) -> float:
    return -((_rate(trial) - 0.5) ** 2)


def _walked(study: Study) -> list[float]:
    return [trial.params["learning_rate"] for trial in study.trials]


def test_step_that_leaves_out_a_grid_value_is_refused() -> None:
    rule = paper_rule(learning_rates=(0.1, 0.25, 0.5))
    study = _study(MonotoneSampler(rule))
    with pytest.raises(InvalidValueError, match="range and step hold the grid"):
        study.ask({"learning_rate": FloatDistribution(0.1, 0.5, step=0.1)})


def test_optimize_stops_by_itself() -> None:
    study = _study(MonotoneSampler(UP))
    study.optimize(_peak_at_half)
    assert _walked(study) == [0.1, 0.2, 0.4, 0.8]
    assert study.best_params == {"learning_rate": 0.4}


def test_optimize_minimizes_alike() -> None:
    study = _study(MonotoneSampler(DOWN), direction="minimize")
    study.optimize(lambda trial: -_peak_at_half(trial))
    assert _walked(study) == [0.1, 0.2, 0.4, 0.8]
    assert study.best_params == {"learning_rate": 0.4}


def test_optimize_ends_at_divergence_told_as_a_finite_value() -> None:
    def objective(trial: Trial) -> float:
        rate = _rate(trial)
        trial.set_user_attr("diverged", rate > 0.5)
        return 0.0 if rate > 0.5 else rate

    sampler = MonotoneSampler(paper_rule(learning_rates=RATES, patience=5))
    study = _study(sampler)
    study.optimize(objective)
    stop = sampler.decide(study)
    assert isinstance(stop, Stop)
    assert (stop.reason, stop.learning_rate) == (StopReason.DIVERGED, 0.4)
    assert _walked(study) == [0.1, 0.2, 0.4, 0.8]


def test_baseline_attribute_guards_a_flat_start() -> None:
    curve = {0.1: 0.1, 0.2: 0.1, 0.4: 0.1, 0.8: 0.9, 1.6: 0.8}

    def objective(trial: Trial) -> float:
        trial.set_user_attr("baseline", 0.1)
        return curve[_rate(trial)]

    study = _study(MonotoneSampler(UP))
    study.optimize(objective)
    assert _walked(study) == list(RATES)
    assert study.best_params == {"learning_rate": 0.8}


def test_asking_after_the_stop_gives_the_best_rate_and_changes_no_decision() -> None:
    sampler = MonotoneSampler(UP)
    study = _study(sampler)
    study.optimize(_peak_at_half)
    stop = sampler.decide(study)
    study.optimize(_peak_at_half)  # runs one trial before it can stop
    assert _walked(study)[4:] == [0.4]
    assert sampler.decide(study) == stop


@settings(max_examples=60)
@given(
    curve=st.lists(st.integers(0, 6), min_size=5, max_size=5),
    diverges=st.none() | st.integers(0, 4),
    flat=st.booleans(),
    repeats=st.integers(1, 2),
    patience=st.integers(1, 2),
    max_trials=st.none() | st.integers(1, 10),
)
def test_study_takes_the_decisions_that_driving_decide_takes(
    curve: list[int],
    diverges: int | None,
    flat: bool,
    repeats: int,
    patience: int,
    max_trials: int | None,
) -> None:
    rule = paper_rule(
        learning_rates=RATES, repeats=repeats, patience=patience, max_trials=max_trials
    )
    baseline = 0.3 if flat else None

    def observe(rate: float) -> Observation:
        i = RATES.index(rate)
        return Observation(rate, curve[i] / 8, diverges == i, baseline)

    told: list[Observation] = []
    while isinstance(by_hand := decide(rule, told), Continue):
        told.append(observe(by_hand.learning_rate))

    def objective(trial: Trial) -> float:
        observation = observe(_rate(trial))
        trial.set_user_attr("diverged", observation.diverged)
        if baseline is not None:
            trial.set_user_attr("baseline", baseline)
        return observation.value

    sampler = MonotoneSampler(rule)
    study = _study(sampler)
    study.optimize(objective)
    assert sampler.decide(study) == by_hand
    assert _walked(study) == [observation.learning_rate for observation in told]


_NEW_PROCESS = """
import json, sys
import optuna
from tunecli.search import MonotoneRule, MonotoneSampler
optuna.logging.set_verbosity(optuna.logging.ERROR)
rule = MonotoneRule(learning_rates=(0.1, 0.2, 0.4, 0.8, 1.6), strategy="paper")
sampler = MonotoneSampler(rule)
study = optuna.load_study(study_name="s", storage=sys.argv[1], sampler=sampler)
before = sampler.decide(study)
study.optimize(lambda t: -((t.suggest_float("learning_rate", 0.1, 1.6) - 0.5) ** 2))
after = sampler.decide(study)
print(json.dumps([before.learning_rate, after.reason, after.learning_rate, repr(after)]))
"""


def test_study_goes_on_in_another_process_from_its_trials_alone(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    study = _study(MonotoneSampler(UP), storage=storage, study_name="s")
    study.optimize(_peak_at_half, n_trials=2)
    done = subprocess.run(
        [sys.executable, "-c", _NEW_PROCESS, storage], check=True, capture_output=True, text=True
    )
    whole = MonotoneSampler(UP)
    unbroken = _study(whole)
    unbroken.optimize(_peak_at_half)
    assert json.loads(done.stdout) == [
        0.4,
        "no_improvement",
        0.4,
        repr(whole.decide(unbroken)),
    ]
    assert _walked(study) == _walked(unbroken)


def test_study_goes_on_with_a_new_sampler_after_every_single_trial(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    for _ in range(4):
        study = optuna.create_study(
            direction="maximize",
            sampler=MonotoneSampler(UP),
            storage=storage,
            study_name="s",
            load_if_exists=True,
        )
        study.optimize(_peak_at_half, n_trials=1)
    assert _walked(study) == [0.1, 0.2, 0.4, 0.8]
    assert isinstance(MonotoneSampler(UP).decide(study), Stop)


@pytest.mark.parametrize("strategy", ["paper", "geometric"])
def test_two_jobs_take_different_rates_and_the_decision_of_one(strategy: Strategy) -> None:
    rates = tuple(0.01 * 2**i for i in range(12))
    rule = MonotoneRule(learning_rates=rates, strategy=strategy, extend=2, resolution=1.3)
    both_run, running = threading.Barrier(2, timeout=30), set[float]()
    together: list[set[float]] = []

    def value(rate: float) -> float:
        return 0.9 - 0.1 * math.log2(rate / 0.3) ** 2

    def objective(trial: Trial) -> float:
        rate = trial.suggest_float("learning_rate", 1e-9, 1e9)
        if trial.number < 4:  # the first four in pairs: each waits for the other one
            running.add(rate)
            both_run.wait()
            together.append(set(running))
            both_run.wait()
            running.discard(rate)
        return value(rate)

    study = _study(MonotoneSampler(rule))
    stop = optimize(study, objective, rule, n_jobs=2)
    assert [len(rates) for rates in together] == [2] * 4
    alone = _study(MonotoneSampler(rule))
    sequential = optimize(
        alone, lambda trial: value(trial.suggest_float("learning_rate", 1e-9, 1e9)), rule
    )
    assert stop == sequential
    assert len(study.trials) >= len(alone.trials)


def test_trials_count_by_number_whichever_finishes_first() -> None:
    """Two samplers that know nothing of each other, as in two processes, ask for one trial."""
    sampler = MonotoneSampler(UP)
    study = _study(sampler)
    start = study.ask()
    assert _rate(start) == 0.1
    study.tell(start, 0.5)
    first = study.ask()
    assert _rate(first) == 0.2
    seen: list[Any] = []

    class Watching(MonotoneSampler):
        def after_trial(
            self, study: Study, trial: FrozenTrial, state: TrialState, values: Any
        ) -> None:
            seen.append(self.decide(study, (trial, state, values)))

    study.sampler = Watching(UP)
    second = study.ask()
    assert _rate(second) == 0.2
    study.tell(second, 0.9)
    study.tell(first, 0.2)
    # what is decided as the trial ends is what is decided from the stored study
    assert seen[-1] == sampler.decide(study)
    assert isinstance(seen[-1], Stop)
    assert (seen[-1].learning_rate, seen[-1].value) == (0.1, 0.5)
    assert [each.repeat for each in sampler.observations(study)] == [0, 0, 1]


def test_trials_side_by_side_get_different_rates_and_count_in_grid_order() -> None:
    sampler = MonotoneSampler(UP)
    study = _study(sampler)
    trials = [study.ask() for _ in range(3)]
    assert [_rate(trial) for trial in trials] == [0.1, 0.2, 0.4]
    study.tell(trials[2], 0.9)
    study.tell(trials[1], 0.2)
    assert sampler.decide(study) == Continue(0.1, repeat=0)  # what ran ahead waits for its turn
    study.tell(trials[0], 0.5)
    stop = sampler.decide(study)
    assert isinstance(stop, Stop)
    assert (stop.learning_rate, [p.learning_rate for p in stop.points]) == (0.1, [0.1, 0.2])


def test_ask_and_tell_outside_optimize() -> None:
    sampler = MonotoneSampler(UP)
    study = _study(sampler)
    asked = []
    while isinstance(decision := sampler.decide(study), Continue):
        trial = study.ask()
        asked.append(_rate(trial))
        assert asked[-1] == decision.learning_rate
        study.tell(trial, -((asked[-1] - 0.5) ** 2))
    assert asked == [0.1, 0.2, 0.4, 0.8]
    assert decision.learning_rate == 0.4


def _raise(trial: Trial) -> float:
    _rate(trial)
    raise OSError("out of memory")


def _nan(trial: Trial) -> float:
    _rate(trial)
    return float("nan")


@pytest.mark.parametrize("objective", [_raise, _nan])
def test_objective_that_always_fails_ends_after_three_trials(objective: Objective) -> None:
    sampler = MonotoneSampler(UP)
    study = _study(sampler)
    study.optimize(objective, catch=(OSError,))
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 3
    assert _walked(study) == [0.1] * 3
    # a failed trial says nothing of the rate
    assert sampler.decide(study) == Continue(0.1, repeat=0)


def test_objective_that_fails_twice_is_tried_again_and_the_walk_goes_on() -> None:
    failures = iter([False, True, True, False])

    def objective(trial: Trial) -> float:
        return float("nan") if next(failures, False) else _peak_at_half(trial)

    study = _study(MonotoneSampler(UP))
    study.optimize(objective)
    assert [t.params.get("learning_rate") for t in study.trials] == [0.1, None, None, 0.2, 0.4, 0.8]

    def fails_at_02(trial: Trial) -> float:
        value = _peak_at_half(trial)
        return float("nan") if trial.params["learning_rate"] == 0.2 else value

    study = _study(MonotoneSampler(UP))
    study.optimize(fails_at_02)
    assert _walked(study) == [0.1, 0.2, 0.2, 0.2]


def test_objective_that_raises_uncaught_is_raised_and_counts_for_nothing() -> None:
    sampler = MonotoneSampler(UP)
    study = _study(sampler)
    with pytest.raises(OSError, match="out of memory"):
        study.optimize(_raise)
    assert sampler.decide(study) == Continue(0.1, repeat=0)


def test_infinite_value_counts_as_divergence_and_leaves_the_study_usable() -> None:
    sampler = MonotoneSampler(UP)
    study = _study(sampler)
    study.optimize(lambda trial: 0.5 if _rate(trial) == 0.1 else float("-inf"))
    stop = sampler.decide(study)
    assert isinstance(stop, Stop)
    assert (stop.reason, stop.learning_rate) == (StopReason.DIVERGED, 0.1)


@pytest.mark.parametrize(
    ("reports", "diverged", "value"),
    [
        ([0.3, 0.2], False, 0.2),
        ([], True, None),
        ([0.3, float("nan")], True, None),  # pruners prune on NaN
        ([float("inf")], True, None),
    ],
)
def test_pruned_trial_counts_with_its_last_report(
    reports: list[float], diverged: bool, value: float | None
) -> None:
    def objective(trial: Trial) -> float:
        if _rate(trial) < 0.3:
            return _peak_at_half(trial) + 0.5
        for step, report in enumerate(reports):
            trial.report(report, step)
        raise optuna.TrialPruned

    sampler = MonotoneSampler(UP)
    study = _study(sampler)
    study.optimize(objective)
    stop = sampler.decide(study)
    assert isinstance(stop, Stop)
    assert stop.learning_rate == 0.2
    assert (stop.points[-1].diverged, stop.points[-1].value) == (diverged, value)
    assert _walked(study) == [0.1, 0.2, 0.4]


def test_direction_that_is_not_the_rules_is_refused() -> None:
    for rule, direction in ((UP, "minimize"), (DOWN, "maximize")):
        study = _study(MonotoneSampler(rule), direction=direction)
        with pytest.raises(InvalidValueError) as caught:
            study.optimize(_peak_at_half)
        assert str(caught.value) == (
            f"the study must {'maximize' if rule is UP else 'minimize'} as the rule does but got "
            f"{direction}; set direction in create_study"
        )


def test_several_objectives_are_refused_before_the_objective_runs() -> None:
    sampler = MonotoneSampler(UP)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for call in (lambda: study.optimize(_peak_at_half), lambda: sampler.decide(study)):
        with pytest.raises(InvalidValueError) as caught:
            call()
        assert str(caught.value) == (
            "the study must have one objective but got 2; the monotone rule compares a single value"
        )


def test_rate_put_in_by_hand_counts_on_the_grid_and_nowhere_else() -> None:
    study = _study(MonotoneSampler(UP))
    study.enqueue_trial({"learning_rate": 0.1})
    study.optimize(_peak_at_half, n_trials=1)
    assert _walked(study) == [0.1]
    study.enqueue_trial({"learning_rate": 0.15})
    study.optimize(_peak_at_half)
    assert _walked(study)[:3] == [0.1, 0.15, 0.2]
    assert study.best_params["learning_rate"] == 0.4


def test_other_parameters_are_drawn_reproducibly_and_leave_the_walk_alone() -> None:
    def objective(trial: Trial) -> float:
        trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True)
        trial.suggest_categorical("width", [1, 2, 3])
        return _peak_at_half(trial)

    found = []
    for _ in range(2):
        study = _study(MonotoneSampler(UP, seed=3))
        study.optimize(objective)
        found.append([trial.params for trial in study.trials])
    assert found[0] == found[1]
    assert [params["learning_rate"] for params in found[0]] == [0.1, 0.2, 0.4, 0.8]
    assert len({params["weight_decay"] for params in found[0]}) == 4


def test_objective_without_the_walked_parameter_is_left_to_its_caller() -> None:
    study = _study(MonotoneSampler(UP))
    study.optimize(lambda trial: trial.suggest_float("momentum", 0, 1), n_trials=5)
    assert len(study.trials) == 5


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_walk_inside_another_sampler_stops_too() -> None:
    study = _study(PartialFixedSampler({"width": 2}, MonotoneSampler(UP)))

    def objective(trial: Trial) -> float:
        return _peak_at_half(trial) + trial.suggest_int("width", 1, 3)

    study.optimize(objective)
    assert _walked(study) == [0.1, 0.2, 0.4, 0.8]
    assert {trial.params["width"] for trial in study.trials} == {2}


def test_reseeding_changes_the_other_parameters_only() -> None:
    sampler = MonotoneSampler(UP, seed=0)
    sampler.reseed_rng()
    study = _study(sampler)
    study.optimize(_peak_at_half)
    assert _walked(study) == [0.1, 0.2, 0.4, 0.8]
