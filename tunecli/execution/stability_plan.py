"""What a stability measurement is to measure, and whether the machine can."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from tunecli.data.load import load_splits
from tunecli.errors import RunError, require
from tunecli.execution.memory import free_memory
from tunecli.models.build import build_model
from tunecli.recipe import Recipe
from tunecli.theory.stability import MomentumKind

_SHARE = 0.5  # of the free memory, for the gradients on their way; the rest is for everything else


@dataclass(frozen=True, slots=True)
class StabilityPlan:
    """What is measured; kept in the run folder, so that a resumed run is the same one.

    Args:
        checkpoint: The trained weights.
        weights_sha256: Of that file, which must not change meanwhile.
        delays: The delays τ, ascending.
        momenta: Momenta m in [0, 1); 0 alone with momentum kind `none`.
        momentum_kind: Where the momentum buffer is.
        discount: QHM's ν.
        tolerance: Of the sharpness, relative.
        max_iterations: Most Hessian-vector products for it.
        updates_per_delay: Updates of one training, divided by τ+1.
        nudge: Loss that the nudge off the minimum adds, as a share of the minimum's.
        hold: Whether θ*'s own gradient is subtracted, so that nothing flattens on the way.
    """

    checkpoint: str
    weights_sha256: str
    delays: tuple[int, ...]
    momenta: tuple[float, ...]
    momentum_kind: MomentumKind
    discount: float
    tolerance: float
    max_iterations: int
    updates_per_delay: int
    nudge: float
    hold: bool

    @property
    def points(self) -> list[tuple[int, float]]:
        """Every (delay, momentum), the quick ones first."""
        return [(delay, momentum) for delay in self.delays for momentum in self.momenta]

    def updates(self, delay: int) -> int:
        """Updates of one training at a delay, if it stays to the end."""
        return self.updates_per_delay * (delay + 1)

    def require_memory(self, recipe: Recipe, device: torch.device) -> None:
        """Refuse delays whose gradients on their way, τ+1 at once, would not fit on a device.

        Args:
            recipe: Of the model, whose trainable parameters are counted.
            device: Where to train.

        Raises:
            InvalidValueError: They would take more than half of what is free.
        """
        found = load_splits(recipe.data, ())  # none of them, but what a model must know
        model = build_model(
            recipe.model, input_shape=found.input_shape, num_classes=found.num_classes, seed=0
        )
        one = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
        if self.momentum_kind == "shifted":
            one *= 2  # a momentum buffer goes with each
        delay, room = self.delays[-1], _SHARE * free_memory(device)
        fitting = int(room / one) - 1
        require(
            delay <= fitting,
            "delay",
            f"at most {max(fitting, 0):,} for this model on {device}",
            f"{delay:,}",
            f"its {delay + 1:,} gradients on their way need {_size((delay + 1) * one)}, more than "
            f"half of the {_size(room / _SHARE)} that are free: measure smaller delays, on which "
            "1/η is a straight line anyway",
        )


def hash_of(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        RunError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}; check the path") from error


def _size(count: float) -> str:
    return f"{count / 2**30:,.3g} GiB" if count >= 2**30 else f"{count / 2**20:,.3g} MiB"
