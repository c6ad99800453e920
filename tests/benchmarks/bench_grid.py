"""Is the rate that the monotone rule stops at as good as the best of the whole grid?

    python tests/benchmarks/bench_grid.py [--recipes digits-cnn digits-mlp] [--test-seeds 20]
        [--set data.split_seed=1]

Runs the recipe's search, then trains every rate of the grid, and the one that was found, with fresh
seeds for the test accuracy. Prints that, the rate that the rule finds, its trials and their price
in full trials, and whether the found rate's test accuracy is within one standard error (of the mean
over the fresh seeds) of the best rate's.
"""

import argparse
import math
import statistics
from dataclasses import dataclass

import torch

from tunecli.data.load import Splits, load_splits, training_samples
from tunecli.recipe import Recipe, derive_schedule, find_recipe, load_recipe
from tunecli.schedule import Schedule
from tunecli.search import Continue, MonotoneRule, Observation, Stop, decide
from tunecli.search.abort import Curve, truncated
from tunecli.search.metric import Metric, metric_of
from tunecli.search.run import monotone_rule
from tunecli.training import Trial
from tunecli.training.build import build_trial


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=["digits-cnn", "digits-mlp"])
    parser.add_argument("--test-seeds", type=int, default=20)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides")
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, cpu")
    for name in arguments.recipes:
        report(name, arguments.test_seeds, arguments.set)


@dataclass(frozen=True)
class Bench:
    """A recipe with its data loaded."""

    recipe: Recipe
    splits: Splits

    @property
    def metric(self) -> Metric:
        return metric_of(self.recipe)

    @property
    def samples(self) -> int:
        return self.schedule(self.recipe.search.learning_rates[0]).samples

    def schedule(self, rate: float) -> Schedule:
        return derive_schedule(self.recipe.schedule, rate, training_samples(self.recipe.data))

    def trial(self, rate: float, seed: int) -> Trial:
        return build_trial(
            self.recipe,
            self.schedule(rate),
            seed=seed,
            splits=self.splits,
            device=torch.device("cpu"),
        )

    def search(self) -> tuple[Stop, int, float]:
        """The rule's decision, the trials that it took, and their cost in full trials."""
        rule, told, cost = monotone_rule(self.recipe), list[Observation](), 0.0
        while isinstance(asked := decide(rule, told), Continue):
            outcome = self.trial(asked.learning_rate, self.recipe.search.seeds[asked.repeat]).run()
            total = self.samples
            curve = tuple((p.samples / total, self.metric.of(p)) for p in outcome.curve[1:])
            told.append(
                Observation(
                    asked.learning_rate,
                    self.metric.value(outcome, self.recipe.training.divergence_factor),
                    outcome.diverged,
                    self.metric.baseline(outcome.untrained, self.splits["validation"].classes()),
                    asked.repeat,
                    curve,
                )
            )
            cost += self.cost(told[-1], asked, rule)
        return asked, len(told), cost

    def cost(self, seen: Observation, asked: Continue, rule: MonotoneRule) -> float:
        """What a search would have trained of a trial before it gave it up."""
        curve: Curve = seen.curve
        if asked.to_beat is not None:
            curve, _ = truncated(
                seen.curve,
                asked.to_beat,
                maximize=rule.maximize,
                perfect=rule.perfect,
                baseline=seen.baseline,
                learned_share=rule.learned_share,
            )
        return curve[-1][0] if curve else 0.0

    def tests(self, rate: float, seeds: range) -> list[float]:
        """Test metric of fresh trainings, 0 for one that diverged."""
        found = []
        for seed in seeds:
            trial = self.trial(rate, seed)
            diverged = trial.run().diverged
            value = (
                0.0 if diverged else self.metric.of(trial.training.evaluate(self.splits["test"]))
            )
            found.append(value)
        return found


def report(name: str, fresh: int, overrides: list[str]) -> None:
    recipe = load_recipe(find_recipe(name), overrides)
    torch.set_num_threads(recipe.training.cpu_threads)  # as a search does
    bench = Bench(recipe, load_splits(recipe.data, ("train", "validation", "test")))
    rates, seeds = recipe.search.learning_rates, range(1000, 1000 + fresh)
    print(f"\n{name} {' '.join(overrides)}: {len(rates)} rates, test n={fresh}")
    stop, trials, cost = bench.search()
    assert stop.learning_rate is not None
    print(f"{'rate':>8} {'test':>7} {'std':>7} {'std error':>9}")
    tests = {}
    for rate in sorted({*rates, stop.learning_rate}):
        tests[rate] = bench.tests(rate, seeds)
        mean, std = statistics.fmean(tests[rate]), statistics.stdev(tests[rate])
        print(f"{rate:8g} {mean:7.4f} {std:7.4f} {std / math.sqrt(fresh):9.4f}", flush=True)
    best = max(tests, key=lambda rate: statistics.fmean(tests[rate]))
    gap = statistics.fmean(tests[best]) - statistics.fmean(tests[stop.learning_rate])
    error = statistics.stdev(tests[best]) / math.sqrt(fresh)
    print(
        f"found {stop.learning_rate:g} after {trials} trials at the price of {cost:.1f} "
        f"({len(stop.points)} rates; the grid with every seed is "
        f"{len(rates) * len(recipe.search.seeds)}); best on test {best:g}; gap {gap:.4f}, one "
        f"standard error {error:.4f}: {'within' if gap <= error else 'NOT within'}"
    )


if __name__ == "__main__":
    main()
