"""The training loss over all samples at once, batch by batch: what a minimum is a minimum of."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tunecli.data.load import Split
from tunecli.training.asynchronous.parameters import FlatParameters
from tunecli.training.objective import cross_entropy_per_sample


def batch_losses(
    model: nn.Module, split: Split, *, batch_size: int, like: Tensor
) -> Iterator[Tensor]:
    """The terms of f(θ) = (1/N) Σᵢ fᵢ(θ), fᵢ sample i's cross-entropy: one a batch, f their sum.

    Args:
        model: In the mode and on the device in which it is to compute.
        split: The N samples, anywhere.
        batch_size: Samples at a time, ≥ 1. It bounds the memory of one term.
        like: Inputs are brought to its dtype and device.
    """
    for start in range(0, len(split), batch_size):
        part = slice(start, start + batch_size)
        logits = model(as_floats_of(split.inputs[part], like))
        targets = split.targets[part].to(like.device)
        yield cross_entropy_per_sample(logits, targets) / len(split)


def as_floats_of(inputs: Tensor, like: Tensor) -> Tensor:
    """Inputs in the dtype and on the device of `like`; what is not a float stays what it is."""
    return inputs.to(like) if inputs.is_floating_point() else inputs.to(like.device)


class FullBatchLoss:
    """f(θ) and its gradient, as a function of a copied model's flat parameters.

    The copy is in evaluation mode: no dropout, batch-norm by its running statistics.

    Args:
        model: What is copied; its trainable parameters are θ.
        split: The N samples; they are kept on `device`, in the parameters' dtype.
        device: Where to compute.
        batch_size: Samples at a time; it bounds the memory, and changes f by rounding only.

    Raises:
        InvalidValueError: Nothing is trainable, or not all of one dtype.
    """

    def __init__(
        self, model: nn.Module, split: Split, *, device: torch.device, batch_size: int
    ) -> None:
        self.model = copy.deepcopy(model).to(device).eval()
        self.flat = FlatParameters(self.model)
        self.at_rest: Tensor | None = None  # the gradient that counts as none
        self._split = Split(as_floats_of(split.inputs, self.flat.values), split.targets.to(device))
        self._batch_size = batch_size

    def evaluate(self) -> float:
        """F at `flat.values`; its gradient is left in `flat.gradient`."""
        self.flat.zero_gradient()
        total = 0.0
        for loss in batch_losses(
            self.model, self._split, batch_size=self._batch_size, like=self.flat.values
        ):
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature is untyped
            total += loss.item()
        if self.at_rest is not None:
            self.flat.gradient.sub_(self.at_rest)
        return total

    def move(self, direction: Tensor, length: float) -> None:
        """Go `length` along a direction that lists the trainable parameters one after another."""
        parameters = [p.data for p in self.model.parameters() if p.requires_grad]
        parts = torch.split(direction.to(self.flat.values), [p.numel() for p in parameters])
        for p, part in zip(parameters, parts, strict=True):
            p.add_(part.view_as(p), alpha=length)
