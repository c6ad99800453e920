import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import QUICK, Run

# a model of one's own, whose import and whose building leave a mark
NETS = """\
from pathlib import Path

from torch import nn

MARK = Path(__file__).with_name("mark")
MARK.write_text("imported")


def build(width=8):
    MARK.write_text("built")
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
"""
OWN = QUICK.replace("model: {name: logistic}", "model: {import: 'nets:build'}")
FAST = ("search.grid=[0.05, 0.1]", "search.test_seeds=[7]", "schedule.epochs=1")


@pytest.fixture(autouse=True)
def _own_store_and_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("nets", None)
    yield
    sys.modules.pop("nets", None)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "nets.py").write_text(NETS, "utf-8")
    path = folder / "own.yaml"
    path.write_text(OWN, "utf-8")
    return path


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("validate",), 0),
        (("show",), 0),
        (("show", "--json"), 0),
        (("schedule", "--learning-rate", 0.1), 0),
        (("search", *FAST), 3),
        (("train", "learning_rate=0.05"), 3),
        (("compare", "schedule.epochs=1", "--studies", 1, "--budget", 2), 3),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_nothing_of_a_recipe_runs_without_trust(
    run: Run, own: Path, command: tuple[object, ...], code: int
) -> None:
    done = run(command[0], own, *command[1:])
    assert done.exit_code == code, done.output
    assert not own.with_name("mark").exists()
    if code:
        assert "nothing was run" in done.stderr
        assert "model: nets:build()" in done.stderr
        assert f"tunecli trust {own}" in done.stderr
        assert not Path("runs").exists()


def test_listing_recipes_runs_nothing(run: Run, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunecli.recipe.catalog._CHECKOUT", own.parent)
    monkeypatch.setattr("tunecli.recipe.catalog._PACKAGED", own.parent)
    assert "quick" in run("recipes").stdout
    assert not own.with_name("mark").exists()


def test_trust_option_runs_it_once(run: Run, own: Path) -> None:
    done = run("search", own, *FAST, "--trust")
    assert done.exit_code in (0, 4), done.output
    assert own.with_name("mark").read_text() == "built"
    assert run("train", own, "learning_rate=0.05").exit_code == 3


def test_trusted_recipe_runs_until_it_changes(run: Run, own: Path) -> None:
    done = run("trust", own, "--yes")
    assert done.exit_code == 0
    assert "model: nets:build()" in done.stderr
    assert "is trusted until it changes" in done.stdout
    assert not own.with_name("mark").exists()
    assert run("train", own, "learning_rate=0.05").exit_code == 0
    assert own.with_name("mark").read_text() == "built"

    own.write_text(OWN + "# more\n", "utf-8")
    done = run("train", own, "learning_rate=0.05")
    assert done.exit_code == 3
    assert "was changed since you trusted it" in done.stderr


def test_trust_asks_only_a_terminal(run: Run, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("trust", own)
    assert done.exit_code == 2
    assert "model: nets:build()" in done.stderr
    assert "--yes must be given where nobody can be asked" in done.stderr

    monkeypatch.setattr("tunecli.cli.trust.at_a_terminal", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    assert run("trust", own).exit_code == 1
    assert run("train", own, "learning_rate=0.05").exit_code == 3
    monkeypatch.setattr("typer.confirm", lambda *_, **__: True)
    assert run("trust", own).exit_code == 0
    assert run("train", own, "learning_rate=0.05").exit_code == 0


def test_trust_lists_and_forgets(run: Run, own: Path) -> None:
    run("trust", own, "--yes")
    (entry,) = json.loads(run("trust", "--list", "--json").stdout)
    assert entry["path"] == str(own)
    assert entry["state"] == "unchanged"
    own.write_text(OWN + "# more\n", "utf-8")
    assert "changed since, so not trusted" in run("trust", "--list").stdout
    own.unlink()
    assert "cannot be read" in run("trust", "--list").stdout
    assert "is not trusted any more" in run("trust", "--forget", own).stdout
    assert "was not trusted" in run("trust", own, "--forget").stdout
    assert run("trust", "--list").stdout == ""


def test_recipe_without_code_has_nothing_to_trust(run: Run, quick: Path) -> None:
    done = run("trust", quick)
    assert done.exit_code == 0
    assert "nothing to trust" in done.stdout
    assert run("trust", "--list").stdout == ""
    assert json.loads(run("trust", quick, "--json").stdout)["code"] == []


@pytest.mark.parametrize(
    "arguments",
    [(), ("r.yaml", "--list"), ("--forget",), ("r.yaml", "--yes", "--forget"), ("--list", "--yes")],
    ids=lambda each: " ".join(each) or "none",
)
def test_trust_takes_one_thing_at_a_time(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("trust", *arguments).exit_code == 2


def test_run_from_elsewhere_asks(
    run: Run, own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run("train", own, "learning_rate=0.05", "--trust", "--run", "r")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another-person"))
    Path("r/result.json").unlink()
    own.with_name("mark").unlink()
    for command in (("train", "--resume", "r"), ("stability", "--checkpoint", "r")):
        done = run(*command)
        assert done.exit_code == 3
        assert "tunecli trust " in done.stderr
        assert "r/recipe.yaml" in done.stderr
    assert not own.with_name("mark").exists()
    assert run("train", "--resume", "r", "--trust").exit_code == 0


def test_finished_run_from_elsewhere_is_shown_without_trust(
    run: Run, own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run("train", own, "learning_rate=0.05", "--trust", "--run", "r")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another-person"))
    own.with_name("mark").unlink()
    assert run("train", "--resume", "r").exit_code == 0
    assert not own.with_name("mark").exists()


def test_run_starts_where_trust_cannot_be_remembered(
    run: Run, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(own))  # a file
    done = run("train", own, "learning_rate=0.05", "--trust")
    assert done.exit_code == 0, done.output
    assert "to go on with this run after a stop, add --trust" in done.stderr


def test_command_runs_only_where_it_is_trusted(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "command.yaml"
    words = json.dumps([sys.executable, "-c", "open('mark', 'w').close()"])
    path.write_text(
        f"version: 1\nname: command\ncommand: {words}\nschedule: {{batch_size: 8, steps: 5}}\n"
        "search: {grid: [0.1, 0.2]}\n",
        "utf-8",
    )
    for command, *more in (("validate",), ("show",), ("schedule", "--learning-rate", "0.1")):
        assert run(command, path, *more).exit_code == 0
    for command, *more in (("search",), ("train", "learning_rate=0.1")):
        done = run(command, path, *more)
        assert done.exit_code == 3
        assert f"command: {sys.executable} -c 'open(" in done.stderr
    assert not Path("mark").exists()
    run("trust", path, "--yes")
    assert not Path("mark").exists()
    assert run("search", path).exit_code == 1  # it says nothing, which is an error
    assert Path("mark").exists()
