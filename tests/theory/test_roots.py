"""The bracketing root finder against roots that are known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunecli.theory.roots import bracketed_root


@given(root=st.floats(1e-6, 1e6), power=st.sampled_from([1, 3, 7]), flip=st.booleans())
def test_bracketed_root_finds_steep_and_flat_roots(root: float, power: int, flip: bool) -> None:
    sign = -1 if flip else 1
    found = bracketed_root(
        lambda x: sign * math.copysign(abs(x / root - 1) ** power, x - root), 0, 2e6
    )
    assert found == pytest.approx(root, rel=1e-12)


def test_bracketed_root_takes_few_evaluations() -> None:
    calls = 0

    def function(x: float) -> float:
        nonlocal calls
        calls += 1
        return math.cos(x) - x

    assert bracketed_root(function, 0, 1) == pytest.approx(0.7390851332151607, rel=1e-15)
    assert calls <= 14


def test_bracketed_root_returns_an_end_that_is_a_root_and_the_better_end_without_one() -> None:
    assert bracketed_root(lambda x: x - 1, 1, 2) == 1
    assert bracketed_root(lambda x: x, 1, 2) == 1
