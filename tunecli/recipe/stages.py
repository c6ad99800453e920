"""The grammar of the multistage schedule."""

from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic.config import JsonDict

from tunecli.recipe.section import Section, broken_rule

_EITHER_EPOCHS_OR_STEPS: JsonDict = {
    "oneOf": [
        {"required": [given], "properties": {given: {"type": "number"}, other: {"type": "null"}}}
        for given, other in (("epochs", "steps"), ("steps", "epochs"))
    ]
}


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
