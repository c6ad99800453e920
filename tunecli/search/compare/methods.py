"""What is compared: the methods by name, and how Optuna's are set up.

Optuna gets its best chance. Learning rates are drawn on a log scale between the ends of the
recipe's grid, which are the same ends that our search knows. Settings that differ from Optuna's
defaults, and why:

- **TPE, GP**: 5 random trials to begin with for one parameter instead of 10, so that a third of a
  30-trial budget is not spent at random; the default 10 for five parameters. TPE models the five
  together (`multivariate`). The GP is told that values are noisy.
- **Hyperband**: `max_resource` is the number of evaluations of a trial, so the brackets are known
  from the first trial on; `reduction_factor` is Optuna's 3.
- **Median pruning**: Optuna's 5 trials before the first pruning, and no pruning in the first fifth
  of a trial, where all curves look alike.
- **Grid**: the recipe's grid in shuffled order; for five parameters a product of two to five
  levels each, shuffled, of which the budget sees a part.
- Methods without a pruner of their own give trials up by the same early abort as our search.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, GridSampler, RandomSampler, TPESampler

from tunecli.errors import InvalidValueError
from tunecli.search.compare.space import Space

Group = Literal["tunecli", "learning_rate", "joint", "alternative"]
OURS = "tunecli"


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the comparison.

    Args:
        name: As on the command line and in result.json.
        label: For people.
        group: Our search, Optuna over the learning rate, Optuna over five parameters, or another
            optimizer whose rate our search finds.
        sampler: Optuna's sampler, where it is Optuna's.
        pruner: Optuna's pruner, where the method has one.
    """

    name: str
    label: str
    group: Group
    sampler: Literal["tpe", "random", "grid", "gp"] | None = None
    pruner: Literal["hyperband", "median"] | None = None

    @property
    def is_optuna(self) -> bool:
        """Whether Optuna chooses the trials."""
        return self.sampler is not None

    @property
    def parameters(self) -> tuple[str, ...]:
        """What the method searches."""
        rest = ("momentum", "discount", "batch_size", "decay") if self.group == "joint" else ()
        return ("learning_rate", *rest)


def _methods() -> tuple[Method, ...]:
    optuna_methods = (
        Method("tpe", "TPE", "learning_rate", "tpe"),
        Method("random", "random search", "learning_rate", "random"),
        Method("grid", "grid search", "learning_rate", "grid"),
        Method("gp", "GP", "learning_rate", "gp"),
        Method("tpe-hyperband", "TPE with Hyperband", "learning_rate", "tpe", "hyperband"),
        Method("tpe-median", "TPE with median pruning", "learning_rate", "tpe", "median"),
    )
    joint = tuple(
        Method(f"{one.name}-joint", f"{one.label} (joint)", "joint", one.sampler, one.pruner)
        for one in optuna_methods
    )
    alternatives = (
        Method("cosine", "cosine annealing", "alternative"),
        Method("one-cycle", "one-cycle", "alternative"),
        Method("adam", "Adam", "alternative"),
        Method("rmsprop", "RMSProp", "alternative"),
        Method("nadamw", "NAdamW", "alternative"),
        Method("schedule-free", "Schedule-Free", "alternative"),
        Method("prodigy", "Prodigy", "alternative"),
    )
    return (Method(OURS, "tunecli", "tunecli"), *optuna_methods, *joint, *alternatives)


METHODS: dict[str, Method] = {method.name: method for method in _methods()}


def choose_methods(names: Sequence[str] | None) -> tuple[Method, ...]:
    """The methods with these names, ours first, or all of them; each once.

    Our search is always among them: it is what the others are compared with.

    Raises:
        InvalidValueError: There is no method of that name.

    >>> [method.name for method in choose_methods(["random", "tpe"])]
    ['tunecli', 'random', 'tpe']
    """
    if names is None:
        return tuple(METHODS.values())
    for name in names:
        if name not in METHODS:
            close = difflib.get_close_matches(name, METHODS, n=1)
            hint = f"did you mean {close[0]}?" if close else "choose among them"
            raise InvalidValueError(
                f"methods must be among {', '.join(METHODS)} but got {name!r}; {hint}"
            )
    return tuple(METHODS[name] for name in dict.fromkeys([OURS, *names]))


def make_sampler(method: Method, space: Space, seed: int) -> BaseSampler:
    """Optuna's sampler for a method, seeded."""
    joint = method.group == "joint"
    startup = 10 if joint else 5
    match method.sampler:
        case "tpe":
            return TPESampler(seed=seed, multivariate=joint, n_startup_trials=startup)
        case "gp":
            return GPSampler(seed=seed, n_startup_trials=startup, deterministic_objective=False)
        case "grid":
            return GridSampler(space.grid, seed=seed)
        case _:
            return RandomSampler(seed=seed)


def make_pruner(method: Method, evaluations: int) -> BasePruner:
    """Optuna's pruner for a method; one that never prunes where it has none.

    Args:
        method: The method.
        evaluations: How often a trial is evaluated, its end included.
    """
    match method.pruner:
        case "hyperband":
            return HyperbandPruner(min_resource=1, max_resource=evaluations, reduction_factor=3)
        case "median":
            return MedianPruner(n_startup_trials=5, n_warmup_steps=evaluations // 5)
        case _:
            return NopPruner()


def make_study(
    method: Method, space: Space, *, seed: int, evaluations: int, maximize: bool
) -> optuna.Study:
    """An empty study in memory; its name is part of what seeds Hyperband's brackets."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        study_name=f"{method.name}-{seed}",
        sampler=make_sampler(method, space, seed),
        pruner=make_pruner(method, evaluations),
        direction="maximize" if maximize else "minimize",
    )
