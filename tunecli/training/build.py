"""From a recipe to a trial that is ready to start."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tunecli.data.load import Splits
from tunecli.models.build import build_model
from tunecli.recipe import Recipe
from tunecli.schedule import Schedule
from tunecli.training.asynchronous.build import build_asynchronous
from tunecli.training.centralized import CentralizedTraining
from tunecli.training.trial import GivesUp, Trial

if TYPE_CHECKING:
    from tunecli.training.protocol import Training


def build_trial(
    recipe: Recipe,
    schedule: Schedule,
    *,
    seed: int,
    splits: Splits,
    device: torch.device,
    gives_up: GivesUp | None = None,
    log: Path | None = None,
) -> Trial:
    """A fresh trial: new weights, new optimizer, new order of the samples, all from `seed`.

    Args:
        recipe: What to train and how.
        schedule: α, β, ν and b at every update; see `recipe.trial_schedule`.
        seed: Seed of the initialization and of the batches, the same at every learning rate.
        splits: Must hold `train` and `validation`.
        device: Where to train.
        gives_up: See `Trial`.
        log: File for what worker processes print, of trainings that have some.
    """
    model = build_model(
        recipe.model, input_shape=splits.input_shape, num_classes=splits.num_classes, seed=seed
    )
    training: Training
    if recipe.training.algorithm == "asynchronous":
        training = build_asynchronous(
            recipe, model, splits["train"], schedule, seed=seed, device=device, log=log
        )
    else:
        training = CentralizedTraining(
            model,
            splits["train"],
            schedule,
            seed=seed,
            device=device,
            weight_decay=recipe.training.weight_decay,
            weight_decay_mode=recipe.training.weight_decay_mode,
            reset_momentum=recipe.training.reset_momentum,
        )
    return Trial(
        training,
        splits["validation"].to(device),
        evaluations=recipe.training.evaluations,
        divergence_factor=recipe.training.divergence_factor,
        gives_up=gives_up,
    )
