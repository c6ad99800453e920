"""Whether a valid recipe can be trained: do its numbers, its data and its model fit together?

Arithmetic alone, without torch and without a recipe's own code: `tunecli validate` asks, and a
search before it makes a folder. What only loading the data would tell is not asked here.
"""

from collections.abc import Iterator
from pathlib import Path

from tunecli.data.facts import DataFacts
from tunecli.data.load import data_facts
from tunecli.errors import InvalidValueError
from tunecli.models.limits import most_convolutions, shape_misfit
from tunecli.recipe import Recipe, declared_delay, delay_scaling, derive_schedule
from tunecli.training.limits import Problem, not_handed_on, not_known
from tunecli.training.program import missing_program

_OF_TEXT = ("decoder", "lstm")


def problems(recipe: Recipe) -> Iterator[Problem]:
    """What keeps a recipe from being trained, each with the path of the key at fault."""
    if recipe.command is not None:
        yield from _without_data(recipe)
        return
    try:
        facts = data_facts(recipe.data)
    except InvalidValueError as error:
        yield ("data",), str(error)
        return
    yield from _of_training(recipe)
    yield from _of_model(recipe, facts)
    yield from _of_targets(recipe, facts)
    samples = facts.training_samples
    if samples is not None and recipe.schedule.batch_size > samples:
        sentence = (
            f"schedule.batch_size must be ≤ {samples}, the size of the training set, but got "
            f"{recipe.schedule.batch_size}; lower it"
        )
        yield ("schedule", "batch_size"), sentence
    if samples is not None or recipe.schedule.epochs is None:
        yield from _of_schedule(recipe, samples)


def _without_data(recipe: Recipe) -> Iterator[Problem]:
    """What can be told of a recipe whose script has the data."""
    assert recipe.script is not None  # the grammar fills it in
    yield from missing_program(recipe)
    samples = recipe.script.samples
    if recipe.search.strategy == "probe":
        sentence = (
            "search.strategy must be geometric or paper beside a command but got probe, whose ramp "
            "of the rate no script trains; leave it out"
        )
        yield ("search", "strategy"), sentence
    yield from not_handed_on(recipe)
    if recipe.training.algorithm == "asynchronous":
        yield from not_known(recipe, "asynchronous")
    if samples is not None or recipe.schedule.epochs is None:
        yield from _of_schedule(recipe, samples)
        return
    sentence = (
        "schedule.epochs must stand beside script.samples, the size of the training set, which "
        f"only the script knows, but got {recipe.schedule.epochs:g} alone; add script.samples, or "
        "give the budget as schedule.steps"
    )
    yield ("schedule", "epochs"), sentence


def _of_training(recipe: Recipe) -> Iterator[Problem]:
    """Whether the algorithm and the optimizer know everything that they are told."""
    training = recipe.training
    if training.algorithm == "asynchronous":
        yield from not_known(recipe, "asynchronous")
    if recipe.optimizer is None:
        return
    if "lr" in recipe.optimizer.args:
        sentence = "optimizer.args must not have lr, which is what is searched; remove it"
        yield ("optimizer", "args"), sentence
    if training.reset_momentum:
        sentence = (
            "training.reset_momentum must be false beside an optimizer of your own, whose buffers "
            "are not known, but got true; remove it"
        )
        yield ("training", "reset_momentum"), sentence
    if training.weight_decay:
        sentence = (
            "training.weight_decay must be 0 beside an optimizer of your own but got "
            f"{training.weight_decay:g}; give it to the optimizer, in optimizer.args"
        )
        yield ("training", "weight_decay"), sentence


def _of_model(recipe: Recipe, facts: DataFacts) -> Iterator[Problem]:
    """Whether a named model takes what the data have, and weights to start from are there."""
    model = recipe.model
    if model.checkpoint is not None and not Path(model.checkpoint).is_file():
        sentence = f"model.checkpoint must be a file but {model.checkpoint} is none; check the path"
        yield ("model", "checkpoint"), sentence
    if model.name == "import":
        return
    if facts.targets is not None and (facts.targets == "tokens") != (model.name in _OF_TEXT):
        suited = "decoder or lstm for text"
        if facts.targets != "tokens":
            suited = "cnn, lenet, logistic or mlp for data that are no text"
        sentence = (
            f"model.name must be {suited} but got {model.name}; change it, or the data "
            f"({recipe.data.name})"
        )
        yield ("model", "name"), sentence
        return
    if facts.input_shape is None:
        return
    misfit = shape_misfit(model.name, facts.input_shape)
    if misfit is not None:
        yield ("model", "name"), f"data for model {model.name} must be {misfit}"
    elif model.name == "cnn":
        _, height, width = facts.input_shape
        most, given = most_convolutions(facts.input_shape), len(model.channels)
        if given > most:
            sentence = (
                f"model.channels must have at most {most} entries for images of {height} × {width} "
                f"but got {given}; each convolution halves the image"
            )
            yield ("model", "channels"), sentence


def _of_targets(recipe: Recipe, facts: DataFacts) -> Iterator[Problem]:
    """Whether loss and metric can be had of the targets."""
    loss, numbers = recipe.loss.name, facts.targets == "numbers"
    if facts.targets == "classes" and facts.outputs == 1:
        sentence = "the data must have at least two classes but got 1; nothing is to be learned"
        yield ("data",), sentence
    if numbers and loss == "cross_entropy":
        sentence = (
            "loss.name must be mse, or your own, for targets that are numbers but got "
            "cross_entropy; if they are classes, store them as integers"
        )
        yield ("loss",), sentence
    if loss == "mse" and facts.targets not in (None, "numbers"):
        sentence = (
            f"loss.name must be cross_entropy for targets that are {facts.targets} but got mse; "
            "for a regression, store the targets as floats"
        )
        yield ("loss",), sentence
    elif recipe.search.metric == "accuracy" and (numbers or loss == "mse"):
        sentence = (
            "search.metric must be loss, or one of metrics, for targets that are numbers but got "
            "accuracy; write `metric: loss`"
        )
        yield ("search", "metric"), sentence


def _of_schedule(recipe: Recipe, samples: int | None) -> Iterator[Problem]:
    """Whether the schedule can be derived, and scaled for a delay that is known."""
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
