import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_digits
from typer.testing import Result

from tests.cli.conftest import Run
from tunecli.recipe import find_recipe, load_recipe

TINY = (
    *("schedule.epochs=0.5", "schedule.stages=1", "training.evaluations=1"),
    *("search.grid=[0.01, 0.1]", "search.extend=0", "search.resolution=null"),
    "search.max_trials=1",
    *("search.seeds=[0]", "search.test_seeds=[7]"),
)


@pytest.fixture(autouse=True)
def _own_store_and_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def images_of_digits(folder: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels, labels = load_digits(return_X_y=True)
    for number in range(120):
        target = folder / f"digit-{labels[number]}" / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        image.fromarray((pixels[number] * 15).astype(np.uint8).reshape(8, 8)).save(target)


def put_data(kind: str) -> tuple[str, ...]:
    """Data of a kind in the current folder, and the options that name it."""
    pixels, labels = load_digits(return_X_y=True)
    if kind == "npz":
        np.savez("digits.npz", x=pixels.astype("float32"), y=labels)
        return "--data", "digits.npz"
    if kind == "images":
        images_of_digits(Path("pictures"))
        return "--data", "pictures"
    if kind == "text":
        Path("book.txt").write_text("to be or not to be, that is the question. " * 200, "utf-8")
        return "--data", "book.txt"
    return ()


def made(path: str = "recipe.yaml") -> dict[str, Any]:
    data = yaml.safe_load(Path(path).read_text("utf-8"))
    assert isinstance(data, dict)
    return data


def assert_ran(done: Result) -> None:
    """A search came to its end; in so few updates it need not have learned anything."""
    assert done.exit_code in (0, 1, 4), done.output
    assert "Files in runs/" in done.stdout, done.output


@pytest.mark.parametrize("kind", ["npz", "images", "text", "python", "digits"])
def test_what_init_writes_validates_and_runs_at_once(run: Run, kind: str) -> None:
    done = run("init", "--kind", kind, *put_data(kind), "--batch-size", 16, "--yes", "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    first, second = (command.split()[1:] for command in answer["next"])
    assert run("validate", "recipe.yaml").exit_code == 0
    assert run(*first, *(["--yes"] if first[0] == "trust" else [])).exit_code == 0
    assert_ran(run(*second, *TINY))


@pytest.mark.parametrize("framework", ["pytorch", "lightning", "transformers"])
def test_starter_script_is_written_beside_its_recipe(run: Run, framework: str) -> None:
    options = ("--kind", "script", "--command", "starter", "--framework", framework, "--yes")
    done = run("init", "tuning/mine.yaml", *options)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "wrote tuning/train.py",
        "wrote tuning/mine.yaml",
        "next:",
        "    tunecli trust tuning/mine.yaml",
        "    tunecli search tuning/mine.yaml",
    ]
    script = Path("tuning/train.py").read_text("utf-8")
    assert "tunecli search mine.yaml" in script
    assert f"train_{framework}" not in script
    recipe, shipped = (
        load_recipe("tuning/mine.yaml"),
        load_recipe(find_recipe(f"script-{framework}")),
    )
    assert recipe.command == tuple(
        word.replace(f"scripts/train_{framework}", "train") for word in shipped.command or ()
    )
    assert recipe.script is not None
    assert shipped.script is not None
    assert recipe.script.model_copy(update={"folder": shipped.script.folder}) == shipped.script
    assert recipe.schedule.discount == shipped.schedule.discount
    assert run("validate", "tuning/mine.yaml").exit_code == 0


def test_starter_script_runs_at_once(run: Run) -> None:
    run("init", "--kind", "script", "--command", "starter", "--yes")
    done = run("train", "recipe.yaml", "learning_rate=0.01", "schedule.epochs=0.2", "--trust")
    assert done.exit_code == 0, done.output


def test_every_key_of_the_recipe_has_a_comment(run: Run) -> None:
    run("init", "--kind", "digits", "--yes")
    run("init", "script.yaml", "--kind", "script", "--command", "train", "--yes")
    texts = [Path(name).read_text("utf-8") for name in ("recipe.yaml", "script.yaml")]
    for line in "".join(texts).splitlines():
        assert (
            not line or "#" in line or line.endswith(":") or "geometric" in line or "- " in line
        ), line
        assert len(line) <= 100


def test_model_fits_arrays(run: Run) -> None:
    random = np.random.default_rng(0)
    np.savez("flat.npz", x=random.normal(size=(50, 7)), y=random.integers(0, 3, size=50))
    run("init", "flat.yaml", "--kind", "npz", "--data", "flat.npz", "--yes")
    assert made("flat.yaml")["model"]["name"] == "mlp"
    assert made("flat.yaml")["data"] == {"name": "npz", "path": "flat.npz"}
    assert made("flat.yaml")["schedule"]["batch_size"] == 4  # of 30 training samples

    pixels = random.integers(0, 255, size=(60, 32, 32, 3)).astype(np.uint8)
    np.savez("pixels.npz", x=pixels, y=random.integers(0, 3, size=60))
    run("init", "pixels.yaml", "--kind", "npz", "--data", "pixels.npz", "--yes")
    assert made("pixels.yaml")["model"]["channels"] == [16, 32, 64]


def test_model_fits_pictures(run: Run) -> None:
    images_of_digits(Path("pictures"))
    run("init", "--kind", "images", "--data", "pictures", "--yes")
    data = {"name": "images", "path": "pictures", "image_size": 8, "channels": 1}
    assert made()["data"] == data
    assert made()["model"]["channels"] == [16, 32]


def test_numbers_as_targets_are_a_regression(run: Run) -> None:
    random = np.random.default_rng(0)
    np.savez("houses.npz", x=random.normal(size=(90, 7)), y=random.normal(size=90))
    done = run("init", "--kind", "npz", "--data", "houses.npz", "--metric", "accuracy", "--yes")
    assert done.exit_code == 2
    assert "--metric must be one of loss but got accuracy" in done.stderr
    run("init", "--kind", "npz", "--data", "houses.npz", "--yes")
    recipe = made()
    assert recipe["loss"] == {"name": "mse"}
    assert recipe["search"]["metric"] == "loss"
    assert_ran(run("search", "recipe.yaml", *TINY))


def test_command_of_ones_own(run: Run) -> None:
    command = "python 'my train.py' --lr {learning_rate} --bs={batch_size} --x .5 --y 1e3 null"
    options = ("--kind", "script", "--command", command, "--metric", "f1", "--better", "smaller")
    done = run("init", *options, "--steps", 50, "--yes")
    assert done.exit_code == 0, done.output
    recipe = made()
    words = ["python", "my train.py", "--lr", "{learning_rate}", "--bs={batch_size}"]
    words += ["--x", ".5", "--y", "1e3", "null"]
    assert load_recipe("recipe.yaml").command == tuple(words)
    assert recipe["metrics"] == {"f1": {"maximize": False}}
    assert recipe["search"]["metric"] == "f1"
    assert recipe["schedule"]["steps"] == 50
    assert list(Path().glob("*.py")) == []
    assert run("init", *options, "--samples", 1000, "--yes", "--force").exit_code == 0
    assert made()["script"]["samples"] == 1000
    assert "steps" not in made()["schedule"]


def test_data_beside_the_recipe_is_named_from_there(run: Run) -> None:
    Path("deep/data").mkdir(parents=True)
    put_data("npz")
    Path("digits.npz").rename("deep/data/my digits.npz")
    run("init", "deep/r.yaml", "--kind", "npz", "--data", "deep/data/my digits.npz", "--yes")
    assert made("deep/r.yaml")["data"]["path"] == "data/my digits.npz"
    run("init", "other/r.yaml", "--kind", "npz", "--data", "deep/data/my digits.npz", "--yes")
    expected = Path("deep/data/my digits.npz").absolute()
    assert made("other/r.yaml")["data"]["path"] == str(expected)
    assert load_recipe("deep/r.yaml").data == load_recipe("other/r.yaml").data


def test_init_overwrites_only_with_force(run: Run) -> None:
    Path("nets.py").write_text("mine", "utf-8")
    done = run("init", "--kind", "python", "--yes")
    assert done.exit_code == 2
    assert "nets.py must not exist yet" in done.stderr
    assert not Path("recipe.yaml").exists()
    assert run("init", "--kind", "python", "--yes", "--no-starter").exit_code == 0
    assert Path("nets.py").read_text("utf-8") == "mine"
    assert run("init", "--kind", "digits", "--yes").exit_code == 2
    assert run("init", "--kind", "python", "--yes", "--force").exit_code == 0
    assert "def build" in Path("nets.py").read_text("utf-8")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((), "--kind must be given where nobody can be asked"),
        (("--yes",), "--kind must be given"),
        (("--kind", "npz", "--yes"), "--data must be given"),
        (("--kind", "digits"), "--metric must be given .* or --yes"),
        (("--kind", "digits", "--metric", "loss"), "--batch-size must be given"),
        (("--kind", "cnn"), "--kind must be one of npz, images, .* but got cnn"),
        (("--kind", "npz", "--data", "no.npz"), "--data must be a file or a folder that exists"),
        (
            ("--kind", "digits", "--data", "x", "--yes"),
            "--data belongs to the kinds npz, images, text",
        ),
        (("--kind", "digits", "--batch-size", "0", "--yes"), "--batch-size must be a whole number"),
        (("--kind", "digits", "--epochs", "nan", "--yes"), "--epochs must be a number > 0"),
        (("--kind", "python", "--model", "nets", "--yes"), "--model must be module:attribute"),
        (("--kind", "script", "--command", "a 'b", "--yes"), "--command must be a command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_missing_or_wrong_option_is_a_usage_error(
    run: Run, given: tuple[str, ...], sentence: str
) -> None:
    done = run("init", *given)
    assert done.exit_code == 2
    assert re.search(sentence, done.stderr), done.stderr
    assert not Path("recipe.yaml").exists()


def test_recipe_that_would_not_be_valid_is_not_written(run: Run) -> None:
    done = run("init", "--kind", "digits", "--batch-size", 5000, "--yes")
    assert done.exit_code == 2
    assert (
        "error: --batch-size must be ≤ 1077, the size of the training set, but got" in done.stderr
    )
    assert "recipe.yaml" not in done.stderr
    done = run("init", "--kind", "script", "--command", "train {rate}", "--yes")
    assert done.exit_code == 2
    assert "--command must use known placeholders" in done.stderr
    assert "recipe.yaml" not in done.stderr
    assert not Path("recipe.yaml").exists()


def test_questions_are_asked_on_a_terminal(tmp_path: Path) -> None:
    us, them = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "tunecli", "init"],
        stdin=them,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        text=True,
    ) as process:
        os.close(them)
        os.write(us, b"6\n\n9999x\n32\n10\n")  # digits, accuracy, no number, a batch size, epochs
        out, err = process.communicate(timeout=60)
        os.close(us)
    assert process.returncode == 0, err
    assert "What do you have?" in err
    assert "the answer must be a whole number ≥ 1 and ≤ 1000000000 but got 9999x" in err
    assert "tunecli search recipe.yaml" in out
    recipe = made(str(tmp_path / "recipe.yaml"))
    assert recipe["schedule"]["batch_size"] == 32
    assert recipe["schedule"]["epochs"] == 10


def test_script_that_takes_the_rate_alone_is_told_what_its_schedule_is(run: Run) -> None:
    command = "{python} mine.py --lr {learning_rate} --batch-size {batch_size}"
    done = run("init", "--kind", "script", "--command", command, "--yes")
    assert done.exit_code == 0, done.output
    assert "note: command[1] must be a script but there is no" in done.stderr  # it may come yet
    assert "hands over no learning rate" not in done.stderr
    assert "# advice only: your script's own schedule stays" in Path("recipe.yaml").read_text()
    done = run("validate", "recipe.yaml")
    assert done.exit_code == 3
    assert "recipe.yaml:" in done.stderr
    assert "there is no" in done.stderr
    Path("mine.py").touch()
    assert run("validate", "recipe.yaml").exit_code == 0
    done = run("init", "--kind", "script", "--command", "sh x.sh {schedule}", "--yes", "--force")
    assert "advice only" not in Path("recipe.yaml").read_text()
    assert done.stderr == ""


def test_command_without_a_rate_is_told_about(run: Run) -> None:
    note = "note: the command hands over no learning rate: the script must read TUNECLI_LEARNING"
    done = run("init", "--kind", "script", "--command", "sh x.sh", "--yes")
    assert note in done.stderr
    done = run("validate", "recipe.yaml", "--json")
    assert note in done.stderr
    assert json.loads(done.stdout)["recipe"]


def test_help_of_numbers_says_that_they_are_numbers(run: Run) -> None:
    lines = run("init", "--help").stdout.splitlines()
    for option in ("--batch-size", "--samples", "--steps", "--epochs"):
        (line,) = [each for each in lines if f" {option} " in each]
        assert " NUMBER " in line if option == "--epochs" else " N " in line, line
