"""What an export says about a run: who it is, its schedule, and what to know before using it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from tunecli.errors import InvalidValueError, RunError
from tunecli.execution.files import RESULT_FORMAT, read_json
from tunecli.execution.run_folder import RunFolder
from tunecli.recipe import Recipe, load_recipe
from tunecli.report.plain import mapping, number
from tunecli.schedule import Schedule

_KINDS = ("search", "train")


@dataclass(frozen=True)
class ExportedRun:
    """A finished run, as far as others need it.

    Args:
        identity: Plain data that name the run: folder, recipe, hash of the recipe, versions, α₁.
        schedule: The stages that were trained.
        weight_decay: λ.
        weight_decay_mode: `coupled` or `decoupled`.
        reset_momentum: Whether the momentum buffer was reset at the start of each stage.
        optimizer: The recipe's own optimizer, as it is written there; None for QHM.
        notes: Sentences that a person must read, made of our words and numbers alone.
        advice: Whether nobody has trained with the schedule: a script took α₁ alone.
    """

    identity: dict[str, Any]
    schedule: Schedule
    weight_decay: float
    weight_decay_mode: str
    reset_momentum: bool
    optimizer: dict[str, Any] | None
    notes: tuple[str, ...]
    advice: bool = False


def read_run(path: Path, version: str) -> ExportedRun:
    """Read a finished search or training.

    Args:
        path: Its folder.
        version: Of the tunecli that exports.

    Raises:
        RunError: The folder holds no such run, or the run has no schedule to give.
        RecipeError: The run's recipe is not valid for this tunecli.
    """
    run, kind = _open(path)
    result = read_json(run.result)
    if not isinstance(result, dict) or result.get("format") != RESULT_FORMAT:
        raise RunError(f"{run.result} was not written by this tunecli; start a new run")
    schedule = _schedule(result, run)
    content, recipe = _recipe(run)
    optimizer = recipe.optimizer
    return ExportedRun(
        identity={
            "run": path.resolve().name,
            "kind": kind,
            "recipe": recipe.name,
            "recipe_sha256": sha256(content).hexdigest(),
            "learning_rate": result["learning_rate"],
            "finished": _when(run.result),
            "tunecli": mapping(result.get("environment")).get("tunecli"),
            "exported_by": version,
        },
        schedule=schedule,
        weight_decay=recipe.training.weight_decay,
        weight_decay_mode=recipe.training.weight_decay_mode,
        reset_momentum=recipe.training.reset_momentum,
        optimizer=None if optimizer is None else optimizer.model_dump(mode="json", by_alias=True),
        notes=tuple(_notes(result, recipe)),
        advice=recipe.schedule_is_advice,
    )


def _open(path: Path) -> tuple[RunFolder, str]:
    run = RunFolder(path)
    if not run.exists:
        what = "holds no run (recipe.yaml and run.json)" if path.is_dir() else "does not exist"
        raise RunError(f"{path} {what}; RUN is the folder that a search or a training printed")
    kind = str(run.read_options()["kind"])
    if kind not in _KINDS:
        raise RunError(
            f"{path} holds a {kind}, which finds no schedule; export a search or a training"
        )
    if not run.result.is_file():
        raise RunError(f"{path} is not finished; go on with: {run.resume_command}")
    return run, kind


def _recipe(run: RunFolder) -> tuple[bytes, Recipe]:
    try:
        content = run.recipe.read_bytes()
    except OSError as error:
        raise RunError(f"{run.recipe} cannot be read: {error.strerror}") from error
    if sha256(content).hexdigest() != run.read_options()["recipe_sha256"]:
        raise RunError(
            f"{run.recipe} was changed since the run began, so it no longer says what was trained; "
            "put it back"
        )
    return content, load_recipe(run.recipe, content=content)


def _schedule(result: dict[str, Any], run: RunFolder) -> Schedule:
    if result.get("state") == "diverged" or result.get("exit_code") == 5:
        raise RunError(
            f"{run.path} has nothing to export: training diverged; take a smaller learning rate"
        )
    stages = result.get("schedule")
    if not stages or result.get("exit_code") == 1 or number(result.get("learning_rate")) is None:
        raise RunError(
            f"{run.path} has nothing to export: no learning rate learned anything; "
            "its report.html says what was tried"
        )
    try:
        return Schedule.from_list(stages)
    except (TypeError, InvalidValueError) as error:
        raise RunError(f"{run.result} holds no schedule ({error}); was it edited?") from None


def _when(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _notes(result: dict[str, Any], recipe: Recipe) -> Iterator[str]:
    if result.get("exit_code") == 4:
        yield (
            "The learning rate lies at the edge of what was searched; a better one may lie beyond "
            "it."
        )
    if recipe.optimizer is not None:
        yield (
            "The run trained with an optimizer of its own. If that has no momentum and discount "
            "as QHM has, it was given of each stage the learning rate and the batch size alone."
        )
    if recipe.command is not None:
        assert recipe.script is not None  # the grammar fills it in
        if recipe.schedule_is_advice:
            yield (
                "The script that was tuned took the learning rate alone. The stages are advice: "
                "they follow from the rate, but nobody has trained with them."
            )
            yield _of_damping(recipe.schedule.momentum, undamped=recipe.script.undamped)
        else:
            yield (
                "A script was tuned, and was handed the stages. Which optimizer it has, and "
                "whether with the weight decay below, is its own."
            )
    facts = mapping(result.get("asynchronous"))
    if facts:
        yield from _delay_notes(facts, number(result.get("learning_rate")))


def _of_damping(momentum: float, *, undamped: bool) -> str:
    if undamped:
        return (
            f"The script's rate was that of an undamped momentum, so the rates below are larger, "
            f"by 1 / (1 - {momentum!r}): the optimizer here damps."
        )
    return (
        f"The rates below are for damped momentum. If the script's rate was that of "
        f"torch.optim.SGD with momentum {momentum!r}, which does not damp, divide every rate "
        f"below by 1 - {momentum!r}."
    )


def _delay_notes(facts: dict[str, Any], rate: float | None) -> Iterator[str]:
    mean = number(mapping(facts.get("delay")).get("mean"))
    delay = "" if mean is None else f" (mean delay {mean:.4g} updates)"
    factor = number(mapping(facts.get("scaling")).get("factor"))
    if factor is None:
        yield (
            f"The run trained with gradients that are late{delay}, and scaled every update by its "
            "own delay. The rates below are those without delay; nothing here scales them, so they "
            "are for training without delay."
        )
    else:
        yield (
            f"The run trained with gradients that are late{delay}. The rates below are scaled for "
            f"that, by {factor!r}, and are for training under such a delay. For training without "
            f"delay divide every learning rate by {factor!r}; the first is {rate!r} then."
        )
    kind = facts.get("momentum_kind")
    if kind == "none":
        yield "Under the delay it trained without momentum, so β and ν are 0."
    elif kind == "shifted":
        yield (
            "Every worker had a momentum buffer of its own (shifted momentum). The optimizer here "
            "has one buffer, which under delay is not the same."
        )
