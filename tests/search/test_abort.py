"""When a trial may be given up, and that what ran ahead is judged as if it had run in its turn."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunecli.search.abort import AFTER, MARGIN, Curve, gives_up, truncated

ACCURACY: dict[str, Any] = {"maximize": True, "perfect": 1.0}
LOSS: dict[str, Any] = {"maximize": False, "perfect": 0.0}
GOOD: Curve = [(0.2, 0.4), (0.4, 0.7), (0.6, 0.8), (0.8, 0.85), (1.0, 0.9)]

_VALUES = st.integers(0, 64).map(lambda k: k / 64)


@st.composite
def curves(draw: st.DrawFn, most: int = 12) -> Curve:
    points = draw(st.integers(1, most))
    shares = [(i + 1) / points for i in range(points)]
    return [(share, draw(_VALUES)) for share in shares]


def mirrored(curve: Curve) -> Curve:
    return [(share, 1 - value) for share, value in curve]


@given(
    curve=curves(),
    incumbent=st.none() | curves(),
    baseline=st.none() | _VALUES,
    perfect=st.none() | st.just(1.0),
)
def test_nothing_is_given_up_before_a_third_nor_at_the_end(
    curve: Curve, incumbent: Curve | None, baseline: float | None, perfect: float | None
) -> None:
    for end in range(len(curve) + 1):
        share = curve[end - 1][0] if end else 0.0
        reason = gives_up(curve[:end], incumbent, maximize=True, perfect=perfect, baseline=baseline)
        if share < AFTER - 1e-6 or share == 1:
            assert reason is None


@given(curve=curves(), incumbent=curves(), baseline=st.none() | _VALUES)
def test_losses_are_judged_as_accuracies_are(
    curve: Curve, incumbent: Curve, baseline: float | None
) -> None:
    other = None if baseline is None else 1 - baseline
    up = gives_up(curve[:-1], incumbent, baseline=baseline, **ACCURACY)
    down = gives_up(mirrored(curve[:-1]), mirrored(incumbent), baseline=other, **LOSS)
    if baseline is not None:  # without one, one percent of the value is the scale
        assert (up is None) == (down is None)


@given(curve=curves(), incumbent=st.none() | curves(), baseline=st.none() | _VALUES)
def test_truncated_is_the_curve_up_to_the_first_point_that_gives_up(
    curve: Curve, incumbent: Curve | None, baseline: float | None
) -> None:
    cut, reason = truncated(curve, incumbent, baseline=baseline, **ACCURACY)
    assert list(cut) == list(curve[: len(cut)])
    before = [
        gives_up(curve[:end], incumbent, baseline=baseline, **ACCURACY)
        for end in range(1, len(cut))
    ]
    assert before == [None] * (len(cut) - 1)
    if reason:
        assert gives_up(cut, incumbent, baseline=baseline, **ACCURACY) == reason
        # cut once, it is cut there again: a trial given up as it ran is left as it is
        assert truncated(cut, incumbent, baseline=baseline, **ACCURACY) == (cut, reason)
    else:
        assert list(cut) == list(curve)


@given(
    curve=curves(),
    level=st.floats(0, 0.18),
    baseline=st.just(0.1),
)
def test_nothing_is_given_up_against_a_rate_that_has_learned_nothing(
    curve: Curve, level: float, baseline: float
) -> None:
    """What is left is the trial's own failure to learn."""
    flat: Curve = [(share, level) for share, _ in GOOD]
    for end in range(1, len(curve) + 1):
        reason = gives_up(curve[:end], flat, baseline=baseline, **ACCURACY)
        assert reason == gives_up(curve[:end], None, baseline=baseline, **ACCURACY)


@pytest.mark.parametrize(
    ("value", "given_up"),
    [(0.1, True), (0.15, True), (0.39, True), (0.41, False), (0.7, False)],
)
def test_trial_that_closed_less_than_half_of_the_best_rates_gap_is_given_up(
    value: float, given_up: bool
) -> None:
    # at 0.4 the best had closed 0.6; half of that is a value of 0.4
    assert pytest.approx(0.1 + MARGIN * (0.7 - 0.1)) == 0.4
    reason = gives_up([(0.2, 0.1), (0.4, value)], GOOD, baseline=0.1, **ACCURACY)
    assert (reason is not None) == given_up


def test_what_the_best_rate_does_later_does_not_matter() -> None:
    late: Curve = [(0.2, 0.1), (0.4, 0.2), (1.0, 0.99)]
    assert gives_up([(0.4, 0.2)], late, baseline=0.1, **ACCURACY) is None
    # where the two were not evaluated together, the best's last value before counts
    assert gives_up([(0.5, 0.2)], late, baseline=0.1, **ACCURACY) is None
    assert gives_up([(0.35, 0.3)], [(0.5, 0.9)], baseline=0.1, **ACCURACY) is None


def test_unknown_baseline_stands_for_the_worst_value_on_the_two_curves() -> None:
    assert gives_up([(0.4, 0.2)], GOOD, baseline=None, **ACCURACY) is not None  # far below 0.7
    assert gives_up([(0.2, 0.1), (0.4, 0.45)], GOOD, baseline=None, **ACCURACY) is None
    # nothing learned cannot be told without it
    assert gives_up([(0.4, 0.1)], None, baseline=None, **ACCURACY) is None
    assert gives_up([(0.4, 0.1)], None, baseline=0.1, maximize=True, perfect=None) is None
    # two flat curves: a gap inside a percent is noise, not learning
    flat: Curve = [(0.4, 0.500), (1.0, 0.5)]
    assert gives_up([(0.4, 0.499)], flat, baseline=None, **ACCURACY) is None


def test_learned_share_of_the_recipe_decides_what_has_learned() -> None:
    curve = [(0.5, 0.3)]
    assert gives_up(curve, None, baseline=0.1, learned_share=0.1, **ACCURACY) is None
    assert gives_up(curve, None, baseline=0.1, learned_share=0.3, **ACCURACY) is not None


def test_baseline_that_is_perfect_gives_nothing_up() -> None:
    assert gives_up([(0.5, 1.0)], [(0.5, 1.0), (1.0, 1.0)], baseline=1.0, **ACCURACY) is None


@given(curve=curves(), incumbent=curves())
def test_reason_has_the_share_and_reads_well(curve: Curve, incumbent: Curve) -> None:
    cut, reason = truncated(curve, incumbent, baseline=0.125, **ACCURACY)
    if reason:
        assert f" after {cut[-1][0]:.0%}"[:-1] in reason
        assert reason.startswith(("it had learned nothing after ", "it was far behind after "))
        assert " % of its samples" in reason
        assert reason.isprintable()
