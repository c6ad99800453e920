from dataclasses import replace

import pytest

from tunecli.search.compare.analysis import CatchUp, Difference
from tunecli.search.compare.bootstrap import Estimate
from tunecli.search.compare.verdict import Opponent, method_verdict, overall_verdict


def opponent(
    name: str = "tpe",
    mean: float = 0.02,
    low: float | None = 0.01,
    high: float | None = 0.03,
    p: float = 0.002,
    n: int = 10,
) -> Opponent:
    return Opponent(
        name=name,
        label=name.upper(),
        ours=Estimate(0.95, 0.94, 0.96, n),
        theirs=Estimate(0.95 - mean, 0.9, 0.96, n),
        difference=Difference(mean, low, high, n, p),
        p_holm=p,
        our_samples=20_000,
        their_samples=100_000,
        catch_up=CatchUp(50_000, 2.5, 1.5, None),
    )


def words(one: Opponent, *, maximize: bool = True) -> str:
    return method_verdict(one, metric="accuracy", maximize=maximize)


def test_verdict_tells_better_with_numbers_n_and_cost() -> None:
    assert words(opponent()) == (
        "tunecli is better than TPE: test accuracy 0.9500 against 0.9300, difference +0.0200 "
        "(95 % interval +0.0100 to +0.0300, n = 10 studies). tunecli drew 20,000 samples, 20 % of "
        "the 100,000 that TPE drew (medians). TPE reaches what tunecli had at its stop after "
        "50,000 samples, 2.5 times what tunecli drew (95 % interval 1.5 to beyond the budget)."
    )


def test_verdict_says_when_ours_is_worse() -> None:
    found = words(opponent(mean=-0.02, low=-0.03, high=-0.01))
    assert found.startswith("tunecli is worse than TPE: ")


def test_verdict_of_a_loss_is_turned_around() -> None:
    assert words(opponent(), maximize=False).startswith("tunecli is worse than TPE")
    lower = opponent(mean=-0.02, low=-0.03, high=-0.01)
    assert words(lower, maximize=False).startswith("tunecli is better than TPE")


@pytest.mark.parametrize(
    ("low", "high", "p"),
    [(-0.01, 0.03, 0.2), (0.0, 0.03, 0.01), (0.01, 0.03, 0.06), (None, None, 1.0)],
)
def test_verdict_says_no_significant_difference(
    low: float | None, high: float | None, p: float
) -> None:
    found = words(opponent(low=low, high=high, p=p))
    assert found.startswith("No significant difference between tunecli and TPE: ")


def test_verdict_of_one_study_has_no_interval() -> None:
    found = words(opponent(low=None, high=None, p=1.0, n=1))
    assert "n = 1 study, too few for an interval" in found


def test_verdict_says_when_they_do_not_catch_up() -> None:
    never = replace(opponent(), catch_up=CatchUp(None, None, None, None))
    assert "TPE does not reach what tunecli had at its stop within the budget" in words(never)


def overall(*opponents: Opponent) -> list[str]:
    return overall_verdict(opponents, metric="accuracy", maximize=True, trials=30, budget=300_000)


def test_overall_verdict_begins_with_tpe_at_the_budget() -> None:
    found = overall(opponent("random"), opponent("tpe", low=-0.1, p=0.3))
    assert found[0].startswith(
        "At a budget of 30 full trials (300,000 samples): No significant difference between "
        "tunecli and TPE"
    )


def test_overall_verdict_sums_up_and_minds_the_number_of_comparisons() -> None:
    worse = opponent("gp", mean=-0.02, low=-0.03, high=-0.01)
    weak = replace(opponent("grid"), p_holm=0.2)
    found = overall(opponent("tpe", low=-0.1, p=0.3), opponent("random"), worse, weak)
    assert "tunecli is better than RANDOM, GRID." in found
    assert "tunecli is worse than GP." in found
    assert "No significant difference to TPE." in found
    assert found[-1].endswith(
        "After Holm's correction for 4 comparisons, significant differences remain to: RANDOM, GP."
    )


def test_overall_verdict_of_few_studies_says_so() -> None:
    found = overall(opponent(p=0.25, n=3))
    assert found[-1] == "With 3 studies no difference can be significant; run at least 6."


def test_overall_verdict_without_opponents() -> None:
    assert overall() == ["Nothing to compare with: no other method has a result."]
