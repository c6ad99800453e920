"""By what factor a delay changes the learning rate: the exact rule, and those it is compared with.

A rate η₀ that is right at one delay keeps the set of stable minima at another one when η·a stays
the same share of the stability threshold, whatever the sharpness a. The factor is thus a ratio of
two thresholds, and a is not needed.

Source: Giladi et al., *At Stability's Edge* (ICLR 2020), called STAB.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from tunecli.errors import require
from tunecli.theory.delay import ConstantDelay, DelayDistribution
from tunecli.theory.mean_square import mean_square_threshold
from tunecli.theory.stability import MomentumKind, stability_threshold

ScalingRule = Literal["exact", "mean", "eq8", "inverse", "inverse-plus-one"]

NO_DELAY = ConstantDelay(0)


@dataclass(frozen=True)
class RuleFactor:
    """What one rule makes of the learning rate.

    Attributes:
        rule: Its name.
        factor: η/η₀.
        error: factor / (the exact rule's factor) − 1; 0 for the exact rule.
    """

    rule: ScalingRule
    factor: float
    error: float


def delay_scaling(
    delay: DelayDistribution,
    *,
    momentum: float = 0.0,
    momentum_kind: MomentumKind = "none",
    discount: float = 1.0,
    rule: ScalingRule = "exact",
    from_delay: DelayDistribution = NO_DELAY,
) -> float:
    """The factor η/η₀ from a rate that is right at `from_delay` to the same stability at `delay`.

    ===================  =========================================================================
    "exact"              ratio of the mean-square thresholds; for a constant delay without momentum
                         sin(π/(4τ+2)) (STAB Eq. 6)
    "mean"               ratio of the thresholds of the mean's stability (STAB Eqs. 6, 11, 19, 26)
    "eq8"                π/(4(τ+½)) (STAB Eq. 8 as printed); wrong at τ = 0, where it raises the
                         rate by π/2 = 1.57 instead of leaving it: it approximates a sine at τ ≥ 1
    "inverse"            1/τ
    "inverse-plus-one"   1/(τ+1)
    ===================  =========================================================================

    In the last three τ is the mean delay, and where `from_delay`'s mean is not 0 the factor is the
    ratio of their values at the two delays. They know no momentum.

    Differs from STAB Eq. 19, the stability of the mean, by default: delays drawn at random let the
    iterates' variance grow at rates at which their mean is stable; for a geometric delay at a
    173rd of that rate. rule="mean" is the paper's.

    Args:
        delay: The distribution of τ, in updates, to train with.
        momentum: m (QHM's β) in [0, 1), the same at both delays; not used by kind "none".
        momentum_kind: "none", "standard" (one buffer at the server) or "shifted" (one per worker).
        discount: ν in [0, 1].
        rule: One of the table's names.
        from_delay: The distribution at which η₀ is right; none by default.

    Returns:
        The factor, > 0.

    Raises:
        InvalidValueError: An argument is not allowed, or the rule is not defined at the delay.

    >>> round(delay_scaling(ConstantDelay(1)), 12)
    0.5
    """
    names = " or ".join(get_args(ScalingRule))
    require(rule in get_args(ScalingRule), "rule", names, rule, "exact keeps the stability")
    if rule in ("exact", "mean"):
        threshold = mean_square_threshold if rule == "exact" else stability_threshold

        def at(distribution: DelayDistribution) -> float:
            return threshold(
                distribution, momentum=momentum, momentum_kind=momentum_kind, discount=discount
            )

        return at(delay) / at(from_delay)
    value = _APPROXIMATIONS[rule]
    remedy = "choose the rule exact, which every delay has"
    require(rule != "inverse" or delay.mean > 0, "mean delay", "positive for 1/τ", 0, remedy)
    return value(delay.mean) / (value(from_delay.mean) if from_delay.mean > 0 else 1.0)


_APPROXIMATIONS: dict[str, Callable[[float], float]] = {
    "eq8": lambda delay: math.pi / (4 * (delay + 0.5)),
    "inverse": lambda delay: 1 / delay,
    "inverse-plus-one": lambda delay: 1 / (delay + 1),
}


def delay_scaled_learning_rate(
    learning_rate: float,
    delay: DelayDistribution,
    momentum_kind: MomentumKind = "none",
    *,
    momentum: float = 0.0,
    discount: float = 1.0,
    rule: ScalingRule = "exact",
    from_delay: DelayDistribution = NO_DELAY,
) -> float:
    """The learning rate η = η₀ · `delay_scaling` for a delay, from one that is right without it.

    η(τ) = η₀ sin(π/(4τ+2)) for a constant delay without momentum (STAB Eq. 6).

    Differs from STAB Eq. 8 by default: that approximates the exact rule for τ ≥ 1 (rule="eq8").

    Args:
        learning_rate: η₀ ≥ 0, right at `from_delay`.
        delay: The distribution of τ, in updates.
        momentum_kind: "none", "standard" (one buffer at the server) or "shifted" (one per worker).
        momentum: m (QHM's β) in [0, 1), of the damped buffer; not used by kind "none".
        discount: ν in [0, 1].
        rule: As in `delay_scaling`.
        from_delay: The distribution at which η₀ is right; none by default.

    Returns:
        η.

    Raises:
        InvalidValueError: An argument is not allowed, or the rule is not defined at the delay.

    >>> round(delay_scaled_learning_rate(0.1, ConstantDelay(15)), 8)
    0.00506492
    """
    good = 0 <= learning_rate < math.inf
    require(good, "learning_rate", "≥ 0 and finite", learning_rate, "give the rate without delay")
    return learning_rate * delay_scaling(
        delay,
        momentum=momentum,
        momentum_kind=momentum_kind,
        discount=discount,
        rule=rule,
        from_delay=from_delay,
    )


def compare_rules(
    delay: DelayDistribution,
    *,
    momentum: float = 0.0,
    momentum_kind: MomentumKind = "none",
    discount: float = 1.0,
    from_delay: DelayDistribution = NO_DELAY,
) -> tuple[RuleFactor, ...]:
    """Every rule's factor beside the exact one; a rule that is not defined there is left out.

    Args:
        delay: The distribution of τ, in updates.
        momentum: m (QHM's β) in [0, 1); not used by kind "none".
        momentum_kind: "none", "standard" or "shifted".
        discount: ν in [0, 1].
        from_delay: The distribution at which the rate is right; none by default.

    Returns:
        The rules in `ScalingRule`'s order, the exact one first.

    Raises:
        InvalidValueError: `momentum`, `momentum_kind` or `discount` is not allowed.

    >>> [(each.rule, round(each.error, 3)) for each in compare_rules(ConstantDelay(4))]
    [('exact', 0.0), ('mean', 0.0), ('eq8', 0.005), ('inverse', 0.44), ('inverse-plus-one', 0.152)]
    """
    factors: dict[ScalingRule, float] = {}
    for rule in get_args(ScalingRule):
        if rule == "inverse" and delay.mean == 0:
            continue
        factors[rule] = delay_scaling(
            delay,
            momentum=momentum,
            momentum_kind=momentum_kind,
            discount=discount,
            rule=rule,
            from_delay=from_delay,
        )
    exact = factors["exact"]
    return tuple(RuleFactor(rule, factor, factor / exact - 1) for rule, factor in factors.items())
