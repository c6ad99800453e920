"""Asynchronous SGD in one process: every gradient is computed at parameters of a chosen age."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tunecli.data.load import AnySplit, Split
from tunecli.errors import require
from tunecli.optim.qhm import WeightDecayMode
from tunecli.schedule import Schedule
from tunecli.theory.stability import MomentumKind
from tunecli.training.asynchronous.delivery import Delivery
from tunecli.training.asynchronous.messages import Gradient
from tunecli.training.asynchronous.parameters import FlatParameters
from tunecli.training.asynchronous.server import ParameterServer, RefusedGradientError
from tunecli.training.batches import BatchSizes, BatchStream
from tunecli.training.evaluate import evaluate_model, weights_of
from tunecli.training.objective import cross_entropy
from tunecli.training.protocol import Evaluation
from tunecli.training.random_state import random_state, restore_random_state


class SimulatedTraining:
    """Minimize cross-entropy by SGD with delayed gradients, STAB's Eqs. 2, 9 or 10.

    Turn t applies the gradient of batch t at the parameters that turn `read[t]` found, see
    `Delivery` and `ParameterServer`. Without delay and with momentum kind `standard` it is
    `CentralizedTraining`, bit for bit. At one seed every delay sees the same samples in the same
    order; α, β, ν and b are those of the turn, for the gradient and for its update alike.

    The gradient is computed when its turn comes, not when its parameters are read. That is the same
    as long as nothing else of the model changes in between, so it costs one batch in memory instead
    of one per worker, and per update no more than centralized training but a copy of the
    parameters. Versions are kept while a later turn reads them, and no longer.

    A gradient that the server refuses uses up its batch, which leaves no trace in the buffers: the
    turn's gradient is computed again, at the same parameters, with the next batch, so a turn is an
    update and its delay that of the delivery. When batch after batch is refused, the parameters are
    past saving (see `ParameterServer.past_saving`): from there on `step` returns NaN and changes
    nothing, and the trial finds that it diverged. `batch_sizes` counts what was applied.

    Differs from STAB's experiments, where every worker has running statistics of batch
    normalization of its own: here the buffers of the model are common to all workers, as every
    batch updates them in its turn, and those are the statistics that are evaluated. Differs from
    `CentralizedTraining` in parameters that the loss does not depend on: their gradient is 0 here,
    so weight decay acts on them.

    Args:
        model: The network, already initialized; it is moved to `device`, and its parameters
            become views of one tensor.
        train: Training samples; they are kept on `device`.
        schedule: α, β, ν and b at every turn; α is used as it is, scaled for the delay already.
        delivery: Which turn's parameters each turn reads, as long as the schedule.
        seed: Seed of the order of the samples and of what the model draws (dropout).
        device: Where to train.
        momentum_kind: `none`, `standard` or `shifted`.
        weight_decay: λ ≥ 0.
        weight_decay_mode: `coupled` (λθ is added to the gradient) or `decoupled`.
        reset_momentum: Set every velocity to zero at the start of each stage.
        staleness_factor: The factor of the rate of an update with the given delay; None is 1.

    Raises:
        InvalidValueError: The delivery is of another length than the schedule, or the model or a
            value cannot be used (see `FlatParameters`, `ParameterServer`).
    """

    def __init__(
        self,
        model: nn.Module,
        train: Split,
        schedule: Schedule,
        delivery: Delivery,
        *,
        seed: int,
        device: torch.device,
        momentum_kind: MomentumKind = "none",
        weight_decay: float = 0.0,
        weight_decay_mode: WeightDecayMode = "coupled",
        reset_momentum: bool = False,
        staleness_factor: Callable[[int], float] | None = None,
    ) -> None:
        turns = schedule.total_steps
        require(len(delivery) == turns, "delivery", f"of {turns} turns", len(delivery))
        self.model = model.to(device)
        self.schedule = schedule
        self.delivery = delivery
        self.steps = 0  # turns: updates, and those passed over when they were past saving
        self._device = device
        self._train = train.to(device)
        self._reset_momentum = reset_momentum
        self._batches = BatchStream(len(train), seed=seed, device=device)
        self._seen = BatchSizes()
        self._flat = FlatParameters(self.model)
        self._buffers = list(self.model.buffers())
        self._buffers_before = [buffer.clone() for buffer in self._buffers]  # the batch
        self.server = ParameterServer(
            self._flat.values,
            num_workers=delivery.num_workers,
            momentum_kind=momentum_kind,
            weight_decay=weight_decay,
            weight_decay_mode=weight_decay_mode,
            staleness_factor=staleness_factor,
        )
        self._kept: dict[int, _Version] = {}  # by turn: what it found, while a later turn reads it
        self._velocity: Tensor | None = None
        if momentum_kind == "shifted" and delivery.worker is None:
            self._velocity = torch.zeros_like(self._flat.values)  # d of the present version
        self._refusals: Counter[str] = Counter()  # by reason, since the last notes
        torch.manual_seed(seed)

    @property
    def total_steps(self) -> int:
        """Turns of the whole schedule."""
        return self.schedule.total_steps

    @property
    def samples(self) -> int:
        """Samples drawn so far."""
        return self._batches.position

    @property
    def batch_sizes(self) -> tuple[tuple[int, int], ...]:
        """The batches of the updates, read off the model's inputs, as (batch size, updates)."""
        return self._seen.runs

    def step(self) -> Tensor:
        """One turn; returns the mean loss of its batch where its gradient was computed, detached.

        Between two turns the model has the server's parameters.
        """
        turn = self.steps
        stage = self.schedule.stage_at(turn)
        if self._reset_momentum and turn in self.schedule.ends:
            self._forget_momentum()
        read = int(self.delivery.read[turn])
        version = self._kept[read] if read < turn else self._present()
        self._flat.point_at(version.values)
        gradient = self._usable_gradient(turn, read, stage.batch_size)
        velocity = self._keep(turn, read, version)
        if gradient is not None:
            self.server.update(gradient, stage, velocity=velocity)
            self._velocity = velocity
            self._seen.add(gradient.batch_size)
        self._flat.point_at(self.server.values)
        self.steps += 1
        if gradient is None:
            return torch.full_like(self.server.values[0], math.nan)
        return torch.as_tensor(gradient.loss)

    def evaluate(self, split: AnySplit) -> Evaluation:
        """Mean cross-entropy and accuracy of the server's parameters, in evaluation mode."""
        return evaluate_model(self.model, split, self._device)

    def weights(self) -> dict[str, Tensor]:
        """The model's `state_dict`, copied to the CPU."""
        return weights_of(self.model)

    def measurements(self) -> dict[str, Any]:
        """Delays of the updates so far, updates per worker, refused gradients, batch norm.

        `workers` is empty where delays are drawn, `batch_norm` null without floating buffers.
        """
        buffers = any(buffer.is_floating_point() for buffer in self.model.buffers())
        measured = self.server.record.measurements(batch_norm="common" if buffers else None)
        return measured if self.delivery.worker is not None else {**measured, "workers": []}

    def take_notes(self) -> list[str]:
        """Gradients refused since the last call."""
        refusals, self._refusals = self._refusals, Counter()
        return [
            f"refused {count} gradient{'s' * (count > 1)} by update {self.steps}: {reason}"
            for reason, count in refusals.items()
        ]

    def close(self) -> None:
        """Nothing runs beside this training."""

    def state_dict(self) -> dict[str, Any]:
        """Model, server, kept versions, position in the data, record and random state."""
        return {
            "model": self.model.state_dict(),
            "server": self.server.state_dict(),
            "kept": {turn: {"values": one.values} for turn, one in self._kept.items()},
            "velocities": {
                turn: one.velocity
                for turn, one in {**self._kept, self.steps: self._present()}.items()
                if one.velocity is not None
            },
            "steps": self.steps,
            "position": self._batches.position,
            "seen": self._seen.to_list(),
            **random_state(self._device),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken."""
        self.model.load_state_dict(state["model"])
        self.server.load_state_dict(state["server"])
        velocities = {turn: self._copied(one) for turn, one in state["velocities"].items()}
        self._kept = {
            turn: _Version(self._copied(one["values"]), velocities.get(turn))
            for turn, one in state["kept"].items()
        }
        self.steps = state["steps"]
        self._velocity = velocities.get(self.steps)
        self._batches.position = state["position"]
        self._seen = BatchSizes(state["seen"])
        restore_random_state(state, self._device)

    def _usable_gradient(self, turn: int, read: int, batch_size: int) -> Gradient | None:
        """A turn's gradient, where the model points; None if the parameters are past saving."""
        worker = 0 if self.delivery.worker is None else int(self.delivery.worker[turn])
        while not self.server.past_saving:
            _copy_all(self._buffers, self._buffers_before)
            chosen = self._batches.next(batch_size)
            inputs = self._train.inputs[chosen]
            loss = cross_entropy(self.model(inputs), self._train.targets[chosen])
            self._flat.zero_gradient()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature is untyped
            gradient = Gradient(worker, read, self._flat.gradient, loss.detach(), len(inputs))
            try:
                self.server.check(gradient)
            except RefusedGradientError as error:
                self._refusals[str(error)] += 1
                _copy_all(self._buffers_before, self._buffers)
            else:
                return gradient
        return None

    def _present(self) -> "_Version":
        return _Version(self.server.values, self._velocity)

    def _keep(self, turn: int, read: int, version: "_Version") -> Tensor | None:
        """Let go of what no later turn reads, keep what one does; return d for the update."""
        last_read = self.delivery.last_read
        spare = None
        if last_read[read] == turn and self._kept.pop(read, None):
            spare = version.values
        if last_read[turn] > turn:
            present = self._present()
            self.server.keep_values(spare)
            self._kept[turn] = present
        # a copy: velocities, once they belong to a version, are never changed
        return None if version.velocity is None else version.velocity.clone()

    def _forget_momentum(self) -> None:
        self.server.reset_momentum()
        for version in (*self._kept.values(), self._present()):
            if version.velocity is not None:
                version.velocity.zero_()

    def _copied(self, saved: Tensor) -> Tensor:
        return torch.empty_like(self.server.values).copy_(saved)


def _copy_all(source: list[Tensor], to: list[Tensor]) -> None:
    if to:
        torch._foreach_copy_(to, source)  # a few kernels, not one for each


@dataclass(frozen=True, slots=True, eq=False)
class _Version:
    """The parameters as a turn found them.

    Args:
        values: θ, flat; for good while a later turn reads them.
        velocity: The d that moved them here, where delays are drawn and momentum is shifted.
    """

    values: Tensor
    velocity: Tensor | None
