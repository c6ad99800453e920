"""The grammar of what is minimized and what is measured: losses and metrics."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from tunecli.recipe.code import ImportPath, ImportSection
from tunecli.recipe.section import Section, broken_rule

_TAKEN = ("accuracy", "loss", "train_loss", "steps", "samples")


class CrossEntropyLoss(Section):
    """Cross-entropy of logits against classes; of sequences, the mean over all positions."""

    name: Literal["cross_entropy"] = Field(description="Selects this loss.")
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the target that is spread over all classes, in training alone.",
    )


class MeanSquaredError(Section):
    """Mean squared error, for regression: float targets as wide as the model's outputs."""

    name: Literal["mse"] = Field(description="Selects this loss.")


class ImportedLoss(ImportSection):
    """Your own loss: `import` builds a function of (outputs, targets), the mean over the batch."""

    name: Literal["import"] = Field(
        default="import", description="May be left out: `import` says it."
    )


AnyLoss = CrossEntropyLoss | MeanSquaredError | ImportedLoss
LOSSES: dict[str, type[Section]] = {
    "cross_entropy": CrossEntropyLoss,
    "mse": MeanSquaredError,
    "import": ImportedLoss,
}


def _metric_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name) or name in _TAKEN:
        raise broken_rule(
            "be lower-case letters, digits and '_', the first a letter, and none of "
            + ", ".join(_TAKEN),
            "rename the metric",
        )
    return name


MetricName = Annotated[str, AfterValidator(_metric_name)]


class MetricSection(Section):
    """A metric of your own, and what its values mean."""

    import_: ImportPath | None = Field(
        default=None,
        alias="import",
        examples=["my_package.metrics:F1"],
        description="What builds a function of (outputs, targets) that returns a number; it is "
        "called once with those of the whole split. Left out where a `command` reports the value.",
    )
    folder: str | None = Field(
        default=None,
        examples=["src"],
        description="The folder in which the module or the file is found; by default the "
        "recipe's own.",
    )
    args: dict[str, Any] = Field(
        default={}, examples=[{"classes": 10}], description="Keyword arguments of the call."
    )
    maximize: bool = Field(default=True, description="Whether larger is better.")
    perfect: float | None = Field(
        default=None,
        examples=[1.0],
        description="The value that cannot be beaten. With `baseline` it tells what has learned "
        "nothing.",
    )
    baseline: float | None = Field(
        default=None,
        examples=[0.1],
        description="The value of knowing nothing; by default that of the untrained model.",
    )
