import pytest

from tunecli.errors import InvalidValueError
from tunecli.training.asynchronous.silence import Silence, SilenceLimits


class Watch:
    """A clock that is looked at a tenth of a second after the last time, unless it is moved."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        self.time += 0.1
        return self.time


def silence(num_workers: int = 2, **limits: float) -> tuple[Silence, Watch]:
    watch = Watch()
    return Silence(num_workers, limits=SilenceLimits(**limits), now=watch), watch


def until_overdue(one: Silence) -> tuple[float, list[tuple[int, str]]]:
    """Seconds of looking, and who is overdue then."""
    for looks in range(1, 10**5):
        if found := list(one.overdue()):
            return looks / 10, found
    raise AssertionError


def test_worker_is_overdue_after_the_limit_and_no_other_is() -> None:
    one, _ = silence(3, answer_s=60)
    one.begin(1, "answer")
    seconds, found = until_overdue(one)
    assert seconds == pytest.approx(60, abs=0.2)
    assert found == [(1, "did not answer for 60 s")]


def test_worker_that_has_answered_or_was_not_asked_is_never_overdue() -> None:
    one, _ = silence(answer_s=1)
    one.begin(0, "answer")
    one.overdue()
    one.end(0)
    assert not any(one.overdue() for _ in range(100))


def test_slow_answer_makes_the_next_ones_less_suspicious() -> None:
    one, _ = silence(answer_s=2, times_slowest=100)
    one.begin(0, "answer")
    for _ in range(10):
        assert not one.overdue()
    one.end(0)  # after a second
    one.begin(0, "answer")
    one.begin(1, "answer")
    seconds, found = until_overdue(one)
    assert seconds == pytest.approx(100, abs=0.3)
    assert [worker for worker, _ in found] == [0, 1]


def test_time_without_a_look_does_not_count() -> None:
    """After Ctrl-Z and fg all workers have been silent for ten minutes, and none hangs."""
    one, watch = silence(answer_s=60)
    one.begin(0, "answer")
    one.overdue()
    watch.time += 600
    assert not one.overdue()
    assert until_overdue(one)[0] == pytest.approx(59, abs=0.3)


def test_start_may_take_long_as_long_as_others_become_ready() -> None:
    one, _ = silence(start_s=3)
    one.begin(0, "start")
    one.begin(1, "start")
    for _ in range(20):
        assert not one.overdue()
    one.end(0)
    seconds, found = until_overdue(one)
    assert seconds == pytest.approx(3, abs=0.2)
    assert found == [(1, "did not start for 3 s")]


@pytest.mark.parametrize("name", ["answer_s", "times_slowest", "start_s"])
def test_limit_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(InvalidValueError, match=f"{name} must be > 0 but got 0"):
        SilenceLimits(**{name: 0})
