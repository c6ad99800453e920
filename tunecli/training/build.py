"""From a recipe to a trial that is ready to start."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tunecli.data.load import Splits
from tunecli.errors import InvalidValueError
from tunecli.models.build import build_model
from tunecli.optim import QHM
from tunecli.optim.micro_batches import batch_norm_layers
from tunecli.recipe import Recipe
from tunecli.schedule import Schedule
from tunecli.training.asynchronous.build import build_asynchronous
from tunecli.training.centralized import Augmentation, CentralizedTraining, MakeOptimizer
from tunecli.training.objective import build_objective
from tunecli.training.trial import GivesUp, Trial
from tunecli.user_code import build_from, failed

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

    Raises:
        InvalidValueError: The data do not fit the model, or an import does not build what it
            should.
        UserCodeError: A person's code raised an error.
    """
    if recipe.loss.name == "cross_entropy" and recipe.model.name != "import":
        _require_labels(splits)
    model = build_model(
        recipe.model, input_shape=splits.input_shape, num_classes=splits.num_classes, seed=seed
    )
    objective, section = build_objective(recipe, device), recipe.training
    training: Training
    if section.algorithm == "asynchronous":
        training = build_asynchronous(
            recipe, model, splits.in_memory("train"), schedule, seed=seed, device=device, log=log
        )
    else:
        training = CentralizedTraining(
            model,
            splits["train"],
            schedule,
            seed=seed,
            device=device,
            objective=objective,
            make_optimizer=_optimizer_of(recipe),
            augmentation=_augmentation_of(recipe),
            micro_batch_size=section.micro_batch_size,
            evaluation_batch_size=section.evaluation_batch_size,
            reset_momentum=section.reset_momentum,
        )
    return Trial(
        training,
        splits["validation"].to(device),
        evaluations=section.evaluations,
        divergence_factor=section.divergence_factor,
        gives_up=gives_up,
    )


def caveats(recipe: Recipe, splits: Splits) -> list[str]:
    """What a person should know of trainings that are not quite what the schedule says.

    Args:
        recipe: What is trained; its model and optimizer are built where they can matter.
        splits: What a named model must know of the data.

    Raises:
        InvalidValueError: An import does not build what it should, or an optimizer ignores lr.
        UserCodeError: Its code raised an error.
    """
    section, found = recipe.training, []
    if section.micro_batch_size is None and recipe.optimizer is None:
        return []
    model = build_model(
        recipe.model, input_shape=splits.input_shape, num_classes=splits.num_classes, seed=0
    )
    layers = batch_norm_layers(model)
    if section.micro_batch_size is not None and layers:
        found.append(
            f"batch norm ({', '.join(layers[:3])}{', …' if len(layers) > 3 else ''}) takes its "
            f"statistics over training.micro_batch_size ({section.micro_batch_size}) samples and "
            "not over the batch: not the same training; group norm or layer norm has no such limit"
        )
    if section.micro_batch_size is not None and build_objective(recipe).weighted:
        found.append(
            "the loss is a mean weighted by class, and the pieces of training.micro_batch_size are "
            "weighted by their number of samples: not quite the same training"
        )
    if recipe.optimizer is not None:
        trained = [p for p in model.parameters() if p.requires_grad]
        make = _optimizer_of(recipe)
        groups, others = make(trained, 1.0).param_groups, make(trained, 2.0).param_groups
        if [group["lr"] for group in groups] == [group["lr"] for group in others]:
            raise InvalidValueError(
                "optimizer must be made with the lr that it is given but has "
                f"{groups[0]['lr']:g} whatever is given; pass lr on"
            )
        if not all("momentum" in group and "discount" in group for group in groups):
            found.append(
                "of each stage the optimizer was given the learning rate alone: it has no momentum "
                "and discount of QHM's; the rate found is for this optimizer"
            )
    return found


def _require_labels(splits: Splits) -> None:
    """Every label must be one that a named model has an output for."""
    for name, split in splits.by_name.items():
        labels = split.classes()
        if labels is None or labels.ndim != 1:
            continue
        lowest, highest = int(labels.min()), int(labels.max())
        if not 0 <= lowest <= highest < splits.num_classes:
            wrong = lowest if lowest < 0 else highest
            raise InvalidValueError(
                f"the labels of the {name} split must be in 0 … {splits.num_classes - 1}, as those "
                f"of the training set are, but got {wrong}; set data.num_classes, or mend the data"
            )


def _optimizer_of(recipe: Recipe) -> MakeOptimizer:
    section = recipe.optimizer
    if section is None:
        return partial(
            QHM,
            weight_decay=recipe.training.weight_decay,
            weight_decay_mode=recipe.training.weight_decay_mode,
        )

    def make(parameters: list[nn.Parameter], learning_rate: float) -> Optimizer:
        if "lr" in section.args:
            raise InvalidValueError(
                "optimizer.args must not have lr, which is what is searched; remove it"
            )
        optimizer = build_from("optimizer", section, parameters, lr=learning_rate)
        if not isinstance(optimizer, Optimizer):
            raise InvalidValueError(
                "optimizer must build a torch.optim.Optimizer but got "
                f"{type(optimizer).__name__}; return one"
            )
        if not all("lr" in group for group in optimizer.param_groups):
            raise InvalidValueError(
                "optimizer must have an lr in every group of parameters, for the stages to set, "
                f"but {type(optimizer).__name__} has none; use one that has"
            )
        return optimizer

    return make


def _augmentation_of(recipe: Recipe) -> Augmentation | None:
    section = recipe.augmentation
    if section is None:
        return None
    augment = build_from("augmentation", section)
    if not callable(augment):
        raise InvalidValueError(
            f"augmentation must build a function of the inputs but got {type(augment).__name__}; "
            "return a function, or name a class such as torchvision.transforms.v2:RandomCrop"
        )

    def call(inputs: Tensor) -> Tensor:
        try:
            changed = augment(inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise failed("augmentation", error) from error
        if not isinstance(changed, Tensor) or len(changed) != len(inputs):
            raise InvalidValueError(
                "augmentation must return as many inputs as it got; a batch keeps its size"
            )
        return changed

    return call
