"""Updates per second of the parameter server with real processes, and what one update costs.

    python tests/benchmarks/bench_asynchronous.py [--rounds 5] [--updates 2000] [--workers 2 4]

Three ways to make the same number of updates with batches of 64 samples of the same data:

- one: `CentralizedTraining`, every gradient computed in this process;
- ours: `RemoteTraining` over `ProcessWorkers`;
- hogwild: the scheme of PyTorch's Hogwild example. The parameters lie in shared memory, each
  process takes its own batches and its own SGD changes them in place; nobody locks, and no delay is
  known. There is no server, so this is what the cores allow.

Starting the processes is not timed. `server` is the processor time of an update in the server's
process: receiving, checking, applying, and sending the new parameters. While it lasts the worker
that is being served waits; workers on fewer cores than there are processes wait for them as well.
"""

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional

from tunecli.data.load import Split, load_splits
from tunecli.models.build import build_model
from tunecli.recipe import Recipe, find_recipe, load_recipe
from tunecli.schedule import Schedule, Stage
from tunecli.training import CentralizedTraining
from tunecli.training.asynchronous.processes import ProcessWorkers
from tunecli.training.asynchronous.remote import RemoteTraining
from tunecli.training.protocol import wait_for_step

BATCH, RATE = 64, 0.02
CPU = torch.device("cpu")


def fresh(recipe: Recipe) -> nn.Module:
    return build_model(recipe.model, input_shape=(1, 8, 8), num_classes=10, seed=0)


def constant(updates: int) -> Schedule:
    return Schedule((Stage(RATE, 0.0, 0.0, BATCH, updates),))


def one(recipe: Recipe, train: Split, updates: int) -> float:
    training = CentralizedTraining(fresh(recipe), train, constant(updates), seed=0, device=CPU)
    started = time.perf_counter()
    for _ in range(updates):
        training.step()
    return updates / (time.perf_counter() - started)


def ours(recipe: Recipe, train: Split, updates: int, workers: int) -> tuple[float, float, float]:
    """Updates per second, the server's µs per update, and the mean delay."""
    training = RemoteTraining(
        fresh(recipe),
        train,
        constant(updates + 1),
        connect=lambda model: ProcessWorkers(
            model, train, num_workers=workers, largest_batch=BATCH
        ),
        num_workers=workers,
        seed=0,
        device=CPU,
    )
    try:
        wait_for_step(training, _go_on)  # returns when all processes are there
        started, used = time.perf_counter(), time.process_time()
        for _ in range(updates):
            wait_for_step(training, _go_on)
        seconds = time.perf_counter() - started
        used = time.process_time() - used
    finally:
        training.close()
    return updates / seconds, used / updates * 1e6, training.measurements()["mean_delay"]


def _go_on() -> None:
    """What stops no wait."""


def hogwild(recipe: Recipe, train: Split, updates: int, workers: int) -> float:
    context: Any = mp.get_context("spawn")
    model = fresh(recipe)
    model.share_memory()
    ready, done = context.Barrier(workers + 1), context.Barrier(workers + 1)
    share = updates // workers
    processes = [
        context.Process(target=_change_in_place, args=(model, train, share, seed, ready, done))
        for seed in range(workers)
    ]
    for process in processes:
        process.start()
    ready.wait()
    started = time.perf_counter()
    done.wait()
    seconds = time.perf_counter() - started
    for process in processes:
        process.join()
    return share * workers / seconds


def _change_in_place(
    model: nn.Module, train: Split, updates: int, seed: int, ready: Any, done: Any
) -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    ready.wait()
    for _ in range(updates):
        chosen = torch.randint(len(train), (BATCH,), generator=generator)
        optimizer.zero_grad()
        functional.cross_entropy(model(train.inputs[chosen]), train.targets[chosen]).backward()  # type: ignore[no-untyped-call]  # torch's own
        optimizer.step()
    done.wait()


def spread(values: Sequence[float], digits: int = 0) -> str:
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4])
    given = parser.parse_args()
    torch.set_num_threads(1)  # as a recipe's trials have, unless it says otherwise
    print(
        f"torch {torch.__version__}, {os.cpu_count()} cores, one thread per process, "
        f"{given.updates} updates, median (min–max) of n={given.rounds}"
    )
    print(
        f"{'recipe':<11} {'workers':>7}  {'one /s':<16}  {'ours /s':<16}  {'hogwild /s':<16}  "
        f"{'ours / one':<18}  {'ours / hogwild':<18}  {'server µs':<14}  mean delay"
    )
    for name in ("digits-mlp", "digits-cnn"):
        recipe = load_recipe(find_recipe(name))
        train = load_splits(recipe.data, ("train",)).in_memory("train")
        one(recipe, train, 200)  # warm
        for workers in given.workers:
            rounds = [
                (
                    one(recipe, train, given.updates),
                    *ours(recipe, train, given.updates, workers),
                    hogwild(recipe, train, given.updates, workers),
                )
                for _ in range(given.rounds)
            ]
            alone, served, server, delay, free = map(list, zip(*rounds, strict=True))
            over_one = [a / b for a, b in zip(served, alone, strict=True)]
            over_free = [a / b for a, b in zip(served, free, strict=True)]
            print(
                f"{name:<11} {workers:>7}  {spread(alone):<16}  {spread(served):<16}  "
                f"{spread(free):<16}  {spread(over_one, 2):<18}  {spread(over_free, 2):<18}  "
                f"{spread(server):<14}  {statistics.median(delay):.2f}"
            )


if __name__ == "__main__":
    main()
