"""A model on one split: the same for every training algorithm."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tunecli.data.load import Split
from tunecli.training.protocol import Evaluation

_BATCH = 4096


@torch.no_grad()
def evaluate_model(model: nn.Module, split: Split, device: torch.device) -> Evaluation:
    """Mean cross-entropy and accuracy over `split`, in evaluation mode.

    Args:
        model: On `device`, in training mode; it is put back into it.
        split: Anywhere; read in parts.
        device: Where to compute.
    """
    model.eval()
    loss = torch.zeros((), dtype=torch.float64)
    correct = torch.zeros((), dtype=torch.float64)
    for start in range(0, len(split), _BATCH):
        part = slice(start, start + _BATCH)
        targets = split.targets[part].to(device)
        logits = model(split.inputs[part].to(device))
        loss += functional.cross_entropy(logits, targets, reduction="sum").cpu()
        correct += (logits.argmax(dim=1) == targets).sum().cpu()
    model.train()
    return Evaluation(loss=loss.item() / len(split), accuracy=correct.item() / len(split))


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A model's `state_dict`, each tensor copied to the CPU, in memory of its own."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
