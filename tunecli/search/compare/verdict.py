"""What a comparison came to, in words: never more certain than its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tunecli.search.compare.analysis import CatchUp, Difference
from tunecli.search.compare.bootstrap import ALPHA, Estimate

Outcome = Literal["better", "worse", "no significant difference"]


@dataclass(frozen=True, slots=True)
class Opponent:
    """One method beside ours, as the sentences see it.

    Args:
        name: On the command line.
        label: For people.
        ours: Our test value at the end of the budget.
        theirs: Theirs.
        difference: Ours minus theirs.
        p_holm: The difference's p-value after Holm's correction.
        our_samples: What our study draws, in the median.
        their_samples: What theirs draws.
        catch_up: When they have what we had at our stop.
    """

    name: str
    label: str
    ours: Estimate
    theirs: Estimate
    difference: Difference
    p_holm: float
    our_samples: float
    their_samples: float
    catch_up: CatchUp

    def outcome(self, *, maximize: bool) -> Outcome:
        """What the numbers allow to say of our search."""
        if not self.difference.significant:
            return "no significant difference"
        return "better" if (self.difference.mean > 0) == maximize else "worse"


def method_verdict(one: Opponent, *, metric: str, maximize: bool) -> str:
    """The sentences on one method."""
    numbers = (
        f"test {metric} {one.ours.mean:.4f} against {one.theirs.mean:.4f}, "
        f"difference {one.difference.mean:+.4f} ({_interval(one.difference)})"
    )
    match one.outcome(maximize=maximize):
        case "better":
            first = f"tunecli is better than {one.label}: {numbers}"
        case "worse":
            first = f"tunecli is worse than {one.label}: {numbers}"
        case _:
            first = f"No significant difference between tunecli and {one.label}: {numbers}"
    return f"{first}. {_cost(one)} {_catching_up(one)}"


def overall_verdict(
    opponents: Sequence[Opponent], *, metric: str, maximize: bool, trials: int, budget: int
) -> list[str]:
    """The sentences that stand above everything: the headline, the sums, what to mind.

    Args:
        opponents: All methods but ours.
        metric: Its name.
        maximize: Whether a larger value is better.
        trials: The budget in full trials.
        budget: The budget in samples.
    """
    if not opponents:
        return ["Nothing to compare with: no other method has a result."]
    first = next((one for one in opponents if one.name == "tpe"), opponents[0])
    sentences = [
        f"At a budget of {trials} full trials ({budget:,} samples): "
        + method_verdict(first, metric=metric, maximize=maximize)
    ]
    for outcome, words in (
        ("better", "tunecli is better than"),
        ("worse", "tunecli is worse than"),
        ("no significant difference", "No significant difference to"),
    ):
        found = [one.label for one in opponents if one.outcome(maximize=maximize) == outcome]
        if found:
            sentences.append(f"{words} {', '.join(found)}.")
    sentences += _reservations(opponents, maximize=maximize)
    return sentences


def _reservations(opponents: Sequence[Opponent], *, maximize: bool) -> list[str]:
    sentences = []
    n = max(one.difference.n for one in opponents)
    if n < 6:
        sentences.append(
            f"With {n} {'study' if n == 1 else 'studies'} no difference can be significant; "
            "run at least 6."
        )
    elif len(opponents) > 1:
        found = [one for one in opponents if one.difference.significant]
        remaining = [one.label for one in found if one.p_holm <= ALPHA]
        left = ", ".join(remaining) if remaining else "none"
        sentences.append(
            "Each interval and verdict is for one comparison alone. After Holm's correction for "
            f"{len(opponents)} comparisons, significant differences remain to: {left}."
        )
    return sentences


def _interval(difference: Difference) -> str:
    studies = f"n = {difference.n} {'study' if difference.n == 1 else 'studies'}"
    if difference.low is None or difference.high is None:
        return f"{studies}, too few for an interval"
    return f"95 % interval {difference.low:+.4f} to {difference.high:+.4f}, {studies}"


def _cost(one: Opponent) -> str:
    share = one.our_samples / one.their_samples
    return (
        f"tunecli drew {one.our_samples:,.0f} samples, {share:.0%} of the "
        f"{one.their_samples:,.0f} that {one.label} drew (medians)."
    ).replace("% of", " % of")


def _catching_up(one: Opponent) -> str:
    found = one.catch_up
    if found.samples is None or found.ratio is None:
        return f"{one.label} does not reach what tunecli had at its stop within the budget."
    low = "?" if found.low is None else f"{found.low:.2g}"
    if found.low is None and found.high is None:
        interval = ""
    elif found.high is None:
        interval = f" (95 % interval {low} to beyond the budget)"
    else:
        interval = f" (95 % interval {low} to {found.high:.2g})"
    return (
        f"{one.label} reaches what tunecli had at its stop after {found.samples:,} samples, "
        f"{found.ratio:.2g} times what tunecli drew{interval}."
    )
