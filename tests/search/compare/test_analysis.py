import pytest

from tunecli.search.compare.analysis import (
    Study,
    anytime,
    catch_up,
    difference,
    final_values,
    target_value,
    to_target,
)


def study(
    seed: int, *points: tuple[float, float], samples: int = 0, validation: float = 0.5
) -> Study:
    """A study with (samples, test) points; seconds are samples / 10."""
    return Study(
        seed=seed,
        trials=len(points),
        samples=samples or int(points[-1][0]),
        seconds=samples / 10,
        curve=tuple((spent, spent / 10, validation, test) for spent, test in points),
        finished=tuple((spent, spent / 10, test) for spent, test in points),
    )


def test_incumbent_is_the_last_one_within_the_samples() -> None:
    one = study(0, (100, 0.5), (200, 0.7))
    assert [one.at(samples) for samples in (99, 100, 199, 200, 10**6)] == [
        None,
        (0.5, 0.5),
        (0.5, 0.5),
        (0.5, 0.7),
        (0.5, 0.7),
    ]


def test_final_values_leave_out_what_came_after_the_budget() -> None:
    studies = [study(0, (100, 0.5), (300, 0.9)), study(1, (250, 0.8))]
    assert final_values(studies, 200) == [0.5]
    assert final_values(studies, 300) == [0.9, 0.8]


def test_study_without_a_result_counts_as_having_learned_nothing() -> None:
    summary = {"seed": 0, "trials": 3, "samples": 300, "seconds": 1.0, "finished": []}
    failed = Study.from_dict({**summary, "curve": [], "baseline": 0.1})
    assert final_values([failed, study(1, (100, 0.9))], 1000) == [0.1, 0.9]
    assert to_target([failed], 0.05, 1000, maximize=True).reached == 0
    assert Study.from_dict({**summary, "curve": [], "baseline": None}).at(1000) is None


def test_anytime_starts_where_every_study_has_a_result() -> None:
    found = anytime([study(0, (100, 0.5), (400, 0.9)), study(1, (200, 0.7))], 1000)
    assert found.samples[0] == 200
    assert found.samples[-1] == 1000
    assert list(found.samples) == sorted(set(found.samples))
    assert found.mean[0] == pytest.approx(0.6)
    assert found.mean[-1] == pytest.approx(0.8)
    at_400 = found.samples.index(400)
    assert found.mean[at_400] == pytest.approx(0.8)
    assert found.mean[at_400 - 1] == pytest.approx(0.6)
    assert all(
        low <= mid <= high for low, mid, high in zip(found.low, found.mean, found.high, strict=True)
    )


def test_anytime_of_nothing_is_empty() -> None:
    assert anytime([study(0, (2000, 0.5))], 1000).samples == ()


def test_difference_is_paired_by_seed_whatever_the_order() -> None:
    ours = [study(seed, (100, 0.1 * seed + 0.05)) for seed in range(1, 8)]
    theirs = [study(seed, (100, 0.1 * seed)) for seed in reversed(range(1, 9))]
    found = difference(ours, theirs, 100)
    assert found is not None
    assert found.n == 7
    assert found.mean == pytest.approx(0.05)
    assert found.low == pytest.approx(0.05)
    assert found.p == pytest.approx(2 / 2**7)
    assert found.significant


def test_difference_inside_the_noise_is_not_significant() -> None:
    changes = (0.02, -0.02, 0.01, -0.015, 0.005, -0.003, 0.001)
    theirs = [study(seed, (100, 0.5)) for seed in range(7)]
    ours = [study(seed, (100, 0.5 + change)) for seed, change in enumerate(changes)]
    found = difference(ours, theirs, 100)
    assert found is not None
    assert not found.significant


def test_five_studies_cannot_be_significant() -> None:
    theirs = [study(seed, (100, 0.5)) for seed in range(5)]
    ours = [study(seed, (100, 0.9)) for seed in range(5)]
    found = difference(ours, theirs, 100)
    assert found is not None
    assert found.low == pytest.approx(0.4)
    assert found.p == pytest.approx(2 / 32)
    assert not found.significant


def test_difference_without_a_pair_is_none() -> None:
    assert difference([study(0, (100, 0.5))], [study(1, (100, 0.5))], 100) is None


def test_target_is_the_median_of_the_best_within_the_budget() -> None:
    studies = [
        study(0, (100, 0.7), (200, 0.6)),
        study(1, (100, 0.5), (900, 0.99)),
        study(2, (100, 0.9)),
    ]
    assert target_value(studies, 500, maximize=True) == 0.7
    assert target_value(studies, 500, maximize=False) == 0.6
    assert target_value(studies, 50, maximize=True) is None


def test_target_is_reached_by_any_trial_that_ended() -> None:
    studies = [
        study(0, (100, 0.7), (200, 0.9)),
        study(1, (150, 0.9)),
        study(2, (100, 0.5)),
        study(3, (700, 0.9)),
    ]
    found = to_target(studies, 0.8, 500, maximize=True)
    assert (found.reached, found.n) == (2, 4)
    assert found.samples == 200
    assert found.seconds == 20


def test_target_that_fewer_than_half_reach_has_no_time() -> None:
    found = to_target(
        [study(0, (100, 0.9)), study(1, (100, 0.1)), study(2, (100, 0.1))], 0.8, 500, maximize=True
    )
    assert (found.reached, found.samples, found.seconds) == (1, None, None)


def test_catch_up_is_where_their_mean_reaches_what_we_had() -> None:
    # ours: means 0.8 at the stop, after 100 samples; theirs 0.65, then 0.75, then 0.8 at 400
    ours = [study(0, (50, 0.6), (100, 0.9)), study(1, (100, 0.7))]
    theirs = [study(0, (100, 0.7), (400, 0.8)), study(1, (200, 0.6), (300, 0.8))]
    found = catch_up(ours, theirs, 1000, maximize=True)
    assert found.samples == 400
    assert found.ratio == 4.0


def test_catch_up_beyond_the_budget_is_none() -> None:
    ours, theirs = [study(0, (100, 0.9))], [study(0, (100, 0.7), (400, 0.95))]
    assert catch_up(ours, theirs, 300, maximize=True).samples is None
    found = catch_up(ours, theirs, 400, maximize=True)
    assert (found.samples, found.ratio) == (400, 4.0)
    assert (found.low, found.high) == (None, None)


def test_catch_up_of_a_loss_goes_down() -> None:
    ours, theirs = [study(0, (100, 0.3))], [study(0, (100, 0.9), (250, 0.3))]
    assert catch_up(ours, theirs, 300, maximize=False).samples == 250


def test_catch_up_counts_what_we_drew_and_not_when_we_had_it() -> None:
    ours, theirs = [study(0, (50, 0.9), samples=200)], [study(0, (100, 0.9))]
    assert catch_up(ours, theirs, 300, maximize=True).ratio == 0.5


def test_catch_up_interval_holds_every_resample_of_equal_studies() -> None:
    ours = [study(seed, (100, 0.8)) for seed in range(8)]
    theirs = [study(seed, (100, 0.7), (300, 0.8)) for seed in range(8)]
    found = catch_up(ours, theirs, 1000, maximize=True)
    assert (found.ratio, found.low, found.high) == (3.0, 3.0, 3.0)


def test_catch_up_interval_is_open_where_some_never_get_there() -> None:
    ours = [study(seed, (100, 0.8)) for seed in range(8)]
    theirs = [study(seed, (100, 0.7 if seed % 2 else 0.9)) for seed in range(8)]
    found = catch_up(ours, theirs, 1000, maximize=True)
    assert found.low == 1.0
    assert found.high is None
