"""A small problem, and asynchronous SGD on it written like the equations: slow, nothing shared."""

from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tunecli.data.load import Split
from tunecli.schedule import Schedule, Stage
from tunecli.theory.stability import MomentumKind
from tunecli.training.asynchronous.delivery import Delivery
from tunecli.training.batches import BatchStream

CPU = torch.device("cpu")
SAMPLES, FEATURES, CLASSES = 37, 6, 3

THREE_STAGES = Schedule(
    (
        Stage(0.4, momentum=0.8, discount=0.5, batch_size=8, steps=9),
        Stage(0.2, momentum=0.9, discount=0.25, batch_size=5, steps=1),
        Stage(0.1, momentum=0.95, discount=1.0, batch_size=3, steps=14),
    )
)


def data(dtype: torch.dtype = torch.float64) -> Split:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    targets = (inputs[:, 0] > 0).long() + (inputs[:, 1] > 1).long()
    return Split(inputs.to(dtype), targets)


def network(dtype: torch.dtype = torch.float64, *, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh(), nn.Linear(4, CLASSES)).to(dtype)


def vector(model: nn.Module) -> Tensor:
    """All parameters and buffers, in order."""
    return torch.cat([value.detach().flatten().clone() for value in model.state_dict().values()])


def slow(
    schedule: Schedule,
    delivery: Delivery,
    *,
    kind: MomentumKind,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    reset: bool = False,
    factor: Callable[[int], float] = lambda _: 1.0,
    refused: frozenset[int] = frozenset(),
) -> list[Tensor]:
    """θ after every turn; all of θ_0, θ_1, … and of d_0, d_1, … are kept to the end.

    `refused` are the gradients, counted as they are computed, that lead to no update.
    """
    split, model = data(), network()
    order = BatchStream(SAMPLES, seed=1, device=CPU).next(2 * schedule.samples).tolist()
    shapes = [p.shape for p in model.parameters()]
    theta = [vector(model)]
    d = [torch.zeros_like(theta[0])]
    of_worker: dict[int, Tensor] = defaultdict(lambda: torch.zeros_like(theta[0]))
    position = computed = 0
    for t in range(schedule.total_steps):
        stage = schedule.stage_at(t)
        if reset and t in schedule.ends:
            d = [torch.zeros_like(one) for one in d]
            of_worker.clear()
        read, usable = int(delivery.read[t]), False
        while not usable:
            batch = order[position : position + stage.batch_size]
            position += stage.batch_size
            g = _gradient(theta[read], shapes, split, batch)
            usable, computed = computed not in refused, computed + 1
        g = g if decoupled else g + weight_decay * theta[t]
        alpha = stage.learning_rate * factor(t - read)
        beta, nu = (0.0, 0.0) if kind == "none" else (stage.momentum, stage.discount)
        worker = None if delivery.worker is None else int(delivery.worker[t])
        before = d[t] if kind == "standard" else d[read] if worker is None else of_worker[worker]
        after = beta * before + (1 - beta) * g
        d.append(after)
        if worker is not None:
            of_worker[worker] = after
        shrunk = theta[t] * (1 - alpha * weight_decay) if decoupled else theta[t]
        theta.append(shrunk - alpha * ((1 - nu) * g + nu * after))
    return theta[1:]


def _gradient(theta: Tensor, shapes: list[torch.Size], split: Split, batch: list[int]) -> Tensor:
    leaf = theta.clone().requires_grad_()
    parts = leaf.split([shape.numel() for shape in shapes])  # type: ignore[no-untyped-call]
    w1, b1, w2, b2 = (part.view(shape) for part, shape in zip(parts, shapes, strict=True))
    logits = torch.tanh(split.inputs[batch] @ w1.T + b1) @ w2.T + b2
    loss = -logits.log_softmax(1)[torch.arange(len(batch)), split.targets[batch]].mean()
    (gradient,) = torch.autograd.grad(loss, leaf)
    return gradient
