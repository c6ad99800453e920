"""Algorithm 1 of QHM on one device: multistage quasi-hyperbolic momentum."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tunecli.data.load import AnySplit, Split
from tunecli.optim import QHM
from tunecli.optim.micro_batches import backward_in_micro_batches
from tunecli.schedule import Schedule
from tunecli.training.batches import BatchSizes, BatchStream
from tunecli.training.evaluate import evaluate_model, weights_of
from tunecli.training.objective import Objective
from tunecli.training.protocol import Evaluation
from tunecli.training.random_state import random_state, restore_random_state, seed_all

MakeOptimizer = Callable[[list[nn.Parameter], float], Optimizer]
Augmentation = Callable[[Tensor], Tensor]


class CentralizedTraining:
    """Minimize a loss by Algorithm 1; α, β, ν and b switch together, at one update.

    Everything random is drawn from `seed`: two trainings with one seed and different learning
    rates start from the same weights (see `build_model`) and see the same samples in the same
    order. The momentum buffer is carried from stage to stage, as Theorem 4's proof does; Algorithm
    1's "with d₀ = 0" can be read as a reset at each stage, which `reset_momentum` does.

    Args:
        model: The network, already initialized; it is moved to `device`. Parameters that need no
            gradient are left alone.
        train: Training samples; tensors are kept on `device`.
        schedule: α, β, ν and b at every update.
        seed: Seed of the order of the samples and of what the model and the augmentation draw.
        device: Where to train.
        objective: What to minimize, and what an evaluation measures.
        make_optimizer: From the parameters and α₁ to the optimizer; QHM without weight decay if
            left out. Another one than QHM has its rates set (in each group in proportion to the
            rate it was made with), and momentum and discount in groups that have both.
        augmentation: Changes the inputs of a training batch.
        micro_batch_size: Samples that go through the model at once; all of a batch if left out.
        evaluation_batch_size: The same for evaluations.
        reset_momentum: Set the buffer of QHM to zero at the start of each stage.
    """

    def __init__(
        self,
        model: nn.Module,
        train: AnySplit,
        schedule: Schedule,
        *,
        seed: int,
        device: torch.device,
        objective: Objective | None = None,
        make_optimizer: MakeOptimizer = QHM,
        augmentation: Augmentation | None = None,
        micro_batch_size: int | None = None,
        evaluation_batch_size: int | None = None,
        reset_momentum: bool = False,
    ) -> None:
        self.model = model.to(device)
        self.schedule = schedule
        self.steps = 0
        self.samples = 0
        self._seed = seed
        self._device = device
        self._train = train.to(device)
        self._objective = objective or Objective()
        self._augmentation = augmentation
        self._micro_batch_size = micro_batch_size
        self._evaluation_batch_size = evaluation_batch_size
        self._reset_momentum = reset_momentum
        self._batches: Iterator[tuple[Tensor, Tensor]] | None = None
        self._seen = BatchSizes()
        first = schedule.stages[0].learning_rate
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(trained, first)
        self._shares = [group["lr"] / first for group in self.optimizer.param_groups]
        self._told = False
        seed_all(seed)
        self._enter_stage(0)

    @property
    def total_steps(self) -> int:
        """Updates of the whole schedule."""
        return self.schedule.total_steps

    @property
    def batch_sizes(self) -> tuple[tuple[int, int], ...]:
        """The batches that the model saw, read off its inputs, as (batch size, updates)."""
        return self._seen.runs

    def step(self) -> Tensor:
        """One update of Algorithm 1; returns the batch's mean loss before it, detached."""
        if self.steps == self._stage_end:
            self._enter_stage(self._stage + 1)
        if self._batches is None:
            chosen = self._chosen(self.steps, self.samples)
            self._batches = self._train.batches(chosen, seed=self._seed, first=self.steps)
        inputs, targets = next(self._batches)
        if self._augmentation is not None:
            inputs = self._augmentation(inputs)
        self.optimizer.zero_grad()
        loss = self._backward(inputs, targets)
        self.optimizer.step()
        self.steps += 1
        self.samples += len(targets)
        self._seen.add(len(inputs))
        return loss

    def evaluate(self, split: AnySplit) -> Evaluation:
        """Mean loss, accuracy and further metrics over `split`, in evaluation mode."""
        size = self._evaluation_batch_size
        return evaluate_model(self.model, split, self._device, self._objective, batch_size=size)

    def weights(self) -> dict[str, Tensor]:
        """The model's `state_dict`, copied to the CPU."""
        return weights_of(self.model)

    def state_dict(self) -> dict[str, Any]:
        """Model, optimizer, position in the data, record and random state."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
            "position": self.samples,
            "seen": self._seen.to_list(),
            **random_state(self._device),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]
        self.samples = state["position"]
        self._batches = None
        self._seen = BatchSizes(state["seen"])
        ends = self.schedule.ends
        self._stage = next((i for i, end in enumerate(ends) if self.steps <= end), len(ends) - 1)
        self._stage_end = ends[self._stage]
        restore_random_state(state, self._device)

    def measurements(self) -> dict[str, Any]:
        """Nothing beside loss and accuracy."""
        return {}

    def take_notes(self) -> list[str]:
        """Nothing happens here that a log should tell."""
        return []

    def close(self) -> None:
        """End the processes that read a Dataset ahead, if there are some."""
        self._batches = None

    def _enter_stage(self, index: int) -> None:
        stage = self.schedule.stages[index]
        self._stage, self._stage_end = index, self.schedule.ends[index]
        for group, share in zip(self.optimizer.param_groups, self._shares, strict=True):
            group["lr"] = share * stage.learning_rate if share != 1 else stage.learning_rate
            if "momentum" in group and "discount" in group:
                group["momentum"] = stage.momentum
                group["discount"] = stage.discount
        if index and self._reset_momentum:
            assert isinstance(self.optimizer, QHM)  # training/feasible.py sees to it
            self.optimizer.reset_momentum()

    def _chosen(self, steps: int, position: int) -> Iterator[Tensor]:
        """The batches from an update on, which may be read ahead of it."""
        # a Dataset is asked for numbers, which would be waited for on a GPU
        device = self._device if isinstance(self._train, Split) else torch.device("cpu")
        stream = BatchStream(len(self._train), seed=self._seed, device=device, position=position)
        start = 0
        for stage in self.schedule.stages:
            for _ in range(max(steps, start), start + stage.steps):
                yield stream.next(stage.batch_size)
            start += stage.steps

    def _backward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The gradient of the batch's mean loss; returns that loss, detached."""
        size, loss_of = self._micro_batch_size, self._objective.loss
        if size is not None and size < len(inputs):
            # `caveats` says it once for the whole run; touching the filters at every update would
            # repeat a person's own warnings
            with nullcontext() if self._told else warnings.catch_warnings():
                if not self._told:
                    warnings.filterwarnings("ignore", "micro-batches do not give")
                    self._told = True
                return backward_in_micro_batches(self.model, loss_of, inputs, targets, size)
        loss = loss_of(self.model(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature is untyped
        return loss.detach()
