"""A model on one split: the same for every training algorithm."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from tunecli.data.dataset import AnySplit, DatasetSplit
from tunecli.errors import InvalidValueError
from tunecli.training.objective import Objective, accuracy_of
from tunecli.training.protocol import Evaluation

_MOST_SAMPLES = 4096
_MOST_NUMBERS = 2**22  # of the inputs at once, or of the logits of a sequence of bytes
_LOGITS = 256


@torch.no_grad()
def evaluate_model(
    model: nn.Module,
    split: AnySplit,
    device: torch.device,
    objective: Objective | None = None,
    *,
    batch_size: int | None = None,
) -> Evaluation:
    """Mean loss, accuracy and further metrics over `split`, in evaluation mode.

    Args:
        model: On `device`; it and its layers are left in the modes that they were in.
        split: Anywhere; read in parts.
        device: Where to compute.
        objective: What to measure; cross-entropy and accuracy if left out.
        batch_size: Samples at once; by default what their size suggests.

    Raises:
        InvalidValueError: The model returns something else than a tensor, or a metric something
            else than a number.
        UserCodeError: A loss or a metric that is a person's own raised an error.
    """
    objective = objective or Objective()
    modes = [(layer, layer.training) for layer in model.modules()]
    model.eval()
    loss = torch.zeros((), dtype=torch.float64)
    correct: Tensor | None = torch.zeros((), dtype=torch.float64)
    kept: list[tuple[Tensor, Tensor]] = []
    parts = _parts(len(split), batch_size or suggested_batch_size(split))
    for part, targets in split.batches(parts):
        there = targets.to(device)
        outputs = model(part.to(device))
        if not isinstance(outputs, Tensor):
            raise InvalidValueError(
                f"the model must return a tensor but got {type(outputs).__name__}; return the one "
                "that the loss takes"
            )
        mean = objective.evaluation_loss(outputs, there)
        loss += mean.double().cpu() * len(targets)
        right = accuracy_of(outputs, there)
        correct = None if correct is None or right is None else correct + right.cpu()
        if objective.metrics:
            kept.append((outputs.cpu(), targets.cpu()))
    for layer, mode in modes:  # not model.train(): a person may have put layers into eval mode
        layer.training = mode
    mean_loss = loss.item() / len(split)
    return Evaluation(
        loss=mean_loss,
        accuracy=None if correct is None else correct.item() / len(split),
        # of outputs that are not numbers a person's metric may make an error
        metrics=_measure(objective, kept) if math.isfinite(mean_loss) else {},
    )


def suggested_batch_size(split: AnySplit) -> int:
    """Samples that an evaluation can take at once without filling the memory."""
    # one sample is no work for processes
    alone = replace(split, workers=0) if isinstance(split, DatasetSplit) else split
    ((inputs, _),) = alone.batches([torch.arange(1)])
    numbers = inputs.numel() * (1 if inputs.is_floating_point() else _LOGITS)
    return max(1, min(_MOST_SAMPLES, _MOST_NUMBERS // numbers))


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A model's `state_dict`, each tensor copied to the CPU, in memory of its own."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _parts(samples: int, size: int) -> Iterator[Tensor]:
    return (torch.arange(start, min(start + size, samples)) for start in range(0, samples, size))


def _measure(objective: Objective, kept: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    if not objective.metrics:
        return {}
    outputs, targets = (torch.cat(each) for each in zip(*kept, strict=True))
    return {
        name: _number(name, function(outputs, targets))
        for name, function in objective.metrics.items()
    }


def _number(name: str, value: object) -> float:
    try:
        if not isinstance(value, str):  # float() would read one
            return float(value)  # type: ignore[arg-type]  # whatever a person's function returns
    except (TypeError, ValueError, RuntimeError):
        pass
    raise InvalidValueError(
        f"metrics.{name} must return a number but got {_shown(value)}; reduce it to one"
    )


def _shown(value: object) -> str:
    shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
    return f"a {type(value).__name__}{shape}"
