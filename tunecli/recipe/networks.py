"""The grammar of models: the networks that a recipe can name."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from tunecli.recipe.code import ImportSection
from tunecli.recipe.section import Section, broken_rule

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

    name: Literal["cnn"] = Field(description="Selects this model.")
    channels: Annotated[tuple[Width, ...], Field(strict=False, min_length=1, max_length=4)] = Field(
        default=(16, 32), description="Output channels of each convolution, 1 to 4 of them."
    )
    hidden: int = Field(default=64, ge=1, description="Width of the hidden layer.")
    checkpoint: str | None = _CHECKPOINT
    skip: Patterns = _SKIP
    freeze: Patterns = _FREEZE


class MlpModel(Section):
    """A multilayer perceptron: fully connected layers."""

    name: Literal["mlp"] = Field(description="Selects this model.")
    hidden: Annotated[tuple[Width, ...], Field(strict=False, min_length=1)] = Field(
        default=(128, 128, 128), description="Width of each hidden layer, at least one."
    )
    checkpoint: str | None = _CHECKPOINT
    skip: Patterns = _SKIP
    freeze: Patterns = _FREEZE


class LogisticModel(Section):
    """Multinomial logistic regression: one linear layer, a convex problem."""

    name: Literal["logistic"] = Field(description="Selects this model.")
    checkpoint: str | None = _CHECKPOINT
    skip: Patterns = _SKIP
    freeze: Patterns = _FREEZE


class LenetModel(Section):
    """A LeNet-like network for images: two padded 5×5 convolutions, hidden layers of 120 and 84."""

    name: Literal["lenet"] = Field(description="Selects this model.")
    checkpoint: str | None = _CHECKPOINT
    skip: Patterns = _SKIP
    freeze: Patterns = _FREEZE


class DecoderModel(Section):
    """A GPT-2-style decoder for text: blocks of causal attention and MLP, tied embeddings."""

    name: Literal["decoder"] = Field(description="Selects this model.")
    layers: int = Field(default=4, ge=1, le=256, description="Number of blocks.")
    heads: int = Field(default=4, ge=1, description="Attention heads of each block.")
    width: int = Field(
        default=128,
        ge=1,
        validate_default=True,
        description="Width of the residual stream, a multiple of `heads`; the MLPs are four times "
        "as wide inside.",
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share that training drops of embeddings, attention and each block's outputs.",
    )
    checkpoint: str | None = _CHECKPOINT
    skip: Patterns = _SKIP
    freeze: Patterns = _FREEZE

    @field_validator("width")
    @classmethod
    def _divides_into_heads(cls, width: int, info: ValidationInfo) -> int:
        heads = info.data.get("heads")
        if heads is not None and width % heads:
            raise broken_rule(
                f"be a multiple of model.heads ({heads})", f"{(width // heads + 1) * heads} is one"
            )
        return width


class LstmModel(Section):
    """A recurrent language model for text: embedding, LSTM layers, one linear layer."""

    name: Literal["lstm"] = Field(description="Selects this model.")
    layers: int = Field(default=1, ge=1, le=256, description="LSTM layers, one on another.")
    width: int = Field(default=256, ge=1, description="Width of each layer's state.")
    embedding: int = Field(default=64, ge=1, description="Width of a byte's embedding.")
    checkpoint: str | None = _CHECKPOINT
    skip: Patterns = _SKIP
    freeze: Patterns = _FREEZE


class ImportedModel(ImportSection):
    """Your own network: `import` names what builds a torch.nn.Module."""

    name: Literal["import"] = Field(
        default="import", description="May be left out: `import` says it."
    )
    checkpoint: str | None = _CHECKPOINT
    skip: Patterns = _SKIP
    freeze: Patterns = _FREEZE


AnyModel = (
    CnnModel | MlpModel | LogisticModel | LenetModel | DecoderModel | LstmModel | ImportedModel
)
MODELS: dict[str, type[Section]] = {
    "cnn": CnnModel,
    "decoder": DecoderModel,
    "lenet": LenetModel,
    "logistic": LogisticModel,
    "lstm": LstmModel,
    "mlp": MlpModel,
    "import": ImportedModel,
}
