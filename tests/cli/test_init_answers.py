"""What `tunecli init` says to answers that will not do, to somebody who is asked and to options."""

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.cli.conftest import Run

ROOT = Path(__file__).parents[2]


def talk(folder: Path, *answers: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit code and what was said to somebody who types these answers."""
    us, them = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "tunecli", "init", *options],
        stdin=them,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    ) as process:
        os.close(them)
        os.write(us, "".join(f"{answer}\n" for answer in answers).encode())
        _, err = process.communicate(timeout=60)
        os.close(us)
    return process.returncode, err


def made(folder: Path = Path()) -> Any:
    return yaml.safe_load((folder / "recipe.yaml").read_text("utf-8"))


def put_arrays(folder: Path) -> Path:
    random = np.random.default_rng(0)
    path = folder / "one.npz"
    np.savez(path, x=random.normal(size=(200, 7)), y=random.integers(0, 3, size=200))
    return path


def test_wrong_data_is_asked_for_again(tmp_path: Path) -> None:
    put_arrays(tmp_path)
    (tmp_path / "folder").mkdir()
    answers = ("npz", "nowhere.npz", "folder", "one.npz", "", "1000000000", "1", "32", "0.01", "")
    code, said = talk(tmp_path, *answers)
    assert code == 0, said
    assert "the answer must be a file or a folder that exists but got nowhere.npz" in said
    assert "the answer must be a .npz file but folder is a folder" in said.replace(
        f"{tmp_path}/", ""
    )
    assert "the answer must be ≤ 120, the size of the training set, but got 1000000000" in said
    assert "the answer will not do: batch size of stage 3 must be ≥ 1 but got 0.25" in said
    assert "the answer must be ≥ 0.8 (one update of the first stage" in said
    for word in ("--", "recipe.yaml:", "Errno", "data.path"):
        assert word not in said.replace("tunecli search", "")
    assert made(tmp_path)["schedule"]["batch_size"] == 32


def test_folder_without_pictures_is_asked_for_again(tmp_path: Path) -> None:
    put_arrays(tmp_path)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a", "utf-8")
    answers = ("texts", "one.npz", "nothing")  # and then they leave: end of the input
    code, said = talk(tmp_path, *answers, "\x04", options=("--kind", "images"))
    assert code != 0
    assert "What do you have?" not in said
    assert said.count("The folder:") == 4
    assert "must have a sub-folder for each of at least two classes" in said
    assert "the answer must be a folder of pictures but" in said
    assert "is a file; name the folder that has a folder for each class" in said
    assert "Errno" not in said


def test_unknown_placeholder_is_told_at_once(tmp_path: Path) -> None:
    answers = ("python train.py {rate}", "sh train.sh {schedule}", "", "", "", "")
    code, said = talk(tmp_path, *answers, options=("--kind", "script"))
    assert code == 0, said
    assert "the answer must use known placeholders" in said
    assert said.count("What trains") == 2
    assert said.count("Samples that") == 1


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("--kind", "npz", "--data", "folder"), "--data must be a .npz file but"),
        (("--kind", "images", "--data", "one.npz"), "--data must be a folder of pictures but"),
        (("--kind", "text", "--data", "one.npz"), "is binary (it has NUL bytes); arrays and"),
        (
            ("--kind", "text", "--data", "folder", "--pattern", "*.txt"),
            "--pattern must lead to text alone but",
        ),
        (("--kind", "text", "--data", "folder"), "--pattern must be given"),
        (
            ("--kind", "digits", "--data", "one.npz"),
            "--data belongs to the kinds npz, images, text and python; leave it out",
        ),
        (
            ("--kind", "npz", "--data", "one.npz", "--pattern", "*"),
            "--pattern belongs to the kind text with a folder; leave it out",
        ),
        (
            ("--kind", "npz", "--data", "one.npz", "--batch-size", "1000000000"),
            "--batch-size must be ≤ 120, the size of the training set, but got 1000000000",
        ),
        (
            ("--kind", "digits", "--epochs", "0.001"),
            "--epochs must be ≥ 0.1783 (one update of the first stage",
        ),
        (
            ("--kind", "python", "--model", "nets:build it"),
            "--model must be module:attribute or file.py:attribute but got nets:build it",
        ),
        (("--kind", "python", "--model", "nets:1x"), "--model must be"),
    ],
)
def test_option_that_will_not_do_is_named(run: Run, given: tuple[str, ...], sentence: str) -> None:
    put_arrays(Path())
    Path("folder").mkdir()
    Path("folder/a.txt").write_text("to be or not to be " * 50, "utf-8")
    Path("folder/b.txt").write_bytes(b"\0\1")
    done = run("init", *given, "--yes")
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr
    assert "recipe.yaml" not in done.stderr
    assert "Errno" not in done.stderr
    assert not Path("recipe.yaml").exists()


def test_text_among_other_files_is_chosen_by_a_pattern(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    (folder / "deep").mkdir(parents=True)
    put_arrays(folder)
    for name in ("a.txt", "deep/b.txt", "c.md"):
        (folder / name).write_text("to be or not to be " * 50, "utf-8")
    code, said = talk(tmp_path, "mixed", "*", "*.png", "", "", "", "", options=("--kind", "text"))
    assert code == 0, said
    assert "Which files are text, as **/*.txt [**/*.txt]:" in said
    assert "the answer must lead to text alone but" in said
    assert "has one.npz, which is binary" in said
    assert made(tmp_path)["data"]["pattern"] == "**/*.txt"
    given = ("--kind", "text", "--data", folder, "--pattern", "*.md", "--yes")
    assert run("init", "mine.yaml", *given).exit_code == 0
    line = '  pattern: "*.md"'
    assert line in Path("mine.yaml").read_text("utf-8")
    assert run("validate", "mine.yaml").exit_code == 0


def test_help_of_commands_fits_into_80_columns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = run("--help")
    commands = done.stdout.partition("Commands:")[2].splitlines()
    assert len(commands) > 10
    assert not any("..." in line or "…" in line for line in commands)
