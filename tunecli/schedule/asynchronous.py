"""What a delay makes of a schedule: every learning rate times one factor."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from tunecli.schedule.stages import Schedule, Stage
from tunecli.theory.delay import ConstantDelay, DelayDistribution
from tunecli.theory.delay_scaling import ScalingRule, delay_scaling
from tunecli.theory.stability import MomentumKind

Rule = ScalingRule | Literal["none"]


@dataclass(frozen=True)
class DelayScaling:
    """A schedule as it is trained under a delay, and what made it so.

    Args:
        rule: The rule of `theory.delay_scaling.delay_scaling`, or `none`: the rates are left alone.
        factor: What every learning rate was multiplied by.
        delay: The distribution of the delays.
        momentum_kind: Where the momentum buffer is.
        schedule: The scaled stages; with momentum kind `none` they have no momentum.
    """

    rule: Rule
    factor: float
    delay: DelayDistribution
    momentum_kind: MomentumKind
    schedule: Schedule

    def to_dict(self) -> dict[str, Any]:
        """`scaling` and `delay` of every JSON that we write about an asynchronous training."""
        return {
            "scaling": {"rule": self.rule, "factor": self.factor},
            "delay": self.delay.to_dict(),
        }


def scale_for_delay(
    schedule: Schedule,
    delay: DelayDistribution,
    *,
    momentum_kind: MomentumKind = "none",
    rule: Rule = "exact",
) -> DelayScaling:
    """Scale a schedule that is right without delay, so that it is as stable with one.

    α_i′ = f α_i, where f is the ratio of the largest stable rates with and without delay, at the
    momentum and discount of the first stage. One factor for all stages keeps α_iT_i constant
    (QHM, Eq. 17); the first stage has the largest rate, so it is the one to be kept stable.

    Args:
        schedule: Derived from α₁.
        delay: Constant, drawn, or measured.
        momentum_kind: `none` drops the momentum of every stage, as STAB recommends under delay;
            `standard` and `shifted` keep β_i and ν_i.
        rule: See `theory.delay_scaling.delay_scaling`; `none` leaves the rates alone.

    Raises:
        InvalidValueError: The rule is not defined at this delay.

    >>> base = Schedule((Stage(0.3, 0.9, 0.5, 64, 10),))
    >>> scaled = scale_for_delay(base, ConstantDelay(31))
    >>> round(scaled.factor, 6), scaled.schedule.stages[0].momentum
    (0.02493, 0.0)
    """
    if momentum_kind == "none":
        stages = (replace(stage, momentum=0.0, discount=0.0) for stage in schedule.stages)
        schedule = Schedule(tuple(stages))
    factor = 1.0 if rule == "none" else _factor(delay, schedule.stages[0], momentum_kind, rule)
    return DelayScaling(rule, factor, delay, momentum_kind, schedule.scaled(factor))


def factor_by_delay(
    schedule: Schedule, *, momentum_kind: MomentumKind, rule: ScalingRule
) -> Callable[[int], float]:
    """For staleness-aware training: the factor of an update by its own delay, in updates.

    Args:
        schedule: Its first stage's momentum and discount count, unless the kind is `none`.
        momentum_kind: Where the momentum buffer is.
        rule: One that is defined at delay 0.
    """
    first = schedule.stages[0]

    @cache
    def factor(delay: int) -> float:
        return _factor(ConstantDelay(delay), first, momentum_kind, rule)

    return factor


def _factor(
    delay: DelayDistribution, first: Stage, momentum_kind: MomentumKind, rule: ScalingRule
) -> float:
    if momentum_kind == "none":
        return delay_scaling(delay, rule=rule)
    return delay_scaling(
        delay,
        momentum=first.momentum,
        momentum_kind=momentum_kind,
        discount=first.discount,
        rule=rule,
    )
