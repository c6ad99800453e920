"""Runs that were started with trust: what goes on, what asks again, and what is left of it."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli.conftest import Run
from tunecli.execution import RunFolder
from tunecli.execution.run_trust import is_run_allowed

# leaves a mark wherever it is imported, and breaks in the middle of a run while `broken` is there
NETS = """\
import os
from pathlib import Path

from torch import nn

HERE = Path(__file__).parent
with (HERE / "mark").open("a") as file:
    print(os.getpid(), file=file)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, inputs):
        if (HERE / "broken").exists():
            raise ValueError("broken")
        return self.layers(inputs)
"""
RECIPE = """\
version: 1
name: own
learning_rate: 0.05
model: {import: 'nets:Net'}
data: {name: digits}
training: {evaluations: 1}
schedule: {stages: 1, momentum: 0.0, discount: 0.0, batch_size: 256, steps: 20}
search: {grid: [0.05, 0.1], test_seeds: [7]}
"""
STABILITY = ("--empirical", "--delay", 0, "--updates-per-delay", 2, "--max-iterations", 4)
START: dict[str, tuple[object, ...]] = {
    "search": ("search", "own.yaml", "--run", "r", "--trust"),
    "train": ("train", "own.yaml", "--run", "r", "--trust"),
    "compare": (
        *("compare", "own.yaml", "--studies", 1, "--budget", 2, "--methods", "random"),
        *("--workers", 1, "--run", "r", "--trust"),
    ),
    "stability": (
        *("stability", "--checkpoint", "trained", *STABILITY, "--tolerance", 0.5),
        *("--run", "r", "--trust"),
    ),
}
Fresh = Callable[..., Result]


@pytest.fixture
def fresh(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fresh]:
    """Runs the command line as a new process would: nothing of the person's is imported yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "nets.py").write_text(NETS, "utf-8")
    (tmp_path / "own.yaml").write_text(RECIPE, "utf-8")

    def invoke(*arguments: object) -> Result:
        sys.modules.pop("nets", None)
        Path("mark").unlink(missing_ok=True)
        return run(*arguments)

    yield invoke
    sys.modules.pop("nets", None)


def stopped(fresh: Fresh, kind: str) -> None:
    """Start a run of this kind, which breaks off in `r`."""
    if kind == "stability":
        assert fresh("train", "own.yaml", "--run", "trained", "--trust").exit_code == 0
    Path("broken").touch()
    done = fresh(*START[kind])
    assert done.exit_code == 1, done.output
    assert Path("mark").exists()
    assert Path("r/run.json").exists()
    Path("broken").unlink()


def listed(fresh: Fresh) -> list[tuple[str, str]]:
    entries = json.loads(fresh("trust", "--list", "--json").stdout)
    return [(entry["path"], entry["state"]) for entry in entries]


def runs_remembered(folder: Path) -> list[str]:
    return (folder / "state" / "tunecli" / "runs").read_text("utf-8").splitlines()


@pytest.mark.parametrize("kind", START)
def test_run_goes_on_where_it_was_started_and_asks_elsewhere(
    fresh: Fresh, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(fresh, kind)
    with monkeypatch.context() as another_person:
        another_person.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
        done = fresh(kind, "--resume", "r")
        assert done.exit_code == 3, done.output
        assert f"model: nets:Net() in {tmp_path}" in done.stderr
        assert "tunecli trust r/recipe.yaml" in done.stderr
        assert not Path("mark").exists()
        assert not Path("r/result.json").exists()
    done = fresh(kind, "--resume", "r", *(["--workers", 1] if kind == "compare" else []))
    assert Path("r/result.json").exists(), done.output
    assert Path("mark").exists()
    assert not runs_remembered(tmp_path)
    assert listed(fresh) == []


def test_trust_of_one_run_is_not_trust_in_the_copy_of_its_recipe(
    fresh: Fresh, tmp_path: Path
) -> None:
    stopped(fresh, "train")
    assert listed(fresh) == [(str(tmp_path / "r/recipe.yaml"), "unfinished run, may go on")]
    for command in ("train", "search", "compare"):  # neither while it runs
        assert fresh(command, "r/recipe.yaml").exit_code == 3
    assert fresh("train", "--resume", "r").exit_code == 0
    for command in ("train", "search", "compare"):  # nor when it is finished
        assert fresh(command, "r/recipe.yaml").exit_code == 3
    assert fresh("stability", "--checkpoint", "r").exit_code == 3
    assert not Path("mark").exists()
    Path("r/result.json").unlink()
    assert fresh("train", "--resume", "r").exit_code == 3  # it was over


def test_moved_run_asks_again_and_trust_is_for_the_whole_run(fresh: Fresh) -> None:
    stopped(fresh, "train")
    Path("r").rename("moved")
    assert fresh("train", "--resume", "moved").exit_code == 3
    Path("broken").touch()
    assert fresh("train", "--resume", "moved", "--trust").exit_code == 1
    Path("broken").unlink()
    assert fresh("train", "--resume", "moved").exit_code == 0


def test_run_outlives_the_trust_in_its_recipe_until_it_is_forgotten_itself(fresh: Fresh) -> None:
    fresh("trust", "own.yaml", "--yes")
    Path("broken").touch()
    for name in ("r", "s"):
        assert fresh("train", "own.yaml", "--run", name).exit_code == 1
    Path("broken").unlink()
    assert "is not trusted any more" in fresh("trust", "--forget", "own.yaml").stdout
    assert fresh("train", "own.yaml").exit_code == 3
    assert fresh("train", "--resume", "r").exit_code == 0
    assert "is not trusted any more" in fresh("trust", "--forget", "s/recipe.yaml").stdout
    assert fresh("train", "--resume", "s").exit_code == 3


def test_run_of_a_recipe_without_code_is_not_remembered(
    fresh: Fresh, quick: Path, tmp_path: Path
) -> None:
    assert fresh("train", quick, "learning_rate=0.05").exit_code == 0
    assert not (tmp_path / "state").exists()


def test_recipe_that_is_asked_about_is_the_one_that_runs(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(fresh, "train")

    def swapped(run: RunFolder, text: bytes) -> bool:
        run.recipe.write_text(text.decode().replace("nets:Net", "evil:Net"), "utf-8")
        return is_run_allowed(run, text)

    monkeypatch.setattr("tunecli.cli.running.is_run_allowed", swapped)
    done = fresh("train", "--resume", "r")
    assert done.exit_code == 0, done.output  # there is no evil.py to import
    assert Path("mark").exists()


def test_search_in_worker_processes_runs_what_is_trusted(fresh: Fresh) -> None:
    assert fresh("search", "own.yaml", "--workers", 2).exit_code == 3
    assert not Path("mark").exists()
    done = fresh("search", "own.yaml", "--workers", 2, "--trust", "--json")
    assert done.exit_code in (0, 4), done.output
    imported_by = {int(pid) for pid in Path("mark").read_text("utf-8").split()}
    assert imported_by - {os.getpid()}
