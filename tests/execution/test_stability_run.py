from pathlib import Path
from typing import Any

import pytest
import torch

from tunecli.errors import InterruptedRunError, InvalidValueError, RunError
from tunecli.execution.run_folder import RunFolder, create_run
from tunecli.execution.stability_plan import StabilityPlan, hash_of
from tunecli.execution.stability_run import run_stability
from tunecli.models.build import build_model
from tunecli.recipe import Recipe

CPU = torch.device("cpu")
RECIPE = Recipe.model_validate(
    {
        "version": 1,
        "name": "bowl",
        "model": {"name": "mlp", "hidden": [4]},
        "data": {"name": "digits", "validation": 0.4, "test": 0.5},
        "schedule": {"batch_size": 16, "epochs": 1},
        "search": {"grid": [0.1, 0.2]},
    }
)


class Watcher:
    """Keeps what it is told, and asks for a stop once enough points are finished."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.told: list[str] = []
        self.points = 0
        self.work = 0
        self._stop_after = stop_after
        self.signal_number: int | None = None

    @property
    def requested(self) -> bool:
        self.signal_number = 2 if self.points == self._stop_after else None
        return self.signal_number is not None

    def sharpness(self, products: int, value: float, residual: float) -> None:
        self.told.append("sharpness")

    def start(self, *, points: int, finished: int, work: int, done: int) -> None:
        self.told.append(f"start {finished}/{points} work {done}/{work}")

    def training(self, **how_far: Any) -> None:
        assert how_far["updates"] >= 0

    def point(self, point: dict[str, Any], *, work: int) -> None:
        self.points += 1
        self.work += work


def write_weights(folder: Path) -> Path:
    """An untrained model's: no minimum, but the mechanics need none."""
    model = build_model(RECIPE.model, input_shape=(1, 8, 8), num_classes=10, seed=1)
    torch.save(model.state_dict(), folder / "model.pt")
    return folder / "model.pt"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path)


def plan(weights: Path, **changes: Any) -> StabilityPlan:
    values: dict[str, Any] = {
        "checkpoint": str(weights),
        "weights_sha256": hash_of(weights),
        "delays": (0, 1, 3),
        "momenta": (0.0,),
        "momentum_kind": "none",
        "discount": 1.0,
        "tolerance": 0.05,
        "max_iterations": 60,
        "updates_per_delay": 10,
        "nudge": 0.01,
        "hold": False,
    }
    return StabilityPlan(**{**values, **changes})


def measure(run: RunFolder, plan: StabilityPlan, watcher: Watcher) -> dict[str, Any]:
    return run_stability(
        RECIPE, run, plan, device=CPU, command="tunecli", interrupt=watcher, watcher=watcher
    )


def folder(path: Path) -> RunFolder:
    return create_run("stability", "bowl", "version: 1\n", path)


def timeless(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**point, "seconds": 0.0} for point in result["points"]]


def test_stability_run_goes_on_where_it_was_stopped(tmp_path: Path, weights: Path) -> None:
    whole = measure(folder(tmp_path / "whole"), plan(weights), Watcher())
    parts, stopped = folder(tmp_path / "parts"), Watcher(stop_after=2)
    with pytest.raises(InterruptedRunError):
        measure(parts, plan(weights), stopped)
    assert len((parts.path / "measured.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    resumed = Watcher()
    result = measure(parts, plan(weights), resumed)
    assert resumed.points == 1
    assert "start 2/3 work 30/70" in resumed.told
    assert resumed.work == 40
    assert timeless(result) == timeless(whole)
    assert result["fits"] == whole["fits"]


def test_stability_run_fits_a_line_per_momentum(tmp_path: Path, weights: Path) -> None:
    asked = plan(weights, delays=(0, 2), momenta=(0.0, 0.5), momentum_kind="standard")
    result = measure(folder(tmp_path / "run"), asked, Watcher())
    assert [(p["momentum"], p["delay"]) for p in result["points"]] == [
        *((0.0, 0), (0.0, 2), (0.5, 0), (0.5, 2))
    ]
    for fit in result["fits"]:
        low, high = (p for p in result["points"] if p["momentum"] == fit["momentum"])
        slope = (1 / high["measured"] - 1 / low["measured"]) / 2  # a line through two points
        assert fit["measured"]["slope"] == pytest.approx(slope)
        assert fit["measured"]["intercept"] == pytest.approx(1 / low["measured"])
        theory = (1 / high["predicted"] - 1 / low["predicted"]) / 2
        assert fit["slope_error"] == pytest.approx(slope / theory - 1)
    one = measure(folder(tmp_path / "one"), plan(weights, delays=(0,)), Watcher())
    assert one["fits"] == []


def test_stability_run_refuses_weights_that_have_changed(tmp_path: Path, weights: Path) -> None:
    asked = plan(weights)
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(RunError, match="was changed since the run began"):
        measure(folder(tmp_path / "run"), asked, Watcher())


def test_delays_that_do_not_fit_in_memory_are_refused(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradient = 4 * (64 * 4 + 4 + 4 * 10 + 10)  # bytes: 64 inputs, 4 hidden units, 10 classes
    monkeypatch.setattr(
        "tunecli.execution.stability_plan.free_memory", lambda device: 2 * 101 * gradient
    )
    plan(weights, delays=(0, 100)).require_memory(RECIPE, CPU)
    with pytest.raises(InvalidValueError) as refused:
        plan(weights, delays=(0, 101)).require_memory(RECIPE, CPU)
    assert str(refused.value) == (
        "delay must be at most 100 for this model on cpu but got 101; its 102 gradients on their "
        "way need 0.121 MiB, more than half of the 0.239 MiB that are free: measure smaller "
        "delays, on which 1/η is a straight line anyway"
    )
    shifted = plan(weights, delays=(50,), momenta=(0.9,), momentum_kind="shifted")
    with pytest.raises(InvalidValueError, match="at most 49 for"):
        shifted.require_memory(RECIPE, CPU)


def test_stability_run_checks_the_memory_again_when_it_goes_on(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunecli.execution.stability_plan.free_memory", lambda device: 0)
    watcher = Watcher()
    with pytest.raises(InvalidValueError, match="delay must be at most 0"):
        measure(folder(tmp_path / "run"), plan(weights), watcher)
    assert watcher.told == []
