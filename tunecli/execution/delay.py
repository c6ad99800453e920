"""The delay that the rates of a run are scaled for: declared in its recipe, or measured once."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tunecli.data.load import Splits
from tunecli.execution.files import read_json, write_json
from tunecli.execution.in_process import TrialFolder
from tunecli.execution.run_folder import RunFolder
from tunecli.recipe import Recipe, declared_delay
from tunecli.schedule.asynchronous import DelayScaling
from tunecli.theory.delay import ConstantDelay, DelayDistribution, HistogramDelay
from tunecli.training.asynchronous.build import measure_delay


@dataclass(frozen=True)
class RunDelay:
    """The delay of a run, and what it cost to know it.

    Args:
        delay: Declared or measured.
        updates: Made to measure it.
        samples: Drawn for them.
        seconds: Spent on them.
    """

    delay: DelayDistribution
    updates: int = 0
    samples: int = 0
    seconds: float = 0.0

    @property
    def bill(self) -> dict[str, float]:
        """What it cost, with the keys of `spent`."""
        return {"updates": self.updates, "samples": self.samples, "seconds": self.seconds}


def delay_of_run(
    recipe: Recipe,
    run: RunFolder,
    splits: Splits,
    *,
    device: torch.device,
    check_stop: Callable[[], None],
    on_measure: Callable[[int], None] | None = None,
) -> RunDelay | None:
    """The delay of an asynchronous recipe's training; None for a centralized one.

    What the recipe does not declare is measured before the first trial and kept in `delay.json`,
    so that every trial of a run is scaled alike, also after a resume. Workers whose delay scales no
    rate are not measured: their delay is N − 1 until the trials tell.

    Args:
        recipe: What is trained.
        run: Its folder, locked; what workers print goes into its `workers.log`.
        splits: Must hold `train`.
        device: Where it is trained.
        check_stop: See `interrupt.check_stop`.
        on_measure: Called with the number of workers before real ones are measured, which takes
            seconds.

    Raises:
        InterruptedRunError: A stop was requested.
        RunError: Workers cannot be started, or the file cannot be written.
    """
    section = recipe.training.asynchronous
    if section is None:
        return None
    declared = declared_delay(section)
    if declared is not None:
        return RunDelay(declared)
    path = run.path / "delay.json"
    if path.exists():
        stored = read_json(path)
        return RunDelay(HistogramDelay(tuple(stored.pop("counts"))), **stored)
    if section.engine == "processes":
        assert section.num_workers is not None
        if section.staleness_aware or section.scaling == "none":
            return RunDelay(ConstantDelay(section.num_workers - 1))
        if on_measure is not None:
            on_measure(section.num_workers)
    measured = measure_delay(
        recipe, splits, device=device, check_stop=check_stop, log=run.path / "workers.log"
    )
    for note in measured.notes:
        TrialFolder(run.path).log(note)
    found = RunDelay(measured.delay, measured.updates, measured.samples, measured.seconds)
    write_json(path, {"counts": [int(count) for count in measured.delay.counts], **found.bill})
    return found


def asynchronous_facts(
    recipe: Recipe,
    scaled: DelayScaling | None,
    delay: DelayDistribution,
    measured: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """The block `asynchronous` of result.json.

    Args:
        recipe: Its training is asynchronous.
        scaled: What the delay made of the rate that was found; None without one.
        delay: What the rates were scaled for.
        measured: What each training measured.
    """
    section = recipe.training.asynchronous
    assert section is not None
    rate = scaled.schedule.stages[0].learning_rate if scaled and scaled.factor else None
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
        "learning_rate": rate,
        "scaling": {"rule": section.scaling, "factor": scaled.factor if scaled else None},
        "delay": delay.to_dict(),
        "delays": {str(delay): delays[delay] for delay in sorted(delays)},
        "mean_delay": sum(d * n for d, n in delays.items()) / total if total else None,
        **{name: sum(each[name] for each in measured) for name in ("refused", "lost", "replaced")},
        "batch_norm": statistics.pop() if statistics else None,
    }
