"""The grammar of a recipe, version 1: what each key means and which values it may have.

The models are frozen, refuse unknown keys, and are strict: `"3"` is not a number, `true` is not 1,
`.inf` is not a rate. Their descriptions become the JSON Schema (schema.py) and the documentation.
Rules that span two keys sit on the later of the two, so that one mistake hides no other one.
"""

import math
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.config import JsonDict

from tunecli.recipe.asynchronous import DELAY_FORMS
from tunecli.recipe.grid import GeometricForm, Grid, LinearForm
from tunecli.recipe.section import Section, broken_rule
from tunecli.recipe.training import TrainingSection

MAX_SEED = 2**32 - 1  # what every generator (numpy's and scikit-learn's older ones, too) accepts

_EITHER_EPOCHS_OR_STEPS: JsonDict = {
    "oneOf": [
        {"required": [given], "properties": {given: {"type": "number"}, other: {"type": "null"}}}
        for given, other in (("epochs", "steps"), ("steps", "epochs"))
    ]
}


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    for index, seed in enumerate(seeds):
        if seed in seeds[:index]:
            raise broken_rule("differ from the seeds before it", "write each seed once", item=index)
    return seeds


Width = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
# strict=False concerns the list alone (YAML has no tuples); its items stay strict.
Seeds = Annotated[tuple[Seed, ...], Field(strict=False, min_length=1), AfterValidator(_distinct)]


class CnnModel(Section):
    """A convolutional network: 3×3 convolutions with pooling, then one hidden layer."""

    name: Literal["cnn"] = Field(description="The model's name: cnn.")
    channels: Annotated[tuple[Width, ...], Field(strict=False, min_length=1, max_length=4)] = Field(
        default=(16, 32), description="Output channels of each convolution, 1 to 4 of them."
    )
    hidden: int = Field(default=64, ge=1, description="Width of the hidden layer.")


class MlpModel(Section):
    """A multilayer perceptron: fully connected layers."""

    name: Literal["mlp"] = Field(description="The model's name: mlp.")
    hidden: Annotated[tuple[Width, ...], Field(strict=False, min_length=1)] = Field(
        default=(128, 128, 128), description="Width of each hidden layer, at least one."
    )


class LogisticModel(Section):
    """Multinomial logistic regression: one linear layer, a convex problem."""

    name: Literal["logistic"] = Field(description="The model's name: logistic.")


class DigitsData(Section):
    """scikit-learn's 8×8 digits: 1797 images, ten classes, no download."""

    name: Literal["digits"] = Field(description="The data set's name: digits.", examples=["digits"])
    validation: float = Field(
        default=0.2, gt=0, lt=1, description="Share of the data that the search is judged on."
    )
    test: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        validate_default=True,
        description="Share of the data that only the final training sees, once.",
    )
    split_seed: Seed = Field(default=0, description="Seed of the split into the three parts.")

    @field_validator("test")
    @classmethod
    def _leave_training_data(cls, test: float, info: ValidationInfo) -> float:
        validation = info.data.get("validation")
        if validation is not None and validation + test >= 1:
            raise broken_rule(
                f"be < 1 − data.validation ({validation}), to leave training data,",
                "lower one of the two",
            )
        return test


class ScheduleSection(Section):
    """The multistage schedule that follows from α₁ (QHM paper, Eq. 17)."""

    model_config = ConfigDict(json_schema_extra=_EITHER_EPOCHS_OR_STEPS)

    stages: int = Field(default=3, ge=1, le=64, description="Number of stages, M.")
    decay: float = Field(
        default=0.5, gt=0, lt=1, description="Factor r of the learning rate from stage to stage."
    )
    batch_decay: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        examples=[0.5],
        description="Factor r_b of the batch size from stage to stage, at most `decay`; "
        "by default equal to it.",
    )
    momentum: float = Field(
        default=0.9, ge=0, lt=1, description="Momentum β₁ of the first stage; it grows from there."
    )
    discount: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="QHM's discount ν: 0 is plain SGD, 1 the heavy ball, 0.5 the paper's choice.",
    )
    batch_size: int = Field(ge=1, examples=[64], description="Batch size b₁ of the first stage.")
    epochs: float | None = Field(
        default=None,
        gt=0,
        examples=[30],
        description="Budget of one trial in passes over the training set. "
        "Give exactly one of `epochs` and `steps`.",
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        validate_default=True,
        examples=[500],
        description="Updates T₁ of the first stage. Give exactly one of `epochs` and `steps`.",
    )

    @field_validator("batch_decay")
    @classmethod
    def _at_most_decay(cls, batch_decay: float | None, info: ValidationInfo) -> float | None:
        decay = info.data.get("decay")
        if decay is not None and batch_decay is not None and batch_decay > decay:
            raise broken_rule(
                f"be ≤ schedule.decay ({decay})", f"set it to {decay} or less (QHM paper, Eq. 17)"
            )
        return batch_decay

    @field_validator("steps")
    @classmethod
    def _either_epochs_or_steps(cls, steps: int | None, info: ValidationInfo) -> int | None:
        if "epochs" not in info.data:  # it is invalid itself, and reported
            return steps
        epochs = info.data["epochs"]
        if epochs is None and steps is None:
            raise broken_rule(
                "be given unless schedule.epochs is", "add `epochs: 30`, say, or `steps: 500`"
            )
        if epochs is not None and steps is not None:
            raise broken_rule(
                f"not stand beside schedule.epochs ({epochs})", "remove one of the two"
            )
        return steps


class SearchSection(Section):
    """The walk up the grid of α₁, and when it stops."""

    grid: Grid = Field(
        description="The rates α₁ to choose from, ascending, 2 to 1000 of them: a geometric or a "
        "linear progression, or a list.",
        examples=[{"geometric": {"start": 0.05, "factor": 2, "count": 9}}],
    )
    strategy: Literal["paper", "geometric", "probe"] = Field(
        default="geometric",
        description="geometric: begin inside the grid, walk up, then narrow down; "
        "probe: likewise, but a short ramp of the learning rate finds where to begin; "
        "paper: walk the given grid from its smallest rate, and nothing else.",
    )
    patience: int = Field(
        default=1, ge=1, description="Stop after this many successive rates that do not improve."
    )
    seeds: Seeds = Field(
        default=(0,),
        description="Training seeds. `paper` trains every rate with each of them; the others train "
        "with the first one, and with the rest where a comparison is within the noise.",
    )
    error_rate: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="Chance that one comparison calls a rate worse that is as good; needs several "
        "seeds.",
    )
    early_abort: bool = Field(
        default=True,
        description="Give up a trial that after a third of its samples has learned nothing, or "
        "less than half of what the best rate had; never with strategy paper.",
    )
    extend: int = Field(
        default=3,
        ge=0,
        le=100,
        description="Rates that may be added beyond each edge of the grid when the best lies "
        "there; never with strategy paper.",
    )
    resolution: float | None = Field(
        default=1.5,
        gt=1,
        examples=[1.5],
        description="Narrow down until the best rate's neighbours are at most this factor away, or "
        "less is to gain than the noise; null keeps to the grid. Never with strategy paper.",
    )
    test_seeds: Seeds = Field(
        default=(100, 101, 102, 103, 104),
        validate_default=True,
        description="Fresh seeds for the final training at the chosen rate; none of `seeds`.",
    )
    metric: Literal["accuracy", "loss"] = Field(
        default="accuracy", description="What is compared, on the validation set."
    )
    learned_share: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="A trial has learned something once it has closed this share of the gap "
        "between knowing nothing and perfect; before that, no improvement means nothing. Knowing "
        "nothing is the better of the untrained model and the classes' frequencies.",
    )
    max_trials: int | None = Field(
        default=None,
        ge=1,
        examples=[20],
        description="Stop after this many trials; at least one trial of every seed.",
    )

    @field_validator("test_seeds")
    @classmethod
    def _fresh(cls, test_seeds: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        for index, seed in enumerate(test_seeds):
            if seed in info.data.get("seeds", ()):
                raise broken_rule(
                    "be none of search.seeds", f"replace {seed} in one of the two", item=index
                )
        return test_seeds

    @field_validator("max_trials")
    @classmethod
    def _one_rate_at_least(cls, max_trials: int | None, info: ValidationInfo) -> int | None:
        seeds = len(info.data.get("seeds", ()))
        if max_trials is not None and max_trials < seeds:
            raise broken_rule(
                f"be ≥ {seeds}, the number of search.seeds",
                "allow at least one rate to be trained with every seed",
            )
        return max_trials

    @property
    def most_trials(self) -> int:
        """Trials of the search in the worst case."""
        rates = len(self.learning_rates)
        if self.strategy != "paper":
            rates += 2 * self.extend + self._halvings
        trials = rates * len(self.seeds)
        return trials if self.max_trials is None else min(trials, self.max_trials)

    @property
    def usual_trials(self) -> int:
        """Trials that a search usually takes, for a person who wonders how long it will be."""
        if self.strategy == "paper":
            return self.most_trials
        walk = 4 if len(self.learning_rates) <= 10 else 6
        return min(walk + 2 * (len(self.seeds) - 1), self.most_trials)

    @property
    def _halvings(self) -> int:
        """Most rates between grid points: both gaps beside the best, halved to the resolution."""
        if self.resolution is None:
            return 0
        ratio = max(high / low for low, high in pairwise(self.learning_rates))
        if ratio <= self.resolution:
            return 0
        return 2 * math.ceil(math.log2(math.log(ratio) / math.log(self.resolution)) + 1e-9)

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """The rates of the grid, α₁, ascending.

        >>> grid = {"linear": {"start": 0.05, "stop": 0.2, "step": 0.05}}
        >>> SearchSection.model_validate({"grid": grid}).learning_rates
        (0.05, 0.1, 0.15, 0.2)
        """
        return self.grid if isinstance(self.grid, tuple) else self.grid.learning_rates


class Recipe(Section):
    """A tuning recipe for tunecli: a model, data, and how to find the initial learning rate."""

    version: Literal[1] = Field(description="The grammar's version: 1.", examples=[1])
    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        max_length=100,
        description="A short name for run folders and reports: lower-case letters, digits, "
        "'.', '_' and '-'.",
        examples=["digits-cnn"],
    )
    description: str = Field(default="", description="What the recipe is for, in a sentence.")
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        examples=[0.8],
        description="α₁ for `train` and `schedule`; a search finds it itself.",
    )
    model: Annotated[CnnModel | MlpModel | LogisticModel, Field(discriminator="name")] = Field(
        description="The network.", examples=[{"name": "cnn"}]
    )
    # A second data set makes this a union with a discriminator, as `model` is one.
    data: DigitsData = Field(description="The data set.", examples=[{"name": "digits"}])
    training: TrainingSection = Field(
        default_factory=TrainingSection, description="How one trial trains."
    )
    schedule: ScheduleSection = Field(
        description="Everything that follows from α₁ (QHM paper, Eq. 17).",
        examples=[{"batch_size": 64, "epochs": 30}],
    )
    search: SearchSection = Field(
        description="The search for α₁.", examples=[{"grid": [0.1, 0.2, 0.4]}]
    )

    @field_validator("version", mode="before")
    @classmethod
    def _known_version(cls, version: object) -> object:
        # Literal compares with ==, and True == 1.0 == 1.
        if type(version) is not int or version != 1:
            raise broken_rule(
                "be 1", "write 1, or install the tunecli that the recipe was written for"
            )
        return version


# The unions of the grammar by key, and their members by the name that selects them: messages name
# the choices, and pydantic puts the member's name into an error's location, where no key has it.
UNIONS: dict[tuple[str, ...], dict[str, type[Section]]] = {
    ("model",): {"cnn": CnnModel, "logistic": LogisticModel, "mlp": MlpModel},
    ("search", "grid"): {"geometric": GeometricForm, "linear": LinearForm},
    ("training", "asynchronous", "delay"): DELAY_FORMS,
}

# Keys that exclude each other: an override of one removes the other one from the file.
ALTERNATIVES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("schedule", "epochs"): ("schedule", "steps"),
    ("schedule", "steps"): ("schedule", "epochs"),
}
