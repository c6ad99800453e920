from typing import Any

import pytest

from tests.report.test_stability_table import printed
from tunecli.report.stability_schedule import scaled_view

STAGE = {"learning_rate": 0.3, "momentum": 0.9, "discount": 0.5, "batch_size": 256, "steps": 1000}


def result(**changes: Any) -> dict[str, Any]:
    scaling = {
        "rule": "exact",
        "factor": 0.025,
        "error": 0.0,
        "momentum_kind": "none",
        "approximations": [
            {"rule": "mean", "factor": 0.05, "learning_rate": 0.015, "error": 1.0},
            {"rule": "inverse", "factor": 0.032, "learning_rate": 0.0096, "error": 0.28},
        ],
    }
    delay = {"kind": "constant", "mean": 31.0, "delay": 31}
    return {
        "learning_rate": 0.0075,
        "scaling": scaling | changes.get("scaling", {}),
        "delay": delay | changes.get("delay", {}),
        "schedule": [STAGE],
        "scaled_schedule": [{**STAGE, "learning_rate": 0.0075, "momentum": 0.0}],
    }


def words(found: dict[str, Any], **options: Any) -> str:
    return " ".join(printed(scaled_view(found, **options)).split())


def test_scaled_view_begins_with_the_rate_and_its_reason() -> None:
    text = words(result())
    assert text.startswith("learning_rate 0.0075 = 0.3 × 0.025 at delay 31")
    assert "under this delay (aη = 2 sin(π/(4τ+2)), STAB Eq. 6) over that of plain SGD" in text
    assert "Momentum 0.9 is dropped" in text
    assert "1 0.3 0.0075 0 0.5 256 1,000 256,000" in text
    assert "inverse: 1/τ 0.032 0.0096 +28 %" in text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"delay": {"num_workers": 32}}, "every gradient is 32 − 1 = 31 updates late"),
        ({"delay": {"kind": "geometric"}}, "at mean delay 31"),
        ({"delay": {"kind": "geometric"}}, "STAB Eq. 19) would have said 0.015, +100 %"),
        ({"scaling": {"rule": "eq8", "error": 0.1}}, "rule eq8: π/(4(τ+½)), +10 % off the exact"),
        ({"scaling": {"rule": "none"}}, "left as they are"),
        ({"scaling": {"momentum_kind": "shifted"}}, "one buffer per worker (shifted)"),
        ({"scaling": {"momentum_kind": "standard"}}, "one buffer at the server"),
    ],
)
def test_scaled_view_says_why(changes: dict[str, Any], sentence: str) -> None:
    assert sentence in words(result(**changes))


def test_scaled_view_counts_epochs_where_it_can_and_fits_80_columns() -> None:
    assert "250.00" in words(result(), training_samples=1024)
    assert max(map(len, printed(scaled_view(result())).splitlines())) <= 80
