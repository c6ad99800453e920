import math

import pytest

from tunecli.schedule import Schedule, Stage, multistage_schedule
from tunecli.schedule.asynchronous import compare_factors, factor_by_delay, scale_for_delay
from tunecli.theory.delay import ConstantDelay, GeometricDelay, HistogramDelay
from tunecli.theory.mean_square import mean_square_threshold
from tunecli.theory.stability import MomentumKind

BASE = multistage_schedule(
    learning_rate=0.3, momentum=0.9, batch_size=64, stages=3, decay=0.5, steps=100
)


def test_scaling_without_momentum_is_eq_6_and_drops_the_momentum_of_every_stage() -> None:
    scaled = scale_for_delay(BASE, ConstantDelay(31))
    factor = math.sin(math.pi / (4 * 31 + 2))
    assert scaled.factor == pytest.approx(factor, rel=1e-12)
    assert scaled.schedule == Schedule(
        tuple(
            Stage(stage.learning_rate * factor, 0.0, 0.0, stage.batch_size, stage.steps)
            for stage in BASE.stages
        )
    )


@pytest.mark.parametrize("kind", ["standard", "shifted"])
def test_scaling_with_momentum_is_that_of_the_first_stage(kind: MomentumKind) -> None:
    """Against the 2 of gradient descent without delay, whatever momentum would allow there."""
    scaled = scale_for_delay(BASE, ConstantDelay(7), momentum_kind=kind)
    largest = mean_square_threshold(
        ConstantDelay(7), momentum=0.9, momentum_kind=kind, discount=0.5
    )
    assert scaled.factor == pytest.approx(largest / 2, rel=1e-12)
    assert [stage.momentum for stage in scaled.schedule.stages] == [
        stage.momentum for stage in BASE.stages
    ]


def test_no_delay_changes_nothing_but_the_kind_none_has_no_momentum() -> None:
    assert scale_for_delay(BASE, ConstantDelay(0), momentum_kind="standard").schedule == BASE
    rates = [s.learning_rate for s in scale_for_delay(BASE, ConstantDelay(0)).schedule.stages]
    assert rates == [0.3, 0.15, 0.075]


def test_rule_none_leaves_the_rates_alone() -> None:
    scaled = scale_for_delay(BASE, ConstantDelay(31), momentum_kind="shifted", rule="none")
    assert (scaled.factor, scaled.schedule) == (1.0, BASE)


def test_scaled_rates_keep_alpha_times_steps_constant() -> None:
    stages = scale_for_delay(BASE, HistogramDelay((1, 2, 3))).schedule.stages
    products = [stage.learning_rate * stage.steps for stage in stages]
    assert products == pytest.approx([products[0]] * 3)


def test_factor_by_delay_is_that_of_a_constant_delay() -> None:
    factor = factor_by_delay(BASE, momentum_kind="none", rule="exact")
    for delay in (0, 1, 15):
        assert factor(delay) == scale_for_delay(BASE, ConstantDelay(delay)).factor


@pytest.mark.parametrize("kind", ["standard", "shifted"])
def test_momentum_changes_the_factor_little_where_the_delay_is_small(kind: MomentumKind) -> None:
    """Thresholds at delay 1 are 1, with standard momentum or without; shifted has 1.9 at 0.9."""
    base = multistage_schedule(
        learning_rate=0.3, momentum=0.9, discount=1.0, batch_size=64, stages=1, decay=0.5, steps=9
    )
    factor = scale_for_delay(base, ConstantDelay(1), momentum_kind=kind).factor
    assert factor == pytest.approx(0.5 if kind == "standard" else 0.95, rel=1e-4)


def test_staleness_aware_scaling_has_no_factor_of_its_own() -> None:
    scaled = scale_for_delay(BASE, ConstantDelay(7), momentum_kind="standard", staleness_aware=True)
    assert (scaled.rule, scaled.factor, scaled.schedule) == ("exact", None, BASE)


def test_rules_are_compared_by_the_factors_that_they_give() -> None:
    for kind in ("none", "shifted"):
        found = compare_factors(BASE, ConstantDelay(7), momentum_kind=kind)
        assert [each.rule for each in found] == [
            "exact", "mean", "eq8", "inverse", "inverse-plus-one"
        ]  # fmt: skip
        for each in found:
            scaled = scale_for_delay(BASE, ConstantDelay(7), momentum_kind=kind, rule=each.rule)
            assert each.factor == scaled.factor
            assert each.error == each.factor / found[0].factor - 1
    at_none = compare_factors(BASE, ConstantDelay(0), momentum_kind="none")
    assert "inverse" not in [each.rule for each in at_none]


def test_scaling_that_enlarges_the_rates_is_warned_of() -> None:
    """Stability of the mean allows geometric delays of mean 15 31 times the rate of none."""
    mean = scale_for_delay(BASE, GeometricDelay.of_mean(15), rule="mean")
    assert mean.factor == pytest.approx(31)
    assert mean.warning is not None
    assert "31 times as large as without delay" in mean.warning
    assert scale_for_delay(BASE, GeometricDelay.of_mean(15)).warning is None


def test_facts_name_rule_factor_and_delay() -> None:
    facts = scale_for_delay(BASE, ConstantDelay(3)).to_dict()
    assert facts["scaling"]["rule"] == "exact"
    assert facts["delay"]["kind"] == "constant"
    assert facts["delay"]["mean"] == 3
