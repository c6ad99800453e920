"""The comparison's main job: every method's studies over worker processes, then the statistics."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from tunecli.data.sizes import require_samples, samples_of
from tunecli.errors import InterruptedRunError, require
from tunecli.execution import Interrupt, RunFolder
from tunecli.execution.files import read_json
from tunecli.execution.workers import Failed, Finished, Progress, Workers
from tunecli.recipe import Recipe, derive_schedule
from tunecli.search.compare.bench import SEEDS_PER_STUDY
from tunecli.search.compare.methods import METHODS, Method, choose_methods
from tunecli.search.compare.result import comparison_result
from tunecli.search.compare.study import StudyProgress, StudyTask, run_study
from tunecli.training.learning_rate import unavailable

_LOOK_EVERY_S = 0.25
_MOST_SEED = 2**32 // SEEDS_PER_STUDY - 1


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared with what; kept in the run folder, so that a resumed run is the same one.

    Args:
        methods: Names of the methods, ours first.
        studies: Studies per method, ≥ 1.
        seed: Seed of the first study; the others follow.
        budget: Full trials that a study may pay for, ≥ 1.

    Raises:
        InvalidValueError: A value is outside its range, or a method is not known.
    """

    methods: tuple[str, ...]
    studies: int = 10
    seed: int = 0
    budget: int = 30

    def __post_init__(self) -> None:
        choose_methods(self.methods)
        require(self.studies >= 1, "studies", "≥ 1", self.studies)
        require(self.budget >= 1, "budget", "≥ 1", self.budget)
        last = self.seed + self.studies - 1
        in_range = self.seed >= 0 and last <= _MOST_SEED
        require(in_range, "seed", f"≥ 0, and of the last study ≤ {_MOST_SEED}", self.seed)

    @property
    def seeds(self) -> tuple[int, ...]:
        """One per study."""
        return tuple(range(self.seed, self.seed + self.studies))


@dataclass(frozen=True, slots=True)
class CompareStarted:
    """Before the first study.

    Args:
        recipe: The recipe's name.
        methods: Those that run.
        skipped: Names of the others, and why.
        studies: Studies per method.
        budget: Samples per study.
        finished: Studies found finished in the folder.
        workers: Processes.
        device: Where they compute.
    """

    recipe: str
    methods: tuple[Method, ...]
    skipped: tuple[tuple[str, str], ...]
    studies: int
    budget: int
    finished: int
    workers: int
    device: str


@dataclass(frozen=True, slots=True)
class StudyFinished:
    """A study has ended, or was found finished; `study` is its entry in result.json."""

    method: str
    study: dict[str, Any]


Event = CompareStarted | StudyProgress | StudyFinished
Notify = Callable[[Event], None]


def run_comparison(
    recipe: Recipe,
    run: RunFolder,
    plan: Plan,
    *,
    device: torch.device,
    workers: int | None,
    command: str,
    interrupt: Interrupt,
    notify: Notify,
) -> dict[str, Any]:
    """Run a comparison to its end in a folder that is locked, or go on with one that was stopped.

    Args:
        recipe: What is trained.
        run: The folder; what is finished in it is not run again.
        plan: What is compared.
        device: Where the studies run.
        workers: Processes, ≥ 1; None: one per core, or one where there is a GPU.
        command: What to type to get the same again, for the record.
        interrupt: Asked several times a second.
        notify: Told what happens.

    Returns:
        The content of result.json.

    Raises:
        InterruptedRunError: A stop was requested; the folder can be resumed.
        InvalidValueError: The recipe gives no schedule.
        RunError: A file cannot be read or written, or a worker died.
    """
    methods, skipped = available_methods(plan.methods, recipe)
    tasks = _tasks(recipe, run, plan, methods)
    done = {key: read_json(task.summary) for key, task in tasks.items() if task.summary.exists()}
    left = {key: task for key, task in tasks.items() if key not in done}
    count = worker_count(workers, device, len(left))
    budget = next(iter(tasks.values())).budget
    notify(
        CompareStarted(
            recipe=recipe.name,
            methods=methods,
            skipped=tuple(skipped.items()),
            studies=plan.studies,
            budget=budget,
            finished=len(done),
            workers=count,
            device=str(device),
        )
    )
    for (method, _), study in done.items():
        notify(StudyFinished(method, study))
    if left:
        done |= _run_studies(left, run, count, device, interrupt, notify)
    studies = {method.name: [done[method.name, seed] for seed in plan.seeds] for method in methods}
    return comparison_result(
        recipe=recipe,
        run=run,
        command=command,
        trials=plan.budget,
        samples_per_trial=budget // plan.budget,
        seeds=plan.seeds,
        methods=methods,
        studies=studies,
        skipped=skipped,
        device=device,
    )


def available_methods(
    names: Sequence[str], recipe: Recipe
) -> tuple[tuple[Method, ...], dict[str, str]]:
    """The methods that can run here, and for the others why they cannot."""
    reasons: dict[str, str] = {str(name): why for name, why in unavailable(recipe).items()}
    skipped = {name: reasons[name] for name in names if name in reasons}
    return tuple(METHODS[name] for name in names if name not in skipped), skipped


def worker_count(asked: int | None, device: torch.device, tasks: int) -> int:
    """How many processes to use: as asked, else one per core, or one on a GPU."""
    if asked is not None:
        require(asked >= 1, "workers", "≥ 1", asked)
    per_machine = len(os.sched_getaffinity(0)) if device.type == "cpu" else 1
    return max(1, min(asked or per_machine, tasks))


def _tasks(
    recipe: Recipe, run: RunFolder, plan: Plan, methods: Sequence[Method]
) -> dict[tuple[str, int], StudyTask]:
    """Study by study and not method by method, so that early results cover every method."""
    rate = recipe.search.learning_rates[0]
    per_trial = derive_schedule(
        recipe.schedule, rate, require_samples(recipe, samples_of(recipe))
    ).samples
    return {
        (method.name, seed): StudyTask(
            recipe=recipe,
            method=method.name,
            seed=seed,
            budget=plan.budget * per_trial,
            samples_per_trial=per_trial,
            folder=run.path / "studies" / method.name / str(seed),
        )
        for seed in plan.seeds
        for method in methods
    }


def _run_studies(
    tasks: dict[tuple[str, int], StudyTask],
    run: RunFolder,
    count: int,
    device: torch.device,
    interrupt: Interrupt,
    notify: Notify,
) -> dict[tuple[str, int], dict[str, Any]]:
    done: dict[tuple[str, int], dict[str, Any]] = {}
    log = run.path / "workers.log"
    with Workers(run_study, count, devices=(str(device),), log=log) as workers:
        for key, task in tasks.items():
            workers.submit(key, replace(task, folder=task.folder.absolute()))
        while len(done) < len(tasks):
            if interrupt.requested:
                workers.close()
                assert interrupt.signal_number is not None
                raise InterruptedRunError("stopped on request", interrupt.signal_number)
            for message in workers.wait(_LOOK_EVERY_S):
                match message:
                    case Progress(payload=payload):
                        notify(payload)
                    case Finished(key=(str(method), int(seed)), result=study):
                        done[method, seed] = study
                        notify(StudyFinished(method, study))
                    case Failed(error=error):
                        raise error
    return done
