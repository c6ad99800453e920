"""The grammar of the search for α₁."""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from tunecli.recipe.grid import Grid
from tunecli.recipe.section import Section, Seed, broken_rule


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    for index, seed in enumerate(seeds):
        if seed in seeds[:index]:
            raise broken_rule("differ from the seeds before it", "write each seed once", item=index)
    return seeds


# strict=False concerns the list alone (YAML has no tuples); its items stay strict.
Seeds = Annotated[tuple[Seed, ...], Field(strict=False, min_length=1), AfterValidator(_distinct)]


def require_metric(metric: str, others: Iterable[str]) -> None:
    """A metric to search by is one that is measured."""
    known = ["accuracy", "loss", *others]
    if metric not in known:
        raise broken_rule(f"be one of {', '.join(known)}", "or add it to metrics")


class SearchSection(Section):
    """Which initial rates are tried, and when the search stops."""

    grid: Grid = Field(
        description="The rates α₁ to choose from, ascending, 2 to 1000 of them: a geometric or a "
        "linear progression, or a list.",
        examples=[{"geometric": {"start": 0.05, "factor": 2, "count": 9}}],
    )
    strategy: Literal["paper", "geometric", "probe"] = Field(
        default="geometric",
        description="geometric: begin inside the grid, walk up, then narrow down; "
        "probe: likewise, but a short ramp of the learning rate finds where to begin; "
        "paper: walk the given grid from its smallest rate, and nothing else.",
    )
    patience: int = Field(
        default=1, ge=1, description="Stop after this many successive rates that do not improve."
    )
    seeds: Seeds = Field(
        default=(0,),
        description="Training seeds. `paper` trains every rate with each of them; the others train "
        "with the first one, and with the rest where a comparison is within the noise.",
    )
    error_rate: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="Chance that one comparison calls a rate worse that is as good; needs several "
        "seeds.",
    )
    early_abort: bool = Field(
        default=True,
        description="Give up a trial that after a third of its samples has learned nothing, or "
        "less than half of what the best rate had; never with strategy paper.",
    )
    extend: int = Field(
        default=3,
        ge=0,
        le=100,
        description="Rates that may be added beyond each edge of the grid when the best lies "
        "there; never with strategy paper.",
    )
    resolution: float | None = Field(
        default=1.5,
        gt=1,
        examples=[1.5],
        description="Narrow down until the best rate's neighbours are at most this factor away, or "
        "less is to gain than the noise; null keeps to the grid. Never with strategy paper.",
    )
    test_seeds: Seeds = Field(
        default=(100, 101, 102, 103, 104),
        validate_default=True,
        description="Fresh seeds for the final training at the chosen rate; none of `seeds`.",
    )
    metric: str = Field(
        default="accuracy",
        description="What is compared, on the validation set: accuracy, loss, or one of `metrics`.",
    )
    learned_share: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="A trial has learned something once it has closed this share of the gap "
        "between knowing nothing and perfect; before that, no improvement means nothing. Knowing "
        "nothing is the better of the untrained model and the classes' frequencies.",
    )
    max_trials: int | None = Field(
        default=None,
        ge=1,
        examples=[20],
        description="Stop after this many trials; at least one trial of every seed.",
    )

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, metric: str, info: ValidationInfo) -> str:
        if info.context is not None:  # of the recipe around; without one it is checked there
            require_metric(metric, info.context["metrics"])
        return metric

    @field_validator("test_seeds")
    @classmethod
    def _fresh(cls, test_seeds: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        for index, seed in enumerate(test_seeds):
            if seed in info.data.get("seeds", ()):
                raise broken_rule(
                    "be none of search.seeds", f"replace {seed} in one of the two", item=index
                )
        return test_seeds

    @field_validator("max_trials")
    @classmethod
    def _one_rate_at_least(cls, max_trials: int | None, info: ValidationInfo) -> int | None:
        seeds = len(info.data.get("seeds", ()))
        if max_trials is not None and max_trials < seeds:
            raise broken_rule(
                f"be ≥ {seeds}, the number of search.seeds",
                "allow at least one rate to be trained with every seed",
            )
        return max_trials

    @property
    def most_trials(self) -> int:
        """Trials of the search in the worst case."""
        rates = len(self.learning_rates)
        if self.strategy != "paper":
            rates += 2 * self.extend + self._halvings
        trials = rates * len(self.seeds)
        return trials if self.max_trials is None else min(trials, self.max_trials)

    @property
    def usual_trials(self) -> int:
        """Trials that a search usually takes, for a person who wonders how long it will be."""
        if self.strategy == "paper":
            return self.most_trials
        walk = 4 if len(self.learning_rates) <= 10 else 6
        return min(walk + 2 * (len(self.seeds) - 1), self.most_trials)

    @property
    def _halvings(self) -> int:
        """Most rates between grid points: both gaps beside the best, halved to the resolution."""
        if self.resolution is None:
            return 0
        ratio = max(high / low for low, high in pairwise(self.learning_rates))
        if ratio <= self.resolution:
            return 0
        return 2 * math.ceil(math.log2(math.log(ratio) / math.log(self.resolution)) + 1e-9)

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """The rates of the grid, α₁, ascending.

        >>> grid = {"linear": {"start": 0.05, "stop": 0.2, "step": 0.05}}
        >>> SearchSection.model_validate({"grid": grid}).learning_rates
        (0.05, 0.1, 0.15, 0.2)
        """
        return self.grid if isinstance(self.grid, tuple) else self.grid.learning_rates
