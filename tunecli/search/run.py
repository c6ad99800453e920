"""The main job: search α₁, derive the schedule at the rate found, train it, test it."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial

import torch

from tunecli.data.load import Splits, load_splits
from tunecli.data.sizes import require_samples, samples_of
from tunecli.execution import Interrupt, RunFolder, cpu_threads, read_json, write_json
from tunecli.execution.delay import RunDelay, delay_of_run
from tunecli.execution.in_process import spent_in
from tunecli.execution.interrupt import check_stop
from tunecli.recipe import Recipe, delay_scaling, derive_schedule, trial_schedule
from tunecli.recipe.derive import advised_schedule
from tunecli.recipe.trust import code_of
from tunecli.schedule import Schedule
from tunecli.schedule.asynchronous import DelayScaling
from tunecli.search.crew import Alone, Crew, Together
from tunecli.search.events import (
    DelayMeasuring,
    Notify,
    ProbeFinished,
    SearchStarted,
    SearchStopped,
    TrialFinished,
    TrialProgressed,
    TrialRecord,
    TrialStarted,
)
from tunecli.search.explain import explain
from tunecli.search.finals import train_finally
from tunecli.search.metric import metric_of
from tunecli.search.probe import Probe, ramp_schedule, run_ramp
from tunecli.search.result import SearchResult
from tunecli.search.rule import Continue, MonotoneRule, Stop
from tunecli.search.stop_rule import ahead
from tunecli.search.study import Assignment, SearchStudy
from tunecli.search.trials import TrialProgress, TrialResult, TrialTask
from tunecli.search.unchanged import changes_nothing
from tunecli.search.verify import Verification, rates_beyond
from tunecli.training.build import build_trial, caveats
from tunecli.training.protocol import wait_for_step
from tunecli.user_code import blamed

_HORIZON = 4  # requests per worker: a trial that runs and is further off is cancelled


def monotone_rule(recipe: Recipe) -> MonotoneRule:
    """The stop rule that a recipe's `search` section asks for; a probe's start is not in it yet."""
    section, metric = recipe.search, metric_of(recipe)
    paper = section.strategy == "paper"
    return MonotoneRule(
        learning_rates=section.learning_rates,
        strategy="paper" if paper else "geometric",
        repeats=len(section.seeds),
        patience=section.patience,
        maximize=metric.maximize,
        perfect=metric.perfect,
        learned_share=section.learned_share,
        max_trials=section.max_trials,
        extend=0 if paper else section.extend,
        resolution=None if paper else section.resolution,
        early_abort=section.early_abort and not paper,
        error_rate=section.error_rate,
    )


def run_search(
    recipe: Recipe,
    run: RunFolder,
    *,
    device: torch.device,
    interrupt: Interrupt,
    notify: Notify,
    workers: Sequence[str] = (),
    verify: int = 0,
) -> SearchResult:
    """Run a search to its end in a folder that is locked, or go on with one that was stopped.

    Args:
        recipe: What to search.
        run: Its folder; what is finished in it is not run again.
        device: Where the trials run.
        interrupt: Asked several times a second.
        notify: Told what happens.
        workers: A device per worker process; with fewer than two the trials run in this one.
        verify: How many rates beyond the stop to train for the certificate.

    Returns:
        The result; nothing of it is written yet but the study and the trials' folders.

    Raises:
        InterruptedRunError: A stop was requested; the folder can be resumed.
        RunError: A file of the run cannot be read or written.
        InvalidValueError: The recipe gives no schedule.
        UserCodeError: The recipe's own code raised an error.
    """
    with cpu_threads(recipe.training.cpu_threads):
        splits: Splits | None = None
        if recipe.command is None:
            splits = load_splits(recipe.data, ("train", "validation"))  # the test set stays away
        delay = None
        if splits is not None:
            delay = delay_of_run(
                recipe,
                run,
                splits,
                device=device,
                check_stop=partial(check_stop, interrupt),
                on_measure=lambda n: notify(DelayMeasuring(n)),
            )
        crew: Crew
        if len(workers) > 1:
            crew = Together(len(workers), workers, run.path / "workers.log", interrupt)
        else:
            crew = Alone(splits, device, interrupt)
        with crew:
            return _Search(recipe, run, device, notify, splits, crew, delay, interrupt).run(verify)


class _Search:
    def __init__(
        self,
        recipe: Recipe,
        run: RunFolder,
        device: torch.device,
        notify: Notify,
        splits: Splits | None,
        crew: Crew,
        delay: RunDelay | None,
        interrupt: Interrupt,
    ) -> None:
        self._recipe = recipe
        self._run = run
        self._device = device
        self._notify = notify
        self._splits = splits
        self._crew = crew
        self._check_stop = partial(check_stop, interrupt)
        self._run_delay = delay
        self._delay = delay.delay if delay is not None else None
        self._metric = metric_of(recipe)
        self._rule = monotone_rule(recipe)
        known = samples_of(recipe) if splits is None else len(splits["train"])
        self._known_samples = known
        self._training_samples = require_samples(recipe, known)
        self._caveats = [] if splits is None else caveats(recipe, splits)
        self._tasks: dict[int, TrialTask] = {}  # those that run, by the number of their trial
        self._certain: set[int] = set()  # trials that a search without workers would run, too
        # a recipe without a schedule fails here
        self._first_schedule = self._schedule(self._rule.learning_rates[0])

    def run(self, verify: int) -> SearchResult:
        section = self._recipe.search
        probe = self._probe() if section.strategy == "probe" else None
        if probe is not None:
            self._rule = replace(self._rule, start=probe.start)
        path, name = self._run.study, self._recipe.name
        study = SearchStudy(path, name, self._rule, self._first_schedule.samples)
        self._notify(
            SearchStarted(
                recipe=self._recipe,
                schedule=self._first_schedule,
                training_samples=self._known_samples,
                metric=self._metric,
                most_trials=section.most_trials,
                usual_trials=section.usual_trials,
                finished=study.records(),
                device=str(self._device),
                workers=self._crew.count,
                scaling=self._scaling(),
            )
        )
        if probe is not None:
            self._notify(ProbeFinished(probe))
        stop = self._walk(study)
        if self._recipe.command is not None and changes_nothing(stop, self._rule.perfect):
            # the rule knows values alone; that a script never read its rate is not its affair
            stop = replace(stop, learned=False, edge=None)
        explanation = explain(stop, self._rule)
        self._notify(SearchStopped(stop, explanation))
        verification = self._verify(study, stop, verify) if verify else None
        schedule: Schedule | None = None
        final: tuple[TrialRecord, ...] = ()
        if stop.learning_rate is not None and stop.learned:
            schedule = self._schedule(stop.learning_rate)
            final = self._train_finally(stop.learning_rate, schedule)
        return SearchResult(
            recipe=self._recipe,
            run=self._run.path,
            rule=self._rule,
            stop=stop,
            explanation=explanation,
            trials=study.records(),
            schedule=schedule and advised_schedule(self._recipe, schedule),
            training_samples=self._known_samples,
            caveats=tuple(self._caveats),
            final=final,
            probe=probe,
            verification=verification,
            device=self._device,
            delay=self._run_delay,
        )

    def _scaling(self) -> DelayScaling | None:
        """What the delay makes of the grid's first rate."""
        if self._delay is None:
            return None
        rate = self._rule.learning_rates[0]
        derived = derive_schedule(self._recipe.schedule, rate, self._training_samples)
        return delay_scaling(self._recipe, derived, self._delay)

    def _probe(self) -> Probe:
        """The ramp before the walk, or what it found before the run was stopped."""
        assert self._splits is not None  # training/feasible.py: no script is probed
        path = self._run.path / "probe.json"
        if path.exists():
            return Probe.from_dict(read_json(path))
        schedule = ramp_schedule(self._recipe, self._first_schedule)
        scaled_by = self._first_schedule.stages[0].learning_rate / self._rule.learning_rates[0]
        trial = build_trial(
            self._recipe,
            schedule.scaled(scaled_by),  # for the delay, as every trial's
            seed=self._recipe.search.seeds[0],
            splits=self._splits,
            device=self._device,
        )
        steps = self._first_schedule.stages[0].steps
        own_code = bool(code_of(self._recipe))
        with closing(trial.training), blamed("the recipe's code, in the probe,", own_code):
            step = partial(wait_for_step, trial.training, self._check_stop)
            probe = run_ramp(schedule, lambda: step().item(), steps)
        write_json(path, asdict(probe))
        return probe

    def _walk(self, study: SearchStudy) -> Stop:
        """Trials as the rule asks for them, some ahead where there are workers, until it stops."""
        while True:
            decision = study.decide()
            if isinstance(decision, Stop):
                self._cancel_all(study)
                return decision
            self._keep_busy(study)
            self._collect(study)

    def _keep_busy(self, study: SearchStudy) -> None:
        count = self._crew.count
        horizon = ahead(self._rule, study.observations(), 1 if count == 1 else count * _HORIZON)
        begun = {assignment.key: number for number, assignment in study.unfinished().items()}
        order = [begun.get((each.learning_rate, each.repeat)) for each in horizon]
        running = self._crew.running
        worth = [number for number in order if number in running]
        if order[0] not in running:
            worth = worth[: count - 1]  # the certain one does not wait for a likely one
        for number in running:
            if number not in worth:
                self._crew.cancel(number)
        for request in horizon[:count]:
            key = (request.learning_rate, request.repeat)
            if begun.get(key) not in self._crew.running and len(self._crew.running) < count:
                certain = request is horizon[0]
                self._begin(study, self._assignment(request), self._to_beat(request, certain))
        key = (horizon[0].learning_rate, horizon[0].repeat)
        self._certain |= {n for n, begun in study.unfinished().items() if begun.key == key}

    def _to_beat(self, request: Continue, certain: bool) -> Sequence[tuple[float, float]] | None:
        """What runs ahead is given up only where no best rate can make a difference."""
        return request.to_beat if certain or request.to_beat is None else ()

    def _assignment(self, request: Continue) -> Assignment:
        seed = self._recipe.search.seeds[request.repeat]
        return Assignment(request.learning_rate, request.repeat, seed, request.role)

    def _begin(
        self,
        study: SearchStudy,
        wanted: Assignment,
        to_beat: Sequence[tuple[float, float]] | None,
    ) -> int:
        number = study.begin(wanted)
        schedule = self._schedule(wanted.learning_rate)
        self._submit(
            number,
            TrialTask(
                recipe=self._recipe,
                schedule=schedule,
                phase="search",
                learning_rate=wanted.learning_rate,
                seed=wanted.seed,
                folder=self._run.trial(number),
                to_beat=to_beat,
            ),
        )
        return number

    def _submit(self, key: int, task: TrialTask) -> None:
        self._tasks[key] = task
        log = None if self._recipe.command is None else task.folder / "script.log"
        self._notify(
            TrialStarted(task.phase, task.learning_rate, task.seed, task.schedule.total_steps, log)
        )
        self._crew.submit(key, task)

    def _collect(self, study: SearchStudy) -> None:
        """Wait a moment for the trials that run, and store those that have ended."""

        def on_end(number: int, ended: TrialResult | TrialProgress) -> None:
            self._tasks.pop(number, None)
            if isinstance(ended, TrialProgress):
                bill = {"updates": ended.steps, "samples": ended.samples}
                record = study.cancel(number, **bill, seconds=ended.seconds)
            else:
                outcome = ended.outcome
                value = self._metric.value(outcome, self._recipe.training.divergence_factor)
                curve = tuple(self._metric.of(point) for point in outcome.curve)
                record = study.finish(number, outcome, value, ended.baseline, curve)
            self._notify(TrialFinished("search", record))

        def on_failure(number: int, error: Exception) -> None:
            self._tasks.pop(number, None)
            if number in self._certain:
                raise error
            # it ran ahead: where it is needed after all it is begun again, and fails in its turn
            updates, samples, seconds = spent_in(self._run.trial(number))
            record = study.cancel(number, updates=updates, samples=samples, seconds=seconds)
            self._notify(TrialFinished("search", record))

        self._crew.collect(self._on_progress, on_end, on_failure)

    def _on_progress(self, key: int, progress: TrialProgress) -> None:
        task = self._tasks[key]
        self._notify(
            TrialProgressed(
                task.phase,
                learning_rate=task.learning_rate,
                seed=task.seed,
                steps=progress.steps,
                samples=progress.samples,
                seconds=progress.seconds,
                curve=progress.curve,
                silent_s=progress.silent_s,
            )
        )

    def _cancel_all(self, study: SearchStudy) -> None:
        """End what ran ahead and is not needed, also what a run that was killed had begun."""
        for number in self._crew.running:
            self._crew.cancel(number)
        while self._crew.running:
            self._collect(study)
        for number, begun in study.unfinished().items():
            if begun.role != "verify":
                updates, samples, seconds = spent_in(self._run.trial(number))
                study.cancel(number, updates=updates, samples=samples, seconds=seconds)

    def _verify(self, study: SearchStudy, stop: Stop, count: int) -> Verification | None:
        """Train rates beyond the stop, which must not matter, and see whether they do."""
        if stop.learning_rate is None or not stop.learned:
            return None
        seed = self._recipe.search.seeds[0]
        rates = rates_beyond(self._rule, stop, count)
        done = {record.learning_rate for record in study.records() if record.role == "verify"}
        waiting = [rate for rate in rates if rate not in done]
        while waiting or self._crew.running:
            while waiting and len(self._crew.running) < self._crew.count:
                assignment = Assignment(waiting.pop(0), 0, seed, "verify")
                self._certain.add(self._begin(study, assignment, None))
            self._collect(study)
        records = [record for record in study.records() if record.role == "verify"]
        return Verification.of(self._rule, stop, [r for r in records if r.learning_rate in rates])

    def _train_finally(self, rate: float, schedule: Schedule) -> tuple[TrialRecord, ...]:
        def on_record(seed: int, record: TrialRecord) -> None:
            self._tasks.pop(seed, None)
            self._notify(TrialFinished("final", record))

        return train_finally(
            self._recipe,
            self._run,
            schedule,
            rate,
            crew=self._crew,
            submit=self._submit,
            on_progress=self._on_progress,
            on_record=on_record,
        )

    def _schedule(self, rate: float) -> Schedule:
        return trial_schedule(self._recipe, rate, self._training_samples, self._delay)
