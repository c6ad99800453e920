"""A search whose trials are trained asynchronously, in simulation and by real workers."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tunecli.execution import Interrupt, RunFolder, create_run
from tunecli.recipe import Recipe, dump_recipe, find_recipe, load_recipe
from tunecli.search import run_search
from tunecli.search.events import DelayMeasuring, Event, SearchStarted

SMALL = (
    "model.hidden=[32]",
    "schedule.epochs=6",
    "search.test_seeds=[5]",
    "search.grid={geometric: {start: 0.05, factor: 4, count: 4}}",
)


def small(section: str, *overrides: str) -> Recipe:
    keys = [*SMALL, f"training.asynchronous={section}", *overrides]
    return load_recipe(find_recipe("digits-asynchronous"), keys)


def folder(recipe: Recipe, path: Path) -> RunFolder:
    return create_run("search", recipe.name, dump_recipe(recipe), path / "run", {})


def search(recipe: Recipe, run: RunFolder) -> tuple[dict[str, Any], list[Event]]:
    told: list[Event] = []
    found = run_search(
        recipe, run, device=torch.device("cpu"), interrupt=Interrupt(), notify=told.append
    )
    stored: dict[str, Any] = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    return stored, told


def test_trials_start_from_the_rate_that_the_delay_allows(tmp_path: Path) -> None:
    recipe = small("{num_workers: 8}")
    result, told = search(recipe, folder(recipe, tmp_path))
    facts, factor = result["asynchronous"], math.sin(math.pi / (4 * 7 + 2))
    assert facts["scaling"]["factor"] == pytest.approx(factor, rel=1e-12)
    assert facts["learning_rate"] == pytest.approx(result["learning_rate"] * factor)
    assert result["schedule"][0]["learning_rate"] == facts["learning_rate"]
    assert all(stage["momentum"] == 0 for stage in result["schedule"])
    assert (facts["delay"]["kind"], facts["delay"]["mean"]) == ("constant", 7)
    (started,) = [event for event in told if isinstance(event, SearchStarted)]
    assert started.scaling is not None
    assert started.scaling.factor == facts["scaling"]["factor"]


def test_every_update_of_every_trial_is_in_the_histogram(tmp_path: Path) -> None:
    recipe = small("{num_workers: 3}")
    result, _ = search(recipe, folder(recipe, tmp_path))
    trials = [*result["trials"], *result["final"]]
    assert sum(result["asynchronous"]["delays"].values()) == sum(t["updates"] for t in trials)
    first = trials[0]["measured"]
    assert first["delays"] == {"0": 1, "1": 1, "2": trials[0]["updates"] - 2}
    assert sum(first["workers"]) == trials[0]["updates"]


def test_simulated_search_repeats_exactly(tmp_path: Path) -> None:
    recipe = small("{delay: {name: geometric, mean: 4.0}, momentum_kind: shifted}")
    results = []
    for name in ("a", "b"):
        result, _ = search(recipe, folder(recipe, tmp_path / name))
        results.append([(t["learning_rate"], t["value"]) for t in result["trials"]])
    assert results[0] == results[1]


def test_clock_is_measured_once_and_kept_for_the_whole_run(tmp_path: Path) -> None:
    recipe = small("{delay: {name: clock, speeds: [1, 1, 1, 0.1]}}")
    run = folder(recipe, tmp_path)
    result, _ = search(recipe, run)
    facts = result["asynchronous"]
    assert facts["delay"]["kind"] == "histogram"
    counts = json.loads((run.path / "delay.json").read_text())["counts"]
    assert len(counts) > 10  # the straggler's
    assert facts["delay"]["mean"] == pytest.approx(
        sum(delay * count for delay, count in enumerate(counts)) / sum(counts)
    )
    assert result["spent"]["search"]["updates"] == sum(t["updates"] for t in result["trials"])

    (run.path / "delay.json").write_text('{"counts": [0, 0, 1], "updates": 7, "samples": 9}')
    again, _ = search(recipe, run)  # the trials are there; what is kept is taken as it is
    assert again["asynchronous"]["delay"]["mean"] == 2
    assert again["spent"]["updates"] == result["spent"]["updates"] + 7
    assert again["spent"]["search"]["samples"] == result["spent"]["search"]["samples"] + 9


def test_staleness_aware_leaves_the_schedule_and_scales_every_update(tmp_path: Path) -> None:
    aware = small("{num_workers: 8, staleness_aware: true}", "search.max_trials=1")
    plain = small("{num_workers: 8}", "search.max_trials=1")
    facts = []
    for name, recipe in (("aware", aware), ("plain", plain)):
        result, _ = search(recipe, folder(recipe, tmp_path / name))
        facts.append((result["asynchronous"]["scaling"], result["trials"][0]["value"]))
    assert facts[0][0] == {"rule": "exact", "factor": None}
    # the delay is 7 at all updates but the first seven, which take larger steps
    assert facts[0][1] == pytest.approx(facts[1][1], abs=0.1)
    assert facts[0][1] != facts[1][1]


def test_unscaled_rates_fail_where_scaled_ones_train(tmp_path: Path) -> None:
    """At delay 31 the largest rate that is stable shrinks to a fortieth."""
    keys = ("search.grid=[0.8, 0.9]", "search.max_trials=1", "schedule.epochs=20")
    values = {}
    for rule in ("exact", "none"):
        recipe = small(f"{{delay: {{name: constant, delay: 31}}, scaling: {rule}}}", *keys)
        result, _ = search(recipe, folder(recipe, tmp_path / rule))
        values[rule] = result["trials"][0]
    assert values["exact"]["value"] > 0.9
    assert values["none"]["state"] == "diverged" or values["none"]["value"] < 0.3


@pytest.mark.parametrize("delay", [0, 1, 3, 7, 15, 31])
def test_search_finds_its_rate_in_at_most_six_trials(tmp_path: Path, delay: int) -> None:
    recipe = load_recipe(
        find_recipe("digits-asynchronous"),
        [
            f"training.asynchronous={{delay: {{name: constant, delay: {delay}}}}}",
            "model.hidden=[64]",
            "schedule.epochs=6",
            "search.test_seeds=[5]",
        ],
    )
    result, _ = search(recipe, folder(recipe, tmp_path))
    assert result["exit_code"] == 0
    assert len(result["trials"]) <= 6
    assert result["test"]["mean"] > 0.85


def test_probe_ramps_over_the_scaled_rates(tmp_path: Path) -> None:
    """Told in rates without delay, trained with what the delay makes of them."""
    losses = []
    for scaling in ("exact", "none"):
        recipe = small(f"{{num_workers: 8, scaling: {scaling}}}", "search.strategy=probe")
        result, _ = search(recipe, folder(recipe, tmp_path / scaling))
        assert result["probe"]["learning_rates"][0] == pytest.approx(0.05)
        losses.append(result["probe"]["losses"][:20])
    assert losses[0][0] == losses[1][0]
    assert losses[0][-1] != losses[1][-1]


def test_without_a_rate_there_is_none_under_delay(tmp_path: Path) -> None:
    recipe = small("{num_workers: 8}", "search.grid=[1e9, 2e9]", "search.extend=0")
    result, _ = search(recipe, folder(recipe, tmp_path))
    assert (result["exit_code"], result["learning_rate"]) == (5, None)
    assert result["asynchronous"]["learning_rate"] is None
    assert result["asynchronous"]["scaling"] == {"rule": "exact", "factor": None}


@pytest.mark.parametrize("kind", ["standard", "shifted"])
def test_one_grid_does_with_momentum_too(tmp_path: Path, kind: str) -> None:
    """Heavy ball: its threshold without delay is 38, but its good rates are those of plain SGD."""
    section = f"{{delay: {{name: constant, delay: 15}}, momentum_kind: {kind}}}"
    keys = ("schedule.epochs=6", "search.test_seeds=[5]", "schedule.discount=1")
    recipe = load_recipe(
        find_recipe("digits-asynchronous"), [f"training.asynchronous={section}", *keys]
    )
    result, _ = search(recipe, folder(recipe, tmp_path))
    assert result["exit_code"] == 0
    assert len(result["trials"]) <= 6


def test_real_workers_are_measured_before_the_first_trial(tmp_path: Path) -> None:
    recipe = small("{engine: processes, num_workers: 4}", "search.max_trials=1")
    run = folder(recipe, tmp_path)
    result, told = search(recipe, run)
    assert isinstance(told[0], DelayMeasuring)
    assert told[0].num_workers == 4
    facts = result["asynchronous"]
    assert facts["delay"]["kind"] == "histogram"
    assert facts["scaling"]["factor"] < 1
    assert facts["mean_delay"] == pytest.approx(3, abs=0.2)  # N − 1 but for the start
    assert result["test"]["mean"] > 0.5
    assert sum(facts["delays"].values()) == sum(
        t["updates"] for t in (*result["trials"], *result["final"])
    )
