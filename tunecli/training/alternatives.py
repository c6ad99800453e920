"""What a person would pick instead of multistage QHM, at the same budget in training samples."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, NAdam, Optimizer, RMSprop

from tunecli.data.load import AnySplit, Split, Splits
from tunecli.errors import InvalidValueError, require
from tunecli.models.build import build_model
from tunecli.recipe import Recipe, derive_schedule
from tunecli.schedule import Schedule
from tunecli.training.batches import BatchStream
from tunecli.training.evaluate import evaluate_model, weights_of
from tunecli.training.learning_rate import (
    Alternative,
    require_alternative,
    settings_at,
    unavailable,
    warm_up_steps,
)
from tunecli.training.objective import cross_entropy
from tunecli.training.protocol import Evaluation
from tunecli.training.random_state import random_state, restore_random_state
from tunecli.training.trial import GivesUp, Trial


class AlternativeTraining:
    """Minimize cross-entropy with an optimizer off the shelf, at a constant batch size.

    At one seed it starts from the weights and sees the samples that `CentralizedTraining` does;
    the batches are cut from the same stream.

    | name | optimizer | learning rate | weight decay |
    |---|---|---|---|
    | cosine | `torch.optim.SGD`, undamped momentum | cosine annealing to 0 | coupled |
    | one-cycle | `torch.optim.SGD`, momentum cycles | as `OneCycleLR` | coupled |
    | adam | `torch.optim.Adam` | constant | either |
    | rmsprop | `torch.optim.RMSprop` | constant | coupled |
    | nadamw | `torch.optim.NAdam` | 5 % warm-up, cosine annealing | decoupled |
    | schedule-free | `schedulefree.SGDScheduleFree` | constant after 5 % warm-up | at y |
    | prodigy | `prodigyopt.Prodigy` | cosine annealing of the multiplier | either |

    Whatever is not said here or in `tunecli.training.learning_rate` has its package's default. The
    SGD of schedule-free, and not its AdamW, is the counterpart of the method compared with: the
    same gradient steps without a preconditioner, with averaging in place of decay and momentum.
    It trains at one point (y) and is evaluated at another one (the average x), so `evaluate`
    changes to x and goes back to exactly the y it came from. The weights in `state_dict` are y.
    Its batch normalization statistics, if a model has them, are those of y.

    Args:
        model: The network, already initialized; it is moved to `device`.
        train: Training samples; they are kept on `device`.
        name: The alternative.
        learning_rate: > 0, in the optimizer's own form; the peak where it changes.
        momentum: β in [0, 1) of cosine's SGD; the others do not use it.
        batch_size: b ≥ 1, samples of every update.
        total_steps: Updates of the whole run, ≥ 1.
        seed: Seed of the order of the samples and of what the model draws (dropout).
        device: Where to train.
        weight_decay: λ ≥ 0.
        weight_decay_mode: `coupled` or `decoupled`, for the optimizers that have both.

    Raises:
        InvalidValueError: A number is outside its range.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Split,
        name: Alternative,
        learning_rate: float,
        *,
        momentum: float,
        batch_size: int,
        total_steps: int,
        seed: int,
        device: torch.device,
        weight_decay: float = 0.0,
        weight_decay_mode: Literal["coupled", "decoupled"] = "coupled",
    ) -> None:
        # not math.inf: torch takes no coefficient beyond float32 for float32 weights
        require(0 < learning_rate < 1e30, "learning_rate", "in (0, 1e30)", learning_rate)
        require(batch_size >= 1, "batch_size", "≥ 1", batch_size)
        require(total_steps >= 1, "total_steps", "≥ 1", total_steps)
        self.model = model.to(device)
        self.name = name
        self.learning_rate = learning_rate
        self.total_steps = total_steps
        self.steps = 0
        self._device = device
        self._train = train.to(device)
        self._batch_size = batch_size
        self._batches = BatchStream(len(train), seed=seed, device=device)
        self.optimizer = _optimizer(
            name,
            list(self.model.parameters()),
            learning_rate,
            momentum=momentum,
            warm_up=warm_up_steps(total_steps),
            weight_decay=weight_decay,
            decoupled=weight_decay_mode == "decoupled",
        )
        torch.manual_seed(seed)

    @property
    def samples(self) -> int:
        """Samples drawn so far."""
        return self._batches.position

    @property
    def batch_sizes(self) -> tuple[tuple[int, int], ...]:
        """The batches that the model saw so far, as (batch size, updates)."""
        return ((self._batch_size, self.steps),) if self.steps else ()

    def step(self) -> Tensor:
        """One update; returns the batch's mean loss before it, detached."""
        settings = settings_at(self.name, self.learning_rate, self.steps, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate
            if settings.momentum is not None:
                group["momentum"] = settings.momentum
        chosen = self._batches.next(self._batch_size)
        logits = self.model(self._train.inputs[chosen])
        loss = cross_entropy(logits, self._train.targets[chosen])
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature is untyped
        self.optimizer.step()
        self.steps += 1
        return loss.detach()

    @torch.no_grad()
    def evaluate(self, split: AnySplit) -> Evaluation:
        """Mean cross-entropy and accuracy over `split`, in evaluation mode."""
        with self._weights_to_evaluate():
            return evaluate_model(self.model, split, self._device)

    def weights(self) -> dict[str, Tensor]:
        """The model's `state_dict` as it is evaluated, copied to the CPU."""
        with self._weights_to_evaluate():
            return weights_of(self.model)

    def state_dict(self) -> dict[str, Any]:
        """Model, optimizer with its mode, position in the data, and random state.

        The schedule is a function of the update and needs no state.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
            "position": self._batches.position,
            **random_state(self._device),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if isinstance(self.optimizer, NAdam):
            _restore_products(self.optimizer, state["optimizer"])
        self.steps = state["steps"]
        self._batches.position = state["position"]
        restore_random_state(state, self._device)

    def measurements(self) -> dict[str, Any]:
        """Nothing beside loss and accuracy."""
        return {}

    def take_notes(self) -> list[str]:
        """Nothing happens here that a log should tell."""
        return []

    def close(self) -> None:
        """Nothing runs beside this training."""

    @contextmanager
    def _weights_to_evaluate(self) -> Iterator[None]:
        if self.name != "schedule-free":
            yield
            return
        optimizer: Any = self.optimizer
        # its own way back from x to y rounds; an evaluation must change nothing
        kept = [p.clone() for p in self.model.parameters()]
        optimizer.eval()
        try:
            yield
        finally:
            optimizer.train()
            for p, value in zip(self.model.parameters(), kept, strict=True):
                p.copy_(value)


def same_samples_steps(schedule: Schedule) -> int:
    """Updates at the first stage's batch size b₁ that draw what the whole schedule draws.

    Rounded down: never more samples than the schedule, and less than one batch fewer.
    """
    return schedule.samples // schedule.stages[0].batch_size


def build_alternative(
    recipe: Recipe,
    name: str,
    learning_rate: float,
    *,
    seed: int,
    splits: Splits,
    device: torch.device,
    gives_up: GivesUp | None = None,
) -> Trial:
    """A fresh trial of an alternative: same weights and samples as `build_trial`'s at one seed.

    Args:
        recipe: What to train and how; of its schedule, the batch size b₁, the momentum β₁ (for
            cosine) and the samples that all stages draw.
        name: One of `ALTERNATIVES`.
        learning_rate: > 0, in the optimizer's own form (see `default_rates`).
        seed: Seed of the initialization and of the batches, the same at every learning rate.
        splits: Must hold `train` and `validation`.
        device: Where to train.
        gives_up: See `Trial`.

    Raises:
        InvalidValueError: There is no such alternative, it cannot be used here, it cannot train
            this recipe, or the rate is not positive.
    """
    alternative = require_alternative(name)
    if reason := unavailable(recipe).get(alternative):
        raise InvalidValueError(f"{name} cannot be used: {reason}")
    schedule = derive_schedule(recipe.schedule, 1.0, len(splits["train"]))  # lengths, no rates
    model = build_model(
        recipe.model, input_shape=splits.input_shape, num_classes=splits.num_classes, seed=seed
    )
    training = AlternativeTraining(
        model,
        splits.in_memory("train"),
        alternative,
        learning_rate,
        momentum=recipe.schedule.momentum,
        batch_size=recipe.schedule.batch_size,
        total_steps=same_samples_steps(schedule),
        seed=seed,
        device=device,
        weight_decay=recipe.training.weight_decay,
        weight_decay_mode=recipe.training.weight_decay_mode,
    )
    return Trial(
        training,
        splits["validation"].to(device),
        evaluations=recipe.training.evaluations,
        divergence_factor=recipe.training.divergence_factor,
        gives_up=gives_up,
    )


def _optimizer(
    name: Alternative,
    params: list[nn.Parameter],
    rate: float,
    *,
    momentum: float,
    warm_up: int,
    weight_decay: float,
    decoupled: bool,
) -> Optimizer:
    match name:
        case "cosine" | "one-cycle":
            return SGD(params, rate, momentum=momentum, weight_decay=weight_decay)
        case "adam":
            return Adam(params, rate, weight_decay=weight_decay, decoupled_weight_decay=decoupled)
        case "rmsprop":
            return RMSprop(params, rate, weight_decay=weight_decay)
        case "nadamw":
            return NAdam(params, rate, weight_decay=weight_decay, decoupled_weight_decay=True)
        case "schedule-free":
            return _schedule_free(params, rate, warm_up=warm_up, weight_decay=weight_decay)
        case "prodigy":
            return _prodigy(params, rate, weight_decay=weight_decay, decoupled=decoupled)


def _restore_products(optimizer: NAdam, state: dict[str, Any]) -> None:
    """Put NAdam's running products back as they were saved: scalars on the CPU.

    Loading moves them to the weights' device and dtype, where the next update rounds otherwise and
    waits for the device once per tensor.
    """
    for index, p in enumerate(optimizer.param_groups[0]["params"]):
        if index in state["state"]:
            optimizer.state[p]["mu_product"] = state["state"][index]["mu_product"].clone().cpu()


def _schedule_free(
    params: list[nn.Parameter], rate: float, *, warm_up: int, weight_decay: float
) -> Optimizer:
    from schedulefree import SGDScheduleFree

    optimizer = SGDScheduleFree(params, rate, warmup_steps=warm_up, weight_decay=weight_decay)
    optimizer.train()
    return optimizer  # type: ignore[no-any-return]  # the package ships no types


def _prodigy(
    params: list[nn.Parameter], rate: float, *, weight_decay: float, decoupled: bool
) -> Optimizer:
    from prodigyopt import Prodigy

    optimizer = Prodigy(params, rate, decouple=decoupled)
    for group in optimizer.param_groups:  # given to the constructor, it would print to stdout
        group["weight_decay"] = weight_decay
    return optimizer  # type: ignore[no-any-return]  # the package ships no types
