import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.cli.conftest import Run
from tests.report.exported import make_schedule, run_clean
from tunecli import __version__
from tunecli.cli.app import app
from tunecli.execution.run_folder import create_run
from tunecli.recipe import find_recipe, load_recipe
from tunecli.recipe.dump import dump_recipe

Finished = Callable[..., Path]


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    """A folder as a finished run leaves it, made without training."""

    def make(
        kind: Any = "search", text: str | None = None, name: str = "done", **result: Any
    ) -> Path:
        recipe = text or dump_recipe(load_recipe(find_recipe("digits-logistic")))
        run = create_run(kind, "digits-logistic", recipe, tmp_path / name)
        content = {
            "format": 1,
            "exit_code": 0,
            "learning_rate": 0.3,
            "schedule": make_schedule().to_list(),
            "asynchronous": None,
            "environment": {"tunecli": "0.1.0"},
            **result,
        }
        run.result.write_text(json.dumps(content), encoding="utf-8")
        return run.path

    return make


def test_search_and_training_are_exported_and_test_themselves(
    run: Run, quick: Path, tmp_path: Path
) -> None:
    assert run("search", quick, "--run", "found").exit_code in (0, 4)
    assert run("train", quick, "learning_rate=0.05", "--run", "trained").exit_code == 0
    for folder in ("found", "trained"):
        for target in ("pytorch", "deepspeed"):
            done = run("export", folder, "--to", target, "--output", f"{folder}-{target}.py")
            assert done.exit_code == 0, done.output
            assert done.stdout == ""
            wanted = f"wrote {folder}-{target}.py; test it: python {folder}-{target}.py"
            assert done.stderr.strip() == wanted
    data = json.loads(run("export", "found", "--to", "json").stdout)
    result = json.loads(Path("found/result.json").read_text(encoding="utf-8"))
    assert data["stages"] == result["schedule"]
    recipe = Path("found/recipe.yaml").read_bytes()
    identity = data["run"]
    assert identity.pop("finished").startswith("20")
    assert identity == {
        "run": "found",
        "kind": "search",
        "recipe": "quick",
        "recipe_sha256": hashlib.sha256(recipe).hexdigest(),
        "learning_rate": result["learning_rate"],
        "tunecli": __version__,
        "exported_by": __version__,
    }
    files = sorted(tmp_path.glob("*.py"))
    assert len(files) == 4
    for end in run_clean(tmp_path, [(path,) for path in files]):
        assert end.code == 0, end.said
        total = sum(stage["steps"] for stage in result["schedule"])
        assert f"{total} of {total} updates" in end.said


def test_export_goes_to_stdout_as_utf8(finished: Finished, tmp_path: Path) -> None:
    folder = finished()
    done = subprocess.run(
        [sys.executable, "-m", "tunecli", "export", str(folder), "--to", "pytorch"],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
    )
    assert "θ ← θ − α" in done.stdout.decode("utf-8")
    assert done.stderr == b""
    output = tmp_path / "file.py"
    CliRunner().invoke(app, ["export", str(folder), "--to", "pytorch", "--output", str(output)])
    assert output.read_bytes() == done.stdout


def test_export_replaces_a_file_only_by_force(run: Run, finished: Finished) -> None:
    folder, output = finished(), Path("mine.py")
    output.write_text("precious", encoding="utf-8")
    done = run("export", folder, "--to", "pytorch", "--output", output)
    assert done.exit_code == 1
    assert "mine.py exists already; name another file, or replace it with --force" in done.stderr
    assert output.read_text(encoding="utf-8") == "precious"
    assert run("export", folder, "--to", "pytorch", "--output", output, "--force").exit_code == 0
    assert "class QHM" in output.read_text(encoding="utf-8")
    assert sorted(path.name for path in Path().iterdir()) == ["done", "mine.py"]
    done = run("export", folder, "--to", "pytorch", "--output", "nowhere/mine.py")
    assert done.exit_code == 1
    assert "nowhere/mine.py cannot be written: No such file or directory" in done.stderr


@pytest.mark.parametrize(
    ("target", "hint"),
    [("torch", "; did you mean pytorch?"), ("JSON", "json?"), ("onnx", "'onnx'")],
)
def test_unknown_target_is_named_with_the_nearest(
    run: Run, finished: Finished, target: str, hint: str
) -> None:
    done = run("export", finished(), "--to", target)
    assert done.exit_code == 2
    assert "error: --to must be pytorch, lightning, transformers, deepspeed or json" in done.stderr
    assert done.stderr.strip().endswith(hint)


@pytest.mark.parametrize(
    ("kind", "result", "sentence"),
    [
        ("search", {"exit_code": 1}, "nothing to export: no learning rate learned anything"),
        ("search", {"learning_rate": None}, "nothing to export: no learning rate learned anything"),
        ("search", {"exit_code": 5, "schedule": []}, "nothing to export: training diverged"),
        ("train", {"exit_code": 5, "state": "diverged"}, "nothing to export: training diverged"),
        ("search", {"schedule": [{"learning_rate": 1}]}, "holds no schedule"),
        ("search", {"format": 99}, "was not written by this tunecli"),
        ("compare", {}, "holds a compare, which finds no schedule"),
        ("stability", {}, "holds a stability, which finds no schedule"),
    ],
)
def test_run_without_a_schedule_is_refused(
    run: Run, finished: Finished, kind: str, result: dict[str, Any], sentence: str
) -> None:
    done = run("export", finished(kind, **result), "--to", "json")
    assert done.exit_code == 1
    assert sentence in done.stderr
    assert done.stdout == ""


def test_folder_that_is_no_finished_run_is_refused(run: Run, finished: Finished) -> None:
    Path("empty").mkdir()
    assert "empty holds no run" in run("export", "empty", "--to", "json").stderr
    assert "gone does not exist" in run("export", "gone", "--to", "json").stderr
    folder = finished()
    (folder / "result.json").unlink()
    done = run("export", folder, "--to", "json")
    assert done.exit_code == 1
    assert f"is not finished; go on with: tunecli search --resume {folder}" in done.stderr
    folder = finished(name="changed")
    (folder / "recipe.yaml").write_text("version: 1\n", encoding="utf-8")
    assert "was changed since the run began" in run("export", folder, "--to", "json").stderr
    folder = finished(name="foreign", text="version: 1\nname: foreign\n")
    done = run("export", folder, "--to", "json")
    assert done.exit_code == 3
    assert "foreign/recipe.yaml" in done.stderr


def asynchronous(**facts: Any) -> dict[str, Any]:
    return {
        "asynchronous": {
            "momentum_kind": "none",
            "staleness_aware": False,
            "scaling": {"rule": "exact", "factor": 0.25},
            "delay": {"kind": "constant", "mean": 3.0},
            **facts,
        }
    }


COMMAND = (
    'version: 1\nname: yes-no\ncommand: [python, train.py, "--lr={learning_rate}"WHOLE]\n'
    "script: {samples: 100}\nschedule: {batch_size: 8, steps: 10}\nsearch: {grid: [0.1, 0.2]}\n"
)
WHOLE = COMMAND.replace("WHOLE", ', "--stages={schedule}"')
RATE = COMMAND.replace("WHOLE", "")


@pytest.mark.parametrize(
    ("text", "result", "parts"),
    [
        (None, {}, []),
        (None, {"exit_code": 4}, ["lies at the edge of what was searched"]),
        (WHOLE, {}, ["Which optimizer it has"]),
        (RATE, {}, ["The stages are advice", "which does not damp, divide every rate"]),
        (
            RATE.replace("{samples: 100}", "{undamped: true}"),
            {},
            ["The stages are advice", "so the rates below are larger, by 1 / (1 - 0.9)"],
        ),
        (
            None,
            asynchronous(),
            ["mean delay 3 updates", "divide every learning rate by 0.25", "without momentum"],
        ),
        (
            None,
            asynchronous(momentum_kind="shifted", scaling={"factor": None}),
            ["scaled every update by its own delay", "is not the same"],
        ),
    ],
)
def test_file_says_what_to_know_before_using_it(
    run: Run, finished: Finished, text: str | None, result: dict[str, Any], parts: list[str]
) -> None:
    folder = finished(text=text, **result)
    data = json.loads(run("export", folder, "--to", "json", "--force").stdout)
    code = run("export", folder, "--to", "pytorch", "--force").stdout
    assert data["run"]["recipe"] == ("yes-no" if text else "digits-logistic")
    said = " ".join(code.split('"""')[1].split())
    for sentence in data["notes"]:
        assert sentence in said
    assert len(data["notes"]) == (len(parts) if len(parts) < 2 else 2)
    for part in parts:
        assert part in said


def test_optimizer_of_its_own_leaves_plain_data(run: Run, finished: Finished) -> None:
    text = (
        "version: 1\nname: own\nmodel: {name: logistic}\ndata: {name: digits}\n"
        'optimizer: {import: "not_there:Lion"}\nschedule: {batch_size: 8, steps: 10}\n'
        "search: {grid: [0.1, 0.2]}\n"
    )
    folder = finished(text=text)
    done = run("export", folder, "--to", "lightning")
    assert done.exit_code == 1
    assert "trained with the recipe's own optimizer, and --to lightning writes QHM" in done.stderr
    data = json.loads(run("export", folder, "--to", "json").stdout)
    assert data["optimizer"]["import"] == "not_there:Lion"
    assert "learning rate and the batch size alone" in data["notes"][0]


def test_light_export_imports_nothing_heavy(finished: Finished) -> None:
    code = (
        "import sys; from tunecli.cli.app import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'optuna', 'numpy', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    for target in ("pytorch", "json"):
        done = subprocess.run(
            [sys.executable, "-c", code, "export", str(finished(name=target)), "--to", target],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()


def test_advice_is_exported_only_by_force(run: Run, finished: Finished) -> None:
    done = run("export", finished(text=RATE), "--to", "pytorch", "--output", "mine.py")
    assert done.exit_code == 1
    assert "has advice to export and no schedule that was trained" in done.stderr
    assert not Path("mine.py").exists()
