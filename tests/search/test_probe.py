"""The ramp: its range, and what its losses say."""

import json
import math
from dataclasses import asdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunecli.recipe import Recipe, derive_schedule, find_recipe, load_recipe
from tunecli.schedule import Schedule, Stage
from tunecli.search.probe import Probe, ramp_schedule, read_ramp, run_ramp

T1 = 14  # updates in the first stage of a whole trial


def _recipe(name: str = "digits-mlp", *overrides: str) -> tuple[Recipe, Schedule]:
    recipe = load_recipe(find_recipe(name), overrides)
    return recipe, derive_schedule(recipe.schedule, 0.1, 1077)


def _ramp(updates: int) -> Schedule:
    return Schedule(tuple(Stage(0.001 * 2**i, 0.9, 0.5, 8, 1) for i in range(updates)))


@pytest.mark.parametrize("name", ["digits-logistic", "digits-mlp", "digits-cnn"])
def test_ramp_rises_geometrically_over_the_grid_in_a_few_percent_of_a_trial(name: str) -> None:
    recipe, schedule = _recipe(name)
    ramp = ramp_schedule(recipe, schedule)
    rates = [stage.learning_rate for stage in ramp.stages]
    assert rates[0] == recipe.search.learning_rates[0]
    assert rates[-1] == pytest.approx(recipe.search.learning_rates[-1])
    ratios = [high / low for low, high in pairwise(rates)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))
    few = max(0.04 * schedule.samples, 20 * schedule.stages[0].batch_size)
    assert ramp.samples == pytest.approx(few, rel=0.05)
    first = schedule.stages[0]
    for stage in ramp.stages:
        assert stage.steps == 1
        assert (stage.momentum, stage.discount) == (first.momentum, first.discount)
        assert stage.batch_size == first.batch_size


def test_ramp_of_a_short_trial_still_has_twenty_updates() -> None:
    recipe, schedule = _recipe("digits-mlp", "schedule.epochs=1")
    assert ramp_schedule(recipe, schedule).total_steps == 20


def test_learning_starts_where_the_loss_falls_for_good() -> None:
    losses = [2.3, 2.3, 2.1, 2.31, 2.3, 2.1, 1.9, 1.5, 1.2, 1.0]
    probe = read_ramp(_ramp(10), losses, T1)  # the dip to 2.1 before is a batch's luck
    assert probe.learning_starts == 0.001 * 2**4  # the update before the first low loss
    assert probe.diverges is None
    assert (probe.samples, len(probe.learning_rates)) == (80, 10)


def test_walk_starts_where_a_whole_first_stage_goes_as_far_as_the_ramp_had_gone() -> None:
    probe = read_ramp(_ramp(6), [2.0, 2.0, 2.0, 1.5, 1.4, 1.3], T1)
    assert probe.learning_starts == 0.001 * 2**2
    assert probe.start == pytest.approx(0.001 * (1 + 2 + 4) / T1)


def test_training_explodes_at_the_update_before_the_loss_that_shows_it() -> None:
    probe = read_ramp(_ramp(6), [2.0, 2.0, 1.5, 1.4, 3.5, 9.0], T1)
    assert (probe.learning_starts, probe.diverges) == (0.002, 0.008)
    silent = read_ramp(_ramp(6), [2.0, 2.0, math.inf], T1)
    assert (silent.learning_starts, silent.diverges) == (None, 0.002)
    assert silent.losses == (2.0, 2.0)
    assert silent.samples == 24  # the update that exploded is paid for


def test_flat_ramp_says_nothing() -> None:
    probe = read_ramp(_ramp(5), [2.3] * 5, T1)
    assert (probe.learning_starts, probe.diverges, probe.start) == (None, None, None)


@given(st.lists(st.floats(0.01, 50), min_size=1, max_size=20))
def test_every_ramp_is_read_and_what_it_says_is_on_it(losses: list[float]) -> None:
    ramp = _ramp(20)
    probe = read_ramp(ramp, losses, T1)
    rates = [stage.learning_rate for stage in ramp.stages]
    for rate in (probe.learning_starts, probe.diverges):
        assert rate is None or rate in rates[: len(losses)]
    if probe.learning_starts is not None and probe.diverges is not None:
        assert probe.learning_starts < probe.diverges
    assert (probe.start is None) == (probe.learning_starts is None)
    assert probe.samples == 8 * len(losses)
    assert Probe.from_dict(json.loads(json.dumps(asdict(probe)))) == probe


@pytest.mark.parametrize("end", [math.inf, math.nan])
def test_run_ends_with_the_first_loss_that_is_not_finite(end: float) -> None:
    script = iter([2.3, 2.2, end, 1.0])
    probe = run_ramp(_ramp(4), lambda: next(script), T1)
    assert next(script) == 1.0
    assert probe.losses == (2.3, 2.2)
    assert probe.diverges == 0.002


def test_run_makes_each_update_once() -> None:
    made: list[int] = []

    def step() -> float:
        made.append(1)
        return 2.3 - 0.1 * len(made)

    probe = run_ramp(_ramp(7), step, T1)
    assert len(made) == len(probe.losses) == 7
