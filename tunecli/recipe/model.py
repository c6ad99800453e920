"""The grammar of a recipe, version 1: what each key means and which values it may have.

The models are frozen, refuse unknown keys, and are strict: `"3"` is not a number, `true` is not 1,
`.inf` is not a rate. Their descriptions become the JSON Schema (schema.py) and the documentation.
Rules that span two keys sit on the later of the two, so that one mistake hides no other one.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, ValidatorFunctionWrapHandler, field_validator

from tunecli.recipe.asynchronous import DELAY_FORMS
from tunecli.recipe.code import ImportSection
from tunecli.recipe.data import DATA, AnyData
from tunecli.recipe.grid import GeometricForm, LinearForm
from tunecli.recipe.networks import MODELS, AnyModel
from tunecli.recipe.objective import LOSSES, AnyLoss, CrossEntropyLoss, MetricName, MetricSection
from tunecli.recipe.script import Command, ScriptSection, what_it_takes
from tunecli.recipe.search import SearchSection, require_metric
from tunecli.recipe.section import Section, broken_rule
from tunecli.recipe.stages import ScheduleSection
from tunecli.recipe.training import TrainingSection


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
    command: Command | None = Field(
        default=None,
        examples=[["python", "train.py", "--lr", "{learning_rate}"]],
        description="Your own training script, in place of model and data: the program and its "
        "arguments, a list, never a shell. Placeholders in braces stand for the trial's "
        "settings (docs/scripts.md). It runs only where the recipe is trusted.",
    )
    script: ScriptSection | None = Field(
        default=None,
        validate_default=True,
        examples=[{"takes": "schedule"}],
        description="How the script of `command` is run, and how it answers.",
    )
    # None where a command trains, and only there: every reader of one asks for the command first
    model: Annotated[AnyModel, Field(discriminator="name")] = Field(
        default=None,
        validate_default=True,
        description="The network, unless a `command` trains.",
        examples=[{"name": "cnn"}],
    )
    data: Annotated[AnyData, Field(discriminator="name")] = Field(
        default=None,
        validate_default=True,
        description="The data set, unless a `command` trains.",
        examples=[{"name": "digits"}],
    )
    loss: Annotated[AnyLoss, Field(discriminator="name")] = Field(
        default=CrossEntropyLoss(name="cross_entropy"),
        description="What training minimizes: a mean over the batch.",
    )
    augmentation: ImportSection | None = Field(
        default=None,
        examples=[{"import": "my_package.augment:build"}],
        description="Your own augmentation: what `import` builds is called with the inputs of each "
        "training batch, on the device, and returns what the model gets.",
    )
    optimizer: ImportSection | None = Field(
        default=None,
        examples=[{"import": "my_package.optim:build"}],
        description="Your own optimizer in place of QHM: `import` is called with the parameters, "
        "lr=α₁ and `args`. Every stage sets lr, and momentum and discount where it has both.",
    )
    metrics: dict[MetricName, MetricSection] = Field(
        default={},
        examples=[{"f1": {"import": "my_package.metrics:F1"}}],
        description="More metrics, by name: measured at every evaluation, and `search.metric` may "
        "name one of them.",
    )
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

    @property
    def schedule_is_advice(self) -> bool:
        """Whether no trial follows the schedule: the script takes the learning rate alone."""
        if self.command is None:
            return False
        assert self.script is not None  # filled in beside a command
        return what_it_takes(self.command, self.script) == "learning_rate"

    @field_validator("version", mode="before")
    @classmethod
    def _known_version(cls, version: object) -> object:
        # Literal compares with ==, and True == 1.0 == 1.
        if type(version) is not int or version != 1:
            raise broken_rule(
                "be 1", "write 1, or install the tunecli that the recipe was written for"
            )
        return version

    @field_validator("script")
    @classmethod
    def _with_command(
        cls, script: ScriptSection | None, info: ValidationInfo
    ) -> ScriptSection | None:
        if script is not None and info.data.get("command", _BROKEN) is None:
            raise broken_rule(
                "stand beside a command", "add `command: [python, train.py]`, say, or remove it"
            )
        command = info.data.get("command")
        if script is None and command is not None:
            return ScriptSection()
        if script is None or command is None or not script.undamped:
            return script
        if what_it_takes(command, script) == "schedule":
            raise broken_rule(
                "not have undamped beside a script that takes the schedule,",
                "each stage of it has its own momentum; docs/scripts.md says how torch.optim.SGD "
                "follows it; remove it",
            )
        return script

    @field_validator("model", "data", mode="wrap")
    @classmethod
    def _or_a_command(
        cls, part: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Any:
        command = info.data.get("command", _BROKEN)
        example = "{name: cnn}" if info.field_name == "model" else "{name: digits}"
        if part is None and command is None:
            raise broken_rule(
                "be given unless command is", f"add, for example, `{info.field_name}: {example}`"
            )
        if part is not None and command not in (None, _BROKEN):
            raise broken_rule("not stand beside command", "the script has its own; remove it")
        return None if part is None else validate(part)

    @field_validator("loss", "augmentation", "optimizer")
    @classmethod
    def _not_with_a_command(cls, part: Any, info: ValidationInfo) -> Any:
        if (
            info.data.get("command") is not None
            and part != cls.model_fields[str(info.field_name)].default
        ):
            raise broken_rule("not stand beside command", "the script has its own; remove it")
        return part

    @field_validator("metrics")
    @classmethod
    def _from_where(
        cls, metrics: dict[str, MetricSection], info: ValidationInfo
    ) -> dict[str, MetricSection]:
        command = info.data.get("command", _BROKEN)
        for name, metric in metrics.items():
            if command is None and metric.import_ is None:
                raise broken_rule(
                    f"have an import in {name}", "a metric is computed by what it imports"
                )
            if command not in (None, _BROKEN) and metric.import_ is not None:
                raise broken_rule(
                    f"have no import in {name}, for the script of command reports the value,",
                    "remove it",
                )
        return metrics

    @field_validator("search")
    @classmethod
    def _known_metric(cls, search: SearchSection, info: ValidationInfo) -> SearchSection:
        require_metric(search.metric, info.data.get("metrics", ()))
        return search


_BROKEN = object()  # stands for a command that is not valid itself, and is reported

# The unions of the grammar by key, and their members by the name that selects them: messages name
# the choices, and pydantic puts the member's name into an error's location, where no key has it.
UNIONS: dict[tuple[str, ...], dict[str, type[Section]]] = {
    ("model",): MODELS,
    ("data",): DATA,
    ("loss",): LOSSES,
    ("search", "grid"): {"geometric": GeometricForm, "linear": LinearForm},
    ("training", "asynchronous", "delay"): DELAY_FORMS,
}

# Keys that exclude each other: an override of one removes the other one from the file.
ALTERNATIVES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("schedule", "epochs"): ("schedule", "steps"),
    ("schedule", "steps"): ("schedule", "epochs"),
}
