"""From a recipe's `model` section to an initialized network."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from tunecli.errors import InvalidValueError, require
from tunecli.models.classifiers import CNN, MLP, LogisticRegression
from tunecli.models.decoder import Decoder
from tunecli.models.lenet import LeNet
from tunecli.models.limits import most_convolutions, shape_misfit
from tunecli.models.lstm import LSTM
from tunecli.models.weights import freeze, load_checkpoint
from tunecli.user_code import build_from, repeatable

if TYPE_CHECKING:
    from tunecli.recipe.networks import AnyModel


def build_model(
    model: "AnyModel",
    *,
    input_shape: Sequence[int],
    num_classes: int,
    seed: int,
) -> nn.Module:
    """Build the recipe's model, its initialization drawn from `seed` alone.

    Named ones have PyTorch's default initialization (the decoder GPT-2's), imported ones their own;
    a checkpoint replaces it.

    The weights are drawn on the CPU: one seed is one initialization on every device, whatever was
    drawn before, and the global random state is left as it was.

    Args:
        model: The recipe's `model` section.
        input_shape: Shape of one sample: (channels, height, width), (features,), or (context,).
        num_classes: Outputs: logits (256 for bytes), or numbers of a target.
        seed: Seed of the initialization.

    Raises:
        InvalidValueError: The data does not fit the model, or the checkpoint or a name pattern
            does not.
        UserCodeError: An imported model raised an error.
        RunError: The checkpoint cannot be read.
    """
    with torch.random.fork_rng(devices=[]), repeatable(seed):
        torch.default_generator.manual_seed(seed)  # the CPU's alone, unlike torch.manual_seed
        built = _built(model, input_shape, num_classes)
    if model.checkpoint is not None:
        load_checkpoint(built, Path(model.checkpoint), model.skip)
    freeze(built, model.freeze)
    return built


def _built(model: "AnyModel", input_shape: Sequence[int], num_classes: int) -> nn.Module:
    if model.name == "import":
        built = build_from("model", model)
        if not isinstance(built, nn.Module):
            raise InvalidValueError(
                f"model.import must build a torch.nn.Module but {model.import_} built "
                f"{type(built).__name__}; return the network"
            )
        require(
            any(parameter.requires_grad for parameter in built.parameters()),
            "model.import",
            "a network with parameters to train",
            f"{model.import_}, which built {type(built).__name__} without any",
        )
        return built
    require(
        num_classes >= 1,
        "data.num_classes",
        "known to a named model",
        "a Dataset that does not tell its classes",
        "add it to data",
    )
    misfit = shape_misfit(model.name, input_shape)
    if misfit is not None:
        raise InvalidValueError(f"data for model {model.name} must be {misfit}")
    match model.name:
        case "logistic":
            return LogisticRegression(input_shape, num_classes)
        case "mlp":
            return MLP(input_shape, num_classes, model.hidden)
        case "lenet":
            return LeNet(input_shape, num_classes)
        case "decoder":
            return Decoder(
                vocabulary=num_classes,
                context=input_shape[0],
                layers=model.layers,
                heads=model.heads,
                width=model.width,
                dropout=model.dropout,
            )
        case "lstm":
            return LSTM(
                vocabulary=num_classes,
                layers=model.layers,
                width=model.width,
                embedding=model.embedding,
            )
        case "cnn":
            most = most_convolutions(input_shape)
            require(
                len(model.channels) <= most,
                "model.channels",
                f"at most {most} convolutions for images of {input_shape[1]} × {input_shape[2]}",
                len(model.channels),
                "each one halves the image",
            )
            return CNN(input_shape, num_classes, model.channels, model.hidden)
