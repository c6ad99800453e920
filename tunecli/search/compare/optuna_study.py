"""One study in which Optuna chooses."""

import optuna
from optuna.trial import TrialState as OptunaState

from tunecli.data.load import Splits
from tunecli.errors import InvalidValueError
from tunecli.recipe import Recipe
from tunecli.search.abort import gives_up
from tunecli.search.compare.bench import Bench, Request
from tunecli.search.compare.log import Curve, TrialLine, TrialState
from tunecli.search.compare.methods import Method, make_study
from tunecli.search.compare.space import Space, schedule_for
from tunecli.search.metric import Metric
from tunecli.training import Trial
from tunecli.training.build import build_trial
from tunecli.training.trial import GivesUp


def run_optuna(bench: Bench, recipe: Recipe, method: Method, space: Space, samples: int) -> None:
    """Let Optuna choose trials until the budget, or its grid, is spent.

    Divergence is told as the finite worst value. A trial that was given up is told as pruned, with
    what it reported; to the GP, which looks at no pruned trial and would come back to the same
    place, it is told as a complete one with its last value.

    Args:
        bench: Gives the trials.
        recipe: What is trained.
        method: Optuna's sampler and pruner.
        space: What it may choose.
        samples: Size of the training set.
    """
    study = make_study(
        method,
        space,
        seed=bench.setting.study_seed,
        evaluations=recipe.training.evaluations,
        maximize=bench.setting.metric.maximize,
    )

    def objective(trial: optuna.Trial) -> float:
        line = _attempt(trial, bench, recipe, method, space, samples)
        if line.state in ("pruned", "aborted") and method.sampler != "gp":
            raise optuna.TrialPruned
        return line.value

    def stop_when_spent(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        assert trial.state in (OptunaState.COMPLETE, OptunaState.PRUNED)
        if not bench.affords_another:
            study.stop()

    if bench.affords_another:
        study.optimize(objective, callbacks=[stop_when_spent])


def _attempt(
    trial: optuna.Trial,
    bench: Bench,
    recipe: Recipe,
    method: Method,
    space: Space,
    samples: int,
) -> TrialLine:
    parameters = space.suggest(trial)
    best = best_line(bench.lines, bench.setting.metric)

    def watch(curve: Curve, baseline: float) -> tuple[TrialState, str] | None:
        trial.report(curve[-1][1], step=len(curve))
        if method.pruner is not None:
            return ("pruned", f"by {method.label}") if trial.should_prune() else None
        if not recipe.search.early_abort:
            return None
        reason = gives_up(
            curve,
            None if best is None else best.curve,
            maximize=bench.setting.metric.maximize,
            perfect=bench.setting.metric.perfect,
            baseline=baseline,
            learned_share=recipe.search.learned_share,
        )
        return None if reason is None else ("aborted", reason)

    try:
        schedule = schedule_for(recipe, parameters, samples)
    except InvalidValueError as error:
        # rounding, between the decays that `make_space` tried: no trial, and nothing to bill
        raise optuna.TrialPruned(str(error)) from error

    def build(seed: int, splits: Splits, gives_up: GivesUp) -> Trial:
        return build_trial(
            recipe,
            schedule,
            seed=seed,
            splits=splits,
            device=bench.setting.device,
            gives_up=gives_up,
        )

    return bench.trial(Request(parameters, 0, schedule.samples, build, watch))


def best_line(lines: list[TrialLine], metric: Metric) -> TrialLine | None:
    """The complete trial with the best validation value; the first of equals."""
    complete = [line for line in lines if line.state == "complete"]
    if not complete:
        return None
    pick = max if metric.maximize else min
    return pick(complete, key=lambda line: line.value)
