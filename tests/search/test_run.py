import json
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tunecli.errors import InterruptedRunError
from tunecli.execution import Interrupt, RunFolder, create_run
from tunecli.recipe import Recipe, dump_recipe, find_recipe, load_recipe
from tunecli.search import Continue, decide, run_search
from tunecli.search import run as run_module
from tunecli.search.events import Event, ProbeFinished, TrialFinished, TrialProgressed
from tunecli.search.probe import Probe
from tunecli.search.run import monotone_rule


def recipe(*overrides: str) -> Recipe:
    return load_recipe(find_recipe("digits-logistic"), overrides)


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_search_section_is_the_rule(metric: str) -> None:
    rule = monotone_rule(
        recipe(
            "search.grid=[0.1, 0.3]",
            "search.patience=3",
            "search.seeds=[4, 5]",
            "search.learned_share=0.3",
            "search.max_trials=7",
            f"search.metric={metric}",
        )
    )
    assert rule.learning_rates == (0.1, 0.3)
    assert (rule.patience, rule.repeats, rule.learned_share, rule.max_trials) == (3, 2, 0.3, 7)
    assert (rule.maximize, rule.perfect) == ((True, 1.0) if metric == "accuracy" else (False, 0.0))


def test_strategy_of_the_recipe_is_the_rules_and_paper_adds_nothing_to_it() -> None:
    keys = ("search.extend=2", "search.resolution=1.2", "search.error_rate=0.1")
    rule = monotone_rule(recipe(*keys))
    assert (rule.strategy, rule.extend, rule.resolution) == ("geometric", 2, 1.2)
    assert (rule.early_abort, rule.error_rate, rule.start) == (True, 0.1, None)
    assert not monotone_rule(recipe("search.early_abort=false")).early_abort
    assert monotone_rule(recipe(*keys, "search.strategy=probe")) == rule
    paper = monotone_rule(recipe(*keys, "search.strategy=paper"))
    assert (paper.strategy, paper.extend, paper.resolution) == ("paper", 0, None)
    assert not paper.early_abort
    assert paper.keeps_to_grid


SMALL = (
    "schedule.epochs=1",
    "training.evaluations=5",
    "search.seeds=[0]",
    "search.test_seeds=[5]",
    "search.grid={geometric: {start: 0.0001, factor: 10, count: 7}}",
    "search.resolution=4",
)


def search(
    chosen: Recipe,
    run: RunFolder,
    *,
    verify: int = 0,
    notify: Callable[[Event], None] = lambda _: None,
    interrupt: Interrupt | None = None,
) -> dict[str, Any]:
    result = run_search(
        chosen,
        run,
        device=torch.device("cpu"),
        interrupt=interrupt or Interrupt(),
        notify=notify,
        verify=verify,
    ).to_dict()
    stored: dict[str, Any] = json.loads(json.dumps(result, allow_nan=False))
    return stored


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in ("run", "seconds")}
    return [timeless(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("digits-logistic", "{geometric: {start: 1e-7, factor: 10, count: 10}}"),
        ("digits-mlp", "{geometric: {start: 0.0125, factor: 2, count: 8}}"),
    ],
)
def test_probe_finds_where_the_walk_begins_and_is_on_the_bill(
    tmp_path: Path, name: str, grid: str
) -> None:
    changes = ("search.strategy=probe", f"search.grid={grid}", "schedule.epochs=8")
    small = load_recipe(find_recipe(name), [*SMALL, *changes])
    told: list[Event] = []
    run = create_run("search", name, dump_recipe(small), tmp_path / "run")
    result = search(small, run, notify=told.append)
    (probe,) = [event.probe for event in told if isinstance(event, ProbeFinished)]
    assert result["probe"] == json.loads(json.dumps(asdict(probe)))
    assert json.loads((run.path / "probe.json").read_text()) == result["probe"]
    assert probe.learning_rates[0] == small.search.learning_rates[0]
    searched = sum(trial["samples"] for trial in result["trials"])
    assert result["spent"]["search"]["samples"] == searched + probe.samples
    # the walk begins where the probe says; one that saw nothing leaves it where it was
    first = decide(replace(monotone_rule(small), start=probe.start), [])
    assert isinstance(first, Continue)
    assert result["trials"][0]["learning_rate"] == first.learning_rate
    if name == "digits-logistic":
        assert probe.start is not None
        assert probe.start / 10 < first.learning_rate <= probe.start
    assert result["stop"]["rule"] == result["certificate"]["strategy"] == "probe"
    assert result["exit_code"] == 0
    assert result["test"]["mean"] > 0.5  # chance is 0.1


def test_probe_is_not_repeated_by_a_resumed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = recipe(*SMALL, "search.strategy=probe")
    whole = create_run("search", small.name, dump_recipe(small), tmp_path / "whole")
    expected = search(small, whole)
    run = create_run("search", small.name, dump_recipe(small), tmp_path / "run")
    interrupt = Interrupt()

    def stop(event: Event) -> None:
        if isinstance(event, ProbeFinished):
            interrupt.signal_number = signal.SIGINT

    with pytest.raises(InterruptedRunError):
        search(small, run, notify=stop, interrupt=interrupt)

    def never(*_: object) -> Probe:
        raise AssertionError("the probe was run again")

    monkeypatch.setattr(run_module, "run_ramp", never)
    assert timeless(search(small, run)) == timeless(expected)


def test_verify_trains_rates_beyond_the_stop_and_certifies_the_regret(tmp_path: Path) -> None:
    small = recipe(*SMALL)
    plain = create_run("search", small.name, dump_recipe(small), tmp_path / "plain")
    without = search(small, plain)
    assert without["certificate"]["verify"] is None
    run = create_run("search", small.name, dump_recipe(small), tmp_path / "run")
    result = search(small, run, verify=2)
    verify = result["certificate"]["verify"]
    highest = max(point["learning_rate"] for point in result["stop"]["points"])
    rates = [point["learning_rate"] for point in verify["points"]]
    assert len(rates) == 2
    assert all(rate > highest for rate in rates)
    beyond = [trial for trial in result["trials"] if trial["role"] == "verify"]
    assert [trial["learning_rate"] for trial in beyond] == rates
    assert all(trial["state"] != "aborted" for trial in beyond)  # to its end, or it says nothing
    spent = result["spent"]
    assert spent["verify"]["samples"] == sum(trial["samples"] for trial in beyond) > 0
    assert spent["search"] | {"seconds": 0} == without["spent"]["search"] | {"seconds": 0}
    # it changes nothing of what was decided
    for key in ("learning_rate", "stop", "schedule", "test"):
        assert result[key] == without[key]
    found = next(
        point["values"][0]
        for point in result["stop"]["points"]
        if point["learning_rate"] == result["learning_rate"]
    )
    best = max([found, *(p["value"] for p in verify["points"] if not p["diverged"])])
    assert verify["regret"] == pytest.approx(best - found)
    # gone on with, nothing is trained again
    study = run.study.stat().st_mtime_ns
    assert timeless(search(small, run, verify=2)) == timeless(result)
    assert run.study.stat().st_mtime_ns == study


def test_search_that_is_stopped_among_the_rates_beyond_goes_on_there(tmp_path: Path) -> None:
    small = recipe(*SMALL)
    whole = create_run("search", small.name, dump_recipe(small), tmp_path / "whole")
    expected = search(small, whole, verify=2)
    run = create_run("search", small.name, dump_recipe(small), tmp_path / "run")
    interrupt = Interrupt()

    def stop(event: Event) -> None:
        if isinstance(event, TrialFinished) and event.record.role == "verify":
            interrupt.signal_number = signal.SIGTERM

    with pytest.raises(InterruptedRunError):
        search(small, run, verify=2, notify=stop, interrupt=interrupt)
    assert timeless(search(small, run, verify=2)) == timeless(expected)


def test_trials_are_given_up_early_and_say_why(tmp_path: Path) -> None:
    """At rates that are far too small nothing is learned, and that is seen on the way."""
    small = recipe(*SMALL, "search.grid={geometric: {start: 1e-9, factor: 100, count: 6}}")
    run = create_run("search", small.name, dump_recipe(small), tmp_path / "run")
    result = search(small, run)
    aborted = [trial for trial in result["trials"] if trial["state"] == "aborted"]
    assert aborted
    points = {point["learning_rate"]: point for point in result["stop"]["points"]}
    length = sum(stage["batch_size"] * stage["steps"] for stage in result["schedule"])
    for trial in aborted:
        assert length / 3 <= trial["samples"] < length
        assert trial["reason"] == points[trial["learning_rate"]]["aborted"] != ""
        assert trial["value"] == trial["curve"][-1][1]
    never = recipe(
        *SMALL,
        "search.grid={geometric: {start: 1e-9, factor: 100, count: 6}}",
        "search.early_abort=false",
    )
    run = create_run("search", never.name, dump_recipe(never), tmp_path / "never")
    assert {trial["state"] for trial in search(never, run)["trials"]} <= {"complete", "diverged"}


@pytest.mark.parametrize("threads", [1, 2])
def test_trials_run_on_the_threads_of_the_recipe(tmp_path: Path, threads: int) -> None:
    seen = set()

    def notify(event: Event) -> None:
        if isinstance(event, TrialProgressed):
            seen.add(torch.get_num_threads())

    small = recipe(
        f"training.cpu_threads={threads}",
        "schedule.epochs=1",
        "search.grid=[0.1, 0.2]",
        "search.max_trials=2",
        "search.seeds=[0]",
        "search.test_seeds=[5]",
    )
    run = create_run("search", small.name, dump_recipe(small), tmp_path / "run")
    before = torch.get_num_threads()
    result = run_search(
        small, run, device=torch.device("cpu"), interrupt=Interrupt(), notify=notify
    ).to_dict()
    assert seen == {threads}
    assert result["environment"]["threads"] == threads
    assert torch.get_num_threads() == before
