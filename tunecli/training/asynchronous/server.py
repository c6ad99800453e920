"""The parameter server of asynchronous SGD: gradients in, updates applied, delays measured."""

from collections.abc import Callable
from typing import Any, get_args

import torch
from torch import Tensor, nn

from tunecli.errors import require
from tunecli.optim import QHM
from tunecli.optim.qhm import WeightDecayMode
from tunecli.schedule import Stage
from tunecli.theory.stability import MomentumKind
from tunecli.training.asynchronous.messages import Gradient
from tunecli.training.asynchronous.record import DelayRecord


class RefusedGradientError(Exception):
    """A gradient that was not applied; the message says why."""


class ParameterServer:
    """The parameters, and QHM with gradients g that were computed τ updates ago.

    With θ_t after t updates and g = ∇f(θ_{t−τ}), τ the delay of this one gradient::

        none       θ_{t+1} = θ_t − α g                                          (STAB Eq. 2)
        standard   d_{t+1} = β d_t + (1 − β) g                                  (STAB Eq. 9)
        shifted    d_{t+1} = β d_{t−τ} + (1 − β) g                              (STAB Eq. 10)
                   θ_{t+1} = θ_t − α [(1 − ν) g + ν d_{t+1}]                    (the last two)

    ν = 1 is STAB's. `standard` has one buffer d, `shifted` one per worker: a worker that reads the
    parameters when its last update has been applied finds θ_{t−τ} just moved along its own d. One
    that reads them otherwise (it is new, or its last gradient was refused) finds them moved along
    another's d, and takes that: see `hand_out`.
    `none` ignores the stage's β and ν. Weight decay is taken from the present parameters, not from
    those that the gradient was computed at.

    Differs from STAB Eqs. 9, 10, which keep η in the velocity: here it is outside, so a rate that
    changes from stage to stage acts at once. At a constant rate both are the same.

    Args:
        parameters: θ_0, flat; they are changed in place.
        num_workers: ≥ 1.
        momentum_kind: `none`, `standard` or `shifted`.
        weight_decay: λ ≥ 0.
        weight_decay_mode: `coupled` (λθ_t is added to the gradient) or `decoupled`.
        staleness_factor: The factor of the rate of an update with the given delay; None is 1.

    Raises:
        InvalidValueError: `num_workers` is below 1, `momentum_kind` is another, or the weight decay
            is outside its range.
    """

    def __init__(
        self,
        parameters: Tensor,
        *,
        num_workers: int,
        momentum_kind: MomentumKind = "none",
        weight_decay: float = 0.0,
        weight_decay_mode: WeightDecayMode = "coupled",
        staleness_factor: Callable[[int], float] | None = None,
    ) -> None:
        require(num_workers >= 1, "num_workers", "≥ 1", num_workers)
        kinds = get_args(MomentumKind)
        require(momentum_kind in kinds, "momentum_kind", " or ".join(kinds), momentum_kind)
        self.version = 0
        self.momentum_kind = momentum_kind
        self.record = DelayRecord(num_workers)
        self.values = parameters  # θ at `version`, flat
        self._parameters = nn.Parameter(parameters)  # the same numbers, for the optimizer
        self._staleness_factor = staleness_factor
        self._velocities: dict[int, Tensor] = {}  # by worker; `standard` has the one of "worker" 0
        self._latest: int | None = None  # whose gradient the last update was
        self._refused_in_a_row = 0
        self._optimizer = QHM(
            [self._parameters],
            0.0,
            weight_decay=weight_decay,
            weight_decay_mode=weight_decay_mode,
        )

    def keep_values(self, spare: Tensor | None = None) -> Tensor:
        """Hand out θ as it is, for good: the next update changes a copy.

        Args:
            spare: A tensor that nobody reads any more, to take the copy.
        """
        kept = self.values
        self.values = kept.clone() if spare is None else spare.copy_(kept)
        self._parameters.data = self.values
        return kept

    @property
    def past_saving(self) -> bool:
        """Whether max(3, 2N) gradients in a row were refused: what is not finite came to stay.

        One bad batch is not that, and neither are those of all N workers at one bad version.
        """
        return self._refused_in_a_row >= max(3, 2 * len(self.record.workers))

    def hand_out(self, worker: int) -> None:
        """Tell that a worker reads θ as it is now: with `shifted`, d_{t−τ} is what moved it here.

        Where the last update was the worker's own, it has that d. Where it was not (the worker is
        new, all of them are after a resume, or its gradient was refused), a d of its own would be
        older than θ_{t−τ}, which Eq. 10 does not mean, and d = 0 would be that of θ_0 alone.
        """
        latest = self._latest
        if self.momentum_kind == "shifted" and latest is not None and latest != worker:
            self._velocity(worker).copy_(self._velocity(latest))

    def apply(self, gradient: Gradient, stage: Stage, *, velocity: Tensor | None = None) -> int:
        """One update.

        Args:
            gradient: g, with the version it was computed at.
            stage: α, β and ν of this update.
            velocity: With `shifted`, d_{t−τ} where it is not the worker's own; it is changed in
                place to d_{t+1}.

        Returns:
            The delay τ = `self.version` − `gradient.version` from before the update.

        Raises:
            RefusedGradientError: See `check`.
        """
        self.check(gradient)
        return self.update(gradient, stage, velocity=velocity)

    def check(self, gradient: Gradient) -> None:
        """Count and refuse a gradient that cannot be applied.

        Raises:
            RefusedGradientError: The gradient is not finite, of another shape, dtype or device
                than the parameters, or names a worker or a version that does not exist. Nothing
                but the count of refusals has changed.
        """
        reason = self._objection(gradient)
        if reason:
            self.record.refused += 1
            self._refused_in_a_row += 1
            raise RefusedGradientError(reason)

    def update(self, gradient: Gradient, stage: Stage, *, velocity: Tensor | None = None) -> int:
        """`apply` a gradient that `check` has let pass."""
        delay = self.version - gradient.version
        (group,) = self._optimizer.param_groups
        group["lr"] = stage.learning_rate
        if self._staleness_factor is not None:
            group["lr"] *= self._staleness_factor(delay)
        if self.momentum_kind == "none":
            group["momentum"] = group["discount"] = 0.0
        else:
            group["momentum"], group["discount"] = stage.momentum, stage.discount
            if velocity is None:
                velocity = self._velocity(gradient.worker)
            self._optimizer.state[self._parameters]["momentum_buffer"] = velocity
        self._parameters.grad = gradient.values
        self._optimizer.step()
        self._parameters.grad = None
        self.version += 1
        self._latest, self._refused_in_a_row = gradient.worker, 0
        self.record.applied(gradient.worker, delay)
        return delay

    def reset_momentum(self) -> None:
        """Zero all velocities, d ← 0."""
        for velocity in self._velocities.values():
            velocity.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Parameters, velocities, version and record."""
        return {
            "values": self.values,
            "velocities": dict(self._velocities),
            "version": self.version,
            "latest": self._latest,
            "refused_in_a_row": self._refused_in_a_row,
            "record": self.record.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken, from any device; θ is changed in place."""
        self.values.copy_(state["values"])
        self._velocities = {
            worker: torch.empty_like(self.values).copy_(velocity)
            for worker, velocity in state["velocities"].items()
        }
        self.version = state["version"]
        self._latest = state.get("latest")
        self._refused_in_a_row = state.get("refused_in_a_row", 0)
        self.record.load_state_dict(state["record"])

    def _velocity(self, worker: int) -> Tensor:
        key = worker if self.momentum_kind == "shifted" else 0
        if key not in self._velocities:
            self._velocities[key] = torch.zeros_like(self.values)
        return self._velocities[key]

    def _objection(self, gradient: Gradient) -> str:
        """Why a gradient cannot be applied; empty if it can."""
        values, own = gradient.values, self.values
        if not 0 <= gradient.worker < len(self.record.workers):
            return f"there is no worker {gradient.worker}"
        if not 0 <= gradient.version <= self.version:
            return f"it is for version {gradient.version}, the server is at {self.version}"
        if (values.shape, values.dtype, values.device) != (own.shape, own.dtype, own.device):
            return f"it is {_described(values)}, the parameters are {_described(own)}"
        # A sum is one fast pass, and finite only if every term is. Finite terms can overflow in
        # it, so the slow pass (30 times as long on a CPU) has the last word.
        if not (values.sum().isfinite() or values.isfinite().all()):
            return "it is not finite"
        return ""


def _described(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)} on {tensor.device}"
