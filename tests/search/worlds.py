"""Worlds to search in: what training would give at any rate and seed, and who drives a search."""

import math
import random
from dataclasses import dataclass, replace
from typing import Literal

from hypothesis import strategies as st

from tunecli.recipe import SearchSection
from tunecli.search import Continue, MonotoneRule, Observation, Stop, decide
from tunecli.search.abort import Curve, truncated
from tunecli.search.rule import Strategy

Key = tuple[float, int]
Shape = Literal["peak", "plateau", "ragged", "flat"]


@dataclass(frozen=True)
class World:
    """A rule, and what training would give; the same at every call.

    Args:
        rule: What is searched by.
        seed: Of everything that is random below.
        shape: Of the values over the logarithm of the rate.
        peak: log2 of the best rate.
        noise: Standard deviation of a value over seeds.
        diverges: log2 of the rate from which training diverges.
        unlucky: Chance that a trial below that diverges all the same.
        steps: Values are rounded to 1/steps, so that there are ties.
        points: Of a learning curve; 0: there is none.
        baseline: What a model that has learned nothing gets, if that is known.
    """

    rule: MonotoneRule
    seed: int
    shape: Shape = "peak"
    peak: float = 0.0
    noise: float = 0.0
    diverges: float = math.inf
    unlucky: float = 0.0
    steps: int = 64
    points: int = 0
    baseline: float | None = 0.125

    def train(self, rate: float, repeat: int, to_beat: Curve | None = None) -> Observation:
        """A finished trial; with a curve to beat it is given up on the way, as a live one is."""
        draw = random.Random(f"{self.seed} {rate!r} {repeat}")
        distance = math.log2(rate) - self.peak
        if self.shape == "ragged":
            height = draw.random()
        elif self.shape == "flat":
            height = 0.0
        elif self.shape == "plateau":
            height = 0.8 if abs(distance) < 2 else max(0.8 - 0.3 * abs(distance), 0.0)
        else:
            height = max(0.9 - 0.07 * distance**2, 0.0)
        score = 0.125 + 0.875 * height + self.noise * draw.gauss(0, 1)
        score = round(min(max(score, 0.0), 1.0) * self.steps) / self.steps
        gone = math.log2(rate) >= self.diverges or draw.random() < self.unlucky
        way = sorted(draw.random() for _ in range(self.points))
        scores = [round((0.125 + (score - 0.125) * share) * 256) / 256 for share in way]
        curve = tuple(
            ((i + 1) / (self.points + 1), self._as_metric(each)) for i, each in enumerate(scores)
        )
        if gone:
            curve = curve[: draw.randint(0, self.points)]
        elif curve:
            curve = (*curve, (1.0, self._as_metric(score)))
        whole = Observation(
            learning_rate=rate,
            value=-7.0 if gone else self._as_metric(score),
            diverged=gone,
            baseline=None if self.baseline is None else self._as_metric(self.baseline),
            repeat=repeat,
            curve=curve,
        )
        return whole if to_beat is None or repeat or not curve else self._given_up(whole, to_beat)

    def _as_metric(self, score: float) -> float:
        return score if self.rule.maximize else 1 - score

    def _given_up(self, trial: Observation, to_beat: Curve) -> Observation:
        cut, reason = truncated(
            trial.curve,
            to_beat,
            maximize=self.rule.maximize,
            perfect=self.rule.perfect,
            baseline=trial.baseline,
            learned_share=self.rule.learned_share,
        )
        if not reason:
            return trial
        return replace(trial, value=cut[-1][1], curve=tuple(cut), diverged=False)


def most_trials(rule: MonotoneRule) -> int:
    """What the recipe promises as the worst case of this rule."""
    return SearchSection.model_validate(
        {
            "grid": list(rule.learning_rates),
            "strategy": rule.strategy,
            "seeds": list(range(rule.repeats)),
            "extend": rule.extend,
            "resolution": rule.resolution,
            "max_trials": None,
        }
    ).most_trials


def drive(world: World, *, live: bool = False) -> tuple[Stop, list[Observation]]:
    """The search one trial after the other; `live`: trials are given up as they run."""
    told: list[Observation] = []
    while isinstance(decision := decide(world.rule, told), Continue):
        to_beat = decision.to_beat if live else None
        told.append(world.train(decision.learning_rate, decision.repeat, to_beat))
        assert len(told) <= 2000, "the search does not end"
    return decision, told


def keys(told: list[Observation]) -> list[Key]:
    return [(each.learning_rate, each.repeat or 0) for each in told]


@st.composite
def rules(draw: st.DrawFn, strategy: Strategy | None = None, most: int = 12) -> MonotoneRule:
    size = draw(st.integers(2, most))
    kind = draw(st.sampled_from(["geometric", "linear", "uneven"]))
    if kind == "geometric":
        factor = draw(st.sampled_from([1.3, 2.0, 4.0]))
        rates = [0.01 * factor**i for i in range(size)]
    elif kind == "linear":
        rates = [0.1 * (i + 1) for i in range(size)]
    else:
        steps = [draw(st.sampled_from([1.2, 2.0, 7.0])) for _ in range(size)]
        rates = [0.003 * math.prod(steps[: i + 1]) for i in range(size)]
    maximize = draw(st.booleans())
    repeats = draw(st.integers(1, 3))
    either: list[Strategy] = ["paper", "geometric"]
    chosen = draw(st.sampled_from(either)) if strategy is None else strategy
    spent = draw(st.none() | st.integers(repeats, 30))
    return MonotoneRule(
        learning_rates=tuple(float(f"{rate:.12g}") for rate in rates),
        strategy=chosen,
        repeats=repeats,
        patience=draw(st.integers(1, 3)),
        maximize=maximize,
        perfect=1.0 if maximize else 0.0,
        max_trials=spent,
        start=draw(st.none() | st.sampled_from([0.001, 0.05, 1.0])),
        extend=draw(st.integers(0, 3)),
        resolution=draw(st.none() | st.sampled_from([1.1, 1.5])),
        early_abort=draw(st.booleans()),
        error_rate=draw(st.sampled_from([0.05, 0.2])),
    )


@st.composite
def worlds(draw: st.DrawFn, strategy: Strategy | None = None) -> World:
    return World(
        rule=draw(rules(strategy)),
        seed=draw(st.integers(0, 2**32 - 1)),
        shape=draw(st.sampled_from(["peak", "plateau", "ragged", "flat"])),
        peak=draw(st.integers(-9, 4)),
        noise=draw(st.sampled_from([0.0, 0.02, 0.1])),
        diverges=draw(st.just(math.inf) | st.integers(-9, 5)),
        unlucky=draw(st.sampled_from([0.0, 0.0, 0.15])),
        steps=draw(st.sampled_from([16, 1024])),
        points=draw(st.sampled_from([0, 5])),
        baseline=draw(st.sampled_from([None, 0.125])),
    )
