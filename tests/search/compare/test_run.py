import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from tests.search.compare.conftest import Watcher
from tunecli.cli.app import app
from tunecli.errors import InvalidValueError
from tunecli.recipe import Recipe, find_recipe, load_recipe
from tunecli.search.compare.run import Plan, available_methods, worker_count
from tunecli.search.compare.space import schedule_for
from tunecli.search.compare.study import StudyTask, run_study

METHODS = ("tunecli", "tpe", "tpe-hyperband")
RECIPE = ("digits-logistic", "schedule.epochs=2", "search.grid=[0.01, 0.1, 1.0, 10.0]")
PLAN = ("--studies", "2", "--budget", "4", "--seed", "5", "--methods", "tpe,tpe-hyperband")


def uninterrupted(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The same studies, one by one in this process."""
    recipe = load_recipe(find_recipe(RECIPE[0]), RECIPE[1:])
    per_trial = schedule_for(recipe, {"learning_rate": 0.01}, 1077).samples
    found: dict[str, list[dict[str, Any]]] = {}
    for method, seed in itertools.product(METHODS, (5, 6)):
        where = folder / method / str(seed)
        task = StudyTask(recipe, method, seed, 4 * per_trial, per_trial, where)
        study = run_study(task, Watcher())
        assert study is not None
        found.setdefault(method, []).append(plain(study))
    return found


def plain(study: dict[str, Any]) -> dict[str, Any]:
    """A study's entry in result.json without its times."""
    left_out = ("seconds", "finished", "warnings")
    kept = {key: value for key, value in study.items() if key not in left_out}
    return {**kept, "curve": [[point[0], *point[2:]] for point in study["curve"]]}


def lines_in(path: Path) -> int:
    return sum(log.read_bytes().count(b"\n") for log in path.glob("studies/*/*/trials.jsonl"))


def test_comparison_killed_in_the_middle_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["--workers", "1", "--device", "cpu", "--run", str(run)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tunecli", "compare", *RECIPE, *PLAN, *options],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while lines_in(run) < 3 and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {log: log.read_bytes() for log in run.glob("studies/*/*/trials.jsonl")}
    assert not (run / "result.json").exists()
    assert len(list(run.glob("studies/*/*/study.json"))) < 6

    resumed = CliRunner().invoke(app, ["compare", "--resume", str(run), "--workers", "1"])
    assert resumed.exit_code == 0, resumed.output
    result = json.loads((run / "result.json").read_text("utf-8"))
    whole = uninterrupted(tmp_path / "whole")
    found = {m["name"]: [plain(study) for study in m["studies"]] for m in result["methods"]}
    assert found == whole
    assert result["warnings"] == []
    for log, content in before.items():  # what was finished was not run again
        finished = content[: content.rfind(b"\n") + 1]
        assert log.read_bytes().startswith(finished)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"methods": ("tunecli", "nope")}, "methods must be among"),
        ({"studies": 0}, "studies must be ≥ 1"),
        ({"budget": 0}, "budget must be ≥ 1"),
        ({"seed": -1}, "seed must be ≥ 0"),
        ({"seed": 4_294_960}, "of the last study ≤ 4294966 but got 4294960"),
    ],
)
def test_plan_out_of_range_is_a_sentence(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        Plan(**{"methods": ("tunecli",), **change})
    assert words in str(caught.value)


def test_plan_counts_its_seeds_from_the_first() -> None:
    assert Plan(("tunecli",), studies=3, seed=4).seeds == (4, 5, 6)


def test_methods_that_cannot_run_are_skipped_with_a_reason(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunecli.training.learning_rate.find_spec", lambda name: None)
    found, skipped = available_methods(["tunecli", "prodigy", "tpe", "schedule-free"], recipe)
    assert [method.name for method in found] == ["tunecli", "tpe"]
    assert list(skipped) == ["prodigy", "schedule-free"]
    assert "prodigyopt is not installed" in skipped["prodigy"]


def test_worker_count_is_as_asked_and_never_more_than_the_studies() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert worker_count(3, cpu, 10) == 3
    assert worker_count(3, gpu, 2) == 2
    assert worker_count(None, gpu, 10) == 1
    assert worker_count(None, cpu, 10**6) == len(os.sched_getaffinity(0))
    assert worker_count(None, cpu, 0) == 1
    with pytest.raises(InvalidValueError, match="workers must be ≥ 1"):
        worker_count(0, cpu, 10)
