"""A run is a folder: recipe, study, one folder per trial, result. One process at a time in it."""

import fcntl
import hashlib
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tunecli.errors import RunError
from tunecli.execution.files import aside_of, read_json, write_json, write_text

RunKind = Literal["search", "train", "compare", "stability"]


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run.

    Args:
        path: The folder. It holds `recipe.yaml` (resolved), `study.db` (Optuna), `trials/` and
            `final/` (a folder per trial: log, metrics, checkpoint, outcome), and at the end
            `result.json`, `schedule.yaml`, `learning_rate.png` and `report.html`.
    """

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def options(self) -> Path:
        """What kind of run it is, and what was asked for beside the recipe."""
        return self.path / "run.json"

    @property
    def exists(self) -> bool:
        """Whether there is a run in the folder."""
        return self.options.is_file() and self.recipe.is_file()

    def read_options(self) -> dict[str, Any]:
        """The options that the run was started with.

        Raises:
            RunError: The file cannot be read or is not a run's.
        """
        options = read_json(self.options)
        if not isinstance(options, dict) or not {"kind", "recipe_sha256"} <= options.keys():
            raise RunError(f"{self.options} was not written by this tunecli; start a new run")
        return options

    @property
    def resume_command(self) -> str:
        """What to type to go on with the run."""
        return f"tunecli {self.read_options()['kind']} --resume {shlex.quote(str(self.path))}"

    @property
    def study(self) -> Path:
        """The Optuna study, an SQLite database."""
        return self.path / "study.db"

    @property
    def result(self) -> Path:
        """What the run came to; its presence says that the run is finished."""
        return self.path / "result.json"

    @property
    def schedule(self) -> Path:
        """The derived schedule."""
        return self.path / "schedule.yaml"

    @property
    def plot(self) -> Path:
        """The metric against the learning rate."""
        return self.path / "learning_rate.png"

    @property
    def report(self) -> Path:
        """The result as a page that needs nothing but itself."""
        return self.path / "report.html"

    def trial(self, number: int) -> Path:
        """Folder of a trial of the search."""
        return self.path / "trials" / f"{number:04d}"

    def final(self, seed: int) -> Path:
        """Folder of the final training with one fresh seed."""
        return self.path / "final" / f"seed-{seed}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; the lock goes with the process, however that ends.

        Raises:
            RunError: Another process holds it, or the lock cannot be made.
        """
        try:
            lock = (self.path / "lock").open("w")
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunError(
                    f"{self.path} is in use by another tunecli; wait for it, or give this run "
                    "a folder of its own with --run"
                ) from error
            except OSError as error:
                raise RunError(
                    f"{self.path} cannot be locked: {error.strerror}; name a folder on a disk that "
                    "knows flock with --run"
                ) from error
            yield


def create_run(
    kind: RunKind,
    name: str,
    recipe_text: str,
    path: Path | None,
    options: dict[str, Any] | None = None,
) -> RunFolder:
    """Make the folder of a new run and write its recipe.

    Args:
        kind: What runs in it.
        name: The recipe's name, for a default of `runs/<name>-<date>-<time>`.
        recipe_text: The resolved recipe, as YAML.
        path: The folder, where the person chose one; it must be empty or not exist.
        options: What a resumed run must know beside the recipe: `device` and the like.

    Raises:
        RunError: The folder exists with something in it, or cannot be made.
    """
    try:
        if path is None:
            path = _fresh_folder(Path("runs"), f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
        else:
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"{path or 'runs'} cannot be made: {error.strerror}; name another folder with --run"
        ) from error
    run = RunFolder(path)
    _require_free(run)  # before the lock: no file is put into a folder that is not ours
    with run.locked():
        _require_free(run)
        write_text(run.recipe, recipe_text)
        known = {"kind": kind, "recipe_sha256": _hash(recipe_text), **(options or {})}
        write_json(run.options, known)  # last: now it is a run
    return run


def open_run(path: Path, kind: RunKind) -> RunFolder:
    """The run in an existing folder.

    Raises:
        RunError: There is no run in it, or one of another kind.
    """
    run = RunFolder(path)
    if not run.exists:
        what = "holds no run (recipe.yaml and run.json)" if path.is_dir() else "does not exist"
        raise RunError(f"{path} {what}; --resume takes the folder that a run printed")
    options = run.read_options()
    if options["kind"] != kind:
        raise RunError(
            f"{path} holds a {options['kind']}, not a {kind}; go on with: {run.resume_command}"
        )
    if _hash(run.recipe.read_text(encoding="utf-8")) != options["recipe_sha256"]:
        raise RunError(
            f"{run.recipe} was changed since the run began, so new trials would not be comparable; "
            "put it back, or start a new run with it"
        )
    return run


def _require_free(run: RunFolder) -> None:
    if run.exists:
        raise RunError(f"{run.path} already holds a run; go on with it: {run.resume_command}")
    remains = set()
    if (run.path / "lock").exists():  # left by a tunecli that was killed while it made the run
        files = (run.recipe, aside_of(run.recipe), aside_of(run.options))
        remains = {"lock", *(file.name for file in files)}
    if any(entry.name not in remains for entry in run.path.iterdir()):
        raise RunError(f"{run.path} is not empty; name a folder that is, or leave --run out")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _fresh_folder(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, 1000):
        path = parent / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"{parent / name}: too many runs within one second")
