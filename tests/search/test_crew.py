"""Trials side by side: the same decision, points and final trainings as one after the other."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tunecli.data.load import load_splits
from tunecli.errors import InterruptedRunError, RunError
from tunecli.execution import Interrupt, RunFolder, create_run
from tunecli.recipe import Recipe, load_recipe
from tunecli.search import run as run_module
from tunecli.search import run_search
from tunecli.search.crew import OnEnd, OnFailure, OnProgress, Together
from tunecli.search.events import Event, TrialFinished, TrialProgressed
from tunecli.search.trials import TrialProgress, TrialTask, run_trial

RECIPE = """\
version: 1
name: tiny
model: {name: logistic}
data: {name: digits}
training: {evaluations: 4}
schedule: {batch_size: 64, epochs: %g}
search: {grid: [0.0001, 0.001, 0.01, 0.1, 1, 10, 100], test_seeds: [100]}
"""
CPU = torch.device("cpu")


def recipe_at(folder: Path, epochs: float, *overrides: str) -> Recipe:
    path = folder / "tiny.yaml"
    path.write_text(RECIPE % epochs)
    return load_recipe(path, overrides)


def search(
    recipe: Recipe,
    run: RunFolder,
    *,
    workers: Sequence[str] = (),
    notify: Callable[[Event], None] = lambda _: None,
    interrupt: Interrupt | None = None,
    verify: int = 0,
) -> dict[str, Any]:
    result = run_search(
        recipe,
        run,
        device=CPU,
        interrupt=interrupt or Interrupt(),
        notify=notify,
        workers=workers,
        verify=verify,
    ).to_dict()
    stored: dict[str, Any] = json.loads(json.dumps(result, allow_nan=False))
    return stored


def decided(result: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on who ran the trials."""
    same = ("exit_code", "learning_rate", "stop", "certificate", "schedule", "test", "warnings")
    final = [{k: v for k, v in trial.items() if k != "seconds"} for trial in result["final"]]
    return {**{key: result[key] for key in same}, "final": final}


def billed(trials: list[dict[str, Any]]) -> dict[str, int]:
    return {what: sum(trial[what] for trial in trials) for what in ("updates", "samples")}


def check_bill(result: dict[str, Any]) -> None:
    """Everything that was spent is on the bill, once."""
    spent, trials = result["spent"], result["trials"]
    seeds = result["environment"]["seeds"]["search"]
    used = {
        (point["learning_rate"], seed)
        for point in result["stop"]["points"]
        for seed in seeds[: len(point["values"])]
    }
    walked = [t for t in trials if t["role"] != "verify"]
    needed = [t for t in walked if (t["learning_rate"], t["seed"]) in used]
    parts = {
        "search": [t for t in needed if t["state"] != "cancelled"],
        "cancelled": [t for t in walked if t not in needed or t["state"] == "cancelled"],
        "verify": [t for t in trials if t["role"] == "verify"],
        "final": result["final"],
    }
    for name, part in parts.items():
        wanted = billed(part)
        if name == "search" and result["probe"]:
            wanted["samples"] += result["probe"]["samples"]
            wanted["updates"] += len(result["probe"]["losses"])
        assert {what: spent[name][what] for what in wanted} == wanted, name
    for what in ("updates", "samples"):
        assert spent[what] == sum(spent[name][what] for name in parts)


class Shuffled:
    """A crew in this process whose tasks end in any order, and some of them not at all."""

    draw = random.Random(0)

    def __init__(self, count: int, devices: Sequence[str], log: Path, interrupt: Interrupt) -> None:
        self.count = count
        self.cancelled: list[int] = []
        self._interrupt = interrupt
        self._tasks: dict[int, TrialTask] = {}

    @property
    def running(self) -> tuple[int, ...]:
        return tuple(self._tasks)

    def submit(self, key: int, task: TrialTask) -> None:
        assert len(self._tasks) < self.count
        self._tasks[key] = task

    def cancel(self, key: int) -> None:
        if key not in self.cancelled:
            self.cancelled.append(key)

    def collect(self, on_progress: OnProgress, on_end: OnEnd, on_failure: OnFailure) -> None:
        key = self.draw.choice(list(self._tasks))
        task = self._tasks.pop(key)
        if key in self.cancelled:
            on_progress(key, TrialProgress(2, 90, 0.1, ()))
            on_end(key, TrialProgress(3, 160, 0.25, ()))
            return
        splits = load_splits(task.recipe.data, ("train", "validation"))
        on_end(
            key,
            run_trial(
                task,
                splits,
                device=CPU,
                interrupt=self._interrupt,
                on_progress=lambda progress: on_progress(key, progress),
            ),
        )

    def __enter__(self) -> "Shuffled":
        return self

    def __exit__(self, *exception: object) -> None:
        self._tasks.clear()


VARIANTS: dict[str, list[str]] = {
    "geometric": [],
    "paper": ["search.strategy=paper", "search.seeds=[0, 1]"],
    "several seeds": ["search.seeds=[0, 1, 2]", "search.resolution=null"],
    "loss": ["search.metric=loss", "search.resolution=3"],
    "probe": ["search.strategy=probe", "search.extend=1"],
}


@pytest.fixture(scope="module", params=VARIANTS, ids=list(VARIANTS))
def variant(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Recipe, dict[str, Any]]:
    """A recipe, and what one trial after the other comes to."""
    folder = tmp_path_factory.mktemp("sequential")
    recipe = recipe_at(folder, 1, *VARIANTS[request.param])
    return recipe, search(recipe, create_run("search", "tiny", "text", folder / "run"))


def test_trials_that_end_in_any_order_give_the_sequential_result(
    variant: tuple[Recipe, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe, sequential = variant
    monkeypatch.setattr(run_module, "Together", Shuffled)
    monkeypatch.setattr(Shuffled, "draw", random.Random(1))
    told: list[Event] = []
    run = create_run("search", "tiny", "text", tmp_path / "run")
    result = search(recipe, run, workers=["cpu"] * 3, notify=told.append)
    assert decided(result) == decided(sequential)
    check_bill(result)
    check_bill(sequential)
    assert sequential["spent"]["cancelled"]["samples"] == 0
    needed = {(t["learning_rate"], t["seed"]) for t in sequential["trials"]}
    ended = [t for t in result["trials"] if t["state"] != "cancelled"]
    assert needed <= {(t["learning_rate"], t["seed"]) for t in ended}
    cancelled = [t for t in result["trials"] if t["state"] == "cancelled"]
    for trial in cancelled:
        assert (trial["updates"], trial["samples"], trial["value"]) == (3, 160, None)
    finished = [event.record for event in told if isinstance(event, TrialFinished)]
    assert len(finished) == len(result["trials"]) + len(result["final"])


def test_some_of_what_runs_ahead_is_cancelled_and_billed_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "Together", Shuffled)
    monkeypatch.setattr(Shuffled, "draw", random.Random(3))
    run = create_run("search", "tiny", "text", tmp_path / "run")
    result = search(recipe_at(tmp_path, 1), run, workers=["cpu"] * 4)
    cancelled = [t for t in result["trials"] if t["state"] == "cancelled"]
    assert cancelled
    check_bill(result)
    assert result["spent"]["cancelled"]["samples"] >= 160 * len(cancelled)
    tried = {point["learning_rate"] for point in result["stop"]["points"]}
    needed = {t["learning_rate"] for t in result["trials"] if t["state"] != "cancelled"}
    assert tried <= needed


# --- real workers


def test_two_workers_give_the_result_of_none(tmp_path: Path) -> None:
    recipe = recipe_at(tmp_path, 1, "search.resolution=4")
    alone = search(recipe, create_run("search", "tiny", "text", tmp_path / "alone"), verify=1)
    run = create_run("search", "tiny", "text", tmp_path / "together")
    together = search(recipe, run, workers=["cpu", "cpu"], verify=1)
    assert decided(together) == decided(alone)
    assert together["certificate"]["verify"] is not None
    check_bill(together)


class Watched(Together):
    """A crew whose processes can be reached."""

    crews: list["Watched"] = []  # noqa: RUF012 - of the test that runs

    def __init__(self, count: int, devices: Sequence[str], log: Path, interrupt: Interrupt) -> None:
        super().__init__(count, devices, log, interrupt)
        Watched.crews.append(self)

    def pids(self) -> list[int]:
        return [each.process.pid for each in self._workers._slots if each]


LONG = ("search.grid=[0.1, 1]", "search.extend=0", "search.resolution=null")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, dict[str, Any]]:
    """Trials of a second or so, in the middle of which something can happen."""
    folder = tmp_path_factory.mktemp("long")
    recipe = recipe_at(folder, 80, *LONG)
    return recipe, search(recipe, create_run("search", "tiny", "text", folder / "run"))


def test_killed_worker_is_a_sentence_and_the_run_resumable(
    long: tuple[Recipe, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, whole = long
    monkeypatch.setattr(run_module, "Together", Watched)
    monkeypatch.setattr(Watched, "crews", [])
    killed: list[int] = []

    def kill(event: Event) -> None:
        if isinstance(event, TrialProgressed) and not killed:
            (crew,) = Watched.crews
            killed.extend(crew.pids())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    run = create_run("search", "tiny", "text", tmp_path / "run")
    with pytest.raises(RunError, match=r"worker process \d+ was killed by SIGKILL"):
        search(recipe, run, workers=["cpu", "cpu"], notify=kill)
    assert killed
    assert not [pid for pid in killed if Path(f"/proc/{pid}").exists()]
    result = search(recipe, run)
    assert decided(result) == decided(whole)
    check_bill(result)


def test_request_to_stop_reaches_the_workers_and_the_run_is_resumable(
    long: tuple[Recipe, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, whole = long
    monkeypatch.setattr(run_module, "Together", Watched)
    monkeypatch.setattr(Watched, "crews", [])
    interrupt = Interrupt()

    def stop(event: Event) -> None:
        if isinstance(event, TrialProgressed):
            interrupt.signal_number = signal.SIGTERM

    run = create_run("search", "tiny", "text", tmp_path / "run")
    with pytest.raises(InterruptedRunError) as stopped:
        search(recipe, run, workers=["cpu", "cpu"], notify=stop, interrupt=interrupt)
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert not Watched.crews[0].pids()
    assert list(run.path.glob("trials/*/checkpoint.pt"))
    result = search(recipe, run)
    assert decided(result) == decided(whole)
    check_bill(result)
    logs = "".join(log.read_text() for log in run.path.glob("trials/*/log.txt"))
    assert "went on from update" in logs


def test_interrupt_from_the_keyboard_with_workers_says_how_to_go_on(
    long: tuple[Recipe, dict[str, Any]], tmp_path: Path
) -> None:
    """Ctrl-C reaches the whole group, the workers as well."""
    recipe_at(tmp_path, 80, *LONG)
    command = [sys.executable, "-m", "tunecli", "search"]
    two = ["--workers", "2", "--device", "cpu"]
    run = tmp_path / "run"
    process = subprocess.Popen(
        [*command, str(tmp_path / "tiny.yaml"), *LONG, "--run", str(run), *two],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not list(run.glob("trials/*/metrics.jsonl")):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "the search does not begin"
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, stderr
    assert "stopped; go on with: tunecli search --resume" in stderr
    assert "Traceback" not in stderr
    result = search(long[0], RunFolder(run))
    assert decided(result) == decided(long[1])
