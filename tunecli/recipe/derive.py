"""From a recipe and an initial learning rate to the schedule."""

from tunecli.errors import InvalidValueError
from tunecli.recipe.asynchronous import AsynchronousSection
from tunecli.recipe.model import Recipe
from tunecli.recipe.stages import ScheduleSection
from tunecli.schedule import Schedule, multistage_schedule
from tunecli.schedule.asynchronous import DelayScaling, scale_for_delay
from tunecli.theory.delay import (
    ConstantDelay,
    DelayDistribution,
    GaussianDelay,
    GeometricDelay,
    HistogramDelay,
    UniformDelay,
)


def derive_schedule(
    section: ScheduleSection, learning_rate: float, training_samples: int | None
) -> Schedule:
    """The multistage schedule (QHM Eq. 17) of a recipe's `schedule` section at one α₁.

    Args:
        section: Everything but α₁.
        learning_rate: α₁ > 0.
        training_samples: Size of the training set, for a budget in epochs.

    Raises:
        InvalidValueError: The section does not give a schedule (a batch size that rounds to 0, a
            budget too small for one update).
    """
    return multistage_schedule(
        learning_rate=learning_rate,
        momentum=section.momentum,
        batch_size=section.batch_size,
        stages=section.stages,
        decay=section.decay,
        batch_decay=section.batch_decay,
        discount=section.discount,
        steps=section.steps,
        epochs=section.epochs,
        training_samples=training_samples,
    )


def advised_schedule(recipe: Recipe, schedule: Schedule) -> Schedule:
    """The schedule that a rate stands for: the derived one, but for a script that does not damp.

    The rate of an undamped momentum is lr = (1 − β) α, so every α of its schedule is larger by
    1 / (1 − β₁).

    Args:
        recipe: Its `script.undamped` counts.
        schedule: Derived from the rate.
    """
    if recipe.script is None or not recipe.script.undamped:
        return schedule
    return damped(schedule)


def damped(schedule: Schedule) -> Schedule:
    """A schedule whose rates are those of an undamped momentum β₁, in QHM's damped form.

    >>> from tunecli.schedule import Stage
    >>> damped(Schedule((Stage(0.125, 0.75, 1.0, 64, 10),))).stages[0].learning_rate
    0.5
    """
    return schedule.scaled(1 / (1 - schedule.stages[0].momentum))


def declared_delay(section: AsynchronousSection) -> DelayDistribution | None:
    """The delay that a recipe states; None where it is measured: by a clock, or from processes."""
    delay = section.delay
    match delay.name:
        case "constant":
            return ConstantDelay(delay.delay)
        case "uniform":
            return UniformDelay(delay.low, delay.high)
        case "gaussian":
            return GaussianDelay(delay.mean, delay.std)
        case "geometric":
            return GeometricDelay.of_mean(delay.mean)
        case "histogram":
            return HistogramDelay(delay.counts)
        case "clock":
            return None
        case "workers":
            if section.engine == "processes":
                return None
            assert section.num_workers is not None
            return ConstantDelay(section.num_workers - 1)


def delay_scaling(recipe: Recipe, schedule: Schedule, delay: DelayDistribution) -> DelayScaling:
    """What a delay makes of a schedule, by the rule and momentum kind of an asynchronous recipe.

    Args:
        recipe: Its training is asynchronous.
        schedule: Derived from α₁, as if there were no delay.
        delay: Declared or measured.

    Raises:
        InvalidValueError: The rule is not defined at this delay.
    """
    section = recipe.training.asynchronous
    assert section is not None
    return scale_for_delay(
        schedule,
        delay,
        momentum_kind=section.momentum_kind,
        rule=section.scaling,
        staleness_aware=section.staleness_aware,
    )


def trial_schedule(
    recipe: Recipe, learning_rate: float, training_samples: int, delay: DelayDistribution | None
) -> Schedule:
    """What a trial at one α₁ trains with: `derive_schedule`, scaled for the delay if there is one.

    Args:
        recipe: Its `schedule` and `training` sections count.
        learning_rate: α₁, the rate that is right without delay.
        training_samples: Size of the training set.
        delay: Declared or measured; None for centralized training.
    """
    schedule = derive_schedule(recipe.schedule, learning_rate, training_samples)
    return schedule if delay is None else delay_scaling(recipe, schedule, delay).schedule


def require_learning_rate(learning_rate: float | None) -> float:
    """A recipe's own α₁.

    Raises:
        InvalidValueError: It has none.
    """
    if learning_rate is None:
        raise InvalidValueError(
            "learning_rate is missing; add learning_rate=0.4, say, or let `tunecli search` find it"
        )
    return learning_rate


def advice_warnings(recipe: Recipe, schedule: Schedule) -> list[str]:
    """What a person should know who follows a schedule that no training has followed.

    Args:
        recipe: Its script takes α₁ alone.
        schedule: What is advised.
    """
    assert recipe.script is not None  # the grammar fills it in beside a command
    alone = (
        "the script was given the learning rate alone: the schedule is advice, no trial "
        "followed it; script.takes=schedule is for a script that does"
    )
    found = [alone]
    first = schedule.stages[0]
    if first.momentum > 0 and not recipe.script.undamped:
        factor = 1 / (1 - first.momentum)
        found.append(
            f"the advice is for a rate of damped momentum: if the script has torch.optim.SGD "
            f"with momentum {first.momentum:g}, which does not damp, its rates are too small "
            f"by a factor of {factor:.4g} ({first.learning_rate:g} for "
            f"{factor * first.learning_rate:g}); set script.undamped: true"
        )
    return found
