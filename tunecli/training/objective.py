"""What a training minimizes, and what an evaluation measures: built from a recipe."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tunecli.errors import InvalidValueError
from tunecli.user_code import build_from, failed

if TYPE_CHECKING:
    from tunecli.recipe import Recipe

Loss = Callable[[Tensor, Tensor], Tensor]
MetricFunction = Callable[[Tensor, Tensor], Any]


def cross_entropy(logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy over samples, and over the positions of sequences.

    Args:
        logits: Shape (b, classes), or (b, positions, classes).
        targets: Classes of any integer type, shape (b,) or (b, positions).
        label_smoothing: Share of each target that is spread over all classes.

    Raises:
        InvalidValueError: The targets are floats, or not one per row of logits.
    """
    classes = _classes(logits, targets)
    return functional.cross_entropy(logits.flatten(0, -2), classes, label_smoothing=label_smoothing)


def cross_entropy_per_sample(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum over the samples of each one's cross-entropy, for sequences its mean over positions."""
    classes = _classes(logits, targets)
    total = functional.cross_entropy(logits.flatten(0, -2), classes, reduction="sum")
    return total / (targets.numel() // len(targets))


def _classes(logits: Tensor, targets: Tensor) -> Tensor:
    """Targets as torch's cross-entropy takes them: never floats cut off to classes."""
    if targets.is_floating_point() or targets.shape != logits.shape[:-1]:
        got = f"{str(targets.dtype).removeprefix('torch.')} of shape {tuple(targets.shape)}"
        raise InvalidValueError(
            f"targets for loss cross_entropy must be whole numbers of shape "
            f"{tuple(logits.shape[:-1])}, one class for each row of the model's outputs, but got "
            f"{got}; store classes as integers, or use loss mse for numbers"
        )
    return targets.flatten().long()


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error over samples and outputs.

    Raises:
        InvalidValueError: There are not as many targets as outputs, which would broadcast.
    """
    if outputs.numel() != targets.numel():
        raise InvalidValueError(
            f"targets must be as many as the model's outputs, {tuple(outputs.shape)}, but got "
            f"{tuple(targets.shape)}; change the width of the model's last layer"
        )
    return functional.mse_loss(outputs, targets.view_as(outputs).to(outputs.dtype))


@dataclass(frozen=True)
class Objective:
    """What is minimized and measured.

    Args:
        loss: From outputs and targets to the mean over the batch; what training minimizes.
        evaluation_loss: The same for an evaluation; without label smoothing.
        metrics: More metrics by name: from the outputs and targets of a split, on the CPU, to a
            number.
        weighted: Whether the loss is a mean weighted by class, which the mean of the means over
            pieces of a batch is not.
    """

    loss: Loss = cross_entropy
    evaluation_loss: Loss = cross_entropy
    metrics: Mapping[str, MetricFunction] = field(default_factory=dict)
    weighted: bool = False


def build_objective(recipe: "Recipe", device: torch.device | None = None) -> Objective:
    """The objective of a recipe; what it imports is imported and called here.

    Args:
        recipe: Its `loss` and `metrics`.
        device: Where the loss computes, if it is a module that has tensors; the CPU by default.

    Raises:
        InvalidValueError: An import cannot be found, or does not build what it should.
        UserCodeError: Its code raised an error.
    """
    metrics = {
        name: _named(f"metrics.{name}", build_from(f"metrics.{name}", section))
        for name, section in recipe.metrics.items()
        if section.import_ is not None
    }
    section = recipe.loss
    match section.name:
        case "import":
            built = build_from("loss", section)
            loss = _own_loss(built, device)
            weighted = isinstance(built, nn.CrossEntropyLoss | nn.NLLLoss)
            return Objective(loss, loss, metrics, weighted and built.weight is not None)
        case "mse":
            return Objective(mean_squared_error, mean_squared_error, metrics)
        case "cross_entropy":
            smoothed = section.label_smoothing
            loss = partial(cross_entropy, label_smoothing=smoothed) if smoothed else cross_entropy
            return Objective(loss, cross_entropy, metrics)


def accuracy_of(outputs: Tensor, targets: Tensor) -> Tensor | None:
    """Right answers among the targets, as a sum over the samples of each one's share.

    Returns:
        None where the outputs are not logits of the targets' classes.
    """
    if targets.is_floating_point() or outputs.shape[:-1] != targets.shape:
        return None
    right = (outputs.argmax(dim=-1) == targets).sum()
    return right / (targets.numel() // len(targets)) if targets.ndim > 1 else right


def _own_loss(built: Any, device: torch.device | None) -> Loss:
    """A person's loss, held to what a schedule supposes: one number, the mean over the batch."""
    reduction = getattr(built, "reduction", "mean")
    if reduction != "mean":
        raise InvalidValueError(
            f"loss must be the mean over the batch but got reduction {reduction!r}, with which the "
            "rate would depend on the batch size; write `args: {reduction: mean}`, or leave it out"
        )
    if isinstance(built, nn.Module):
        if any(parameter.requires_grad for parameter in built.parameters()):
            raise InvalidValueError(
                "loss must have no parameters of its own, which nothing would train, but got "
                f"{type(built).__name__} with some; make them part of the model"
            )
        built = built.to(device)
    function = _named("loss", built)

    def call(outputs: Tensor, targets: Tensor) -> Tensor:
        value = function(outputs, targets)
        if not isinstance(value, Tensor) or value.ndim:
            shape = f"one of shape {tuple(value.shape)}" if isinstance(value, Tensor) else "a"
            raise InvalidValueError(
                "loss must return one number, the mean over the batch, as a tensor but got "
                f"{shape} {type(value).__name__}; reduce it to its mean"
            )
        return value

    return call


def _named(what: str, built: Any) -> Callable[[Tensor, Tensor], Any]:
    """A person's function, whose errors say that it is theirs."""
    if not callable(built):
        raise InvalidValueError(
            f"{what} must build a function of (outputs, targets) but got {type(built).__name__}; "
            "name a class such as torch.nn:CrossEntropyLoss, or a function that returns one"
        )

    def call(outputs: Tensor, targets: Tensor) -> Any:
        try:
            return built(outputs, targets)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise failed(what, error) from error

    return call
