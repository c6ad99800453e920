"""The monotone rule as an Optuna sampler over one float."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tunecli.errors import InvalidValueError
from tunecli.search.rule import Decision, MonotoneRule, Observation, Stop
from tunecli.search.stop_rule import ahead, decide

DIVERGED = "diverged"
BASELINE = "baseline"
REPEAT = "repeat"
CURVE = "curve"
IGNORED = "not part of the walk"
_MOST_FAILURES = 3


class MonotoneSampler(BaseSampler):
    """Walks an ascending grid of learning rates and stops the study by the monotone rule.

    The walk is rebuilt from the study's trials at every call, so a study that was stopped, copied
    or continued elsewhere goes on where it was; there is no other state. The direction is the
    study's. `study.optimize(objective)` needs no number of trials: the sampler stops the study.

    The objective tells divergence by a finite worst value and the user attribute `diverged`;
    an objective of NaN would be a failed trial to Optuna, and is tried again. A failed trial says
    nothing of the learning rate; after three failures at one rate the study stops. A user
    attribute `baseline` (what a model that has learned nothing gets) guards against a flat start.
    A pruned trial counts with its last intermediate value, and any trial as diverged whose value
    is missing or not finite. Trials at a rate that is not on the grid (`enqueue_trial`) are left
    out of the walk. Parameters other than `name` are drawn at random.

    With `n_jobs` > 1 the workers run ahead: each gets the next rate that the walk may come to. The
    decision stays that of a walk without helpers, which ignores what it did not come to.

    Args:
        rule: Grid, repeats, patience; its `maximize` must agree with the study's direction.
        name: The parameter that is walked.
        seed: Seed of the sampler for other parameters.

    >>> import optuna
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> rule = MonotoneRule(learning_rates=(0.1, 0.2, 0.4, 0.8, 1.6))
    >>> study = optuna.create_study(direction="maximize", sampler=MonotoneSampler(rule))
    >>> study.optimize(lambda trial: -(trial.suggest_float("learning_rate", 0.1, 1.6) - 0.5) ** 2)
    >>> study.best_params["learning_rate"], len(study.trials)
    (0.4, 3)
    """

    def __init__(
        self, rule: MonotoneRule, *, name: str = "learning_rate", seed: int | None = None
    ) -> None:
        self._rule = rule
        self._name = name
        self._others = RandomSampler(seed=seed)
        # trials that this process runs, so that parallel workers get different ones; the decision
        # itself rests on the study alone
        self._running: dict[tuple[float, int], int] = {}

    def reseed_rng(self) -> None:
        """Reseed the sampler of the other parameters; the walk draws nothing."""
        self._others.reseed_rng()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing is sampled jointly."""
        _require_one_objective(study)
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing is sampled jointly."""
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The next rate of the walk, and once it has stopped the best one."""
        _require_one_objective(study)
        if param_name != self._name:
            return self._others.sample_independent(study, trial, param_name, param_distribution)
        request = self._reserve(study, trial.number)
        if isinstance(request, Stop):
            rate = request.learning_rate or self._rule.learning_rates[0]
        else:
            study._storage.set_trial_user_attr(trial._trial_id, REPEAT, request.repeat)
            rate = request.learning_rate
        self._require_room(param_name, param_distribution, rate)
        return rate

    def _reserve(self, study: Study, number: int) -> Decision:
        """The first trial that the rule asks for and no other worker runs; what it decided else."""
        states = (TrialState.RUNNING,)
        while True:
            # before the observations: what has ended by now is among them
            running = {each.number for each in study.get_trials(deepcopy=False, states=states)}
            for key, holder in list(self._running.items()):
                if holder not in running:
                    self._running.pop(key, None)
            count = len(self._running) + 1
            requests = ahead(self._rule, self.observations(study), count)
            for request in requests:
                wanted = request.learning_rate, request.repeat
                if self._running.setdefault(wanted, number) == number:  # atomic, among threads
                    return request
            if len(requests) < count:
                return requests[0] if requests else self.decide(study)

    def _require_room(self, name: str, distribution: BaseDistribution, rate: float) -> None:
        rates = self._rule.learning_rates
        holds = isinstance(distribution, FloatDistribution) and all(
            distribution._contains(each) for each in (*rates, rate)
        )
        if not holds:
            beyond = "" if rate in rates else f"and {rate}, which lies beyond or between, "
            raise InvalidValueError(
                f"{name} must be a float whose range and step hold the grid, from {rates[0]} to "
                f"{rates[-1]}, {beyond}but got {distribution}; widen the range in suggest_float"
            )

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Stop the study where the rule does; see `decide` for the reason."""
        if not self._is_walked(trial):
            return
        if state == TrialState.FAIL:
            rate = trial.params[self._name]
            failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
            if sum(other.params.get(self._name) == rate for other in failed) + 1 >= _MOST_FAILURES:
                _stop(study)
        elif isinstance(self.decide(study, (trial, state, values)), Stop):
            _stop(study)

    def decide(
        self,
        study: Study,
        finishing: tuple[FrozenTrial, TrialState, Sequence[float] | None] | None = None,
    ) -> Decision:
        """The rule's decision on a study.

        Args:
            study: Its finished trials are the evidence.
            finishing: A trial that is about to be stored, as `after_trial` is given it.

        Raises:
            InvalidValueError: The study's direction is not the rule's, or it has several.
        """
        _require_one_objective(study)
        return decide(self._rule, self.observations(study, finishing))

    def observations(
        self,
        study: Study,
        finishing: tuple[FrozenTrial, TrialState, Sequence[float] | None] | None = None,
    ) -> list[Observation]:
        """The finished trials of the walk, in the order of their numbers.

        Raises:
            InvalidValueError: The study's direction is not the rule's, or it has several.
        """
        _require_one_objective(study)
        if (study.direction == StudyDirection.MAXIMIZE) != self._rule.maximize:
            raise InvalidValueError(
                f"the study must {'maximize' if self._rule.maximize else 'minimize'} as the rule "
                f"does but got {study.direction.name.lower()}; set direction in create_study"
            )
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        trials = [
            (trial, trial.state, trial.value)
            for trial in study.get_trials(deepcopy=False, states=states)
        ]
        if finishing is not None:
            trial, state, values = finishing
            if state in states:
                trials.append((trial, state, values[0] if values else None))
                trials.sort(key=lambda each: each[0].number)  # others may have overtaken it
        walked = [each for each in trials if self._is_walked(each[0])]
        taken: set[tuple[float, int]] = set()
        found = []
        for each in walked:
            rate, repeat = each[0].params[self._name], each[0].user_attrs.get(REPEAT, 0)
            # of two trials of one repeat, run by samplers that know nothing of each other, both are
            # evidence: the later one is the next repeat
            while (rate, repeat) in taken:
                repeat += 1
            taken.add((rate, repeat))
            found.append(self._observation(*each, repeat))
        return found

    def _is_walked(self, trial: FrozenTrial) -> bool:
        """Whether a trial is one of the walk: at a rate that the rule can ask for."""
        rate = trial.params.get(self._name)
        if rate is None or IGNORED in trial.user_attrs:
            return False
        return rate in self._rule.learning_rates or REPEAT in trial.user_attrs

    def _observation(
        self, trial: FrozenTrial, state: TrialState, value: float | None, repeat: int
    ) -> Observation:
        # Optuna gives a pruned trial its last report as value; where there is none, or a value is
        # not finite (pruners prune on NaN, objectives return infinity), nothing speaks for the rate
        lost = value is None or not math.isfinite(value)
        curve = trial.user_attrs.get(CURVE, ())
        return Observation(
            learning_rate=trial.params[self._name],
            value=0.0 if lost or value is None else value,
            diverged=lost or bool(trial.user_attrs.get(DIVERGED)),
            baseline=trial.user_attrs.get(BASELINE),
            repeat=repeat,
            curve=tuple((share, value) for share, value in curve if share > 0),
        )


def _require_one_objective(study: Study) -> None:
    if len(study.directions) != 1:
        raise InvalidValueError(
            f"the study must have one objective but got {len(study.directions)}; the monotone "
            "rule compares a single value"
        )


def _stop(study: Study) -> None:
    # between ask and tell there is no loop to stop; who asks and tells calls `decide`
    with contextlib.suppress(RuntimeError):
        study.stop()
