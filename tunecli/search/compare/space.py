"""What Optuna may choose: the learning rate alone, or (α₁, β₁, ν, b₁, r) together."""

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import Trial

from tunecli.errors import InvalidValueError
from tunecli.recipe import Recipe, derive_schedule
from tunecli.schedule import Schedule, multistage_schedule

_GAP = "one_minus_momentum"
_LOWEST_GAP = 0.01
_DECAYS = (0.4, 0.8)


@dataclass(frozen=True, slots=True)
class Space:
    """The search space of a recipe.

    Args:
        learning_rates: The recipe's grid; Optuna draws between its ends on a log scale.
        joint: Whether the other four parameters are searched as well.
        batch_sizes: Lowest and highest b₁ of a joint search.
    """

    learning_rates: tuple[float, ...]
    joint: bool
    batch_sizes: tuple[int, int]

    def suggest(self, trial: Trial) -> dict[str, float]:
        """Let Optuna choose: β₁ in [0, 0.99] by log(1 − β₁), b₁ by its log, ν and r evenly."""
        low, high = self.learning_rates[0], self.learning_rates[-1]
        chosen: dict[str, float] = {
            "learning_rate": trial.suggest_float("learning_rate", low, high, log=True)
        }
        if self.joint:
            gap = trial.suggest_float(_GAP, _LOWEST_GAP, 1.0, log=True)
            chosen["momentum"] = 1.0 - gap
            chosen["discount"] = trial.suggest_float("discount", 0.0, 1.0)
            chosen["batch_size"] = trial.suggest_int("batch_size", *self.batch_sizes, log=True)
            chosen["decay"] = trial.suggest_float("decay", *_DECAYS)
        return chosen

    @property
    def grid(self) -> dict[str, list[float]]:
        """The levels of a grid search: the recipe's grid, or a product of a few levels each."""
        if not self.joint:
            return {"learning_rate": list(self.learning_rates)}
        low, high = self.batch_sizes
        middle = min(max(round((low * high) ** 0.5), low), high)
        return {
            "learning_rate": _spread(self.learning_rates, 5),
            _GAP: [0.05, 0.2],
            "discount": [0.5, 1.0],
            "batch_size": sorted({low, middle}),
            "decay": [0.5, 0.7],
        }


def make_space(recipe: Recipe, *, joint: bool, training_samples: int) -> Space:
    """The space around a recipe: b₁ from half the recipe's to four times it, where that trains.

    Args:
        recipe: Its grid and its schedule.
        joint: Whether all five parameters are searched.
        training_samples: Size of the training set.
    """
    size = recipe.schedule.batch_size
    low, high = max(1, size // 2), 4 * size
    if joint:
        while low < size and not _trains(recipe, low, training_samples):
            low += 1
        while high > size and not _trains(recipe, high, training_samples):
            high = max(size, high * 9 // 10)
    return Space(recipe.search.learning_rates, joint, (low, high))


def schedule_for(recipe: Recipe, parameters: dict[str, float], training_samples: int) -> Schedule:
    """The schedule of one trial: the recipe's, with what was searched put in.

    A joint trial draws at most as many samples as a trial of the recipe as it stands.

    Raises:
        InvalidValueError: The parameters give no schedule.
    """
    section = recipe.schedule
    rate = parameters["learning_rate"]
    if len(parameters) == 1:
        return derive_schedule(section, rate, training_samples)
    ceiling = derive_schedule(section, rate, training_samples).samples
    return multistage_schedule(
        learning_rate=rate,
        momentum=parameters["momentum"],
        batch_size=int(parameters["batch_size"]),
        stages=section.stages,
        decay=parameters["decay"],
        discount=parameters["discount"],
        # half a sample more: rounding of the quotient must not cost a sample
        epochs=(ceiling + 0.5) / training_samples,
        training_samples=training_samples,
    )


def _trains(recipe: Recipe, batch_size: int, training_samples: int) -> bool:
    """Whether a batch size gives a schedule over the whole range of the decay."""
    lowest, highest = _DECAYS
    for decay in (lowest + (highest - lowest) * i / 40 for i in range(41)):
        parameters = {
            "learning_rate": 1.0,
            "momentum": 0.9,
            "discount": 0.5,
            "batch_size": batch_size,
            "decay": decay,
        }
        try:
            schedule_for(recipe, parameters, training_samples)
        except InvalidValueError:
            return False
    return True


def _spread(values: Sequence[float], count: int) -> list[float]:
    """`count` of the values, evenly spaced by their place, the ends among them."""
    if len(values) <= count:
        return list(values)
    return [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]
