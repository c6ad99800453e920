"""The training scripts in recipes/scripts, by themselves and through their recipes."""

import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tunecli.schedule import multistage_schedule

RECIPES = Path(__file__).parents[2] / "recipes"
FRAMEWORKS = {"pytorch": "torch", "lightning": "lightning", "transformers": "transformers"}
Answers = list[dict[str, Any]]
Train = Callable[..., Answers]


def needs(framework: str) -> None:
    if framework == "transformers":
        pytest.importorskip("accelerate")
    pytest.importorskip(FRAMEWORKS[framework])


@pytest.fixture
def schedule(tmp_path: Path) -> Path:
    """The JSON file of a short schedule: 10 updates on 8 samples, then 20 on 4."""
    derived = multistage_schedule(
        learning_rate=0.2, momentum=0.9, discount=1.0, stages=2, decay=0.5, batch_size=8, steps=10
    )
    stages = [
        {
            "learning_rate": stage.learning_rate,
            "momentum": stage.momentum,
            "discount": stage.discount,
            "batch_size": stage.batch_size,
            "steps": stage.steps,
        }
        for stage in derived.stages
    ]
    facts = {"seed": 3, "phase": "search", "weight_decay": 0.0, "steps": 30, "samples": 160}
    path = tmp_path / "schedule.json"
    path.write_text(json.dumps({"learning_rate": 0.2, **facts, "stages": stages}), "utf-8")
    return path


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Train:
    """Runs a script in this process and returns the JSON lines that it prints."""

    def run(name: str, *arguments: object) -> Answers:
        path = RECIPES / "scripts" / f"train_{name}.py"
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        capsys.readouterr()
        module.main()
        lines = capsys.readouterr().out.splitlines()
        return [json.loads(line) for line in lines if line.startswith('{"')]

    return run


def test_pytorch_script_follows_the_schedule(train: Train, schedule: Path, tmp_path: Path) -> None:
    answers = train("pytorch", "--schedule", schedule)
    assert [each["step"] for each in answers] == [0, 6, 12, 18, 24, 30]
    assert answers[-1]["samples"] == 160
    assert not any("test" in each for each in answers)  # the search never reads the test set
    final = train("pytorch", "--schedule", schedule, "--phase", "final")
    assert {**final[-1], "test": None} == {**answers[-1], "test": None}
    assert 0 <= final[-1]["test"] <= 1


def test_pytorch_script_goes_on_where_it_was(train: Train, schedule: Path, tmp_path: Path) -> None:
    saved = tmp_path / "checkpoint.pt"
    whole = train("pytorch", "--schedule", schedule, "--save", saved)
    plan = json.loads(schedule.read_text("utf-8"))
    cut = {**plan, "stages": [plan["stages"][0]]}  # the first stage, and then it is killed
    schedule.write_text(json.dumps(cut), "utf-8")
    train("pytorch", "--schedule", schedule, "--save", saved)
    schedule.write_text(json.dumps(plan), "utf-8")
    rest = train("pytorch", "--schedule", schedule, "--save", saved, "--checkpoint", saved)
    assert rest == [each for each in whole if each["step"] > 10]


@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_lightning_script_follows_the_schedule(
    train: Train, schedule: Path, tmp_path: Path
) -> None:
    needs("lightning")
    answers = tmp_path / "answers.jsonl"
    train("lightning", "--schedule", schedule, "--answers", answers, "--phase", "final")
    lines = [json.loads(line) for line in answers.read_text("utf-8").splitlines()]
    assert [each["step"] for each in lines] == [0, 6, 12, 18, 24, 30, 30, 30]
    assert lines[-2]["samples"] == 160
    assert list(lines[0]) == ["step", "samples", "value"]  # no update: no training loss
    assert list(lines[-1]) == ["step", "test"]
    assert not any("test" in each for each in lines[:-1])


@pytest.mark.filterwarnings("ignore")  # of transformers and torch's loader
def test_transformers_script_answers_after_every_epoch(train: Train) -> None:
    needs("transformers")
    answers = train("transformers", "--learning-rate", 0.01, "--epochs", 2, "--phase", "final")
    assert [each.get("step") for each in answers] == [0, 34, 68, None]
    assert answers[-2]["value"] > 0.2
    assert not answers[-2]["diverged"]
    assert list(answers[-1]) == ["test"]


@pytest.fixture
def _trusting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # the recipes say `python`: the one that runs the tests
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.usefixtures("_trusting")
def test_pytorch_script_is_tuned_through_its_recipe(run: Run) -> None:
    tiny = ["schedule.epochs=2", "search.seeds=[0]", "search.test_seeds=[7]", "search.extend=0"]
    tiny += ["search.grid=[0.1, 0.2]", "search.resolution=null", "search.max_trials=1"]
    assert run("search", "script-pytorch", *tiny).exit_code == 3  # not without trust
    done = run("search", "script-pytorch", *tiny, "--trust", "--json")
    assert done.exit_code in (0, 1, 4), done.output
    result = json.loads(done.stdout)
    assert [trial["state"] for trial in result["trials"]] == ["complete"]
    assert result["test"]["n"] == 1
    assert not result["schedule_is_advice"]


@pytest.mark.usefixtures("_trusting")
@pytest.mark.parametrize("framework", ["lightning", "transformers"])
def test_script_is_trained_through_its_recipe(run: Run, framework: str) -> None:
    needs(framework)
    keys = ("learning_rate=0.01", "schedule.epochs=0.2")
    done = run("train", f"script-{framework}", *keys, "--trust", "--test", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert 0 <= result["test"]["accuracy"] <= 1
    assert result["curve"][-1]["accuracy"] is not None


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_recipe_names_every_option_of_its_script(framework: str) -> None:
    script = (RECIPES / "scripts" / f"train_{framework}.py").read_text("utf-8")
    recipe = (RECIPES / f"script-{framework}.yaml").read_text("utf-8")
    used = re.findall(r"^  - (--[a-z-]+)=", recipe, flags=re.MULTILINE)
    assert used
    for option in used:
        assert f'"{option}"' in script
