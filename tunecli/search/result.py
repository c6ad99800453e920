"""What a search came to, as data: the contract behind result.json and `--json`."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tunecli.data.sizes import require_samples
from tunecli.execution.delay import RunDelay, asynchronous_facts
from tunecli.execution.environment import environment
from tunecli.execution.files import RESULT_FORMAT
from tunecli.recipe import Recipe, delay_scaling, derive_schedule
from tunecli.recipe.derive import advice_warnings
from tunecli.schedule import Schedule, unmet_conditions
from tunecli.schedule.asynchronous import DelayScaling
from tunecli.search.events import TrialRecord
from tunecli.search.probe import Probe
from tunecli.search.rule import MonotoneRule, Stop, StopReason
from tunecli.search.unchanged import changes_nothing, falls_with_the_rate, same_values
from tunecli.search.verify import Verification


@dataclass(frozen=True)
class SearchResult:
    """Everything that a finished search has to say.

    Args:
        recipe: What was searched.
        run: The run's folder.
        rule: What the search went by.
        stop: The rule's decision with its evidence.
        explanation: The decision as a sentence.
        trials: Every trial of the search, in order.
        schedule: Derived from the rate found; None when there is none to train with. In QHM's
            damped form, also where a script's rate is that of an undamped momentum.
        training_samples: Size of the training set; None: a script does not tell.
        caveats: Sentences about trainings that are not quite what the schedule says.
        final: The final trainings; `value` is the test metric.
        probe: The ramp before the walk, if there was one.
        verification: What lies beyond the stop, if that was asked for.
        device: Where it ran.
        delay: What the rates were scaled for, and what it cost to know it; None for centralized
            training.
    """

    recipe: Recipe
    run: Path
    rule: MonotoneRule
    stop: Stop
    explanation: str
    trials: tuple[TrialRecord, ...]
    schedule: Schedule | None
    training_samples: int | None
    final: tuple[TrialRecord, ...]
    probe: Probe | None
    verification: Verification | None
    device: torch.device
    delay: RunDelay | None = None
    caveats: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0; 1 nothing learned; 4 best at an edge of the grid; 5 all (final) trials diverged."""
        if self.stop.learning_rate is None:
            return 5
        if not self.stop.learned:
            return 1
        if self.final and all(trial.state == "diverged" for trial in self.final):
            return 5
        return 4 if self.stop.edge else 0

    def to_dict(self) -> dict[str, Any]:
        """The content of result.json; `docs/result.md` describes every key."""
        stop = self.stop
        return {
            "format": RESULT_FORMAT,
            "kind": "search",
            "exit_code": self.exit_code,
            "recipe": self.recipe.name,
            "description": self.recipe.description,
            "run": str(self.run),
            "learning_rate": stop.learning_rate if self.schedule else None,
            "metric": self.recipe.search.metric,
            "stop": {
                "rule": self.recipe.search.strategy,
                "reason": stop.reason.value,
                "explanation": self.explanation,
                "patience": self.recipe.search.patience,
                "edge": stop.edge,
                "learned": stop.learned,
                "points": [asdict(point) for point in stop.points],
            },
            "certificate": self._certificate(),
            "probe": asdict(self.probe) if self.probe else None,
            "trials": [asdict(self._in_its_role(trial)) for trial in self.trials],
            "schedule": self.schedule.to_list() if self.schedule else [],
            "schedule_is_advice": self.recipe.schedule_is_advice,
            "asynchronous": self._asynchronous(),
            "test": self._test(),
            "final": [asdict(trial) for trial in self.final],
            "spent": {
                **self._spent((*self.trials, *self.final), self._before_the_walk()),
                "search": self._spent(self._trials_in("search"), self._before_the_walk()),
                "cancelled": self._spent(self._trials_in("cancelled")),
                "verify": self._spent(self._trials_in("verify")),
                "final": self._spent(self.final),
            },
            "warnings": list(self._warnings()),
            "environment": {
                **environment(self.device, self.recipe.training.cpu_threads),
                "seeds": {
                    "search": list(self.recipe.search.seeds),
                    "test": list(self.recipe.search.test_seeds),
                },
            },
        }

    def _in_its_role(self, trial: TrialRecord) -> TrialRecord:
        not_needed = trial.state != "cancelled" and trial in self._trials_in("cancelled")
        return replace(trial, role="ahead") if not_needed else trial

    def _trials_in(self, part: str) -> list[TrialRecord]:
        """The trials that were needed, those that ran ahead for nothing, or those beyond the stop.

        A budget may end a search in the middle of a rate, whose trials no point has.
        """
        seeds = self.recipe.search.seeds
        used = {(p.learning_rate, s) for p in self.stop.points for s in seeds[: len(p.values)]}
        cut_short = self.stop.reason == StopReason.BUDGET

        def part_of(trial: TrialRecord) -> str:
            if trial.role == "verify":
                return "verify"
            needed = (trial.learning_rate, trial.seed) in used or cut_short
            return "search" if needed and trial.state != "cancelled" else "cancelled"

        return [trial for trial in self.trials if part_of(trial) == part]

    def _certificate(self) -> dict[str, Any] | None:
        """What the decision rests on; None when there is no rate to certify."""
        stop, section = self.stop, self.recipe.search
        if stop.learning_rate is None or not stop.learned:
            return None
        below = [p.learning_rate for p in stop.points if p.learning_rate < stop.learning_rate]
        above = [p.learning_rate for p in stop.points if p.learning_rate > stop.learning_rate]
        several = self.rule.repeats > 1 and self.rule.strategy != "paper"
        seeds = next(len(p.values) for p in stop.points if p.learning_rate == stop.learning_rate)
        return {
            "strategy": section.strategy,
            "patience": section.patience,
            "reason": stop.reason.value,
            "edge": stop.edge,
            "best": {"learning_rate": stop.learning_rate, "value": stop.value},
            "explanation": self.explanation,
            "noise": {"std": stop.noise, "seeds": seeds, "error_rate": self.rule.error_rate}
            if several
            else None,
            "comparisons": [asdict(comparison) for comparison in stop.comparisons],
            "bracket": {"low": max(below, default=None), "high": min(above, default=None)},
            "verify": asdict(self.verification) if self.verification else None,
        }

    @property
    def _scaling(self) -> DelayScaling | None:
        """What the delay made of the rate found."""
        rate = self.stop.learning_rate
        if self.delay is None or self.schedule is None or rate is None:
            return None
        samples = require_samples(self.recipe, self.training_samples)
        derived = derive_schedule(self.recipe.schedule, rate, samples)
        return delay_scaling(self.recipe, derived, self.delay.delay)

    def _asynchronous(self) -> dict[str, Any] | None:
        """What made the schedule of the delay; None for centralized training."""
        if self.delay is None:
            return None
        return asynchronous_facts(
            self.recipe,
            self._scaling,
            self.delay.delay,
            [trial.measured for trial in (*self.trials, *self.final) if trial.measured],
        )

    def _test(self) -> dict[str, Any] | None:
        values = [t.value for t in self.final if t.state == "complete" and t.value is not None]
        if not values:
            return None
        return {
            "metric": self.recipe.search.metric,
            "split": "test" if all(t.split == "test" for t in self.final) else "validation",
            "mean": statistics.fmean(values),
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "n": len(values),
            "diverged": len(self.final) - len(values),
            "values": values,
        }

    def _before_the_walk(self) -> list[Probe | RunDelay]:
        """What was trained before the first trial: the ramp, and to measure the delay."""
        return [each for each in (self.probe, self.delay) if each is not None]

    def _spent(
        self,
        trials: Sequence[TrialRecord],
        others: Sequence[Probe | RunDelay] = (),
    ) -> dict[str, float | None]:
        all_of_it: list[TrialRecord | Probe | RunDelay] = [*trials, *others]
        samples = sum(each.samples for each in all_of_it)
        return {
            "updates": sum(each.updates for each in all_of_it),
            "samples": samples,
            "epochs": samples / self.training_samples if self.training_samples else None,
            "seconds": math.fsum(each.seconds for each in all_of_it),
        }

    def _warnings(self) -> Iterator[str]:
        """What the person should know."""
        yield from self.caveats
        if self.recipe.command is not None:
            yield from self._script_warnings()
        stop = self.stop
        tried = sorted(point.learning_rate for point in stop.points)
        if stop.learning_rate is None and tried:
            yield self._all_diverged(tried[0])
        elif self.recipe.command is not None and changes_nothing(stop, self.rule.perfect):
            pass  # that was told above, and no other grid would mend it
        elif not stop.learned:
            if any(point.diverged for point in stop.points):
                remedy = " before training diverged; refine the grid, or train longer"
            else:
                high = max(*self.rule.learning_rates, *tried)
                remedy = f"; refine the grid, train longer, or let it go beyond {high:g}"
            yield f"no rate learned anything{remedy}"
        if stop.edge == "top":
            yield (
                f"the best rate is the largest that may be tried, {stop.learning_rate:g}; let the "
                "grid go further up"
            )
        if stop.edge == "bottom":
            yield (
                f"the best rate is the smallest that may be tried, {stop.learning_rate:g}; let the "
                f"grid start lower{self._may_be_a_loss()}"
            )
        diverged = sum(trial.state == "diverged" for trial in self.final)
        if diverged:
            yield (
                f"{diverged} of {len(self.final)} final trainings diverged and are not in the test "
                "result; the rate is close to the edge, consider the next smaller one"
            )
        if self.verification is not None and self.verification.regret > 0:
            yield (
                f"beyond the stop, {self.verification.learning_rate:g} is better by "
                f"{self.verification.regret:.4f}; search.patience=2 may be worth its trials"
            )
        if self._scaling is not None and self._scaling.warning is not None:
            yield self._scaling.warning
        if self.schedule is not None and self.delay is None:  # Theorem 4 knows no delay
            yield from unmet_conditions(self.schedule)

    def _script_warnings(self) -> Iterator[str]:
        """What a person's script leaves open."""
        alike = same_values(self.stop, self.rule.perfect)
        if alike:
            rates = ", ".join(f"{point.learning_rate:g}" for point in alike)
            yield (
                f"the learning rate changes nothing: {alike[0].values[0]:.6g} to the last bit at "
                f"the rates {rates}; see that the script trains with {{learning_rate}}, or with "
                "TUNECLI_LEARNING_RATE from its environment"
            )
        if self.recipe.schedule_is_advice and self.schedule is not None:
            yield from advice_warnings(self.recipe, self.schedule)
        if self.final and any(trial.split == "validation" for trial in self.final):
            yield (
                "the script tells nothing of a test set: what the final trainings came to is the "
                'validation value, on which the rate was chosen; answer with "test" in phase final'
            )
        if not any(trial.samples for trial in self.trials):
            yield "the script tells no samples: the bill is in seconds alone"

    def _all_diverged(self, smallest: float) -> str:
        if self.recipe.command is None:
            return f"every rate diverged; let the grid start well below {smallest:g}"
        return (
            f"every rate down to {smallest:g} diverged: more likely a bug in the script than a "
            "rate too large; look at the script.log of a trial, or let the grid start well below"
        )

    def _may_be_a_loss(self) -> str:
        """A hint where an accuracy looks like something that training makes smaller."""
        suspicious = self.recipe.command is not None and falls_with_the_rate(self.stop)
        if self.recipe.search.metric != "accuracy" or not suspicious:
            return ""
        return "; every larger rate had a smaller value: if this is a loss, set search.metric: loss"
