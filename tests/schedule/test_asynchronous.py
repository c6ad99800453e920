import math

import pytest

from tunecli.schedule import Schedule, Stage, multistage_schedule
from tunecli.schedule.asynchronous import factor_by_delay, scale_for_delay
from tunecli.theory.delay import ConstantDelay, HistogramDelay
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
            Stage(stage.learning_rate * scaled.factor, 0.0, 0.0, stage.batch_size, stage.steps)
            for stage in BASE.stages
        )
    )


@pytest.mark.parametrize("kind", ["standard", "shifted"])
def test_scaling_with_momentum_is_that_of_the_first_stage(kind: MomentumKind) -> None:
    scaled = scale_for_delay(BASE, ConstantDelay(7), momentum_kind=kind)
    with_delay, without = (
        mean_square_threshold(ConstantDelay(tau), momentum=0.9, momentum_kind=kind, discount=0.5)
        for tau in (7, 0)
    )
    assert scaled.factor == pytest.approx(with_delay / without, rel=1e-12)
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


def test_facts_name_rule_factor_and_delay() -> None:
    facts = scale_for_delay(BASE, ConstantDelay(3)).to_dict()
    assert facts["scaling"]["rule"] == "exact"
    assert facts["delay"]["kind"] == "constant"
    assert facts["delay"]["mean"] == 3
