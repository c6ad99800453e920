"""One rank of a real training with two: `python ranks.py RANK FOLDER`; see test_stage_batches.

Trains by `StageBatchSampler` and `DistributedDataParallel`, and writes what it drew and what the
averaged gradients were. Every second update goes through micro-batches.
"""

import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from tunecli import QHM, Schedule, Stage, StageBatchSampler, StagewiseScheduler
from tunecli import backward_in_micro_batches as backward

SAMPLES, SEED, WORLD_SIZE = 30, 3, 2
SCHEDULE = Schedule(
    (
        Stage(0.4, momentum=0.8, discount=0.5, batch_size=12, steps=3),
        Stage(0.2, momentum=0.9, discount=0.5, batch_size=6, steps=4),
        Stage(0.1, momentum=0.95, discount=0.5, batch_size=2, steps=3),
    )
)


def samples() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, 4, generator=generator, dtype=torch.float64)
    return TensorDataset(inputs, torch.randint(3, (SAMPLES,), generator=generator))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def gradients(model: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def main(rank: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'rendezvous'}",
        rank=rank,
        world_size=WORLD_SIZE,
        timeout=timedelta(seconds=60),
    )
    model = DistributedDataParallel(network())
    optimizer = QHM(model.parameters(), 0.1)
    scheduler = StagewiseScheduler(optimizer, SCHEDULE)
    batches = StageBatchSampler(
        SAMPLES,
        SCHEDULE,
        seed=SEED,
        rank=dist.get_rank(),
        world_size=dist.get_world_size(),
    )
    loss, drawn, found = nn.CrossEntropyLoss(), list(batches), []
    for step, (inputs, targets) in enumerate(DataLoader(samples(), batch_sampler=batches)):
        optimizer.zero_grad()
        if step % 2:
            backward(model, loss, inputs, targets, 4)
        else:
            loss(model(inputs), targets).backward()
        found.append(gradients(model))
        optimizer.step()
        scheduler.step()
    torch.save((drawn, found), folder / f"rank{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
