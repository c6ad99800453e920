"""One study in which our search chooses: of α₁, or of the rate of another optimizer."""

from dataclasses import replace

from tunecli.data.load import Splits
from tunecli.recipe import Recipe
from tunecli.search.abort import gives_up
from tunecli.search.compare.bench import Bench, Request, training_seed
from tunecli.search.compare.log import Curve, TrialLine, TrialState
from tunecli.search.compare.methods import Method
from tunecli.search.compare.space import schedule_for
from tunecli.search.probe import ramp_schedule, run_ramp
from tunecli.search.run import monotone_rule
from tunecli.search.stop_rule import Continue, Decision, MonotoneRule, Observation, Stop, decide
from tunecli.training import Trial
from tunecli.training.alternatives import build_alternative, same_samples_steps
from tunecli.training.build import build_trial
from tunecli.training.learning_rate import default_rates, require_alternative
from tunecli.training.trial import GivesUp


def run_rule(bench: Bench, recipe: Recipe, method: Method, samples: int) -> float | None:
    """Search by the recipe's strategy until it stops or the budget is spent.

    Args:
        bench: Gives the trials.
        recipe: What is trained, and how it is searched.
        method: Our search itself, or the optimizer whose rate is searched.
        samples: Size of the training set.

    Returns:
        The rate that the search chose; None when the budget ended it, or nothing learned.
    """
    rule = _rule(bench, recipe, method, samples)
    while True:
        decision = _next(rule, bench.lines)
        if isinstance(decision, Stop):
            return decision.learning_rate if decision.learned else None
        if not bench.affords_another:
            return None
        _attempt(bench, recipe, method, samples, rule, decision)


def chosen_line(lines: list[TrialLine], *, maximize: bool) -> TrialLine | None:
    """The trial that the search would go with now: the best rate's, with its first seed.

    Rates are compared by their mean over the seeds so far; one that diverged with any is out.
    """
    diverged = {line.parameters["learning_rate"] for line in lines if line.state == "diverged"}
    by_rate: dict[float, list[TrialLine]] = {}
    for line in lines:
        rate = line.parameters["learning_rate"]
        if line.state == "complete" and rate not in diverged:
            by_rate.setdefault(rate, []).append(line)
    if not by_rate:
        return None
    pick = max if maximize else min
    best = pick(by_rate.values(), key=lambda at: sum(line.value for line in at) / len(at))
    return best[0]


def _rule(bench: Bench, recipe: Recipe, method: Method, samples: int) -> MonotoneRule:
    """The recipe's rule, on the method's own rates; a probe is run again when a study goes on."""
    rule = monotone_rule(recipe)
    if method.group != "tunecli":
        rates = default_rates(require_alternative(method.name), recipe)
        # what gives our trials up early does not hold for rates that peak late or fall to zero
        return replace(rule, learning_rates=rates, early_abort=False)
    rule = replace(rule, extend=0)  # Optuna may not leave the grid's range either
    if recipe.search.strategy != "probe":
        return rule
    schedule = schedule_for(recipe, {"learning_rate": rule.learning_rates[0]}, samples)
    ramp = ramp_schedule(recipe, schedule)
    setting = bench.setting
    trial = build_trial(
        recipe,
        ramp,
        seed=training_seed(setting.study_seed, 0),
        splits=bench.splits,
        device=setting.device,
    )
    steps = schedule.stages[0].steps
    probe = run_ramp(ramp, lambda: trial.training.step().item(), steps)
    bench.owe(probe.samples)
    return replace(rule, start=probe.start)


def _next(rule: MonotoneRule, lines: list[TrialLine]) -> Decision:
    """What our search does after these trials; all that is known here of how it decides."""
    return decide(
        rule,
        [
            Observation(
                learning_rate=line.parameters["learning_rate"],
                value=line.value,
                diverged=line.state == "diverged",
                baseline=line.baseline,
                repeat=line.repeat,
                curve=line.curve,
            )
            for line in lines
        ],
    )


def _attempt(
    bench: Bench,
    recipe: Recipe,
    method: Method,
    samples: int,
    rule: MonotoneRule,
    decision: Continue,
) -> TrialLine:
    to_beat, rate = decision.to_beat, decision.learning_rate

    def watch(curve: Curve, baseline: float) -> tuple[TrialState, str] | None:
        if to_beat is None:
            return None
        reason = gives_up(
            curve,
            to_beat,
            maximize=rule.maximize,
            perfect=rule.perfect,
            baseline=baseline,
            learned_share=rule.learned_share,
        )
        return None if reason is None else ("aborted", reason)

    ours = method.group == "tunecli"
    schedule = schedule_for(recipe, {"learning_rate": rate}, samples)
    draws = schedule.samples
    if not ours:
        draws = same_samples_steps(schedule) * recipe.schedule.batch_size

    def build(seed: int, splits: Splits, gives_up: GivesUp) -> Trial:
        device = bench.setting.device
        if ours:
            return build_trial(
                recipe, schedule, seed=seed, splits=splits, device=device, gives_up=gives_up
            )
        return build_alternative(
            recipe,
            method.name,
            rate,
            seed=seed,
            splits=splits,
            device=device,
            gives_up=gives_up,
        )

    return bench.trial(Request({"learning_rate": rate}, decision.repeat, draws, build, watch))
