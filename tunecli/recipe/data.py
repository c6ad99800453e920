"""The grammar of data: where samples come from, and how they are split."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from tunecli.recipe.code import ImportSection
from tunecli.recipe.section import Section, Seed, broken_rule


def _leave_training_data(test: float | None, info: ValidationInfo) -> float | None:
    """What `test` must leave beside `validation`."""
    validation = info.data.get("validation")
    if validation is not None and test is not None and validation + test >= 1:
        raise broken_rule(
            f"be < 1 − data.validation ({validation}), to leave training data,",
            "lower one of the two",
        )
    return test


Test = Annotated[float, AfterValidator(_leave_training_data)]
TestOrNone = Annotated[float | None, AfterValidator(_leave_training_data)]


class DigitsData(Section):
    """scikit-learn's 8×8 digits: 1797 images, ten classes, no download."""

    name: Literal["digits"] = Field(description="Selects this data set.", examples=["digits"])
    validation: float = Field(
        default=0.2, gt=0, lt=1, description="Share of the data that the search is judged on."
    )
    test: Test = Field(
        default=0.2,
        gt=0,
        lt=1,
        validate_default=True,
        description="Share of the data that only the final training sees, once.",
    )
    split_seed: Seed = Field(default=0, description="Seed of the split into the three parts.")


class NpzData(Section):
    """Arrays from one .npz file: x_train and y_train, or x and y.

    x_validation, y_validation, x_test and y_test are taken where the file has them.

    Inputs are features (n, features), grey images (n, height, width) or images of four dimensions;
    uint8 counts from 0 to 255. Targets are classes from 0 (integers) or numbers (floats).
    """

    name: Literal["npz"] = Field(description="The data's name: npz.")
    path: str = Field(min_length=1, examples=["digits.npz"], description="The .npz file.")
    channels: Literal["first", "last"] | None = Field(
        default=None,
        examples=["last"],
        description="Which axis of images the channels are, where the shape leaves that open.",
    )
    standardize: bool = Field(
        default=True,
        description="Subtract the training split's mean and divide by its standard deviation: of "
        "each channel of images, of each feature, or of all features together if they are uint8.",
    )
    validation: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        examples=[0.2],
        description="Share of the training arrays that the search is judged on, where the file has "
        "no x_validation; 0.2 by default.",
    )
    test: TestOrNone = Field(
        default=None,
        gt=0,
        lt=1,
        examples=[0.2],
        description="Share of the training arrays that only the final training sees, where the "
        "file has no x_test; 0.2 by default.",
    )
    split_seed: Seed = Field(default=0, description="Seed of the split into the parts.")


class ImagesData(Section):
    """A folder of pictures with a sub-folder for each class.

    Above the classes there may be folders train, validation (or val) and test.
    """

    name: Literal["images"] = Field(description="The data's name: images.")
    path: str = Field(
        min_length=1,
        examples=["pictures"],
        description="The folder with a sub-folder for each class.",
    )
    image_size: int = Field(
        default=32,
        ge=1,
        le=4096,
        description="Height and width of what the model gets: the shorter side is scaled to it, "
        "then the middle is cut out.",
    )
    channels: Literal[1, 3] = Field(default=3, description="3 for colours, 1 for grey.")
    workers: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Processes that decode pictures; 0 decodes in the trial itself. What takes up "
        "to 1 GiB as 32-bit floats is decoded once and kept in memory.",
    )
    validation: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        examples=[0.2],
        description="Share of the training pictures that the search is judged on, where there is "
        "no folder for it; 0.2 by default.",
    )
    test: TestOrNone = Field(
        default=None,
        gt=0,
        lt=1,
        examples=[0.2],
        description="Share of the training pictures that only the final training sees, where there "
        "is no folder for it; 0.2 by default.",
    )
    split_seed: Seed = Field(default=0, description="Seed of the split into the parts.")


class TextData(Section):
    """Text as bytes, from a file or a folder, for a model that predicts the next byte.

    Files are laid end to end in the order of their names. The first bytes are for training, the
    next ones for validation, the last ones for the test.
    """

    name: Literal["text"] = Field(description="The data's name: text.")
    path: str = Field(
        min_length=1,
        examples=["{stdlib}"],
        description="A file or a folder; {stdlib} at its start stands for the folder of Python's "
        "standard library.",
    )
    pattern: str | None = Field(
        default=None,
        pattern="^[^/]",
        examples=["**/*.txt"],
        description="Which files of the folder, as a glob pattern; all of them by default.",
    )
    context: int = Field(
        default=128, ge=1, le=1_000_000, description="Bytes that a sample has, and a model sees."
    )
    max_bytes: int | None = Field(
        default=None,
        ge=3,
        examples=[1_000_000],
        description="Read the first so many bytes and no more.",
    )
    validation: float = Field(
        default=0.1, gt=0, lt=1, description="Share of the bytes that the search is judged on."
    )
    test: Test = Field(
        default=0.1,
        gt=0,
        lt=1,
        validate_default=True,
        description="Share of the bytes that only the final training sees, once.",
    )


class HuggingFaceData(Section):
    """A data set in the Hugging Face format: by name, or local files; needs tunecli[hf].

    One that is named comes from the local cache; `--download` fetches it first.
    """

    name: Literal["huggingface"] = Field(description="The data's name: huggingface.")
    dataset: str | None = Field(
        default=None,
        min_length=1,
        examples=["ylecun/mnist"],
        description="The data set's name on the hub. Give exactly one of `dataset` and `path`.",
    )
    config: str | None = Field(
        default=None, examples=["plain_text"], description="Which configuration of it."
    )
    path: str | None = Field(
        default=None,
        min_length=1,
        validate_default=True,
        examples=["train.parquet"],
        description="A local .parquet, .csv, .json or .jsonl file, whose split is `train`, or a "
        "folder of them, whose names tell the splits (train-0.parquet).",
    )
    inputs: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = Field(
        examples=[["image"]],
        description="Columns of the inputs: one of pictures, of lists of numbers or of text, or "
        "several of numbers.",
    )
    target: str | None = Field(
        default=None,
        examples=["label"],
        description="Column of the targets: words or integers are classes, floats are numbers.",
    )
    context: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        validate_default=True,
        examples=[128],
        description="Bytes of a sample, for a column of text, in place of a target: the model "
        "predicts the next byte.",
    )
    image_size: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        examples=[32],
        description="Height and width that pictures are brought to; by default the first one's, if "
        "it is square.",
    )
    channels: Literal[1, 3] = Field(default=3, description="3 for colours, 1 for grey pictures.")
    workers: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Processes that decode pictures; 0 decodes in the trial itself.",
    )
    train_split: str = Field(default="train", description="Name of the split that is trained on.")
    validation_split: str | None = Field(
        default=None,
        examples=["validation"],
        description="Name of the split that the search is judged on; by default `validation`, "
        "where the data have one and `data.validation` is not given, else a share of the training "
        "split.",
    )
    test_split: str | None = Field(
        default=None,
        examples=["test"],
        description="Name of the split that only the final training sees; by default `test`, "
        "where the data have one and `data.test` is not given, else a share of the training split.",
    )
    validation: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        examples=[0.2],
        description="Share of the training split that the search is judged on, in place of a "
        "split of the data's own; 0.2 where they have none.",
    )
    test: TestOrNone = Field(
        default=None,
        gt=0,
        lt=1,
        examples=[0.2],
        description="Share of the training split that only the final training sees, in place of "
        "a split of the data's own; 0.2 where they have none.",
    )
    split_seed: Seed = Field(default=0, description="Seed of the split into the parts.")

    @field_validator("path")
    @classmethod
    def _either_dataset_or_path(cls, path: str | None, info: ValidationInfo) -> str | None:
        if "dataset" not in info.data:  # it is invalid itself, and reported
            return path
        if (path is None) == (info.data["dataset"] is None):
            raise broken_rule(
                "be given unless data.dataset is, and not beside it", "give one of the two"
            )
        if path is not None and info.data.get("config") is not None:
            raise broken_rule("not stand beside data.config", "remove data.config")
        return path

    @field_validator("context")
    @classmethod
    def _either_target_or_context(cls, context: int | None, info: ValidationInfo) -> int | None:
        if "target" not in info.data or "inputs" not in info.data:
            return context
        if (context is None) == (info.data["target"] is None):
            raise broken_rule(
                "be given unless data.target is, and not beside it",
                "give a target, or a context for text",
            )
        if context is not None and len(info.data["inputs"]) > 1:
            raise broken_rule("stand beside one column of text", "leave one in data.inputs")
        return context


class TorchvisionData(Section):
    """A data set that torchvision knows by name; needs tunecli[vision].

    Its files are read where they are; `--download` fetches them first.
    """

    name: Literal["torchvision"] = Field(description="The data's name: torchvision.")
    dataset: Literal["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100"] = Field(
        examples=["MNIST"], description="Which data set."
    )
    path: str = Field(
        min_length=1,
        examples=["data"],
        description="The folder that torchvision calls root: the files lie in a sub-folder of it.",
    )
    validation: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="Share of the training pictures that the search is judged on; the test set is "
        "the data set's own.",
    )
    split_seed: Seed = Field(
        default=0, description="Seed of the split into training and validation."
    )


class ImportedData(ImportSection):
    """Your own data: `import` names what builds its splits.

    It returns a mapping, or an object, with `train`, `validation` and `test`, each a pair (inputs,
    targets) of tensors or arrays, or a Dataset of such pairs. `test` may be a function without
    arguments: it is called when the test set is read, and never by the search.
    """

    name: Literal["import"] = Field(
        default="import", description="May be left out: `import` says it."
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
        description="Processes that read a Dataset ahead of training; 0 reads in the trial itself. "
        "What a Dataset draws from the global generators of Python, numpy and torch depends on the "
        "trial's seed and the batch alone, not on this number.",
    )


AnyData = (
    DigitsData | NpzData | ImagesData | TextData | HuggingFaceData | TorchvisionData | ImportedData
)
DATA: dict[str, type[Section]] = {
    "digits": DigitsData,
    "huggingface": HuggingFaceData,
    "images": ImagesData,
    "npz": NpzData,
    "text": TextData,
    "torchvision": TorchvisionData,
    "import": ImportedData,
}
