"""The decision is a function of the trials that a sequential search would have made, and no other.

Whoever runs the trials, in whatever order and however many at once: decision, points and
comparisons are those of the search that runs one trial after the other.
"""

import random
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.search.worlds import Key, World, drive, keys, most_trials, rules, worlds
from tunecli.search import Continue, MonotoneRule, Observation, Stop, ahead, decide
from tunecli.search.evidence import Evidence, Missing
from tunecli.search.explain import explain
from tunecli.search.geometric import walk_and_narrow
from tunecli.search.ladder import Ladder

HORIZON = 4


def pool(world: World, workers: int, draw: random.Random) -> tuple[Stop, list[Observation], int]:
    """A search with workers that finish in any order.

    Returns:
        The decision, every finished trial, and how many were cancelled.
    """
    rule = world.rule
    known: list[Observation] = []
    running: dict[Key, Any] = {}  # a curve to beat, if any
    cancelled = 0
    while isinstance(decision := decide(rule, known), Continue):
        wanted = ahead(rule, known, workers * HORIZON)
        assert wanted[0] == decision
        assert len({(each.learning_rate, each.repeat) for each in wanted}) == len(wanted)
        asked = {(each.learning_rate, each.repeat) for each in wanted}
        assert not asked & set(keys(known))  # nothing is trained twice
        for key in [key for key in running if key not in asked]:
            del running[key]
            cancelled += 1
        for request in wanted[:workers]:
            key = request.learning_rate, request.repeat
            if key not in running and len(running) < workers:
                certain = request is wanted[0]
                # what runs ahead is given up only where no best rate can make a difference
                spoiled = request.to_beat is not None and not certain
                running[key] = () if spoiled else request.to_beat
        key = draw.choice(list(running))
        trial = world.train(*key, running.pop(key))
        known.insert(draw.randint(0, len(known)), trial)
        assert len(known) <= 2000
    return decision, known, cancelled


@settings(max_examples=150)
@given(world=worlds(), workers=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_pool_of_workers_decides_as_a_sequential_search(
    world: World, workers: int, seed: int
) -> None:
    stop, told = drive(world)
    found, known, _ = pool(world, workers, random.Random(seed))
    assert found == stop
    # what the sequential search asked for is there, and is paid for; so is the rest
    assert set(keys(told)) <= set(keys(known))
    assert len(set(keys(known))) == len(known)
    if workers == 1:
        assert sorted(keys(known)) == sorted(keys(told))


@settings(max_examples=150)
@given(world=worlds("geometric"))
def test_trials_given_up_as_they_run_and_afterwards_give_one_decision(world: World) -> None:
    stop, told = drive(world)
    live, told_live = drive(world, live=True)
    assert live == stop
    assert keys(told_live) == keys(told)


@settings(max_examples=150)
@given(world=worlds(), seed=st.integers(0, 2**32 - 1))
def test_order_of_the_trials_does_not_matter(world: World, seed: int) -> None:
    stop, told = drive(world)
    shuffled = told.copy()
    random.Random(seed).shuffle(shuffled)
    assert decide(world.rule, shuffled) == stop
    assert decide(world.rule, iter(shuffled)) == stop


@settings(max_examples=60)
@given(world=worlds(), seed=st.integers(0, 2**32 - 1))
def test_trials_that_were_never_asked_for_change_nothing(world: World, seed: int) -> None:
    stop, told = drive(world)
    draw = random.Random(seed)
    ladder = Ladder(world.rule)
    rates = {ladder.rate(i) for i in range(ladder.lowest, ladder.highest + 1)}
    if not world.rule.keeps_to_grid:
        rates |= {ladder.rate(i + 0.5) for i in range(ladder.lowest, ladder.highest)}
    others = [
        world.train(rate, repeat)
        for rate in sorted(rates)
        for repeat in range(world.rule.repeats + 1)
        if (rate, repeat) not in set(keys(told))
    ]
    draw.shuffle(others)
    assert decide(world.rule, [*others, *told]) == stop
    for count in range(len(told)):  # and the way there is the same, request by request
        assert decide(world.rule, [*others, *told[:count]]) == decide(world.rule, told[:count])


@settings(max_examples=200)
@given(world=worlds())
def test_search_ends_within_the_trials_that_the_recipe_promises(world: World) -> None:
    _, told = drive(world)
    most = most_trials(world.rule)
    assert len(told) <= min(most, world.rule.max_trials or most)
    assert len(set(keys(told))) == len(told)


@settings(max_examples=100)
@given(world=worlds(), count=st.integers(1, 12))
def test_ahead_begins_with_the_decision_and_asks_for_nothing_twice(
    world: World, count: int
) -> None:
    _, told = drive(world)
    assert ahead(world.rule, told, count) == ()
    for known in (told[:0], told[: len(told) // 2]):
        decision = decide(world.rule, known)
        wanted = ahead(world.rule, known, count)
        if isinstance(decision, Stop):
            assert wanted == ()
            continue
        assert wanted[0] == decision
        assert 1 <= len(wanted) <= count
        asked = [(each.learning_rate, each.repeat) for each in wanted]
        assert len(set(asked)) == len(asked)
        assert not set(asked) & set(keys(known))
        assert ahead(world.rule, known, 1) == wanted[:1]


@settings(max_examples=100)
@given(world=worlds())
def test_evidence_is_the_trials_and_nothing_else(world: World) -> None:
    stop, told = drive(world)
    seen = {(each.learning_rate, each.repeat): each for each in told}
    for point in stop.points:
        values = [seen[point.learning_rate, i].value for i in range(len(point.values))]
        if not point.aborted:
            assert list(point.values) == values
        assert (point.value is None) == point.diverged
    tried = {point.learning_rate for point in stop.points}
    assert len(tried) == len(stop.points)
    for comparison in stop.comparisons:
        assert {comparison.learning_rate, comparison.than} <= tried
    if stop.learning_rate is None:
        assert not any(point.improved and not point.diverged for point in stop.points)
    else:
        (best,) = [p for p in stop.points if p.learning_rate == stop.learning_rate]
        assert best.improved
        assert (best.value, best.learned) == (stop.value, stop.learned)


@settings(max_examples=100)
@given(rule=rules("geometric"), seed=st.integers(0, 99), noise=st.sampled_from([0.003, 0.03]))
def test_seeds_are_spent_on_the_incumbent_and_its_challenger_only(
    rule: MonotoneRule, seed: int, noise: float
) -> None:
    rule = replace(rule, repeats=3, max_trials=None)
    world = World(rule, seed, "peak", -4, noise=noise, steps=1024)
    told: list[Observation] = []
    while True:
        evidence = Evidence(rule, told)
        try:
            walk_and_narrow(evidence)
        except Missing as missing:
            request = missing.request
        else:
            break
        best = evidence.best
        if request.repeat:  # the incumbent's first; then those of one challenger
            assert best is not None
            assert request.learning_rate == best.learning_rate or len(best.observations) == 3
        told.append(world.train(request.learning_rate, request.repeat))
    stop = decide(rule, told)
    assert isinstance(stop, Stop)
    compared = {
        rate for c in stop.comparisons if c.low is not None for rate in (c.learning_rate, c.than)
    }
    several = [point for point in stop.points if len(point.values) > 1]
    alone = stop.learning_rate if not compared else None  # no other rate learned anything
    assert {point.learning_rate for point in several} <= compared | {alone}
    assert all(point.learned for point in several)


def _told(
    rule: MonotoneRule, values: dict[float, list[float | None]]
) -> tuple[Stop, list[Observation]]:
    """A search in a table of values by rate and seed; None is divergence."""
    told: list[Observation] = []
    while isinstance(decision := decide(rule, told), Continue):
        value = values[decision.learning_rate][decision.repeat]
        told.append(
            Observation(decision.learning_rate, value or 0.0, value is None, 0.1, decision.repeat)
        )
    return decision, told


def test_incumbent_that_diverges_with_another_seed_gives_way_to_the_one_before_it() -> None:
    rule = MonotoneRule(learning_rates=(0.1, 0.2, 0.4, 0.8), repeats=3)
    stop, told = _told(
        rule, {0.1: [0.5] * 3, 0.2: [0.7] * 3, 0.4: [0.9, None, 0.9], 0.8: [0.6] * 3}
    )
    assert stop.learning_rate == 0.2
    (gone,) = [point for point in stop.points if point.diverged]
    assert (gone.learning_rate, gone.value, gone.learned) == (0.4, None, False)
    assert (0.4, 2) not in keys(told)  # its third seed is not trained
    assert "diverge" in explain(stop, rule)
    assert "at 0.4" in explain(stop, rule)


def test_challenger_stands_alone_where_the_only_incumbent_diverges() -> None:
    """There is nobody before the first incumbent to give way to."""
    rule = MonotoneRule(learning_rates=(0.1, 0.2), repeats=3)
    stop, _ = _told(rule, {0.1: [0.5, None, 0.5], 0.2: [0.45] * 3})
    assert stop.learning_rate == 0.2
    assert {point.learning_rate for point in stop.points if point.diverged} == {0.1}


def test_incumbent_without_any_rival_that_diverges_leaves_no_rate() -> None:
    rule = MonotoneRule(learning_rates=(0.1, 0.2), repeats=2)
    stop, _ = _told(rule, {0.1: [0.5, None], 0.2: [None, None]})
    assert (stop.learning_rate, stop.learned) == (None, False)
    assert all(point.diverged for point in stop.points)
