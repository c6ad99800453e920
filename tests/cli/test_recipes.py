import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.cli.conftest import Run
from tunecli import __version__
from tunecli.recipe import load_recipe, shipped_recipes

ROOT = Path(__file__).parents[2]


def test_recipes_lists_what_is_shipped(run: Run) -> None:
    listed = json.loads(run("recipes", "--json").stdout)
    assert {entry["name"] for entry in listed} >= {"digits-cnn", "digits-mlp", "digits-logistic"}
    table = run("recipes").stdout
    assert all(entry["name"] in table for entry in listed)


def test_recipes_prints_the_published_schema(run: Run) -> None:
    published = (ROOT / "docs" / "recipe.schema.json").read_text(encoding="utf-8")
    assert json.loads(run("recipes", "--schema").stdout) == json.loads(published)


@pytest.mark.parametrize("path", shipped_recipes(), ids=lambda path: path.stem)
def test_shipped_recipe_is_valid_and_named_like_its_file(run: Run, path: Path) -> None:
    done = run("validate", path)
    assert done.exit_code == 0, done.output
    assert load_recipe(path).name == path.stem


def test_validate_names_file_line_and_key(run: Run, quick: Path) -> None:
    quick.write_text(quick.read_text("utf-8").replace("batch_size: 32", "batch_size: 0"), "utf-8")
    done = run("validate", quick)
    assert done.exit_code == 3
    assert re.search(r"quick\.yaml:6: schedule\.batch_size must be", done.stderr)


def test_validate_tells_the_worst_case(run: Run, quick: Path) -> None:
    answer = json.loads(run("validate", quick, "search.seeds=[0, 1]", "--json").stdout)
    assert answer["most_trials"] == 8
    assert answer["learning_rates"] == [0.001, 0.05, 1.0, 1e9]
    assert 1.9 < answer["epochs_per_trial"] <= 2


def test_version_is_the_package_version(run: Run) -> None:
    assert run("--version").stdout.strip() == __version__


def commands_of_the_readme() -> list[list[str]]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^tunecli (.+?)(?: +#.*)?$", text, flags=re.MULTILINE)
    return [line.split() for line in lines]


@pytest.mark.parametrize("command", commands_of_the_readme(), ids=" ".join)
def test_readme_command_runs(run: Run, quick: Path, command: list[str]) -> None:
    quick.rename("my-recipe.yaml")
    Path("recipes").symlink_to(ROOT / "recipes")
    if command[0] in ("search", "train") and "--resume" not in command:
        fast = ["schedule.epochs=2", "schedule.batch_size=8", "search.seeds=[0]"]
        fast += ["search.test_seeds=[5]", "search.extend=0", "search.resolution=null"]
        command = [*command, *fast, "search.grid=[0.05, 0.1]"]
    elif command[0] == "compare":
        fast = ["schedule.epochs=1", "--studies", "1", "--budget", "2", "--methods", "random"]
        command = [*command, *fast]
    elif command[0] == "replay":
        shutil.copy(ROOT / "tests" / "search" / "tables.json", command[1])
    elif command == ["init"]:
        command = [*command, "--kind", "digits", "--yes"]
    elif "--resume" in command or command[0] == "export":
        started = run("search", "my-recipe.yaml", "--run", "runs/digits-cnn-…")
        assert started.exit_code == 0, started.output
    done = run(*command)
    assert done.exit_code in (0, 4), done.output  # two rates have no interior


def test_readme_example_finds_its_rate() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.+?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    study = names["study"]
    assert isinstance(study, optuna.Study)
    assert study.best_params == {"learning_rate": 0.4}
    assert len(study.trials) == 3
    assert names["stop"].reason == "no_improvement"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_stdout_is_a_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tunecli", "recipes"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: stdout cannot be written: no space left")
    assert "Traceback" not in done.stderr
