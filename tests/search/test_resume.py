"""A search that is killed at any moment goes on to the very result of one that was not."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState
from sqlalchemy.orm import Session

from tunecli.data import SplitName
from tunecli.data.load import Splits, load_splits
from tunecli.errors import InterruptedRunError, RunError
from tunecli.execution import Interrupt, RunFolder, create_run, read_json
from tunecli.recipe import Recipe, load_recipe
from tunecli.recipe.data import DigitsData
from tunecli.search import run as run_module
from tunecli.search import run_search
from tunecli.search import trials as trials_module
from tunecli.search.events import Event, SearchStarted, SearchStopped, TrialFinished
from tunecli.training import Trial

RECIPE = """\
version: 1
name: tiny
model: {name: logistic}
data: {name: digits}
training: {checkpoint_every_s: 0, evaluations: 4}
schedule: {batch_size: 64, epochs: %g}
search: {grid: [0.05, 0.4, 3.2], extend: 1, resolution: null, test_seeds: [100]}
"""


def recipe_at(folder: Path, epochs: float) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(RECIPE % epochs)
    return path


def search(
    recipe: Recipe, run: RunFolder, notify: Callable[[Event], None] = lambda _: None
) -> dict[str, Any]:
    """The main job in this process; its result as it would be written."""
    result = run_search(
        recipe, run, device=torch.device("cpu"), interrupt=Interrupt(), notify=notify
    ).to_dict()
    stored: dict[str, Any] = json.loads(json.dumps(result))
    return stored


def timeless(value: Any) -> Any:
    """A result without its folder, the command that names it, and its times."""
    if isinstance(value, dict):
        leave_out = ("run", "seconds", "command")
        return {k: timeless(v) for k, v in value.items() if k not in leave_out}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def finished_trials(path: Path) -> dict[str, int]:
    """The outcomes that lie in a run's folder, and when each was written."""
    found = sorted(path.glob("*/*/outcome.json"))
    return {str(p.relative_to(path)): p.stat().st_mtime_ns for p in found}


# --- the program, killed from outside


@dataclass
class Round:
    """One process of the story below."""

    sent: signal.Signals | None
    returncode: int
    stderr: str
    finished: dict[str, int]


@dataclass
class Story:
    """A search that was killed, interrupted, terminated, disturbed, and then finished."""

    path: Path
    rounds: list[Round] = field(default_factory=list)
    second: "subprocess.CompletedProcess[str] | None" = None
    newcomer: str = ""

    def of(self, sent: signal.Signals) -> list[Round]:
        return [one for one in self.rounds if one.sent == sent]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "tunecli", "search", *map(str, arguments), "--device", "cpu"]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def starts(path: Path) -> int:
    """How often a trial was started or gone on with, by the trials' logs."""
    return sum(log.read_text().count("\n") for log in path.glob("*/*/log.txt"))


def run_until(path: Path, process: "subprocess.Popen[str]", starts_before: int) -> None:
    """Wait until the process has begun to train."""
    deadline = time.monotonic() + 60
    while starts(path) == starts_before:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "the search does not begin"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, uninterrupted: dict[str, Any]) -> Story:
    folder = tmp_path_factory.mktemp("story")
    told = Story(folder / "run")
    generator = random.Random(20)
    first: list[str | Path] = [recipe_at(folder, epochs=60), "--run", told.path]
    resumed: list[str | Path] = ["--resume", told.path]
    signals = [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, None]
    for number, sent in enumerate(signals):
        before = starts(told.path)
        process = subprocess.Popen(
            command(*(resumed if number else first)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        try:
            run_until(told.path, process, before)
            if sent is None:
                process.send_signal(signal.SIGSTOP)  # so that it surely is still there
                told.second = subprocess.run(
                    command(*resumed),
                    capture_output=True,
                    text=True,
                    env=environment(),
                    check=False,
                )
                try:
                    create_run("search", "tiny", "text", told.path)
                except RunError as error:
                    told.newcomer = str(error)
                process.send_signal(signal.SIGCONT)
            else:
                # three signals well within what the whole search takes on this machine
                time.sleep(generator.uniform(0, uninterrupted["spent"]["seconds"] / 8))
                process.send_signal(sent)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        told.rounds.append(Round(sent, process.returncode, stderr, finished_trials(told.path)))
    return told


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    recipe = load_recipe(recipe_at(folder, epochs=60))
    return search(recipe, create_run("search", "tiny", "text", folder / "run"))


def test_killed_search_comes_to_the_result_of_an_uninterrupted_one(
    story: Story, uninterrupted: dict[str, Any]
) -> None:
    assert [one.returncode for one in story.of(signal.SIGKILL)] == [-signal.SIGKILL]
    assert story.rounds[-1].returncode == uninterrupted["exit_code"], story.rounds[-1].stderr
    result = read_json(story.path / "result.json")
    assert timeless(result) == timeless(uninterrupted)
    assert len(result["trials"]) >= 3
    assert (story.path / "schedule.yaml").exists()


def test_killed_search_keeps_every_finished_trial(
    story: Story, uninterrupted: dict[str, Any]
) -> None:
    last = story.rounds[-1].finished
    for one in story.rounds:
        assert {name: last[name] for name in one.finished} == one.finished
    assert len(last) == len(uninterrupted["trials"]) + 1
    assert sum(bool(one.finished) for one in story.rounds) > 0


def test_killed_search_leaves_one_study_row_per_trial(
    story: Story, uninterrupted: dict[str, Any]
) -> None:
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{story.path / 'study.db'}")
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * len(study.trials)
    asked = [trial["learning_rate"] for trial in uninterrupted["trials"]]
    assert [trial.params["learning_rate"] for trial in study.trials] == asked


def test_killed_search_goes_on_from_checkpoints(story: Story) -> None:
    logs = "".join(log.read_text() for log in story.path.glob("*/*/log.txt"))
    assert "went on from update" in logs
    assert "unreadable" not in logs


def test_killed_search_leaves_no_checkpoint_and_no_half_file(story: Story) -> None:
    names = {p.name for p in story.path.rglob("*") if p.is_file()}
    assert names == {
        "lock",
        "recipe.yaml",
        "run.json",
        "study.db",
        "result.json",
        "schedule.yaml",
        "learning_rate.png",
        "report.html",
        "outcome.json",
        "metrics.jsonl",
        "log.txt",
    }


def test_killed_search_has_one_metrics_line_per_curve_point(story: Story) -> None:
    for outcome in story.path.glob("*/*/outcome.json"):
        lines = (outcome.parent / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == read_json(outcome)["outcome"]["curve"]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_asked_to_stop_the_search_says_how_to_go_on(
    story: Story, sent: signal.Signals, code: int
) -> None:
    (one,) = story.of(sent)
    assert one.returncode == code
    assert f"stopped; go on with: tunecli search --resume {story.path}" in one.stderr.replace(
        "\n", ""
    )
    assert "Traceback" not in one.stderr


def test_second_search_in_a_folder_is_refused_and_the_first_undisturbed(story: Story) -> None:
    assert story.second is not None
    assert story.second.returncode == 1
    assert "is in use by another tunecli" in story.second.stderr
    assert story.second.stdout == ""
    assert "already holds a run" in story.newcomer
    assert story.rounds[-1].returncode in (0, 4)


# --- every window between two writes, in this process


class Photographer:
    """Copies a run's folder before everything that leaves a trace: what a kill there would leave.

    The database is copied with its journal in the middle of a transaction, as a kill leaves it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, run: RunFolder, album: Path) -> None:
        self.pictures: dict[str, Path] = {}  # one per state of the folder, by its content
        self.events: list[str] = []
        self._run = run
        self._album = album
        self._watch(monkeypatch, Session, "commit")  # of the study's database
        self._watch(monkeypatch, Path, "replace")
        self._watch(monkeypatch, Path, "unlink")
        self._watch(monkeypatch, Trial, "advance")

    def _watch(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        original = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            self._take(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, watched)

    def _take(self, event: str) -> None:
        content = hashlib.sha256()
        for path in sorted(self._run.path.rglob("*")):
            content.update(str(path).encode() + (path.read_bytes() if path.is_file() else b"/"))
        if content.hexdigest() not in self.pictures:
            picture = self._album / f"{len(self.pictures):02d}-before-{event}"
            shutil.copytree(self._run.path, picture)  # with the times of the files
            self.pictures[content.hexdigest()] = picture
            self.events.append(event)


TINY_TRIALS = 3


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Two rates and one final training of 7 updates each, the data read once."""
    recipe = load_recipe(
        recipe_at(tmp_path, epochs=0.3),
        ["search.grid=[0.05,0.4]", "search.extend=0", "search.test_seeds=[100]"],
    )
    splits = load_splits(recipe.data, ("train", "validation", "test"))
    for module in (run_module, trials_module):
        monkeypatch.setattr(module, "load_splits", lambda *_: splits)
    return recipe


def test_search_killed_before_any_write_comes_to_the_same_result(
    tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = create_run("search", "tiny", "text", tmp_path / "whole")
    with monkeypatch.context() as patched:
        album = Photographer(patched, whole, tmp_path / "album")
        expected = timeless(search(tiny, whole))
    assert album.events.count("replace") == TINY_TRIALS  # the outcomes
    assert album.events.count("commit") >= 9 * (TINY_TRIALS - 1)  # one to begin, the attributes
    for picture in album.pictures.values():
        kept, told = finished_trials(picture), list[Event]()
        assert timeless(search(tiny, RunFolder(picture), told.append)) == expected, picture.name
        after = finished_trials(picture)
        assert {name: after[name] for name in kept} == kept
        assert len(after) == TINY_TRIALS  # a finished trial is not run again under a new number
        with contextlib.closing(sqlite3.connect(picture / "study.db")) as rows:
            states = [state for (state,) in rows.execute("SELECT state FROM trials")]
        assert states.count("COMPLETE") == TINY_TRIALS - 1
        assert "RUNNING" not in states
        (started,) = (event for event in told if isinstance(event, SearchStarted))
        finished = [event.record for event in told if isinstance(event, TrialFinished)]
        assert len(started.finished) + len(finished) == TINY_TRIALS  # none lost, none told twice


def test_search_asked_to_stop_at_any_piece_comes_to_the_same_result(
    tiny: Recipe, tmp_path: Path
) -> None:
    """As if Ctrl-C were pressed at each resume anew, one piece of work later."""
    whole = create_run("search", "tiny", "text", tmp_path / "whole")
    expected = timeless(search(tiny, whole))
    run = create_run("search", "tiny", "text", tmp_path / "run")
    codes: list[int] = []
    while True:
        interrupt = Interrupt()

        def stop(event: Event, interrupt: Interrupt = interrupt) -> None:
            if isinstance(event, TrialFinished):
                interrupt.signal_number = signal.SIGINT

        try:
            result = run_search(
                tiny, run, device=torch.device("cpu"), interrupt=interrupt, notify=stop
            )
            break
        except InterruptedRunError as error:
            codes.append(error.exit_code)
            assert len(codes) < 10
    assert codes == [130] * (TINY_TRIALS - 1)  # after every trial but the last, which ends it
    assert timeless(json.loads(json.dumps(result.to_dict()))) == expected


# --- the test set


@pytest.mark.parametrize("grid", ["[0.05,0.4]", "[1.0e+12,1.0e+13]"], ids=["found", "all diverged"])
def test_search_does_not_load_the_test_set_before_it_has_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid: str
) -> None:
    recipe = load_recipe(
        recipe_at(tmp_path, epochs=2), [f"search.grid={grid}", "search.test_seeds=[100]"]
    )
    story: list[str] = []

    def spy(data: DigitsData, names: tuple[SplitName, ...]) -> Splits:
        story.extend(f"loads {name}" for name in names)
        splits = load_splits(data, names)
        assert set(splits.by_name) == set(names)
        return splits

    def notify(event: Event) -> None:
        story.append(type(event).__name__)

    for module in (run_module, trials_module):
        monkeypatch.setattr(module, "load_splits", spy)
    result = search(recipe, create_run("search", "tiny", "text", tmp_path / "run"), notify)
    stopped = story.index(SearchStopped.__name__)
    assert "loads train" in story[:stopped]
    assert "loads test" not in story[:stopped]
    if result["learning_rate"] is None:
        assert result["exit_code"] == 5
        assert "loads test" not in story
        assert result["test"] is None
    else:
        assert story[stopped:].count("loads test") == 1
        assert result["test"]["n"] == 1
