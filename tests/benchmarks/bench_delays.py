"""Does one grid do for every delay, and what happens without scaling?

    python tests/benchmarks/bench_delays.py [--delays 0 1 3 7 15 31] [--seeds 5] [--workers 4]

Searches `digits-asynchronous` at constant delays in simulation, and with that many worker processes
(0: none), each with several training seeds. Prints per delay the rate found, the rate that it is
under delay, the trials, the test accuracy at it; and the test accuracy with the same rate unscaled.
Rates are medians (min–max), accuracies means ± standard deviation over the seeds.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from tunecli.data.load import load_splits, training_samples
from tunecli.execution import Interrupt, create_run
from tunecli.recipe import Recipe, derive_schedule, dump_recipe, find_recipe, load_recipe
from tunecli.schedule.asynchronous import scale_for_delay
from tunecli.search import run_search
from tunecli.theory.delay import ConstantDelay
from tunecli.training.build import build_trial


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delays", nargs="+", type=int, default=[0, 1, 3, 7, 15, 31])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=4)
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, cpu, n = {arguments.seeds} searches each")
    print(
        f"{'delay':>9} {'rate found':>17} {'under delay':>11} {'trials':>8} {'test':>15} unscaled"
    )
    for delay in arguments.delays:
        section = f"{{delay: {{name: constant, delay: {delay}}}}}"
        report(str(delay), section, delay, arguments.seeds)
    if arguments.workers:
        count = arguments.workers
        section = f"{{engine: processes, num_workers: {count}}}"
        report(f"{count} workers", section, None, arguments.seeds)


def report(name: str, section: str, delay: int | None, seeds: int) -> None:
    found = [searched(section, seed) for seed in range(seeds)]
    rates = [result["learning_rate"] for result in found]
    scaled = [result["asynchronous"]["learning_rate"] for result in found]
    trials = [len(result["trials"]) for result in found]
    tests = [result["test"]["mean"] for result in found]
    bare = ""
    if delay is not None:
        recipe = asynchronous(section, 0)
        values = [unscaled(recipe, rate, delay, 100 + seed) for seed, rate in enumerate(rates)]
        bare = spread([0.0 if value is None else value for value in values])
        bare += f", {sum(value is None for value in values)} of {seeds} diverged"
    print(
        f"{name:>9} {middle(rates):>17} {statistics.median(scaled):11.4g} "
        f"{min(trials)}–{max(trials):<6} {spread(tests):>15} {bare}",
        flush=True,
    )


def asynchronous(section: str, seed: int) -> Recipe:
    keys = (f"training.asynchronous={section}", f"search.seeds=[{seed}]")
    return load_recipe(
        find_recipe("digits-asynchronous"), [*keys, f"search.test_seeds=[{100 + seed}]"]
    )


def searched(section: str, seed: int) -> dict[str, Any]:
    recipe = asynchronous(section, seed)
    with tempfile.TemporaryDirectory() as folder, Interrupt() as interrupt:
        run = create_run("search", recipe.name, dump_recipe(recipe), Path(folder) / "run", {})
        device = torch.device("cpu")
        result = run_search(
            recipe, run, device=device, interrupt=interrupt, notify=lambda event: None
        )
        return result.to_dict()


def unscaled(recipe: Recipe, rate: float, delay: int, seed: int) -> float | None:
    """Test accuracy at the very rate that is right without delay; None where it diverges."""
    torch.set_num_threads(recipe.training.cpu_threads)
    splits = load_splits(recipe.data, ("train", "validation", "test"))
    derived = derive_schedule(recipe.schedule, rate, training_samples(recipe.data))
    schedule = scale_for_delay(derived, ConstantDelay(delay), rule="none").schedule
    device = torch.device("cpu")
    trial = build_trial(recipe, schedule, seed=seed, splits=splits, device=device)
    return None if trial.run().diverged else trial.training.evaluate(splits["test"]).accuracy


def middle(values: list[float]) -> str:
    return f"{statistics.median(values):.4g} ({min(values):.3g}–{max(values):.3g})"


def spread(values: list[float]) -> str:
    std = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.4f} ± {std:.4f}"


if __name__ == "__main__":
    main()
