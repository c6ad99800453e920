"""From a recipe to a script's trial that is ready to start."""

from pathlib import Path

import torch

from tunecli.recipe import Recipe
from tunecli.schedule import Schedule
from tunecli.training.script.trial import ScriptTrial
from tunecli.training.trial import GivesUp


def build_script_trial(
    recipe: Recipe,
    schedule: Schedule,
    *,
    folder: Path,
    seed: int,
    phase: str,
    device: torch.device,
    gives_up: GivesUp | None = None,
) -> ScriptTrial:
    """A fresh trial of the script of a recipe's `command`.

    Args:
        recipe: Has a command.
        schedule: What the script is handed.
        folder: The trial's.
        seed: The trial's.
        phase: `search`, or `final`, in which the script may tell of its test set.
        device: What the script is told to use.
        gives_up: See `ScriptTrial`.
    """
    assert recipe.command is not None
    assert recipe.script is not None  # the grammar fills it in
    return ScriptTrial(
        recipe.command,
        recipe.script,
        schedule,
        folder=folder,
        seed=seed,
        phase=phase,
        device=str(device),
        metric=recipe.search.metric,
        weight_decay=recipe.training.weight_decay,
        divergence_factor=recipe.training.divergence_factor,
        gives_up=gives_up,
    )
