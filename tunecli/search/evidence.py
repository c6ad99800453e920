"""What the trials so far say, asked for one by one in the order of a sequential search.

A strategy is written as a plain loop that looks at one rate after the other. Where a look needs a
trial that is not there yet, the loop is left with `Missing`, and begins again from its start when
the trial is there. So the decision is a function of the trials alone, whoever ran them and in
whatever order: what ran ahead counts once the loop asks for it, and never before.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tunecli.errors import InvalidValueError, require
from tunecli.search.abort import Curve, truncated
from tunecli.search.ladder import Ladder
from tunecli.search.noise import paired_interval, prediction_interval, spread
from tunecli.search.rule import (
    Comparison,
    Continue,
    MonotoneRule,
    Observation,
    Point,
    Role,
    Verdict,
)


class Missing(Exception):  # noqa: N818 - it is how a loop is left, nothing went wrong
    """The search needs this trial next."""

    def __init__(self, request: Continue) -> None:
        super().__init__(request)
        self.request = request


class BudgetSpent(Exception):  # noqa: N818 - likewise
    """The search has used `max_trials` trials."""


@dataclass
class Candidate:
    """One rate and what was seen at it.

    Args:
        position: On the ladder.
        learning_rate: α₁.
        role: What the rate was first looked at for.
        observations: Its trials, by repeat.
        values: One value per trial.
        value: Their mean; None when the rate diverges.
        diverged: Whether any trial here diverged.
        improved: Whether it has been the incumbent.
        learned: Whether it has learned something.
        settled: Whether it was held against the incumbent.
        given_up: Why its trial was not trained to the end; empty otherwise.
    """

    position: float
    learning_rate: float
    role: Role
    observations: list[Observation] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    value: float | None = None
    diverged: bool = False
    improved: bool = False
    learned: bool = False
    settled: bool = False
    given_up: str = ""

    def add(self, trial: Observation) -> None:
        """Take note of a further trial."""
        self.observations.append(trial)
        self.values.append(trial.value)
        self.diverged |= trial.diverged
        self.value = None if self.diverged else math.fsum(self.values) / len(self.values)

    @property
    def baseline(self) -> float | None:
        """What a model that has learned nothing gets, where it is known."""
        known = [each.baseline for each in self.observations if each.baseline is not None]
        return math.fsum(known) / len(known) if known else None


class Evidence:
    """The trials of a search as its strategy sees them.

    Args:
        rule: What the search goes by.
        observations: The finished trials, in any order but for those at one rate without `repeat`.

    Raises:
        InvalidValueError: A trial's learning rate cannot be the rule's, or a value or a baseline
            is not finite.
    """

    def __init__(self, rule: MonotoneRule, observations: Iterable[Observation]) -> None:
        self.rule = rule
        self.ladder = Ladder(rule)
        self.candidates: list[Candidate] = []  # in the order of the search
        self.comparisons: list[Comparison] = []
        self._incumbents: list[Candidate] = []
        self._by_position: dict[float, Candidate] = {}
        self._trials = _by_rate(rule, self.ladder, observations)
        self._spent = 0

    @property
    def best(self) -> Candidate | None:
        """The incumbent: the last rate that improved, and has not diverged with another seed."""
        return next((c for c in reversed(self._incumbents) if not c.diverged), None)

    def seen(self, position: float) -> Candidate | None:
        """The candidate at a position, if the search was there."""
        return self._by_position.get(position)

    def look(self, position: float, role: Role = "walk") -> Candidate:
        """Train at a position with the first seed, or see what that gave.

        Raises:
            Missing: The trial is not there yet.
            BudgetSpent: The rule allows no further trial.
        """
        found = self._by_position.get(position)
        if found is None:
            found = Candidate(position, self.ladder.rate(position), role)
            self._train(found, role)
            found.learned = self._has_learned(found)
            self._by_position[position] = found
            self.candidates.append(found)
        return found

    def repeat(self, candidate: Candidate, repeats: int) -> None:
        """Train with further seeds, up to `repeats` in all or until one diverges."""
        while len(candidate.observations) < repeats and not candidate.diverged:
            self._train(candidate, "repeat")
        candidate.learned = self._has_learned(candidate)

    def settle(self, candidate: Candidate) -> Verdict:
        """Hold a candidate's trials so far against the incumbent's, noise or not."""
        candidate.settled = True
        best = self.best
        if best is None or candidate is best:
            verdict: Verdict = "diverged" if candidate.diverged else "better"
        else:
            verdict = self._beyond_numbers(candidate, best) or self._plainly(candidate, best)
            self._record(candidate, best, verdict)
        return self._crown(candidate, verdict)

    def contest(self, challenger: Candidate) -> Verdict:
        """Hold a candidate against the incumbent, with further seeds until the noise allows it.

        The incumbent is trained with all seeds. Where the challenger is not behind by more than
        the spread of those values, it gets them as well, and the mean of the paired differences
        decides. The comparison is recorded as `no difference` where their interval leaves both
        open; `better` is returned where the challenger is the incumbent from now on.
        """
        best = self.best
        if best is None or challenger is best:
            return "better"
        verdict = self._beyond_numbers(challenger, best)
        if verdict is not None:
            return verdict
        if self.rule.repeats == 1:
            return self._plainly(challenger, best)
        self.repeat(best, self.rule.repeats)
        if best.diverged:  # with another seed: the one before it stands again
            return self.settle(challenger)
        error_rate = self.rule.error_rate / 2  # a comparison may take two looks
        interval = prediction_interval(challenger.values[0], best.values, error_rate)
        if len(challenger.observations) == 1 and self._surely_worse(interval):
            self._record(challenger, best, "worse", interval)
            return "worse"
        self.repeat(challenger, self.rule.repeats)
        if challenger.diverged:
            self._record(challenger, best, "diverged")
            return "diverged"
        pairs = [x - b for x, b in zip(challenger.values, best.values, strict=True)]
        interval = paired_interval(pairs, error_rate)
        low, high = interval
        if low <= 0 <= high:  # the mean decides all the same, and a tie leaves the incumbent
            self._record(challenger, best, "no difference", interval)
            ahead = self._mean_gain(challenger, best) > 0
            return self._crown(challenger, "better" if ahead else "no difference")
        verdict = "worse" if self._surely_worse(interval) else "better"
        self._record(challenger, best, verdict, interval)
        return self._crown(challenger, verdict)

    def points(self) -> tuple[Point, ...]:
        """The evidence in the order of the search."""
        return tuple(
            Point(
                learning_rate=each.learning_rate,
                values=tuple(each.values),
                value=each.value,
                diverged=each.diverged,
                improved=each.improved,
                learned=each.learned and not each.diverged,
                aborted=each.given_up,
                role=each.role,
            )
            for each in self.candidates
            if each.settled
        )

    def noise(self) -> float | None:
        """Standard deviation over the seeds at the incumbent; None for a single seed."""
        return spread(self.best.values) if self.best else None

    def _train(self, candidate: Candidate, role: Role) -> None:
        rule, repeat = self.rule, len(candidate.observations)
        if rule.max_trials is not None and self._spent >= rule.max_trials:
            raise BudgetSpent
        curve = self._curve_to_beat() if repeat == 0 else None
        trials = self._trials.get(candidate.learning_rate, {})
        if repeat not in trials:
            raise Missing(Continue(candidate.learning_rate, repeat, role, curve))
        self._spent += 1
        candidate.add(self._in_its_turn(candidate, trials[repeat], curve))

    def _curve_to_beat(self) -> Curve | None:
        """What a first trial is given up against; None where none is given up."""
        if not self.rule.early_abort or self.rule.strategy == "paper":
            return None
        return self.best.observations[0].curve if self.best else ()

    def _in_its_turn(
        self, candidate: Candidate, trial: Observation, to_beat: Curve | None
    ) -> Observation:
        """The trial as it would have gone after all those before it: given up, maybe."""
        if to_beat is None or not trial.curve:
            return trial
        curve, candidate.given_up = truncated(
            trial.curve,
            to_beat,
            maximize=self.rule.maximize,
            perfect=self.rule.perfect,
            baseline=trial.baseline,
            learned_share=self.rule.learned_share,
        )
        if not candidate.given_up:
            return trial
        return replace(trial, value=curve[-1][1], curve=tuple(curve), diverged=False)

    def _has_learned(self, candidate: Candidate) -> bool:
        value = candidate.value
        return value is not None and self.rule.has_learned(value, candidate.baseline)

    def _crown(self, candidate: Candidate, verdict: Verdict) -> Verdict:
        if verdict == "better":
            candidate.improved = True
            self._incumbents.append(candidate)
        return verdict

    def _beyond_numbers(self, challenger: Candidate, best: Candidate) -> Verdict | None:
        """The verdict where no difference of two values is needed for it."""
        if challenger.diverged:
            return "diverged"
        if challenger.given_up:
            return "given up"
        if best.learned and not challenger.learned:
            return "not learned"
        return None

    def _plainly(self, challenger: Candidate, best: Candidate) -> Verdict:
        gain = self._mean_gain(challenger, best)
        return "better" if gain > 0 else "worse" if gain < 0 else "no difference"

    def _surely_worse(self, interval: tuple[float, float]) -> bool:
        low, high = interval
        return high < 0 if self.rule.maximize else low > 0

    def _mean_gain(self, challenger: Candidate, best: Candidate) -> float:
        """The mean gain over the seeds that both were trained with."""
        pairs = min(len(challenger.observations), len(best.observations))
        mine, theirs = challenger.values[:pairs], best.values[:pairs]
        # sums and not a sum of differences: equal means must come out equal
        return self.rule.gain(math.fsum(mine) / pairs, math.fsum(theirs) / pairs)

    def _record(
        self,
        challenger: Candidate,
        best: Candidate,
        verdict: Verdict,
        interval: tuple[float, float] | None = None,
    ) -> None:
        comparable = not challenger.diverged and not challenger.given_up
        pairs = min(len(challenger.observations), len(best.observations))
        gain = self._mean_gain(challenger, best) if comparable else None
        pair = (challenger.learning_rate, best.learning_rate)
        # a closer look at a pair takes the place of the first one
        self.comparisons = [c for c in self.comparisons if (c.learning_rate, c.than) != pair]
        self.comparisons.append(
            Comparison(
                learning_rate=challenger.learning_rate,
                than=best.learning_rate,
                difference=None if gain is None else gain if self.rule.maximize else -gain,
                low=None if interval is None else interval[0],
                high=None if interval is None else interval[1],
                pairs=pairs,
                verdict=verdict,
            )
        )


def _by_rate(
    rule: MonotoneRule, ladder: Ladder, observations: Iterable[Observation]
) -> dict[float, dict[int, Observation]]:
    seen: dict[float, dict[int, Observation]] = {}
    on_grid = set(rule.learning_rates)
    low, high = ladder.rate(ladder.lowest), ladder.rate(ladder.highest)
    for trial in observations:
        rate = trial.learning_rate
        if rate not in on_grid and (rule.keeps_to_grid or not low <= rate <= high):
            raise InvalidValueError(
                f"learning_rate of a trial must be on the grid but got {rate}; "
                "was the grid changed under a study?"
            )
        if not trial.diverged:
            require(
                math.isfinite(trial.value),
                "value of a trial",
                "finite",
                trial.value,
                "tell divergence by a finite value and `diverged`",
            )
        if trial.baseline is not None:
            require(math.isfinite(trial.baseline), "baseline", "finite", trial.baseline)
        there = seen.setdefault(rate, {})
        there[len(there) if trial.repeat is None else trial.repeat] = trial
    return seen
