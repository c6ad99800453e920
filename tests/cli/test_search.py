import json
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tunecli.recipe import load_recipe
from tunecli.schedule import Schedule

RESULT_DOC = Path(__file__).parents[2] / "docs" / "result.md"


def keys_of(value: object, path: str = "") -> set[str]:
    """Every key in a JSON value, dotted; a list's items share their keys."""
    if isinstance(value, list):
        return set().union(*(keys_of(item, path) for item in value))
    if not isinstance(value, dict):
        return set()
    found = set()
    for key, inner in value.items():
        found |= {f"{path}{key}"} | keys_of(inner, f"{path}{key}.")
    return found


def test_search_finds_the_rate_and_keeps_its_contract(run: Run, quick: Path) -> None:
    done = run("search", quick, "--run", "r", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result == json.loads(Path("r/result.json").read_text(encoding="utf-8"))

    assert result["recipe"] == "quick"
    assert result["run"] == "r"
    assert result["learning_rate"] in (0.05, 1.0)
    assert result["kind"] == "search"
    assert result["stop"]["rule"] == result["certificate"]["strategy"] == "paper"
    assert result["stop"]["reason"] in ("diverged", "no_improvement")
    for trial in result["trials"]:
        assert trial.keys() == {
            "learning_rate", "seed", "state", "value", "updates", "samples", "seconds", "role",
            "reason", "curve", "measured", "split"
        }  # fmt: skip
    assert [stage.keys() for stage in result["schedule"]] == [
        {"learning_rate", "momentum", "discount", "batch_size", "steps"}
    ] * 2
    assert result["test"]["n"] == 2
    assert math.isclose(result["test"]["mean"], sum(result["test"]["values"]) / 2)
    spent = result["spent"]
    everything = result["trials"] + result["final"]
    assert spent["updates"] == sum(trial["updates"] for trial in everything)
    assert spent["samples"] == sum(trial["samples"] for trial in everything)
    assert spent["seconds"] == pytest.approx(sum(trial["seconds"] for trial in everything))
    schedule = Schedule.from_list(result["schedule"])
    assert [trial["samples"] for trial in result["final"]] == [schedule.samples] * 2


def test_every_key_of_a_result_is_documented(run: Run, quick: Path) -> None:
    text = RESULT_DOC.read_text(encoding="utf-8")
    documented = set(re.findall(r"`([a-z_.]+)`", text))
    whole = ("search.strategy=probe", "search.seeds=[0, 1]", "search.resolution=8", "--verify", "1")
    results = [
        json.loads(run("search", quick, "--run", "r", "--json").stdout),
        json.loads(run("search", quick, "--run", "w", *whole, "--json").stdout),
        json.loads(run("train", quick, "learning_rate=0.05", "--test", "--json").stdout),
    ]
    for part in ("probe", "certificate", "test"):
        assert results[1][part] is not None
    assert results[1]["certificate"]["verify"]["points"]
    assert results[1]["certificate"]["comparisons"]
    for result in results:
        for key in keys_of({k: v for k, v in result.items() if k != "environment"}):
            assert key in documented or key.split(".")[-1] in documented, key


def test_search_leaves_the_files_that_the_readme_names(run: Run, quick: Path) -> None:
    done = run("search", quick, "--run", "r")
    assert done.exit_code == 0, done.output
    names = {path.name for path in Path("r").iterdir()}
    assert {"recipe.yaml", "study.db", "trials", "schedule.yaml", "learning_rate.png"} <= names
    assert Path("r/learning_rate.png").read_bytes().startswith(b"\x89PNG")
    assert load_recipe(Path("r/recipe.yaml")) == load_recipe(quick)
    assert not [path for path in Path("r").rglob("*") if path.suffix == ".pt"]


def test_search_says_the_worst_case_first_and_why_it_stopped(run: Run, quick: Path) -> None:
    done = run("search", quick, "search.seeds=[0, 1]")
    first = done.stderr.splitlines()[0]
    assert "at most 8 trials, 16 epochs" in first
    assert "then 2 final trainings, 4 epochs" in first
    assert "stopped: " in done.stderr
    assert "\x1b" not in done.output  # no terminal, no escape codes
    for part in ("Found", "Stopped", "Test", "Spent", "Files in"):
        assert part in done.stdout


def test_search_by_name_makes_a_folder_of_its_own(run: Run) -> None:
    small = ("schedule.epochs=1", "search.grid=[0.1, 0.2]", "search.seeds=[0]")
    done = run("search", "digits-logistic", *small, "search.test_seeds=[5]")
    assert done.exit_code in (0, 4), done.output
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("digits-logistic-")


@pytest.mark.parametrize(
    ("overrides", "code", "words"),
    [
        (["search.grid=[0.001, 0.01]"], 4, "the largest that may be tried"),
        (["search.grid=[0.2, 1.0e+9]"], 4, "the smallest that may be tried"),
        (["search.grid=[1.0e+9, 1.0e+10]"], 5, "every rate diverged"),
        (["search.grid=[1.0e-9, 2.0e-9]"], 1, "no rate learned anything"),
    ],
)
def test_search_exit_code_tells_how_it_ended(
    run: Run, quick: Path, overrides: list[str], code: int, words: str
) -> None:
    done = run("search", quick, "--run", "r", *overrides)
    assert done.exit_code == code, done.output
    assert words in " ".join(done.stdout.split())
    again = run("search", "--resume", "r")
    assert again.exit_code == code


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        (["search.grid=[0.005, 0.01]", "search.extend=1"], 4),
        (["search.grid=[0.001, 0.002]", "search.extend=12", "search.max_trials=30"], 0),
        (["search.grid=[1.0e+9, 1.0e+10]", "search.extend=2"], 5),
    ],
)
def test_default_search_extends_the_grid_before_it_ends_at_an_edge(
    run: Run, quick: Path, overrides: list[str], code: int
) -> None:
    done = run("search", quick, "search.strategy=geometric", *overrides, "--json")
    assert done.exit_code == code, done.output
    result = json.loads(done.stdout)
    tried = [point["learning_rate"] for point in result["stop"]["points"]]
    grid = json.loads(overrides[0].partition("=")[2])
    assert min(tried) < min(grid) if code == 5 else max(tried) > max(grid)
    assert (result["stop"]["edge"] is not None) == (code == 4)


def test_certificate_says_what_the_decision_rests_on(run: Run, quick: Path) -> None:
    how = ("search.strategy=geometric", "search.seeds=[0, 1]", "search.error_rate=0.1")
    done = run("search", quick, *how, "search.resolution=4", "--json", "--run", "r")
    result = json.loads(done.stdout)
    certificate, points = result["certificate"], result["stop"]["points"]
    assert certificate["explanation"] == result["stop"]["explanation"]
    assert certificate["best"] == {
        "learning_rate": result["learning_rate"],
        "value": next(p["value"] for p in points if p["learning_rate"] == result["learning_rate"]),
    }
    below = [p["learning_rate"] for p in points if p["learning_rate"] < result["learning_rate"]]
    above = [p["learning_rate"] for p in points if p["learning_rate"] > result["learning_rate"]]
    assert certificate["bracket"] == {
        "low": max(below, default=None),
        "high": min(above, default=None),
    }
    assert certificate["noise"]["error_rate"] == 0.1
    assert certificate["noise"]["seeds"] == 2
    verdicts = {
        "better", "worse", "no difference", "diverged", "not learned", "given up"
    }  # fmt: skip
    assert {comparison["verdict"] for comparison in certificate["comparisons"]} <= verdicts
    shown = " ".join(run("search", "--resume", "r").stdout.split())
    assert f"at {result['learning_rate']:g} because {certificate['explanation']}" in shown


def test_search_without_a_rate_has_no_certificate(run: Run, quick: Path) -> None:
    done = run("search", quick, "search.grid=[1.0e+9, 1.0e+10]", "--json")
    assert json.loads(done.stdout)["certificate"] is None


def test_verify_is_kept_through_a_resume_and_in_the_command(run: Run, quick: Path) -> None:
    first = run("search", quick, "--run", "r", "--verify", "2", "--json")
    result = json.loads(first.stdout)
    assert len(result["certificate"]["verify"]["points"]) == 2
    assert result["command"].endswith("--verify 2")
    Path("r/result.json").unlink()
    again = json.loads(run("search", "--resume", "r", "--json").stdout)
    assert again["certificate"] == result["certificate"]
    assert again["trials"] == result["trials"]


def test_finished_search_is_shown_again_not_run_again(run: Run, quick: Path) -> None:
    first = run("search", quick, "--run", "r", "--json")
    before = Path("r/study.db").stat().st_mtime_ns
    again = run("search", "--resume", "r", "--json")
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert "finished already" in again.stderr
    assert Path("r/study.db").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "RECIPE must be given"),
        (["no-such-recipe"], 3, "neither a recipe file nor the name of a shipped recipe"),
        (["digits-cn"], 3, "did you mean digits-cnn?"),
        (["quick.yaml", "search.patience=0"], 3, "search.patience must be ≥ 1"),
        (["quick.yaml", "search.pateince=2"], 3, "did you mean patience?"),
        (["quick.yaml", "--device", "gpu"], 2, "device must be auto, cpu, cuda"),
        (["quick.yaml", "--device", "cuda:99"], 2, "device must exist"),
        (["--resume", "nowhere"], 1, "does not exist"),
        (["--resume", "."], 1, "holds no run"),
        (["--resume", ".", "quick.yaml"], 2, "--resume must stand alone"),
        (["--resume", ".", "--verify", "2"], 2, "--resume must stand alone"),
        (["quick.yaml", "search.strategy=grid"], 3, "search.strategy must be"),
        (["quick.yaml", "search.resolution=1"], 3, "search.resolution must be > 1"),
        (["quick.yaml", "search.error_rate=0.7"], 3, "search.error_rate must be"),
        (["quick.yaml", "--run", "quick.yaml"], 1, "cannot be made"),
        (["quick.yaml", "--run", "."], 1, "is not empty"),
        (["quick.yaml", "schedule.epochs=0.001"], 3, "epochs must be ≥"),
        (["quick.yaml", "schedule.stages=12"], 3, "batch_size of stage"),
        (["quick.yaml", "schedule.batch_size=2000"], 3, "batch_size=2000: schedule.batch_size"),
        (["quick.yaml", "search.seeds=[0, 1]", "search.max_trials=1"], 3, "must be ≥ 2"),
        (["quick.yaml", "data.test=0.001"], 3, "test split must be at least 10"),
        (["quick.yaml", "model={name: cnn, channels: [2, 2, 2, 2]}"], 3, "at most 3 entries"),
    ],
)
def test_search_mistakes_end_in_a_sentence(
    run: Run, quick: Path, arguments: list[str], code: int, words: str
) -> None:
    done = run("search", *arguments)
    assert done.exit_code == code, done.output
    assert words in done.stderr
    assert "Traceback" not in done.output
    assert done.stdout == ""


def test_mistakes_in_a_recipe_leave_no_folder(run: Run, quick: Path) -> None:
    for mistake in ("schedule.stages=12", "search.patience=0"):
        assert run("search", quick, mistake).exit_code != 0
    assert run("search", quick, "--device", "cuda:99").exit_code == 2
    assert not Path("runs").exists()


def test_existing_run_names_the_command_that_goes_on(run: Run, quick: Path) -> None:
    run("search", quick, "--run", "r")
    done = run("search", quick, "--run", "r")
    assert done.exit_code == 1
    assert "tunecli search --resume r" in done.stderr
    crossed = run("train", "--resume", "r")
    assert crossed.exit_code == 1
    assert "holds a search, not a train; go on with: tunecli search --resume r" in crossed.stderr


def test_changed_recipe_of_a_run_is_refused(run: Run, quick: Path) -> None:
    run("search", quick, "--run", "r")
    recipe = Path("r/recipe.yaml")
    recipe.write_text(recipe.read_text("utf-8").replace("1.0", "1.5"), "utf-8")
    done = run("search", "--resume", "r")
    assert done.exit_code == 1
    assert "was changed since the run began" in done.stderr


def test_resumed_run_stays_on_its_device(run: Run, quick: Path) -> None:
    run("search", quick, "--run", "r")
    options = Path("r/run.json")
    assert json.loads(options.read_text("utf-8"))["device"] == "cpu"
    options.write_text(options.read_text("utf-8").replace('"cpu"', '"cuda:99"'), "utf-8")
    done = run("search", "--resume", "r")
    assert done.exit_code == 2
    assert "device must exist but got cuda:99" in done.stderr
    moved = run("search", "--resume", "r", "--device", "cpu")
    assert moved.exit_code == 0
    assert "the run was started on cuda:99" in moved.stderr


@pytest.mark.parametrize("name", ["a b", "c[/foo]", "m[bold]x", "p%q?r#s", "ü"])
def test_run_folder_may_have_any_name(run: Run, quick: Path, name: str) -> None:
    done = run("search", quick, "--run", name)
    assert done.exit_code == 0, done.output
    last = f"Files in {name}: report.html shows all of it; tunecli export {shlex.quote(name)} --to "
    assert done.stdout.splitlines()[-1].startswith(last)


def test_moved_run_tells_where_it_is_now(run: Run, quick: Path) -> None:
    run("search", quick, "--run", "r")
    Path("r").rename("elsewhere")
    assert json.loads(run("search", "--resume", "elsewhere", "--json").stdout)["run"] == "elsewhere"


def test_output_that_cannot_show_a_letter_loses_no_result(quick: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tunecli", "schedule", str(quick), "--learning-rate", "0.1"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "learning_rate" in done.stdout
