"""The rule for Optuna's own users: run a study to the rule's stop, or stop one that is sampled."""

from collections.abc import Callable

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from tunecli.errors import InvalidValueError, RunError
from tunecli.search.rule import MonotoneRule, Stop
from tunecli.search.sampler import MonotoneSampler


class MonotoneStop:
    """A callback for `study.optimize` that stops where the rule does, whoever samples.

    For a study whose rates come from `enqueue_trial`, a `GridSampler` or another process. Trials at
    rates that the rule cannot ask for are left out.

    Args:
        rule: What the search goes by; its `maximize` must agree with the study's direction.
        name: The parameter that is walked.

    >>> import optuna
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> rates = [0.1, 0.2, 0.4, 0.8]
    >>> study = optuna.create_study(direction="maximize")
    >>> for rate in rates:
    ...     study.enqueue_trial({"lr": rate})
    >>> rule = MonotoneRule(learning_rates=tuple(rates), strategy="paper")
    >>> stop = MonotoneStop(rule, name="lr")
    >>> objective = lambda trial: -abs(trial.suggest_float("lr", 0.1, 0.8) - 0.2)
    >>> study.optimize(objective, n_trials=4, callbacks=[stop])
    >>> stop.decision.learning_rate, stop.decision.reason.value, len(stop.decision.points)
    (0.2, 'no_improvement', 3)
    """

    def __init__(self, rule: MonotoneRule, *, name: str = "learning_rate") -> None:
        self._sampler = MonotoneSampler(rule, name=name)
        self.decision: Stop | None = None

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        """Called by Optuna after every trial."""
        decision = self._sampler.decide(study)
        if isinstance(decision, Stop):
            self.decision = decision
            study.stop()


def optimize(
    study: Study,
    objective: Callable[[Trial], float],
    rule: MonotoneRule,
    *,
    name: str = "learning_rate",
    n_jobs: int = 1,
) -> Stop:
    """Search to the rule's stop, and return it with its evidence.

    The study may have trials already: those are not run again. Its sampler is set to the rule's.

    Args:
        study: Optuna's study; its direction must be the rule's.
        objective: As for `study.optimize`; it asks for `trial.suggest_float(name, low, high)`.
        rule: What the search goes by.
        name: The parameter that is walked.
        n_jobs: Workers (threads); they run ahead, the decision stays the sequential one.

    Raises:
        InvalidValueError: The direction is wrong, the range does not hold the grid, or the
            objective does not ask for the parameter.
        RunError: The objective failed three times at one rate, or stopped the study.
    """

    def require_parameter(study: Study, trial: FrozenTrial) -> None:
        if trial.state != TrialState.FAIL and name not in trial.params:
            asked = ", ".join(trial.params) or "nothing"
            raise InvalidValueError(
                f"the objective must ask for {name!r} but got {asked}; call "
                f"trial.suggest_float({name!r}, low, high) in it, or pass name="
            )

    sampler = MonotoneSampler(rule, name=name)
    study.sampler = sampler
    decision = sampler.decide(study)
    if not isinstance(decision, Stop):
        study.optimize(objective, n_jobs=n_jobs, callbacks=[require_parameter])
        decision = sampler.decide(study)
    if not isinstance(decision, Stop):
        failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        why = "but failed or gave NaN" if failed else "but the study was stopped"
        raise RunError(
            f"the objective must give a value at {decision.learning_rate:g} {why}; tell divergence "
            "by a finite worst value and the user attribute `diverged`, and call again with the "
            "same study: nothing finished is run again"
        )
    return decision
