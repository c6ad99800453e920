"""A trained model as a minimum: its weights, its sharpness, and whether it is one at all."""

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tunecli.data.load import Split, load_splits
from tunecli.errors import RunError, require
from tunecli.models.build import build_model
from tunecli.recipe import Recipe, declared_delay
from tunecli.theory.delay import ConstantDelay
from tunecli.training.full_batch import FullBatchLoss
from tunecli.training.sharpness import Sharpness, sharpness

# What counts as near a minimum. A network that is right with 90 % confidence has a loss of 0.1;
# the experiment's nudge adds 1 % of the loss, so one step downhill must not be worth more.
_LARGE_LOSS, _LARGE_GAIN = 0.1, 0.01
_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Minimum:
    """A trained model, and how its training loss looks from there.

    Args:
        model: With its weights, on the device.
        split: The training samples.
        sharpest: The Hessian's largest eigenvalue a, and its direction.
        loss: Mean training loss, in evaluation mode.
        gradient_norm: Euclidean norm of its gradient.
    """

    model: nn.Module
    split: Split
    sharpest: Sharpness
    loss: float
    gradient_norm: float

    def to_dict(self, checkpoint: str) -> dict[str, Any]:
        """Plain data: `minimum` of what `tunecli stability` writes."""
        measured = asdict(self.sharpest)
        del measured["vector"]
        return {
            "checkpoint": checkpoint,
            "sharpness": measured,
            "loss": self.loss,
            "gradient_norm": self.gradient_norm,
            "training_samples": len(self.split),
        }

    def warnings(self, recipe: Recipe) -> list[str]:
        """What to keep in mind when the theory, which is about minima, is held against it."""
        found, value = [], self.sharpest.value
        if not self.sharpest.converged:
            found.append(
                f"the sharpness has not converged after {self.sharpest.iterations} products: it is "
                f"{value:.5g} or more, so the rates are upper limits; raise --max-iterations"
            )
        gain = self.gradient_norm**2 / (2 * value)
        if self.loss > _LARGE_LOSS:
            found.append(
                f"the training loss is {self.loss:.3g}, so this is hardly a minimum (below "
                f"{_LARGE_LOSS:g} is usual at one); train longer, with a larger schedule.epochs"
            )
        if gain > _LARGE_GAIN * self.loss:
            found.append(
                f"one step along the gradient would still take {100 * gain / self.loss:.2g} % of "
                "the training loss, so this is not a minimum yet; train longer, with a larger "
                "schedule.epochs"
            )
        if recipe.training.weight_decay > 0:
            found.append(
                f"the recipe's weight decay, {recipe.training.weight_decay:g}, is left out: the "
                "sharpness and the rates are those of the loss alone"
            )
        return found


def not_asked(recipe: Recipe, delays: Collection[object], momentum_kind: str) -> list[str]:
    """A warning where the rates are not those of the asynchronous training that a recipe states.

    Args:
        recipe: Of the model.
        delays: What was asked for: whole delays, or the description of a distribution, which is
            taken to be the recipe's.
        momentum_kind: What was asked for.
    """
    section = recipe.training.asynchronous
    if section is None:
        return []
    delay = declared_delay(section)
    if isinstance(delay, ConstantDelay):
        trained, asked = f"a delay of {delay.delay}", delay.delay in delays
    else:
        drawn = "measured" if delay is None else f"{delay.kind}, of mean {delay.mean:g}"
        trained = f"delays that vary ({drawn})"
        asked = any(not isinstance(each, int) for each in delays)
    if asked and momentum_kind == section.momentum_kind:
        return []
    warning = (
        f"the recipe trains with {trained} and momentum kind {section.momentum_kind}: the rates "
        "here are for other delays or another momentum; see --delay, --delay-histogram and "
        "--momentum-kind"
    )
    return [warning]


def measure_minimum(
    recipe: Recipe,
    weights: Path,
    *,
    device: torch.device,
    tolerance: float,
    max_iterations: int,
    on_progress: Callable[[int, float, float], None],
) -> Minimum:
    """Load a trained model and measure the sharpness of its training loss.

    Args:
        recipe: What it was trained with.
        weights: A `state_dict`, the `model.pt` of a training.
        device: Where to compute.
        tolerance: Of the sharpness, relative.
        max_iterations: Most Hessian-vector products.
        on_progress: See `sharpness`.

    Raises:
        RunError: The weights cannot be read, or are not of the recipe's model.
        InvalidValueError: The sharpness is not positive, or an argument is outside its range.
    """
    splits = load_splits(recipe.data, ("train",))
    model = build_model(
        recipe.model, input_shape=splits.input_shape, num_classes=splits.num_classes, seed=0
    )
    _load_weights(model.to(device), weights)
    split = splits.in_memory("train").to(device)
    found = sharpness(
        model,
        split,
        device=device,
        tolerance=tolerance,
        max_iterations=max_iterations,
        on_progress=on_progress,
    )
    training_loss = FullBatchLoss(model, split, device=device, batch_size=_BATCH)
    loss = training_loss.evaluate()
    norm = torch.linalg.vector_norm(training_loss.flat.gradient).item()
    require(
        found.value > 0,
        "the sharpness",
        "> 0",
        found.value,
        "this is no minimum; name a checkpoint that was trained to the end",
    )
    return Minimum(model, split, found, loss, norm)


def _load_weights(model: nn.Module, path: Path) -> None:
    try:
        weights = torch.load(path, weights_only=True, map_location="cpu")
        model.load_state_dict(weights)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}; check the path") from error
    except Exception as error:  # a damaged file makes torch raise almost anything
        raise RunError(
            f"{path} does not hold the weights of the model in {path.with_name('recipe.yaml')}; "
            "name a folder that `tunecli train` has left as it was"
        ) from error
