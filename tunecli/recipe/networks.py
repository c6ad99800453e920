"""The grammar of models: the networks that a recipe can name."""

from typing import Annotated, Literal

from pydantic import Field

from tunecli.recipe.code import ImportSection
from tunecli.recipe.section import Section

Width = Annotated[int, Field(ge=1)]
Patterns = Annotated[tuple[str, ...], Field(strict=False)]


# Every model has these, after its own keys: weights to start from, and what is not trained.
_CHECKPOINT = Field(
    default=None,
    examples=["pretrained.safetensors"],
    description="A file of weights to start from, by the model's parameter names: safetensors, or "
    "what torch.save wrote of a state_dict. By default the weights are drawn from the seed.",
)
_SKIP = Field(
    default=(),
    description="Name patterns (`head.*`) of weights that are not taken from the checkpoint.",
)
_FREEZE = Field(
    default=(), description="Name patterns (`encoder.*`) of parameters that are not trained."
)


class CnnModel(Section):
    """A convolutional network: 3×3 convolutions with pooling, then one hidden layer."""

    name: Literal["cnn"] = Field(description="The model's name: cnn.")
    channels: Annotated[tuple[Width, ...], Field(strict=False, min_length=1, max_length=4)] = Field(
        default=(16, 32), description="Output channels of each convolution, 1 to 4 of them."
    )
    hidden: int = Field(default=64, ge=1, description="Width of the hidden layer.")
    checkpoint: str | None = _CHECKPOINT
    skip: Patterns = _SKIP
    freeze: Patterns = _FREEZE


class MlpModel(Section):
    """A multilayer perceptron: fully connected layers."""

    name: Literal["mlp"] = Field(description="The model's name: mlp.")
    hidden: Annotated[tuple[Width, ...], Field(strict=False, min_length=1)] = Field(
        default=(128, 128, 128), description="Width of each hidden layer, at least one."
    )
    checkpoint: str | None = _CHECKPOINT
    skip: Patterns = _SKIP
    freeze: Patterns = _FREEZE


class LogisticModel(Section):
    """Multinomial logistic regression: one linear layer, a convex problem."""

    name: Literal["logistic"] = Field(description="The model's name: logistic.")
    checkpoint: str | None = _CHECKPOINT
    skip: Patterns = _SKIP
    freeze: Patterns = _FREEZE


class ImportedModel(ImportSection):
    """Your own network: `import` names what builds a torch.nn.Module."""

    name: Literal["import"] = Field(
        default="import", description="import, or left out where `import` is given."
    )
    checkpoint: str | None = _CHECKPOINT
    skip: Patterns = _SKIP
    freeze: Patterns = _FREEZE


AnyModel = CnnModel | MlpModel | LogisticModel | ImportedModel
MODELS: dict[str, type[Section]] = {
    "cnn": CnnModel,
    "logistic": LogisticModel,
    "mlp": MlpModel,
    "import": ImportedModel,
}
