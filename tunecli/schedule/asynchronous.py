"""What a delay makes of a schedule: every learning rate times one factor."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, get_args

from tunecli.errors import InvalidValueError
from tunecli.schedule.stages import Schedule, Stage
from tunecli.theory.delay import ConstantDelay, DelayDistribution
from tunecli.theory.delay_scaling import RuleFactor, ScalingRule, delay_scaling
from tunecli.theory.mean_square import mean_square_threshold
from tunecli.theory.stability import MomentumKind, stability_threshold

Rule = ScalingRule | Literal["none"]

_PLAIN = 2.0  # largest stable aη of gradient descent without delay or momentum (STAB Eq. 6)


@dataclass(frozen=True)
class DelayScaling:
    """A schedule as it is trained under a delay, and what made it so.

    Args:
        rule: How rates are scaled, or `none`: they are left alone.
        factor: What every learning rate was multiplied by; None where every update has a factor of
            its own (staleness-aware).
        delay: The distribution of the delays.
        momentum_kind: Where the momentum buffer is.
        schedule: The scaled stages; with momentum kind `none` they have no momentum.
    """

    rule: Rule
    factor: float | None
    delay: DelayDistribution
    momentum_kind: MomentumKind
    schedule: Schedule

    @property
    def warning(self) -> str | None:
        """What a person should know before training with it."""
        if self.factor is not None and self.factor > 1:
            return (
                f"scaling {self.rule} makes every rate {self.factor:.3g} times as large as without "
                "delay, where no delay allows more; take scaling exact"
            )
        return None

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
    staleness_aware: bool = False,
) -> DelayScaling:
    """Scale a schedule whose rates are right without delay, so that they are with one.

    α_i′ = f α_i, f = min(1, T(τ) / T₀): T(τ) is the largest stable aη under the delay, with the
    momentum and discount of the first stage, T₀ = 2 that of gradient descent without delay or
    momentum. One factor for all stages keeps α_iT_i constant (QHM, Eq. 17), and no later stage has
    a larger share of its own threshold.

    Differs from `delay_scaled_learning_rate`, whose T₀ has the momentum of T(τ): in damped form
    momentum allows 2 (1+β)/(1−β) without delay, 38 at β = 0.9, but no rate that anybody trains with
    comes near; gradient noise keeps good ones where they are without momentum. With that T₀ a delay
    of 1 would cut them 38-fold. Without momentum both are the same.

    Args:
        schedule: Derived from α₁.
        delay: Constant, drawn, or measured.
        momentum_kind: `none` drops the momentum of every stage, as STAB recommends under delay;
            `standard` and `shifted` keep β_i and ν_i.
        rule: See `theory.delay_scaling.delay_scaling`; of it, `exact` and `mean` say which
            stability T is about, the others know no momentum; `none` leaves the rates alone.
        staleness_aware: Leave the rates alone as well: `factor_by_delay` scales every update.

    Raises:
        InvalidValueError: The rule is not defined at this delay.

    >>> base = Schedule((Stage(0.3, 0.9, 0.5, 64, 10),))
    >>> scaled = scale_for_delay(base, ConstantDelay(31))
    >>> round(scaled.factor, 6), scaled.schedule.stages[0].momentum
    (0.024931, 0.0)
    """
    if momentum_kind == "none":
        stages = (replace(stage, momentum=0.0, discount=0.0) for stage in schedule.stages)
        schedule = Schedule(tuple(stages))
    if staleness_aware:
        return DelayScaling(rule, None, delay, momentum_kind, schedule)
    factor = 1.0 if rule == "none" else _factor(delay, schedule.stages[0], momentum_kind, rule)
    return DelayScaling(rule, factor, delay, momentum_kind, schedule.scaled(factor))


def factor_by_delay(
    schedule: Schedule, *, momentum_kind: MomentumKind, rule: ScalingRule
) -> Callable[[int], float]:
    """For staleness-aware training: the factor of an update by its own delay, in updates.

    Args:
        schedule: Its first stage's momentum and discount count, unless the kind is `none`.
        momentum_kind: Where the momentum buffer is.
        rule: One that is right at delay 0.
    """
    first = schedule.stages[0]

    @cache
    def factor(delay: int) -> float:
        return _factor(ConstantDelay(delay), first, momentum_kind, rule)

    return factor


def compare_factors(
    schedule: Schedule, delay: DelayDistribution, *, momentum_kind: MomentumKind
) -> tuple[RuleFactor, ...]:
    """The factor of every rule that is defined at a delay, with its error against the exact one.

    Args:
        schedule: See `scale_for_delay`.
        delay: Constant, drawn, or measured.
        momentum_kind: Where the momentum buffer is.
    """
    factors: dict[ScalingRule, float] = {}
    for rule in get_args(ScalingRule):
        try:
            factors[rule] = _factor(delay, schedule.stages[0], momentum_kind, rule)
        except InvalidValueError:  # 1/τ at τ = 0
            continue
    exact = factors["exact"]
    return tuple(RuleFactor(rule, factor, factor / exact - 1) for rule, factor in factors.items())


def _factor(
    delay: DelayDistribution, first: Stage, momentum_kind: MomentumKind, rule: ScalingRule
) -> float:
    if rule not in ("exact", "mean") or momentum_kind == "none":
        return delay_scaling(delay, rule=rule)
    threshold = mean_square_threshold if rule == "exact" else stability_threshold
    largest = threshold(
        delay,
        momentum=first.momentum,
        momentum_kind=momentum_kind,
        discount=first.discount,
    )
    return min(1.0, largest / _PLAIN)
