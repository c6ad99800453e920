"""What a trial costs over the same training written bare in PyTorch.

    python tests/benchmarks/bench_trial_loop.py [--rounds 9]

Both sides train the recipe's model with the same stages, the same samples in the same order, the
same optimizer (QHM; its own cost is bench_qhm.py's subject) and the same ten evaluations. The bare
loop reads nothing else and writes no file; ours watches for divergence, records batch sizes,
writes metrics and the outcome, and reports its progress. The goal is a ratio of at most 1.05.

Did not help: skipping the clock in the inner loop (one call per update, far below the noise).
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from tunecli.data.load import Split, Splits, load_splits, training_samples
from tunecli.execution import Interrupt, execute
from tunecli.models.build import build_model
from tunecli.optim import QHM
from tunecli.recipe import Recipe, derive_schedule, find_recipe, load_recipe
from tunecli.schedule import Schedule
from tunecli.training.build import build_trial


def evaluate(model: torch.nn.Module, split: Split) -> tuple[float, float]:
    model.eval()
    with torch.no_grad():
        logits = model(split.inputs)
        loss = functional.cross_entropy(logits, split.targets).item()
        accuracy = (logits.argmax(dim=1) == split.targets).float().mean().item()
    model.train()
    return loss, accuracy


def bare(recipe: Recipe, schedule: Schedule, splits: Splits, device: torch.device) -> float:
    started = time.perf_counter()
    model = build_model(recipe.model, input_shape=splits.input_shape, num_classes=10, seed=0)
    model.to(device)
    train = splits.in_memory("train").to(device)
    validation = splits.in_memory("validation").to(device)
    optimizer = QHM(model.parameters(), schedule.stages[0].learning_rate)
    order = torch.empty(0, dtype=torch.int64, device=device)
    number = 0
    evaluate(model, validation)
    every = -(-schedule.total_steps // 10)
    step = 0
    for stage in schedule.stages:
        for group in optimizer.param_groups:
            group["lr"], group["momentum"] = stage.learning_rate, stage.momentum
            group["discount"] = stage.discount
        for _ in range(stage.steps):
            while len(order) < stage.batch_size:
                fresh = np.random.default_rng((0, number)).permutation(len(train))
                order = torch.cat([order, torch.from_numpy(fresh).to(device)])
                number += 1
            chosen, order = order[: stage.batch_size], order[stage.batch_size :]
            loss = functional.cross_entropy(model(train.inputs[chosen]), train.targets[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature
            optimizer.step()
            step += 1
            if step % every == 0 or step == schedule.total_steps:
                evaluate(model, validation)
    return time.perf_counter() - started


def ours(recipe: Recipe, schedule: Schedule, splits: Splits, device: torch.device) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        execute(
            lambda: build_trial(recipe, schedule, seed=0, splits=splits, device=device),
            Path(folder) / "trial",
            interrupt=Interrupt(),
            checkpoint_every_s=recipe.training.checkpoint_every_s,
            on_progress=lambda trial: None,
        )
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)  # as a recipe's trials have, unless it says otherwise
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads, n={rounds}")
    print(f"{'recipe':<16} {'bare s':>8} {'ours s':>8} {'ratio':>6}  (min–max)")
    for name in ("digits-logistic", "digits-mlp", "digits-cnn"):
        recipe = load_recipe(find_recipe(name))
        splits = load_splits(recipe.data, ("train", "validation"))
        schedule = derive_schedule(recipe.schedule, 0.1, training_samples(recipe.data))
        bare(recipe, schedule, splits, device), ours(recipe, schedule, splits, device)
        pairs = [
            (bare(recipe, schedule, splits, device), ours(recipe, schedule, splits, device))
            for _ in range(rounds)
        ]
        ratios = [ours_s / bare_s for bare_s, ours_s in pairs]
        bare_s, ours_s = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"{name:<16} {bare_s:8.3f} {ours_s:8.3f} {statistics.median(ratios):6.3f}  "
            f"({min(ratios):.3f}–{max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
