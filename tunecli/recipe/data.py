"""The grammar of data: where samples come from, and how they are split."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from tunecli.recipe.code import ImportSection
from tunecli.recipe.section import Section, Seed, broken_rule


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


class ImportedData(ImportSection):
    """Your own data: `import` names what builds its splits.

    It returns a mapping, or an object, with `train`, `validation` and `test`, each a pair (inputs,
    targets) of tensors or arrays, or a Dataset of such pairs. `test` may be a function without
    arguments: it is called when the test set is read, and never by the search.
    """

    name: Literal["import"] = Field(
        default="import", description="import, or left out where `import` is given."
    )
    samples: int | None = Field(
        default=None,
        ge=1,
        examples=[60000],
        description="Size of the training set, where `schedule` and `validate` are to know it "
        "without running your code.",
    )
    num_classes: int | None = Field(
        default=None,
        ge=1,
        examples=[10],
        description="Outputs of a named model; by default what the training targets tell.",
    )
    workers: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Processes that read a Dataset ahead of training; 0 reads in the trial itself.",
    )


AnyData = DigitsData | ImportedData
DATA: dict[str, type[Section]] = {"digits": DigitsData, "import": ImportedData}
