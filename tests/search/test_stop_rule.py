"""`decide`, driven one trial at a time, against the paper's sentence written as a plain loop."""

import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.search.worlds import World as GeneralWorld
from tests.search.worlds import drive as drive_any
from tests.search.worlds import worlds as general_worlds
from tunecli.errors import InvalidValueError
from tunecli.search import Continue, MonotoneRule, Observation, Stop, StopReason, decide
from tunecli.search.explain import explain

paper_rule = partial(MonotoneRule, strategy="paper")


@dataclass(frozen=True)
class World:
    """A rule, and what training would give at every rate and seed; None is divergence."""

    rule: MonotoneRule
    table: tuple[tuple[float | None, ...], ...]
    baselines: tuple[float, ...] | None

    def observe(self, i: int, repeat: int) -> Observation:
        value = self.table[i][repeat]
        return Observation(
            learning_rate=self.rule.learning_rates[i],
            value=-1.0 if value is None else value,
            diverged=value is None,
            baseline=None if self.baselines is None else self.baselines[repeat],
        )


# 64ths, and shares that are powers of ½: sums and quotients are exact, so ties are ties
_VALUES = st.integers(0, 64).map(lambda k: k / 64)
_COARSE = st.integers(0, 4).map(lambda k: k / 4)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    size, repeats = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    maximize = draw(st.booleans())
    values: st.SearchStrategy[float | None] = draw(st.sampled_from([_VALUES, _COARSE]))
    if draw(st.booleans()):  # each trial diverges with 1 in 10
        finite = values
        values = st.integers(0, 9).flatmap(lambda k: finite if k else st.none())
    table = [[draw(values) for _ in range(repeats)] for _ in range(size)]
    if draw(st.booleans()):  # a flat start
        flat = draw(_COARSE)
        for i in range(draw(st.integers(0, size))):
            table[i] = [flat] * repeats
    if draw(st.booleans()):  # divergence from some rate on
        for i in range(draw(st.integers(0, size)), size):
            table[i][draw(st.integers(0, repeats - 1))] = None
    rule = paper_rule(
        learning_rates=tuple(0.1 * (i + 1) for i in range(size)),
        repeats=repeats,
        patience=draw(st.integers(1, 4)),
        maximize=maximize,
        perfect=1.0 if maximize else 0.0,
        learned_share=draw(st.sampled_from([0.11, 0.3, 0.7])),  # no value meets one exactly
        max_trials=draw(st.none() | st.integers(1, size * repeats + 1)),
    )
    baselines = draw(st.none() | st.tuples(*[_VALUES] * repeats))
    return World(rule, tuple(tuple(row) for row in table), baselines)


def drive(world: World) -> tuple[Stop, list[Observation]]:
    """The search as it runs: ask, train, tell."""
    told: list[Observation] = []
    while isinstance(decision := decide(world.rule, told), Continue):
        i = world.rule.learning_rates.index(decision.learning_rate)
        assert decision.repeat == sum(o.learning_rate == decision.learning_rate for o in told)
        told.append(world.observe(i, decision.repeat))
        assert len(told) <= len(world.table) * world.rule.repeats
    return decision, told


def reference(world: World) -> dict[str, Any]:
    """QHM §5.2.4's sentence with the docstring's amendments, as one would write it on paper."""
    rule = world.rule
    sign = 1 if rule.maximize else -1
    found: dict[str, Any] = {"learning_rate": None, "value": None, "learned": False}
    best: Fraction | None = None
    trials: list[tuple[float, int]] = []
    tries_without_improvement = 0
    found["reason"] = "grid_edge"
    for i, rate in enumerate(rule.learning_rates):
        values: list[Fraction] = []
        diverged = broke = False
        for repeat in range(rule.repeats):
            if len(trials) == rule.max_trials:
                broke = True
                break
            trials.append((rate, repeat))
            value = world.table[i][repeat]
            if value is None:
                diverged = True
                break
            values.append(Fraction(value))
        if broke:
            found["reason"] = "budget"
            break
        if diverged:
            found["reason"] = "diverged"
            break
        mean = sum(values, Fraction(0)) / rule.repeats
        if world.baselines is None:
            found["learned"] = True
        else:
            baseline = sum(map(Fraction, world.baselines), Fraction(0)) / rule.repeats
            assert rule.perfect is not None
            to_close = abs(Fraction(rule.perfect) - baseline)
            closed = sign * (mean - baseline)
            if to_close == 0 or closed >= Fraction(rule.learned_share) * to_close:
                found["learned"] = True
        if best is None or sign * mean > sign * best:
            best = mean
            found["learning_rate"], found["value"] = rate, float(mean)
            tries_without_improvement = 0
        elif found["learned"]:
            tries_without_improvement += 1
            if tries_without_improvement == rule.patience:
                found["reason"] = "no_improvement"
                break
    found["edge"] = None
    if found["learned"] and found["learning_rate"] == rule.learning_rates[0]:
        found["edge"] = "bottom"
    if found["learned"] and found["learning_rate"] == rule.learning_rates[-1]:
        found["edge"] = "top"
    found["trials"] = trials
    return found


@settings(max_examples=1000)
@given(world=worlds())
def test_decide_is_the_papers_sentence_written_as_a_loop(world: World) -> None:
    stop, told = drive(world)
    wanted = reference(world)
    repeats: dict[float, int] = {}
    trials = []
    for observation in told:
        repeat = repeats.get(observation.learning_rate, 0)
        trials.append((observation.learning_rate, repeat))
        repeats[observation.learning_rate] = repeat + 1
    assert trials == wanted.pop("trials")
    found = {name: getattr(stop, name) for name in wanted}
    assert found == wanted


@settings(max_examples=200)
@given(world=worlds())
def test_trials_never_exceed_the_grid_nor_the_budget(world: World) -> None:
    _, told = drive(world)
    most = len(world.rule.learning_rates) * world.rule.repeats
    assert len(told) <= min(most, world.rule.max_trials or most)


@settings(max_examples=300)
@given(world=worlds())
def test_best_is_the_argmax_of_the_evidence_the_first_on_ties(world: World) -> None:
    stop, told = drive(world)
    finished = [p for p in stop.points if p.value is not None]
    if not finished:
        assert stop.learning_rate is None
        assert stop.value is None
        return
    pick = max if world.rule.maximize else min
    best = pick(finished, key=lambda p: p.value or 0.0)  # both keep the first of equals
    assert (stop.learning_rate, stop.value) == (best.learning_rate, best.value)
    # and the evidence is what was told, in order
    evidence = [value for p in stop.points for value in p.values]
    assert evidence == [o.value for o in told][: len(evidence)]
    assert [p.learning_rate for p in stop.points] == sorted(p.learning_rate for p in stop.points)


@settings(max_examples=300)
@given(world=worlds(), seed=st.integers(0, 2**32 - 1), more=st.integers(0, 2))
def test_trials_that_ran_ahead_change_nothing(world: World, seed: int, more: int) -> None:
    """The whole grid trained on free devices, told rate by rate in any order."""
    stop, told = drive(world)
    shuffle = random.Random(seed)
    rows = [
        [world.observe(i, repeat % world.rule.repeats) for repeat in range(world.rule.repeats)]
        + [Observation(rate, 0.5, baseline=0.5)] * more  # more repeats than the rule wants
        for i, rate in enumerate(world.rule.learning_rates)
    ]
    # interleave the rates in any order; at one rate the repeats keep theirs
    tokens = [i for i, row in enumerate(rows) for _ in row]
    shuffle.shuffle(tokens)
    ahead = [rows[i].pop(0) for i in tokens]
    assert decide(world.rule, ahead) == stop
    assert decide(world.rule, iter(ahead)) == stop

    # some of them only: the decision is that of the walk as far as it goes
    for count in range(len(told)):
        wanted = decide(world.rule, told[:count])
        needed = told[:count]
        settled = {o.learning_rate for o in told}
        beyond = [o for o in ahead if o.learning_rate not in settled]
        assert decide(world.rule, [*beyond, *needed]) == wanted


@settings(max_examples=200)
@given(world=worlds(), seed=st.integers(0, 2**32 - 1))
def test_order_within_a_rate_changes_no_more_than_the_order_of_the_evidence(
    world: World, seed: int
) -> None:
    stop, told = drive(world)
    shuffled = told.copy()
    random.Random(seed).shuffle(shuffled)
    other = decide(world.rule, shuffled)
    assert isinstance(other, Stop)
    for name in ("reason", "learning_rate", "value", "edge", "learned"):
        assert getattr(other, name) == getattr(stop, name)


@settings(max_examples=100)
@given(world=worlds())
def test_decide_is_pure(world: World) -> None:
    stop, told = drive(world)
    before = list(told)
    assert decide(world.rule, told) == decide(world.rule, told) == stop
    assert told == before


@given(
    rises=st.lists(st.integers(1, 9), max_size=7),
    falls=st.lists(st.integers(1, 9), max_size=7),
    diverges=st.booleans(),
    patience=st.integers(1, 3),
    maximize=st.booleans(),
)
def test_unimodal_curve_without_noise_gives_its_maximum(
    rises: list[int], falls: list[int], diverges: bool, patience: int, maximize: bool
) -> None:
    heights = [100]
    for step in rises:
        heights.append(heights[-1] + step)
    peak = len(heights) - 1
    for step in falls:
        heights.append(heights[-1] - step)
    sign = 1.0 if maximize else -1.0
    table: list[tuple[float | None]] = [(sign * h / 1000,) for h in heights]
    if diverges:
        table.append((None,))
    rates = tuple(2.0**i for i in range(len(table)))
    rule = paper_rule(learning_rates=rates, patience=patience, maximize=maximize)
    stop, told = drive(World(rule, tuple(table), None))
    assert stop.learning_rate == rates[peak]
    # patience is what it costs, and no trial more
    assert len(told) == min(len(table), peak + 1 + patience)
    if peak == len(table) - 1:
        assert (stop.reason, stop.edge) == (StopReason.GRID_EDGE, "top")


@given(
    flat=st.integers(1, 8),
    noise=st.lists(st.integers(-2, 2), min_size=8, max_size=8),
    patience=st.integers(1, 3),
)
def test_flat_start_never_stops_before_something_is_learned(
    flat: int, noise: list[int], patience: int
) -> None:
    values = [0.1 + 0.01 * n for n in noise[:flat]] + [0.6, 0.7, 0.65, 0.6, 0.5]
    rates = tuple(0.001 * 2**i for i in range(len(values)))
    rule = paper_rule(learning_rates=rates, patience=patience)
    stop, _ = drive(World(rule, tuple((v,) for v in values), (0.1,)))
    assert stop.learning_rate == rates[flat + 1]
    assert stop.learned
    assert [p.learned for p in stop.points[: flat + 1]] == [False] * flat + [True]


def test_flat_start_without_a_baseline_is_the_papers_rule_to_the_letter() -> None:
    rule = paper_rule(learning_rates=(0.1, 0.2, 0.4))
    stop, told = drive(World(rule, ((0.1,), (0.1,), (0.9,)), None))
    assert (stop.learning_rate, stop.reason, len(told)) == (0.1, StopReason.NO_IMPROVEMENT, 2)


def test_grid_where_nothing_is_learned_ends_at_its_edge_and_says_so() -> None:
    rule = paper_rule(learning_rates=(0.1, 0.2, 0.4))
    stop, told = drive(World(rule, ((0.1,), (0.12,), (0.1,)), (0.1,)))
    assert (stop.reason, stop.learned, stop.edge) == (StopReason.GRID_EDGE, False, None)
    assert (stop.learning_rate, len(told)) == (0.2, 3)


def test_baseline_that_is_perfect_leaves_nothing_to_learn() -> None:
    rule = paper_rule(learning_rates=(0.1, 0.2, 0.4))
    stop, told = drive(World(rule, ((1.0,), (1.0,), (1.0,)), (1.0,)))
    assert (stop.learned, len(told)) == (True, 2)


def test_divergence_at_the_first_rate_leaves_no_learning_rate() -> None:
    rule = paper_rule(learning_rates=(0.1, 0.2), patience=5)
    stop, told = drive(World(rule, ((None,), (0.9,)), None))
    assert stop == decide(rule, told)
    assert (stop.reason, stop.learning_rate, stop.value) == (StopReason.DIVERGED, None, None)
    assert (stop.edge, stop.learned, len(told)) == (None, False, 1)
    assert [(p.diverged, p.value, p.improved) for p in stop.points] == [(True, None, False)]


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_divergence_ends_the_walk_whatever_the_patience(patience: int) -> None:
    rule = paper_rule(learning_rates=(0.1, 0.2, 0.4, 0.8), patience=patience)
    stop, told = drive(World(rule, ((0.5,), (0.6,), (None,), (0.9,)), None))
    assert (stop.reason, stop.learning_rate, len(told)) == (StopReason.DIVERGED, 0.2, 3)


def test_one_diverged_seed_settles_a_rate_without_the_others() -> None:
    rule = paper_rule(learning_rates=(0.1, 0.2, 0.4), repeats=3)
    stop, told = drive(World(rule, ((0.5, 0.5, 0.5), (0.9, None, 0.9), (0.9,) * 3), None))
    assert (stop.reason, stop.learning_rate) == (StopReason.DIVERGED, 0.1)
    assert len(told) == 5  # the third seed at 0.2 is not trained


def test_value_of_a_diverged_trial_is_ignored() -> None:
    rule = paper_rule(learning_rates=(0.1, 0.2))
    for value in (math.nan, math.inf, 99.0):
        told = [Observation(0.1, 0.5), Observation(0.2, value, diverged=True)]
        stop = decide(rule, told)
        assert isinstance(stop, Stop)
        assert (stop.learning_rate, stop.value) == (0.1, 0.5)


@pytest.mark.parametrize(
    ("values", "edge", "reason"),
    [
        ((0.5, 0.4, 0.3), "bottom", StopReason.NO_IMPROVEMENT),
        ((0.5, None, 0.3), "bottom", StopReason.DIVERGED),
        ((0.5, 0.6, 0.5), None, StopReason.NO_IMPROVEMENT),
        ((0.5, 0.6, None), None, StopReason.DIVERGED),
        ((0.5, 0.6, 0.7), "top", StopReason.GRID_EDGE),
        ((0.5,), "top", StopReason.GRID_EDGE),
    ],
)
def test_edges_of_the_grid_are_named(
    values: tuple[float | None, ...], edge: str | None, reason: StopReason
) -> None:
    rule = paper_rule(learning_rates=tuple(0.1 * (i + 1) for i in range(len(values))))
    stop, _ = drive(World(rule, tuple((v,) for v in values), None))
    assert (stop.edge, stop.reason) == (edge, reason)


def test_budget_stops_with_the_best_so_far_and_before_the_next_trial() -> None:
    rising = tuple((v / 10, v / 10) for v in range(1, 6))
    rates = (0.1, 0.2, 0.3, 0.4, 0.5)
    for budget, best in ((1, None), (2, 0.1), (3, 0.1), (4, 0.2), (9, 0.4)):
        rule = paper_rule(learning_rates=rates, repeats=2, max_trials=budget)
        stop, told = drive(World(rule, rising, None))
        assert (stop.reason, stop.learning_rate) == (StopReason.BUDGET, best)
        assert len(told) == budget
    rule = paper_rule(learning_rates=rates, repeats=2, max_trials=10)
    stop, told = drive(World(rule, rising, None))
    assert (stop.reason, len(told)) == (StopReason.GRID_EDGE, 10)


def test_walk_that_ends_with_its_last_paid_trial_did_not_run_out_of_budget() -> None:
    rule = paper_rule(learning_rates=(0.1, 0.2, 0.3), max_trials=2)
    stop, _ = drive(World(rule, ((0.5,), (0.4,), (0.3,)), None))
    assert stop.reason == StopReason.NO_IMPROVEMENT


def test_budget_holds_for_trials_that_ran_ahead() -> None:
    rule = paper_rule(learning_rates=(0.1, 0.2, 0.3), max_trials=1)
    stop = decide(rule, [Observation(0.1, 0.5), Observation(0.2, 0.6), Observation(0.3, 0.7)])
    assert isinstance(stop, Stop)
    assert (stop.reason, stop.learning_rate) == (StopReason.BUDGET, 0.1)


def test_nothing_told_starts_at_the_smallest_rate() -> None:
    assert decide(paper_rule(learning_rates=(0.1, 0.2)), []) == Continue(0.1, repeat=0)


@given(rate=st.floats())
@example(rate=math.nan)
@example(rate=math.nextafter(0.1, 1))
def test_rate_off_the_grid_is_refused(rate: float) -> None:
    if rate in (0.1, 0.2):
        return
    with pytest.raises(InvalidValueError, match="must be on the grid but got"):
        decide(paper_rule(learning_rates=(0.1, 0.2)), [Observation(rate, 0.5)])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_and_baselines_that_are_not_finite_are_refused(bad: float) -> None:
    rule = paper_rule(learning_rates=(0.1, 0.2))
    with pytest.raises(InvalidValueError) as caught:
        decide(rule, [Observation(0.2, bad)])
    assert str(caught.value) == (
        f"value of a trial must be finite but got {bad}; tell divergence by a finite value and "
        "`diverged`"
    )
    with pytest.raises(InvalidValueError, match=r"^baseline must be finite but got"):
        decide(rule, [Observation(0.1, 0.5, baseline=bad)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rates": ()}, "learning_rates must be positive, finite and strictly ascending"),
        ({"learning_rates": (0.0, 1.0)}, "learning_rates must be positive"),
        ({"learning_rates": (0.2, 0.1)}, "learning_rates must be positive"),
        ({"learning_rates": (0.1, 0.1)}, "learning_rates must be positive"),
        ({"learning_rates": (0.1, math.inf)}, "learning_rates must be positive"),
        ({"learning_rates": (0.1, math.nan, 0.3)}, "learning_rates must be positive"),
        ({"learning_rates": (math.nan,)}, "learning_rates must be positive"),
        ({"repeats": 0}, "repeats must be ≥ 1 but got 0"),
        ({"patience": 0}, "patience must be ≥ 1 but got 0"),
        ({"learned_share": 0.0}, r"learned_share must be in \(0, 1\) but got 0.0"),
        ({"learned_share": math.nan}, r"learned_share must be in \(0, 1\) but got nan"),
        ({"max_trials": 0}, "max_trials must be ≥ 1 but got 0"),
        ({"strategy": "grid"}, "strategy must be paper or geometric but got grid"),
        ({"extend": -1}, "extend must be ≥ 0 but got -1"),
        ({"error_rate": 0.0}, r"error_rate must be in \(0, 0.5\) but got 0.0"),
        ({"error_rate": 0.5}, r"error_rate must be in \(0, 0.5\) but got 0.5"),
        ({"resolution": 1.0}, "resolution must be > 1 but got 1.0"),
        ({"start": 0.0}, "start must be finite and > 0 but got 0.0"),
        ({"start": math.inf}, "start must be finite and > 0 but got inf"),
    ],
)
def test_rule_outside_its_range_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=f"^{message}"):
        paper_rule(**{"learning_rates": (0.1, 0.2), **change})


_Values = tuple[float | None, ...]


def _explained(values: _Values, *, baseline: float | None = None, **rule: Any) -> str:
    built = paper_rule(learning_rates=tuple(0.1 * 2**i for i in range(len(values))), **rule)
    baselines = None if baseline is None else (baseline,) * built.repeats
    table = tuple((value,) * built.repeats for value in values)
    stop, _ = drive(World(built, table, baselines))
    return explain(stop, built)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            lambda: _explained((0.9, 0.95, 0.93)),
            "0.9300 at 0.4 did not improve on 0.9500 at 0.2",
        ),
        (
            lambda: _explained((0.9, 0.95, 0.93, 0.94), patience=2),
            "0.9300 at 0.4, 0.9400 at 0.8 did not improve on 0.9500 at 0.2",
        ),
        (
            lambda: _explained((0.9, 0.95, None)),
            "training diverged at 0.4; the best before it was 0.9500 at 0.2",
        ),
        (
            lambda: _explained((None, 0.95)),
            "training diverged at 0.1, the smallest rate of the grid",
        ),
        (
            lambda: _explained((0.1, 0.1, None), baseline=0.1),
            (
                "training diverged at 0.4; the best before it was 0.1000 at 0.1, which has learned "
                "nothing"
            ),
        ),
        (
            lambda: _explained((0.9, 0.95)),
            "the grid ended at 0.2; the best was 0.9500 at 0.2",
        ),
        (
            lambda: _explained((0.1, 0.12), baseline=0.1),
            "the grid ended at 0.2; the best was 0.1200 at 0.2, which has learned nothing",
        ),
        (
            lambda: _explained((0.9, 0.95), max_trials=1),
            "the budget of 1 trial(s) was spent; the best was 0.9000 at 0.1",
        ),
        (
            lambda: _explained((0.9, 0.95), max_trials=1, repeats=2),
            "the budget of 1 trial(s) was spent before a rate was finished",
        ),
    ],
)
def test_explain_gives_the_reason_and_the_numbers_that_decided(
    found: Callable[[], str], sentence: str
) -> None:
    assert found() == sentence


@settings(max_examples=300)
@given(world=worlds())
def test_explain_says_something_readable_for_every_stop(world: World) -> None:
    stop, _ = drive(world)
    sentence = explain(stop, world.rule)
    assert "None" not in sentence
    assert "nan" not in sentence
    assert sentence.isprintable()
    if stop.learning_rate is not None:
        seen = {p.learning_rate: p.value for p in stop.points if p.value is not None}
        best = (max if world.rule.maximize else min)(seen, key=lambda rate: seen[rate])
        told = stop.learning_rate if stop.learned else best  # no comparison is made before that
        assert f"{seen[told]:.4f} at {told:g}" in sentence
        assert ("learned nothing" in sentence) == (not stop.learned)


@pytest.mark.parametrize(
    ("values", "rule", "sentence"),
    [
        (
            {0.1: 0.5, 0.2: 0.9, 0.4: 0.8},
            {},
            "0.8000 at 0.4 did not improve on 0.9000 at 0.2",
        ),
        (
            {0.1: 0.5, 0.2: 0.9},
            {},
            "training diverged at 0.4; the best before it was 0.9000 at 0.2",
        ),
        ({}, {}, "training diverged at 0.1, the smallest rate of the grid"),
        ({}, {"extend": 1}, "training diverged at 0.05, the smallest rate tried"),
        (
            {},
            {"max_trials": 1, "start": 0.4},
            (
                "the budget of 1 trial(s) was spent; training diverged at every rate tried, down "
                "to 0.4"
            ),
        ),
        (
            {0.1: 0.5, 0.2: 0.6, 0.4: 0.7, 0.8: 0.8},
            {"extend": 1},
            "the grid ended at 0.8; the best was 0.8000 at 0.8",
        ),
    ],
)
def test_explain_tells_what_the_default_search_came_to(
    values: dict[float, float], rule: dict[str, Any], sentence: str
) -> None:
    built = MonotoneRule(learning_rates=(0.1, 0.2, 0.4), **rule)
    told: list[Observation] = []
    while isinstance(decision := decide(built, told), Continue):
        rate = decision.learning_rate
        told.append(Observation(rate, values.get(rate, 0.0), rate not in values, 0.1))
    assert explain(decision, built) == sentence


def test_explain_names_a_rate_that_was_given_up_early() -> None:
    rule = MonotoneRule(learning_rates=(0.1, 0.2, 0.4, 0.8))
    curves = {
        0.1: ((0.5, 0.5), (1.0, 0.6)),
        0.2: ((0.5, 0.8), (1.0, 0.9)),
        0.4: ((0.5, 0.3), (1.0, 0.4)),
        0.8: ((0.5, 0.1), (1.0, 0.1)),
    }
    told: list[Observation] = []
    while isinstance(decision := decide(rule, told), Continue):
        curve = curves[decision.learning_rate]
        told.append(Observation(decision.learning_rate, curve[-1][1], baseline=0.1, curve=curve))
    sentence = explain(decision, rule)
    assert "0.3000 at 0.4 (given up early) did not improve on 0.9000 at 0.2" in sentence
    (point,) = [point for point in decision.points if point.learning_rate == 0.4]
    assert "far behind after 50 % of its samples" in point.aborted


@settings(max_examples=200)
@given(world=general_worlds())
def test_explain_says_something_readable_for_every_stop_of_every_strategy(
    world: GeneralWorld,
) -> None:
    stop, _ = drive_any(world)
    sentence = explain(stop, world.rule)
    assert "None" not in sentence
    assert "nan" not in sentence
    assert sentence.isprintable()
    if stop.learning_rate is not None:
        seen = {p.learning_rate: p.value for p in stop.points if p.value is not None}
        best = (max if world.rule.maximize else min)(seen, key=lambda rate: seen[rate])
        told = stop.learning_rate if stop.learned else best  # no comparison is made before that
        assert f"{seen[told]:.4f} at {told:g}" in sentence
        assert ("learned nothing" in sentence) == (not stop.learned)
        for rate in (float(found) for found in re.findall(r"diverged at ([0-9.e+-]+\d)", sentence)):
            assert any(p.diverged and f"{p.learning_rate:g}" == f"{rate:g}" for p in stop.points)
