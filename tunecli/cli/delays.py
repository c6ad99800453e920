"""Delays on the command line: the options of `schedule` and `stability`, and what they mean.

Every command's `--help` imports this, so the theory is imported when it is needed, not before.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tunecli.errors import InvalidValueError, require

if TYPE_CHECKING:
    from tunecli.recipe import AsynchronousSection
    from tunecli.schedule import Schedule
    from tunecli.schedule.asynchronous import DelayScaling, Rule
    from tunecli.theory.delay import DelayDistribution

MomentumKind = Literal["none", "standard", "shifted"]  # the theory's, and its rules
ScalingRule = Literal["exact", "mean", "eq8", "inverse", "inverse-plus-one"]
LARGEST_DELAY = 1_000_000
MOST_DELAYS = 10_000
_SPAN = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?\Z", re.ASCII)

momentum_kind_option = Annotated[
    MomentumKind | None,
    typer.Option(
        help="Where the momentum is: none, standard (one buffer at the server) or shifted (one per "
        "worker). [default: none]",
        show_choices=False,
    ),
]
delay_histogram_option = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Measured delays: JSON counts by delay, a training's result.json, or CSV lines of "
        "delay,count.",
    ),
]


@dataclass(frozen=True, slots=True)
class AskedDelay:
    """A delay that was asked for, and what is to be done about it.

    Args:
        delay: The distribution.
        num_workers: The number of workers that it stands for, where it was given as one.
        momentum_kind: Where the momentum buffer is.
        rule: How the rates are scaled.
        staleness_aware: Whether every update is, by its own delay.
    """

    delay: "DelayDistribution"
    num_workers: int | None
    momentum_kind: MomentumKind
    rule: "Rule"
    staleness_aware: bool = False

    def scale(self, stagewise: "Schedule") -> "DelayScaling":
        """The schedule as it is trained under the delay."""
        from tunecli.schedule.asynchronous import scale_for_delay

        return scale_for_delay(
            stagewise,
            self.delay,
            momentum_kind=self.momentum_kind,
            rule=self.rule,
            staleness_aware=self.staleness_aware,
        )

    def to_dict(self, stagewise: "Schedule", scaled: "DelayScaling") -> dict[str, Any]:
        """What `schedule --asynchronous --json` prints; see `docs/stability.md`."""
        from tunecli.schedule.asynchronous import compare_factors

        before, after = stagewise.stages[0], scaled.schedule.stages[0]
        rules = compare_factors(stagewise, self.delay, momentum_kind=self.momentum_kind)
        exact = next(each.factor for each in rules if each.rule == "exact")
        workers = {} if self.num_workers is None else {"num_workers": self.num_workers}
        return {
            "learning_rate": None if self.staleness_aware else after.learning_rate,
            "scaling": {
                "rule": self.rule,
                "factor": scaled.factor,
                "error": None if scaled.factor is None else scaled.factor / exact - 1,
                "staleness_aware": self.staleness_aware,
                "momentum_kind": self.momentum_kind,
                "approximations": [
                    {
                        "rule": each.rule,
                        "factor": each.factor,
                        "learning_rate": before.learning_rate * each.factor,
                        "error": each.error,
                    }
                    for each in rules
                    if each.rule != self.rule
                ],
            },
            "delay": {**self.delay.to_dict(), **workers},
            "warnings": [] if scaled.warning is None else [scaled.warning],
            "schedule": stagewise.to_list(),
            "scaled_schedule": scaled.schedule.to_list(),
        }


def asked_delay(
    *,
    asynchronous: bool,
    delay: int | None,
    workers: int | None,
    histogram: Path | None,
    momentum_kind: MomentumKind | None,
    rule: "Rule | None",
    section: "AsynchronousSection | None",
) -> AskedDelay | None:
    """What the options, and a recipe's `training.asynchronous`, ask for; None: no delay.

    Raises:
        InvalidValueError: Options contradict each other, or nothing says what the delay is.
    """
    sources = {"--delay": delay, "--workers": workers, "--delay-histogram": histogram}
    named = [option for option, value in sources.items() if value is not None]
    if not asynchronous and section is None:
        others = {"--momentum-kind": momentum_kind, "--scaling": rule}
        named += [option for option, value in others.items() if value is not None]
        if named:
            raise InvalidValueError(
                f"{named[0]} needs --asynchronous; add it, or leave {named[0]} out"
            )
        return None
    if len(named) > 1:
        raise InvalidValueError(f"{' and '.join(named)} exclude each other; give one of them")
    found, num_workers = _given_delay(delay, workers, histogram), workers
    aware = False
    if found is None:
        found, num_workers = _recipe_delay(section)
    if section is not None:
        momentum_kind = momentum_kind or section.momentum_kind
        aware = section.staleness_aware and rule is None
        rule = rule or section.scaling
    return AskedDelay(found, num_workers, momentum_kind or "none", rule or "exact", aware)


def _given_delay(
    delay: int | None, workers: int | None, histogram: Path | None
) -> "DelayDistribution | None":
    from tunecli.recipe.delays import read_delays
    from tunecli.theory.delay import ConstantDelay

    if delay is not None:
        require(
            0 <= delay <= LARGEST_DELAY,
            "delay",
            f"in [0, {LARGEST_DELAY:,}]",
            delay,
            "it counts the updates between reading and updating the parameters",
        )
        return ConstantDelay(delay)
    if workers is not None:
        require(
            1 <= workers <= LARGEST_DELAY,
            "workers",
            f"in [1, {LARGEST_DELAY:,}]",
            workers,
            "1 is no delay at all",
        )
        return ConstantDelay(workers - 1)
    return None if histogram is None else read_delays(histogram)


def _recipe_delay(section: "AsynchronousSection | None") -> "tuple[DelayDistribution, int | None]":
    remedy = "give --delay 31, --workers 32 or --delay-histogram FILE"
    if section is None:
        raise InvalidValueError(f"--asynchronous needs a delay; {remedy}")
    from tunecli.recipe.derive import declared_delay

    found = declared_delay(section)
    if section.delay.name == "clock":
        from tunecli.training.asynchronous.plan import clock_delays

        found = clock_delays(section)
    if found is None:
        raise InvalidValueError(
            f"the recipe's delays are known only once they are measured, in training; {remedy} (a "
            "finished training's result.json has its delays)"
        )
    in_turn = section.delay.name == "workers"
    return found, section.num_workers if in_turn else None


def delay_list(spans: Sequence[str]) -> tuple[int, ...]:
    """The delays that a person listed, ascending, each once.

    Args:
        spans: Each a comma-separated list of `4`, `0-32` (both ends included) and `0-64:8`.

    Raises:
        InvalidValueError: A part is none of these, runs backwards, or there are too many.

    >>> delay_list(["0,1,4", "8-24:8"])
    (0, 1, 4, 8, 16, 24)
    """
    found: set[int] = set()
    for part in (part.strip() for span in spans for part in span.split(",")):
        match = _SPAN.match(part)
        if match is None:
            raise InvalidValueError(
                f"delay must be a whole number ≥ 0, or a range such as 0-32 or 0-64:8, but got "
                f"{part or 'nothing'}; separate several by commas"
            )
        low, high, step = match.groups()
        first, last = int(low), int(high or low)
        if last < first:
            raise InvalidValueError(
                f"a range of delays must go up but got {part}; turn it around: {last}-{first}"
            )
        require(last <= LARGEST_DELAY, "delay", f"at most {LARGEST_DELAY:,}", last)
        require(step is None or int(step) > 0, "the step of a range of delays", "≥ 1", step)
        found.update(range(first, last + 1, int(step or 1)))
    require(
        len(found) <= MOST_DELAYS,
        "the number of delays",
        f"at most {MOST_DELAYS:,}",
        len(found),
        "give the range a step: 0-100000:1000",
    )
    return tuple(sorted(found))
