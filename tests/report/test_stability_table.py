from io import StringIO
from typing import Any

import pytest
from rich.console import Console, RenderableType

from tunecli.report.stability_table import (
    checkpoint_summary,
    measured_summary,
    percent,
    threshold_table,
)

MINIMUM: dict[str, Any] = {
    "checkpoint": "runs/minimum/model.pt",
    "sharpness": {"value": 2.5, "residual": 0.002, "iterations": 9, "converged": True},
    "loss": 0.001,
    "gradient_norm": 0.0026,
    "training_samples": 1077,
}


def row(delay: Any, threshold: float, **more: Any) -> dict[str, Any]:
    how = {"momentum": 0.0, "momentum_kind": "none", "discount": 1.0}
    return {
        "delay": delay,
        "threshold": threshold,
        **how,
        "factor": threshold / 2,
        "eq8_error": 0.0051,
        **more,
    }


def measured(momentum_kind: str = "none") -> dict[str, Any]:
    """A made-up measurement; every measured rate is 2 % above the theory's."""
    points = [
        {
            "delay": delay,
            "momentum": 0.0,
            "threshold": threshold,
            "predicted": threshold / 2.5,
            "measured": 1.02 * threshold / 2.5,
            "left_at": 1.03 * threshold / 2.5,
            "ratio": 1.02,
            "updates": 1200,
            "seconds": 1.0,
            "runs": [],
        }
        for delay, threshold in ((0, 2.0), (4, 0.3473), (16, 0.09516))
    ]
    line = {"slope": 1.6, "intercept": -0.1, "r_squared": 0.9999}
    fit = {"momentum": 0.0, "measured": line, "predicted": line, "slope_error": -0.02}
    return {
        "recipe": "digits-minimum",
        "momentum_kind": momentum_kind,
        "discount": 1.0,
        "updates_per_delay": 300,
        "nudge": 0.01,
        "hold": True,
        "minimum": MINIMUM,
        "points": points,
        "fits": [fit],
        "spent": {"updates": 3600, "runs": 15, "seconds": 3.0},
        "warnings": ["this is hardly a minimum"],
    }


def printed(shown: RenderableType, width: int = 80) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(shown)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("error", "text"),
    [(0.0, "0 %"), (0.5708, "+57.1 %"), (-0.00041, "-0.041 %"), (14.0, "+1400 %")],
)
def test_percent_keeps_three_digits(error: float, text: str) -> None:
    assert percent(error) == text


def test_thresholds_have_a_row_per_delay() -> None:
    text = printed(threshold_table([row(0, 2.0), row(4, 0.347296)])).rstrip()
    assert "no momentum (STAB Eq. 6)" in text
    assert text.splitlines()[-1].split() == ["4", "0.347296", "2.87939", "0.173648", "+0.51", "%"]


def test_thresholds_of_several_momenta_name_each() -> None:
    rows = [
        row(4, 0.4, momentum=momentum, momentum_kind="shifted", discount=0.5)
        for momentum in (0.5, 0.9)
    ]
    text = printed(threshold_table(rows), width=120).rstrip()
    assert "shifted momentum, one buffer per worker, discount 0.5 (STAB Eq. 11)" in text
    assert [line.split()[0] for line in text.splitlines()[-2:]] == ["0.5", "0.9"]
    alone = printed(threshold_table(rows[:1]), width=120)
    assert "momentum 0.5, discount 0.5" in alone


def test_threshold_of_drawn_delays_stands_beside_that_of_the_mean() -> None:
    delay = {"kind": "histogram", "mean": 15.543, "counts": [1.0]}
    text = printed(threshold_table([row(delay, 0.104, mean_threshold=0.105)]), width=120)
    assert "of the mean (Eq. 19)" in text
    assert "mean 15.54" in text
    assert "Eq. 6" not in text


def test_rates_of_a_checkpoint_have_an_error_bar_and_fit_80_columns() -> None:
    rates = [row(4, 0.347296, learning_rate=0.1389, error=0.00011)]
    text = printed(checkpoint_summary({"minimum": MINIMUM, "rates": rates, "warnings": ["mind"]}))
    assert "λ_max = 2.5 ± 0.002" in text
    assert "0.1389  0.00011" in text
    assert "warning: mind" in text
    assert max(map(len, text.splitlines())) <= 80


def test_measured_summary_holds_measured_against_predicted() -> None:
    text = printed(measured_summary(measured()))
    assert "1.020" in text
    assert "300 · (τ + 1) updates, off the minimum by 1 % of its loss, the" in text
    assert "1/η = 1.6 τ − 0.1 measured" in text
    assert "slope -2 %" in " ".join(text.split())
    assert "(2a/π) τ + a/π = 1.592 τ + 0.796" in text
    assert "warning: this is hardly a minimum" in text
    assert max(map(len, text.splitlines())) <= 80


def test_measured_summary_knows_no_asymptote_with_momentum() -> None:
    assert "2a/π" not in printed(measured_summary(measured("shifted")))
