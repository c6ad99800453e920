"""How many samples a recipe trains on, as far as that is known without running its code."""

from typing import TYPE_CHECKING

from tunecli.errors import InvalidValueError

if TYPE_CHECKING:
    from tunecli.recipe import Recipe


def samples_of(recipe: "Recipe") -> int | None:
    """Size of the training set; None where only the person's own code knows it.

    Raises:
        InvalidValueError: The data cannot be split as the recipe says.
        RunError: Its files cannot be read.
    """
    from tunecli.data.load import training_samples

    if recipe.command is not None:
        assert recipe.script is not None  # the grammar fills it in
        return recipe.script.samples
    return training_samples(recipe.data)


def require_samples(recipe: "Recipe", samples: int | None) -> int:
    """The size that a budget in epochs needs; any number where the budget is in steps.

    Args:
        recipe: Its `schedule` section counts.
        samples: What `samples_of` says, or what loading the data has told.

    Raises:
        InvalidValueError: It is needed and not known.
    """
    if samples is not None:
        return samples
    if recipe.schedule.epochs is None:
        return 1
    if recipe.command is None and recipe.data.name == "huggingface":
        raise InvalidValueError(
            "schedule.steps, the updates of the first stage, must be given in place of "
            "schedule.epochs, because data.name huggingface tells its size only once it is loaded"
        )
    key = "script.samples" if recipe.command is not None else "data.samples"
    raise InvalidValueError(
        f"{key} must be given with schedule.epochs; add the size of the training set, or give "
        "schedule.steps, the updates of the first stage"
    )
