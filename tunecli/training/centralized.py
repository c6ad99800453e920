"""Algorithm 1 of QHM on one device: multistage quasi-hyperbolic momentum."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from tunecli.data.load import Split
from tunecli.optim import QHM
from tunecli.schedule import Schedule
from tunecli.training.batches import BatchSizes, BatchStream
from tunecli.training.evaluate import evaluate_model, weights_of
from tunecli.training.protocol import Evaluation
from tunecli.training.random_state import random_state, restore_random_state


class CentralizedTraining:
    """Minimize cross-entropy by Algorithm 1; α, β, ν and b switch together, at one update.

    Everything random is drawn from `seed`: two trainings with one seed and different learning
    rates start from the same weights (see `build_model`) and see the same samples in the same
    order. The momentum buffer is carried from stage to stage, as Theorem 4's proof does; Algorithm
    1's "with d₀ = 0" can be read as a reset at each stage, which `reset_momentum` does.

    Args:
        model: The network, already initialized; it is moved to `device`.
        train: Training samples; they are kept on `device`.
        schedule: α, β, ν and b at every update.
        seed: Seed of the order of the samples and of what the model draws (dropout).
        device: Where to train.
        weight_decay: λ ≥ 0.
        weight_decay_mode: `coupled` (λθ is added to the gradient) or `decoupled`.
        reset_momentum: Set the buffer to zero at the start of each stage.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Split,
        schedule: Schedule,
        *,
        seed: int,
        device: torch.device,
        weight_decay: float = 0.0,
        weight_decay_mode: Literal["coupled", "decoupled"] = "coupled",
        reset_momentum: bool = False,
    ) -> None:
        self.model = model.to(device)
        self.schedule = schedule
        self.steps = 0
        self._device = device
        self._train = train.to(device)
        self._reset_momentum = reset_momentum
        self._batches = BatchStream(len(train), seed=seed, device=device)
        self._seen = BatchSizes()
        first = schedule.stages[0]
        self.optimizer = QHM(
            self.model.parameters(),
            first.learning_rate,
            momentum=first.momentum,
            discount=first.discount,
            weight_decay=weight_decay,
            weight_decay_mode=weight_decay_mode,
        )
        torch.manual_seed(seed)
        self._enter_stage(0)

    @property
    def total_steps(self) -> int:
        """Updates of the whole schedule."""
        return self.schedule.total_steps

    @property
    def samples(self) -> int:
        """Samples drawn so far."""
        return self._batches.position

    @property
    def batch_sizes(self) -> tuple[tuple[int, int], ...]:
        """The batches that the model saw, read off its inputs, as (batch size, updates)."""
        return self._seen.runs

    def step(self) -> Tensor:
        """One update of Algorithm 1; returns the batch's mean loss before it, detached."""
        if self.steps == self._stage_end:
            self._enter_stage(self._stage + 1)
        chosen = self._batches.next(self._batch_size)
        inputs = self._train.inputs[chosen]
        loss = functional.cross_entropy(self.model(inputs), self._train.targets[chosen])
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature is untyped
        self.optimizer.step()
        self.steps += 1
        self._seen.add(len(inputs))
        return loss.detach()

    def evaluate(self, split: Split) -> Evaluation:
        """Mean cross-entropy and accuracy over `split`, in evaluation mode."""
        return evaluate_model(self.model, split, self._device)

    def weights(self) -> dict[str, Tensor]:
        """The model's `state_dict`, copied to the CPU."""
        return weights_of(self.model)

    def state_dict(self) -> dict[str, Any]:
        """Model, optimizer, position in the data, record and random state."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
            "position": self._batches.position,
            "seen": self._seen.to_list(),
            **random_state(self._device),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]
        self._batches.position = state["position"]
        self._seen = BatchSizes(state["seen"])
        ends = self.schedule.ends
        self._stage = next((i for i, end in enumerate(ends) if self.steps <= end), len(ends) - 1)
        self._stage_end = ends[self._stage]
        self._batch_size = self.schedule.stages[self._stage].batch_size
        restore_random_state(state, self._device)

    def measurements(self) -> dict[str, Any]:
        """Nothing beside loss and accuracy."""
        return {}

    def take_notes(self) -> list[str]:
        """Nothing happens here that a log should tell."""
        return []

    def close(self) -> None:
        """Nothing runs beside this training."""

    def _enter_stage(self, index: int) -> None:
        stage = self.schedule.stages[index]
        self._stage, self._stage_end = index, self.schedule.ends[index]
        self._batch_size = stage.batch_size
        for group in self.optimizer.param_groups:
            group["lr"] = stage.learning_rate
            group["momentum"] = stage.momentum
            group["discount"] = stage.discount
        if index and self._reset_momentum:
            self.optimizer.reset_momentum()
