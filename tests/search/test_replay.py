import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.families import EPOCHS, FAMILIES, RATES, wide_tables
from tunecli.errors import InvalidValueError
from tunecli.search.replay import Replay, perfect_value, replay_table, rule_for, summary
from tunecli.search.rule import Observation, Stop, StopReason
from tunecli.search.stop_rule import decide
from tunecli.search.tables import MeasuredTable, read_tables

MEASURED = Path(__file__).parent / "tables.json"
PEAK = MeasuredTable("peak", (0.1, 0.2, 0.4, 0.8), (0.5, 0.7, 0.6, None), maximize=True)


def path_of(found: Replay) -> list[float]:
    return [trial.observation.learning_rate for trial in found.trials]


def with_curves(*curves: tuple[float | None, ...] | None) -> MeasuredTable:
    """The peak, measured over ten epochs."""
    return MeasuredTable("peak", PEAK.learning_rates, PEAK.values, maximize=True, curves=curves)


def rising(end: float, epochs: int = 10) -> tuple[float, ...]:
    return tuple(end * epoch / epochs for epoch in range(1, epochs + 1))


def test_replay_walks_the_papers_rule() -> None:
    found = replay_table(PEAK, strategy="paper")
    assert path_of(found) == [0.1, 0.2, 0.4]
    assert found.stop.learning_rate == 0.2
    assert found.value == 0.7
    assert found.regret == 0
    assert found.stop.reason == StopReason.NO_IMPROVEMENT
    assert "0.6000 at 0.4 did not improve on 0.7000 at 0.2" in found.explanation
    patient = replay_table(PEAK, strategy="paper", patience=2)
    assert path_of(patient) == [0.1, 0.2, 0.4, 0.8]
    assert patient.stop.reason == StopReason.DIVERGED


def test_replay_minimizes_where_the_table_says_so() -> None:
    table = MeasuredTable("loss", (1, 2, 3), (0.5, 0.2, 0.9), maximize=False)
    found = replay_table(table, strategy="paper")
    assert found.stop.learning_rate == 2
    assert found.within_1_percent
    assert found.within_one_point is None  # a loss has no accuracy points


def test_replay_without_curves_charges_full_trials() -> None:
    found = replay_table(PEAK, strategy="paper", patience=2)
    assert [trial.cost for trial in found.trials] == [1, 1, 1, 1]
    assert found.samples == found.cost == 4


def test_replay_charges_a_diverged_trial_until_it_diverged() -> None:
    full = [rising(0.5), rising(0.7), rising(0.6)]
    for curve, cost in (
        ((0.1, 0.1, None), 0.3),
        ((0.1, 0.1, None, None, None), 0.3),  # a null ends it
        ((0.1, 0.1), 0.3),  # it ended in the third epoch, without a value
        ((), 0.1),
        (None, 1),  # nobody kept the curve
        (rising(0.3), 1),
    ):
        found = replay_table(with_curves(*full, curve), strategy="paper", patience=2)
        assert found.trials[-1].observation.diverged
        assert found.trials[-1].cost == pytest.approx(cost), curve
        assert found.cost == pytest.approx(3 + cost)


def test_replay_charges_a_trial_that_ended_early_its_length() -> None:
    found = replay_table(with_curves((0.2, 0.5), *[rising(0.7)] * 2, None), strategy="paper")
    assert found.trials[0].cost == pytest.approx(0.2)
    assert not found.trials[0].observation.diverged


def test_replay_counts_samples_in_the_tables_unit() -> None:
    table = MeasuredTable("a", (1, 2, 3), (0.5, 0.4, 0.3), maximize=True, samples=60_000)
    found = replay_table(table, strategy="paper")
    assert found.samples == 120_000


def test_replay_gives_up_what_is_far_behind() -> None:
    rates = tuple(float(2**i) for i in range(5))
    good, late = rising(0.9), (*[0.1] * 9, 0.2)
    table = MeasuredTable(
        "late",
        rates,
        (0.9, 0.9, 0.9, 0.2, 0.2),
        maximize=True,
        curves=(good, good, good, late, late),
    )
    found = replay_table(table)
    (behind,) = [t for t in found.trials if t.observation.learning_rate == 8]
    assert 1 / 3 <= behind.cost < 1
    assert behind.observation.value == 0.1  # where it was given up, not where it would have ended
    assert not behind.observation.diverged
    assert any(point.aborted for point in found.stop.points)
    in_full = replay_table(table, strategy="paper", patience=5)  # the paper gives nothing up
    assert in_full.cost == 5


def test_replay_of_a_rate_that_diverges_after_it_was_given_up_has_no_value() -> None:
    late = (*[0.1] * 8, None)
    table = MeasuredTable("late", (1,), (None,), maximize=True, curves=(late,), baseline=0.1)
    found = replay_table(table)
    assert found.value is None
    assert found.regret is None
    assert found.within_1_percent is None


def test_replay_where_everything_diverges_chooses_nothing() -> None:
    table = MeasuredTable("none", RATES, (None,) * len(RATES), maximize=True)
    for strategy in ("geometric", "paper"):
        found = replay_table(table, strategy=strategy)
        assert found.stop.learning_rate is None
        assert found.value is None
        assert found.within_1_percent is None
        assert found.to_dict()["best"] is None
    overall = summary([found, replay_table(PEAK)])
    assert overall["n"] == 2
    assert overall["all_diverged"] == 1
    assert overall["within_1_percent"] == 1


def test_replay_of_a_single_rate_takes_one_trial() -> None:
    found = replay_table(MeasuredTable("one", (0.3,), (0.5,), maximize=True))
    assert path_of(found) == [0.3]
    assert found.to_dict()["regret_of_range"] == 0


@pytest.mark.parametrize(
    ("best", "chosen", "one_percent", "one_point"),
    [
        (0.9, 0.891, True, True),
        (0.9, 0.8905, False, True),
        (0.9, 0.8899, False, False),
        (1.0, 0.99, True, True),
        (200.0, 198.0, True, None),
        (200.0, 197.9, False, None),
        (0.0, 0.0, True, True),
    ],
)
def test_replay_measures_regret_in_both_ways(
    best: float, chosen: float, one_percent: bool, one_point: bool | None
) -> None:
    # the paper's walk stops at the second rate and never sees the best one
    values = (chosen, chosen - 0.001 if chosen else 0.0, best)
    table = MeasuredTable("a", (1, 2, 3), values, maximize=True)
    found = replay_table(table, strategy="paper")
    assert found.stop.learning_rate == 1
    assert found.regret == pytest.approx(best - chosen)
    assert found.within_1_percent is one_percent
    assert found.within_one_point is one_point
    share = found.to_dict()["regret_of_range"]
    assert share == pytest.approx((best - chosen) / table.span() if best else 0)


@pytest.mark.parametrize(
    ("values", "maximize", "perfect"),
    [
        ((0.5, None), True, 1.0),
        ((50.0, 70.0), True, 100.0),
        ((50.0, 700.0), True, None),
        ((-3.0, -1.0), True, None),
        ((0.5, 3.0), False, 0.0),
        ((-0.5, 3.0), False, None),
        ((None, None), True, None),
    ],
)
def test_replay_knows_a_perfect_value_from_the_unit(
    values: tuple[float | None, ...], maximize: bool, perfect: float | None
) -> None:
    assert perfect_value(MeasuredTable("a", (1, 2), values, maximize)) == perfect


def test_replay_refuses_what_a_table_cannot_answer() -> None:
    with pytest.raises(InvalidValueError, match="got probe; a table has no ramp"):
        replay_table(PEAK, strategy="probe")
    with pytest.raises(InvalidValueError, match="must be geometric or paper but got best"):
        replay_table(PEAK, strategy="best")
    with pytest.raises(InvalidValueError, match="patience must be ≥ 1 but got 0"):
        replay_table(PEAK, patience=0)


@st.composite
def any_table(draw: st.DrawFn) -> MeasuredTable:
    size = draw(st.integers(1, 12))
    rates = draw(
        st.lists(st.floats(1e-12, 1e12), min_size=size, max_size=size, unique=True).map(sorted)
    )
    value = st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([0.0, 0.1, 0.5]))
    values = draw(st.lists(value, min_size=size, max_size=size))
    curve = st.lists(st.floats(-1e6, 1e6), max_size=6).map(tuple)
    curves = draw(st.none() | st.lists(st.none() | curve, min_size=size, max_size=size))
    return MeasuredTable(
        "any",
        tuple(rates),
        tuple(values),
        maximize=draw(st.booleans()),
        curves=None if curves is None else tuple(curves),
        baseline=draw(st.none() | st.floats(-1, 1)),
    )


@given(any_table(), st.sampled_from(["geometric", "paper"]), st.integers(1, 3))
def test_replay_ends_on_any_grid_and_is_the_products_decision(
    table: MeasuredTable, strategy: str, patience: int
) -> None:
    found = replay_table(table, strategy=strategy, patience=patience)
    path = path_of(found)
    assert len(path) == len(set(path)) <= len(table.learning_rates)
    assert set(path) <= set(table.learning_rates)
    assert all(0 < trial.cost <= 1 for trial in found.trials)
    assert found.stop.learning_rate is None or found.stop.learning_rate in path
    observations: list[Observation] = [trial.observation for trial in found.trials]
    rule = rule_for(table, strategy=strategy, patience=patience)
    assert decide(rule, observations) == found.stop
    assert isinstance(decide(rule, observations), Stop)
    best, value = table.best(), found.value
    if best is not None and value is not None:
        assert value <= best[1] if table.maximize else value >= best[1]


def test_wide_families_have_the_shapes_they_say() -> None:
    tables = wide_tables(20, seed=3)
    assert tables == wide_tables(20, seed=3)
    assert len(tables) == 20 * len(FAMILIES)
    assert len(RATES) == 36
    assert (RATES[0], RATES[-1]) == (1e-5, 100)
    for table in tables:
        assert table.curves is not None
        for value, curve in zip(table.values, table.curves, strict=True):
            assert curve is not None
            assert len(curve) == EPOCHS if value is not None else len(curve) <= 4
            assert curve[-1] == value
        family = table.name.split("-")[0]
        best = table.best()
        assert best is not None
        if family == "lower_edge":
            assert best[0] == RATES[0]
        if family == "top":
            assert best[0] >= 1
        if family == "flat_start":
            assert max(v for v in table.values[:5] if v is not None) < best[1] - 0.2


def hold_to_target(tables: list[MeasuredTable], key: str, hits: float, cost: float) -> None:
    overall = summary([replay_table(table) for table in tables])
    assert overall[key] >= hits, overall
    assert overall["cost"]["median"] <= cost, overall


def test_geometric_keeps_its_promise_on_wide_grids() -> None:
    tables = wide_tables(60, seed=0)
    hold_to_target(tables, "within_one_point", hits=0.98, cost=5)
    overall = summary([replay_table(table) for table in tables])
    assert overall["cost"]["p90"] <= 8


@pytest.mark.parametrize("collection", ["fc-net", "mlp"])
def test_geometric_keeps_its_promise_on_measured_tables(collection: str) -> None:
    tables = read_tables(MEASURED.read_text(encoding="utf-8"), "tables.json")
    chosen = [table for table in tables if table.name.startswith(collection)]
    assert len(chosen) == 200
    hold_to_target(chosen, "within_1_percent", hits=0.97, cost=4)


def test_summary_interpolates() -> None:
    replays = [replay_table(PEAK, strategy="paper", patience=n) for n in (1, 2)]
    assert summary(replays)["trials"] == {"median": 3.5, "p90": pytest.approx(3.9), "mean": 3.5}
    assert math.isclose(summary(replays)["within_1_percent"], 1)
