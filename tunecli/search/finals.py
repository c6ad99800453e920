"""The final trainings: the schedule of the rate found, with fresh seeds, and the test set once."""

from collections.abc import Callable

from tunecli.execution import RunFolder
from tunecli.recipe import Recipe
from tunecli.schedule import Schedule
from tunecli.search.crew import Crew, OnProgress
from tunecli.search.events import TrialRecord
from tunecli.search.metric import metric_of
from tunecli.search.trials import TrialProgress, TrialResult, TrialTask


def train_finally(
    recipe: Recipe,
    run: RunFolder,
    schedule: Schedule,
    rate: float,
    *,
    crew: Crew,
    submit: Callable[[int, TrialTask], None],
    on_progress: OnProgress,
    on_record: Callable[[int, TrialRecord], None],
) -> tuple[TrialRecord, ...]:
    """Train with every test seed; each model reads the test set once, after its last update.

    Args:
        recipe: What to train.
        run: Its folder.
        schedule: Of the rate found, scaled for a delay already.
        rate: α₁.
        crew: Runs the trainings.
        submit: Hands it one, named by its seed.
        on_progress: See `Crew.collect`.
        on_record: Told of each one that has ended, with its seed.

    Returns:
        One record per seed, in the recipe's order.
    """
    records: dict[int, TrialRecord] = {}

    def on_end(seed: int, ended: TrialResult | TrialProgress) -> None:
        assert isinstance(ended, TrialResult)  # nobody cancels them
        records[seed] = final_record(recipe, rate, seed, ended)
        on_record(seed, records[seed])

    waiting = list(recipe.search.test_seeds)
    while waiting or crew.running:
        while waiting and len(crew.running) < crew.count:
            seed = waiting.pop(0)
            submit(seed, TrialTask(recipe, schedule, "final", rate, seed, run.final(seed)))
        crew.collect(on_progress, on_end, _raise)
    return tuple(records[seed] for seed in recipe.search.test_seeds)


def final_record(recipe: Recipe, rate: float, seed: int, ended: TrialResult) -> TrialRecord:
    """A final training that has ended.

    Its value is the test metric; where a script tells none, the validation metric, and `split`
    says so.
    """
    metric, outcome = metric_of(recipe), ended.outcome
    value = ended.test
    if value is None and not ended.reads_test and outcome.final is not None:
        value = metric.of(outcome.final)
    worst = metric.value(outcome, recipe.training.divergence_factor)
    return TrialRecord(
        learning_rate=rate,
        seed=seed,
        state="diverged" if value is None else "complete",
        value=worst if value is None else value,
        updates=outcome.steps,
        samples=outcome.samples,
        seconds=outcome.seconds,
        role="final",
        reason=outcome.reason,
        curve=tuple((point.samples, metric.of(point)) for point in outcome.curve),
        measured=outcome.measured,
        split="test" if ended.reads_test else "validation",
    )


def _raise(key: int, error: Exception) -> None:
    raise error
