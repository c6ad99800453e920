from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunecli.errors import InvalidValueError
from tunecli.theory.delay import (
    ConstantDelay,
    DelayDistribution,
    GaussianDelay,
    GeometricDelay,
    HistogramDelay,
    UniformDelay,
)
from tunecli.training.asynchronous.delivery import Delivery, Service, clock, drawn, round_robin

speeds = st.lists(st.floats(0.01, 100), min_size=1, max_size=6)
services = st.sampled_from(["exponential", "constant"])


def assert_possible(delivery: Delivery, steps: int) -> None:
    turns = np.arange(steps)
    assert delivery.read.dtype == np.int64
    assert len(delivery) == steps
    assert (delivery.read >= 0).all()
    assert (delivery.read <= turns).all()
    for turn in turns:
        readers = [later for later in turns if delivery.read[later] == turn]
        assert delivery.last_read[turn] == max(readers, default=-1)


def assert_each_worker_reads_when_it_was_served(delivery: Delivery) -> None:
    assert delivery.worker is not None
    at = [0] * delivery.num_workers
    for turn, (read, worker) in enumerate(zip(delivery.read, delivery.worker, strict=True)):
        assert read == at[worker]
        at[worker] = turn + 1


@given(st.integers(1, 9), st.integers(1, 40))
def test_workers_in_turn_have_the_delay_of_the_others_number(workers: int, steps: int) -> None:
    delivery = round_robin(workers, steps)
    assert_possible(delivery, steps)
    assert_each_worker_reads_when_it_was_served(delivery)
    assert delivery.delays.tolist() == [min(turn, workers - 1) for turn in range(steps)]
    assert delivery.num_workers == workers


@given(speeds, st.integers(1, 60), st.integers(0, 2**63), services)
def test_clock_serves_and_each_worker_reads_again(
    speeds: list[float], steps: int, seed: int, service: Service
) -> None:
    delivery = clock(speeds, steps, seed=seed, service=service)
    assert_possible(delivery, steps)
    assert_each_worker_reads_when_it_was_served(delivery)
    assert delivery.num_workers == len(speeds)


@given(st.integers(1, 9), st.integers(1, 60), st.floats(0.01, 100))
def test_clock_of_equal_constant_speeds_serves_in_turn(
    workers: int, steps: int, speed: float
) -> None:
    found = clock([speed] * workers, steps, seed=0, service="constant")
    expected = round_robin(workers, steps)
    assert found.read.tolist() == expected.read.tolist()
    assert found.worker is not None
    assert expected.worker is not None
    assert found.worker.tolist() == expected.worker.tolist()


def test_clock_of_equal_memoryless_workers_has_a_geometric_delay() -> None:
    delays = clock([2.0] * 8, 100_000, seed=0).delays[1000:]
    expected = np.array(GeometricDelay.of_workers(8).probabilities()[:30])
    found = np.bincount(delays, minlength=30)[:30] / len(delays)
    assert np.abs(found - expected).max() < 0.005
    assert delays.mean() == pytest.approx(7, rel=0.01)


@pytest.mark.parametrize("service", ["exponential", "constant"])
def test_clock_serves_a_straggler_as_rarely_as_it_is_slow(service: Service) -> None:
    delivery = clock([1, 1, 1, 0.1], 31_000, seed=0, service=service)
    assert delivery.worker is not None
    served = Counter(delivery.worker.tolist())
    assert served[3] == pytest.approx(1000, rel=0.1)
    assert served[0] == pytest.approx(10_000, rel=0.03)
    late = delivery.delays[delivery.worker == 3]
    assert late.mean() > 20 > delivery.delays.mean()


def test_clock_by_hand() -> None:
    # ready at 1 2 3 4 and at 2.5 5; a tie at 5 goes to the first worker
    delivery = clock([1.0, 0.4], 7, seed=0, service="constant")
    assert delivery.worker is not None
    assert delivery.worker.tolist() == [0, 0, 1, 0, 0, 0, 1]
    assert delivery.read.tolist() == [0, 1, 0, 2, 4, 5, 3]
    assert delivery.last_read.tolist() == [2, 1, 3, 6, 4, 5, -1]


@pytest.mark.parametrize(
    "delay",
    [
        ConstantDelay(0),
        ConstantDelay(15),
        UniformDelay(2, 9),
        GaussianDelay(6),
        GeometricDelay.of_mean(4.0),
        HistogramDelay((0, 3, 0, 1)),
    ],
    ids=lambda delay: delay.kind,
)
def test_drawn_delays_have_their_distribution(delay: DelayDistribution) -> None:
    steps = 50_000
    delivery = drawn(delay, steps, seed=3)
    assert delivery.worker is None
    assert delivery.num_workers == 1
    found = delivery.delays[200:]
    expected = np.zeros(max(len(delay.probabilities()), found.max() + 1))
    expected[: len(delay.probabilities())] = delay.probabilities()
    frequencies = np.bincount(found, minlength=len(expected)) / len(found)
    assert np.abs(frequencies - expected).max() < 0.01
    assert not frequencies[expected == 0].any()


@given(st.integers(0, 30), st.integers(1, 40), st.integers(0, 2**63))
def test_drawn_delay_beyond_the_start_reads_the_first_version(
    delay: int, steps: int, seed: int
) -> None:
    delivery = drawn(ConstantDelay(delay), steps, seed=seed)
    assert_possible(delivery, steps)
    assert delivery.delays.tolist() == [min(turn, delay) for turn in range(steps)]


def test_seed_decides_and_a_longer_run_begins_alike() -> None:
    delay = GeometricDelay.of_mean(5.0)
    short, long, other = (drawn(delay, n, seed=s).read for n, s in ((50, 1), (90, 1), (50, 2)))
    assert (short == long[:50]).all()
    assert not (short == other).all()
    fast, slow = (clock([1.0, 2.0], n, seed=1).read for n in (50, 90))
    assert (fast == slow[:50]).all()


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="num_workers must be ≥ 1 but got 0"):
        round_robin(0, 5)
    with pytest.raises(InvalidValueError, match="num_workers must be ≥ 1 but got 0"):
        clock([], 5, seed=0)
    with pytest.raises(InvalidValueError, match="steps must be ≥ 1 but got 0"):
        drawn(ConstantDelay(1), 0, seed=0)
    for speed in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InvalidValueError, match="speed must be a finite number > 0"):
            clock([1.0, speed], 5, seed=0)
