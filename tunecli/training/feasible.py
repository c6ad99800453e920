"""Whether a valid recipe can be trained: do its numbers, its data and its model fit together?

Arithmetic alone, without torch: `tunecli validate` asks, and a search before it makes a folder.
"""

from collections.abc import Iterator

from tunecli.data.load import sample_shape, training_samples
from tunecli.errors import InvalidValueError
from tunecli.models.limits import most_convolutions
from tunecli.recipe import Recipe, declared_delay, delay_scaling, derive_schedule

Problem = tuple[tuple[str, ...], str]


def problems(recipe: Recipe) -> Iterator[Problem]:
    """What keeps a recipe from being trained, each with the path of the key at fault."""
    if recipe.model.name == "cnn":
        (_, height, width), _ = sample_shape(recipe.data)
        most, given = most_convolutions((1, height, width)), len(recipe.model.channels)
        if given > most:
            sentence = (
                f"model.channels must have at most {most} entries for images of {height} × {width} "
                f"but got {given}; each convolution halves the image"
            )
            yield ("model", "channels"), sentence
    try:
        samples = training_samples(recipe.data)
    except InvalidValueError as error:
        yield ("data",), str(error)
        return
    if recipe.schedule.batch_size > samples:
        sentence = (
            f"schedule.batch_size must be ≤ {samples}, the size of the training set, but got "
            f"{recipe.schedule.batch_size}; lower it"
        )
        yield ("schedule", "batch_size"), sentence
    try:
        schedule = derive_schedule(recipe.schedule, recipe.search.learning_rates[0], samples)
    except InvalidValueError as error:
        yield ("schedule",), f"schedule cannot be derived: {error}"
        return
    section = recipe.training.asynchronous
    delay = None if section is None else declared_delay(section)
    if delay is not None:
        try:
            delay_scaling(recipe, schedule, delay)
        except InvalidValueError as error:
            path = ("training", "asynchronous", "scaling")
            yield path, f"the rate cannot be scaled for the delay: {error}"
