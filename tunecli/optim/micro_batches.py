"""The gradient of a batch that does not fit the device, computed in pieces that do."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

# no public name covers all of them, SyncBatchNorm and the lazy ones included
from torch.nn.modules.batchnorm import _BatchNorm

from tunecli.errors import require, warn_once


def backward_in_micro_batches(
    model: nn.Module,
    loss: Callable[[Any, Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
    micro_batch_size: int,
) -> Tensor:
    """`loss(model(inputs), targets).backward()` in pieces that fit the device.

    The mean loss over b samples is Σ_j (n_j/b) L_j with L_j the mean over the n_j samples of piece
    j, so the sum of the pieces' weighted gradients is the batch's, for any n_j. b_i, T_i and α_i
    stay exactly what the schedule says. Like `backward`, it adds to `.grad`.

    Equal up to rounding, where samples do not depend on each other. They do

    - through batch norm in training mode, whose statistics are then the pieces'. A warning says
      so, once for the same layers; group norm or layer norm has no such problem;
    - through a loss whose mean is weighted by class, or leaves samples out (`ignore_index`): the
      pieces are weighted by their number of samples. `CrossEntropyLoss` with `weight` is warned
      of as well.

    Dropout draws other random numbers in pieces than at once: the same distribution, not the same
    bits. Under `DistributedDataParallel` gradients are exchanged with the last piece only.

    Args:
        model: The network.
        loss: From outputs and targets to the mean over the samples, one number.
        inputs: b samples, shape (b, …).
        targets: Their targets, shape (b, …).
        micro_batch_size: Samples per piece, ≥ 1; the last piece may be smaller.

    Returns:
        The batch's mean loss, detached.

    Raises:
        InvalidValueError: `micro_batch_size` is below 1, the batch is empty, inputs and targets
            differ in length, or the loss is no mean.

    >>> model, loss = nn.Linear(3, 2), nn.CrossEntropyLoss()
    >>> inputs, targets = torch.randn(10, 3), torch.randint(2, (10,))
    >>> mean = backward_in_micro_batches(model, loss, inputs, targets, micro_batch_size=4)
    >>> in_pieces = model.weight.grad.clone()
    >>> model.zero_grad()
    >>> loss(model(inputs), targets).backward()
    >>> torch.allclose(in_pieces, model.weight.grad, atol=1e-6)
    True
    """
    samples = len(inputs)
    require(micro_batch_size >= 1, "micro_batch_size", "≥ 1", micro_batch_size, "32, say")
    require(samples >= 1, "inputs", "at least one sample", "none")
    require(len(targets) == samples, "targets", f"as many as inputs ({samples})", len(targets))
    reduction = getattr(loss, "reduction", "mean")
    require(reduction == "mean", "reduction of the loss", "'mean'", repr(reduction))
    if micro_batch_size < samples:
        _warn_of_what_differs(model, loss)
    total = torch.zeros((), device=inputs.device)
    for start in range(0, samples, micro_batch_size):
        piece = slice(start, start + micro_batch_size)
        last = start + micro_batch_size >= samples
        with nullcontext() if last else _no_sync(model):
            mean = loss(model(inputs[piece]), targets[piece])
            require(mean.ndim == 0, "loss", "one number, the mean", f"shape {tuple(mean.shape)}")
            part = mean * (len(targets[piece]) / samples)
            part.backward()  # type: ignore[no-untyped-call]  # torch's own signature is untyped
        total = total + part.detach()
    return total


def batch_norm_layers(model: nn.Module) -> list[str]:
    """The names of the layers that normalize by the batch that they are shown.

    Those are the batch norm layers in training mode, and those without running statistics in any
    mode. What a model with such a layer learns depends on the size of a micro-batch.

    >>> model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    >>> batch_norm_layers(model), batch_norm_layers(model.eval())
    (['1'], [])
    """
    return [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None)
    ]


def _warn_of_what_differs(model: nn.Module, loss: object) -> None:
    because = []
    layers = batch_norm_layers(model)
    if layers:
        because.append(
            f"batch norm normalizes each micro-batch by itself ({', '.join(layers[:3])}"
            f"{', …' if len(layers) > 3 else ''}); use group norm or layer norm, or eval() those"
        )
    if isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) and loss.weight is not None:
        because.append("the loss is a mean weighted by class, and micro-batches differ in weight")
    if because:
        message = "micro-batches do not give the whole batch's gradient: " + "; and ".join(because)
        warn_once(message, message, stacklevel=3)  # the next trial's model has the same layers


def _no_sync(model: nn.Module) -> AbstractContextManager[None]:
    """Adds gradients up without exchanging them, for a model that would exchange them."""
    no_sync = getattr(model, "no_sync", None)
    return no_sync() if callable(no_sync) else nullcontext()
