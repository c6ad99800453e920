"""The delay that the rates of a run are scaled for: declared in its recipe, or measured once."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch

from tunecli.data.load import Splits
from tunecli.execution.files import read_json, write_json
from tunecli.execution.run_folder import RunFolder
from tunecli.recipe import Recipe, declared_delay, delay_scaling
from tunecli.schedule import Schedule
from tunecli.theory.delay import DelayDistribution, HistogramDelay
from tunecli.training.asynchronous.build import measure_delay


def delay_of_run(
    recipe: Recipe,
    run: RunFolder,
    splits: Splits,
    *,
    device: torch.device,
    on_measure: Callable[[int], None] | None = None,
) -> DelayDistribution | None:
    """The delay of an asynchronous recipe's training; None for a centralized one.

    What the recipe does not declare is measured before the first trial and kept in `delay.json`,
    so that every trial of a run is scaled alike, also after a resume.

    Args:
        recipe: What is trained.
        run: Its folder, locked.
        splits: Must hold `train`.
        device: Where it is trained.
        on_measure: Called with the number of workers before real ones are measured, which takes
            seconds.

    Raises:
        RunError: Workers cannot be started, or the file cannot be written.
    """
    section = recipe.training.asynchronous
    if section is None:
        return None
    declared = declared_delay(section)
    if declared is not None:
        return declared
    path = run.path / "delay.json"
    if path.exists():
        return HistogramDelay(tuple(read_json(path)["counts"]))
    if section.engine == "processes" and section.num_workers and on_measure is not None:
        on_measure(section.num_workers)
    measured = measure_delay(recipe, splits, device=device)
    write_json(path, {"counts": list(measured.counts)})
    return measured


def asynchronous_facts(
    recipe: Recipe,
    schedule: Schedule,
    delay: DelayDistribution,
    measured: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """The block `asynchronous` of result.json.

    Args:
        recipe: Its training is asynchronous.
        schedule: Derived from α₁, not scaled.
        delay: What the rates were scaled for.
        measured: What each training measured.
    """
    section = recipe.training.asynchronous
    assert section is not None
    scaled = delay_scaling(recipe, schedule, delay)
    delays: Counter[int] = Counter()
    for each in measured:
        delays.update({int(delay): count for delay, count in each["delays"].items()})
    total = delays.total()
    statistics = {each["batch_norm"] for each in measured} - {None}
    return {
        "engine": section.engine,
        "num_workers": section.num_workers,
        "momentum_kind": section.momentum_kind,
        "staleness_aware": section.staleness_aware,
        "learning_rate": scaled.schedule.stages[0].learning_rate,
        **scaled.to_dict(),
        "delays": {str(delay): delays[delay] for delay in sorted(delays)},
        "mean_delay": sum(d * n for d, n in delays.items()) / total if total else None,
        **{name: sum(each[name] for each in measured) for name in ("refused", "lost", "replaced")},
        "batch_norm": statistics.pop() if statistics else None,
    }
