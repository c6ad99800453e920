import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.search.compare.conftest import Watcher, elsewhere, without_times
from tunecli.execution import Interrupt, create_run
from tunecli.recipe import Recipe, dump_recipe, load_recipe
from tunecli.search import run_search
from tunecli.search.compare.bench import training_seed
from tunecli.search.compare.log import StudyLog, TrialLine
from tunecli.search.compare.methods import METHODS
from tunecli.search.compare.study import StudyTask, run_study
from tunecli.training.learning_rate import unavailable

AVAILABLE = [name for name in METHODS if name not in unavailable()]


def finish(task: StudyTask, context: Watcher | None = None) -> dict[str, Any]:
    found = run_study(task, context or Watcher())
    assert found is not None
    return found


def lines_of(task: StudyTask) -> list[TrialLine]:
    return StudyLog(task.log).lines


def plain(lines: list[TrialLine]) -> list[TrialLine]:
    return [replace(line, seconds=0.0) for line in lines]


def changed(task: StudyTask, **search: object) -> StudyTask:
    section = task.recipe.search.model_copy(update=search)
    return replace(task, recipe=task.recipe.model_copy(update={"search": section}))


@pytest.mark.parametrize("method", AVAILABLE)
def test_every_method_runs_a_study_within_its_budget(task: StudyTask, method: str) -> None:
    task = replace(task, method=method)
    watcher = Watcher()
    found = finish(task, watcher)
    lines = lines_of(task)
    assert json.loads(task.summary.read_text("utf-8")) == found
    assert found["trials"] == len(lines) == len(watcher.reports) > 0
    assert found["samples"] == sum(line.samples for line in lines) <= task.budget
    assert all(line.parameters.keys() == set(METHODS[method].parameters) for line in lines)
    for state in ("diverged", "pruned", "aborted"):
        assert found[state] == sum(line.state == state for line in lines)
    # it stopped by itself, or because no further full trial would have ended in time
    spent = [point[0] for point in found["curve"]]
    assert spent == sorted(set(spent))
    assert found["curve"][-1][3] == found["test"]
    assert 0.5 < found["test"] < 1
    assert found["best"]["learning_rate"] > 0


@pytest.mark.parametrize("method", ["tpe", "random-joint", "tpe-hyperband"])
def test_optuna_uses_its_budget_up(task: StudyTask, method: str) -> None:
    found = finish(replace(task, method=method))
    assert found["samples"] > task.budget - task.samples_per_trial


def test_grid_search_ends_with_its_grid(task: StudyTask) -> None:
    task = replace(task, method="grid")
    assert finish(task)["trials"] == 5
    rates = {line.parameters["learning_rate"] for line in lines_of(task)}
    assert rates == set(task.recipe.search.learning_rates)


def test_incumbent_is_chosen_on_validation(task: StudyTask) -> None:
    found = finish(replace(task, method="random"))
    complete = [line for line in lines_of(task) if line.state == "complete"]
    best = max(complete, key=lambda line: line.value)
    assert (found["validation"], found["test"]) == (best.value, best.test)
    assert [point[2] for point in found["curve"]] == sorted(point[2] for point in found["curve"])
    assert [value for _, _, value in found["finished"]] == [line.value for line in complete]


def test_our_study_goes_with_the_first_seed_of_the_rate_it_chose(task: StudyTask) -> None:
    task = replace(task, method="tunecli", budget=10 * task.budget)
    found = finish(task)
    at_best = [line for line in lines_of(task) if line.parameters == found["best"]]
    assert at_best[0].repeat == 0
    assert (found["validation"], found["test"]) == (at_best[0].value, at_best[0].test)


def test_our_study_draws_its_seeds_from_its_own(task: StudyTask) -> None:
    task = changed(replace(task, method="tunecli", budget=10 * task.budget), strategy="paper")
    finish(task)
    seeds = {(line.repeat, line.seed) for line in lines_of(task)}
    assert seeds == {(0, training_seed(3, 0)), (1, training_seed(3, 1))}
    optuna_task = elsewhere(replace(task, method="tpe", budget=task.budget // 10), "other")
    finish(optuna_task)
    assert {line.seed for line in lines_of(optuna_task)} == {training_seed(3, 0)}


@pytest.mark.parametrize("strategy", ["paper", "geometric", "probe"])
def test_our_study_is_the_search_that_the_recipe_asks_for(
    task: StudyTask, tmp_path: Path, strategy: str
) -> None:
    ours = changed(
        replace(task, method="tunecli", seed=0, budget=100 * task.budget), strategy=strategy
    )
    study = finish(ours)
    run = create_run("search", "quick", dump_recipe(ours.recipe), tmp_path / "run")
    search = run_search(
        ours.recipe,
        run,
        device=torch.device("cpu"),
        interrupt=Interrupt(),
        notify=lambda event: None,
    )
    assert study["best"] == {"learning_rate": search.stop.learning_rate}
    assert [
        (line.parameters["learning_rate"], line.seed, line.state, line.value, line.updates)
        for line in lines_of(ours)
    ] == [
        (trial.learning_rate, trial.seed, trial.state, trial.value, trial.updates)
        for trial in search.trials
    ]


def test_methods_with_one_rate_train_the_same_model(task: StudyTask) -> None:
    ours = changed(replace(task, method="tunecli"), strategy="paper")
    grid = elsewhere(replace(task, method="grid"), "grid")
    finish(ours)
    finish(grid)
    by_rate = {
        line.parameters["learning_rate"]: line
        for line in lines_of(grid)
        if line.state == "complete"
    }
    both = [
        (line, by_rate[line.parameters["learning_rate"]])
        for line in lines_of(ours)
        if line.repeat == 0 and line.parameters["learning_rate"] in by_rate
    ]
    assert both
    assert all((a.value, a.test, a.curve) == (b.value, b.test, b.curve) for a, b in both)


def test_probe_is_billed_to_the_first_trial_once(task: StudyTask) -> None:
    task = changed(replace(task, method="tunecli"), strategy="probe")
    finish(task)
    first = lines_of(task)[0]
    assert first.samples > 20  # the trial itself, or a part of it, and the ramp
    plain_task = elsewhere(changed(task, strategy="geometric", start=None), "geometric")
    finish(plain_task)
    same = [
        line
        for line in lines_of(plain_task)
        if line.parameters == first.parameters and line.curve == first.curve
    ]
    assert all(first.samples > line.samples for line in same)
    resumed = elsewhere(task, "resumed")
    assert run_study(resumed, Watcher(stop_after=2)) is None
    finish(resumed)
    assert plain(lines_of(resumed)) == plain(lines_of(task))


def test_divergence_is_the_finite_worst_value(task: StudyTask) -> None:
    too_large = changed(replace(task, method="random"), grid=(1e6, 1e9))
    found = finish(too_large)
    lines = lines_of(task)
    assert {line.state for line in lines} <= {"diverged", "aborted", "complete"}
    diverged = [line for line in lines if line.state == "diverged"]
    assert all(line.value == 0.0 and line.test is None and line.reason for line in diverged)
    if len(diverged) == len(lines):
        assert found["curve"] == []
        assert found["test"] is None


def test_no_finished_trial_is_worse_than_a_diverged_one(task: StudyTask) -> None:
    task = changed(
        replace(task, method="random", budget=12 * task.samples_per_trial),
        metric="loss",
        grid=(0.01, 1e4),
        early_abort=False,
    )
    finish(task)
    lines = lines_of(task)
    diverged = {line.value for line in lines if line.state == "diverged"}
    assert len(diverged) == 1
    worst = diverged.pop()
    assert all(value <= worst for line in lines for _, value in line.curve)
    assert all(line.value <= worst for line in lines)


def test_early_abort_gives_optuna_more_trials(task: StudyTask) -> None:
    with_abort = replace(task, method="random", budget=10 * task.samples_per_trial)
    without = elsewhere(changed(with_abort, early_abort=False), "without")
    first, second = finish(with_abort), finish(without)
    assert first["aborted"] > 0
    assert second["aborted"] == 0
    assert first["trials"] > second["trials"]
    aborted = [line for line in lines_of(with_abort) if line.state == "aborted"]
    assert all(line.reason and line.test is None and line.curve[-1][0] < 1 for line in aborted)
    assert all(line.samples < task.samples_per_trial for line in aborted)


def test_pruner_prunes(task: StudyTask) -> None:
    task = replace(task, method="tpe-median", budget=10 * task.samples_per_trial)
    assert finish(task)["pruned"] > 0
    assert finish(task)["aborted"] == 0


@pytest.mark.parametrize(
    ("method", "stop_after"),
    [
        ("tunecli", 2),
        ("tpe", 4),
        ("gp", 6),
        ("grid", 1),
        ("tpe-hyperband", 4),
        ("tpe-median-joint", 5),
        ("adam", 2),
    ],
)
def test_resumed_study_equals_an_uninterrupted_one(
    task: StudyTask, method: str, stop_after: int
) -> None:
    task = replace(task, method=method)
    whole = finish(task)
    resumed = elsewhere(task, "resumed")
    stopped = run_study(resumed, Watcher(stop_after=min(stop_after, whole["trials"] - 1)))
    assert stopped is None
    assert not resumed.summary.exists()
    torn = resumed.log.read_bytes() + b'{"number": 7, "para'
    resumed.log.write_bytes(torn)
    watcher = Watcher()
    again = finish(resumed, watcher)
    assert without_times(again) == without_times(whole)
    assert plain(lines_of(resumed)) == plain(lines_of(task))
    assert len(watcher.reports) == whole["trials"] - min(stop_after, whole["trials"] - 1)


def test_finished_study_is_read_and_not_run(task: StudyTask) -> None:
    whole = finish(task)
    watcher = Watcher()
    assert finish(task, watcher) == whole
    assert watcher.reports == []


def rewrite(task: StudyTask, change: Callable[[dict[str, Any]], None]) -> None:
    entries = [json.loads(line) for line in task.log.read_text("utf-8").splitlines()]
    change(entries[1])
    task.log.write_text("".join(json.dumps(entry) + "\n" for entry in entries), "utf-8")


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry["parameters"].update(learning_rate=0.123),
        lambda entry: entry.update(repeat=1),
        lambda entry: entry.update(state="aborted", reason="a mood"),
    ],
    ids=["parameter", "repeat", "state"],
)
def test_log_of_other_choices_starts_the_study_again(
    task: StudyTask, change: Callable[[dict[str, Any]], None]
) -> None:
    whole = finish(task)
    kept = plain(lines_of(task))
    task.summary.unlink()
    rewrite(task, change)
    watcher = Watcher()
    again = finish(task, watcher)
    assert len(watcher.reports) == whole["trials"]
    assert plain(lines_of(task)) == kept
    assert task.log.with_name("trials.jsonl.set-aside").exists()
    assert len(again["warnings"]) == 1
    assert again["warnings"][0].startswith("tpe, study 3 was started again: trial 1 ")
    assert without_times({**again, "warnings": []}) == without_times(whole)


def test_recipe_reaches_a_worker_as_it_is(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(recipe), "utf-8")
    assert load_recipe(path) == recipe
