"""Keys of a recipe that not everything that trains knows: they are refused there, never ignored.

Without torch: `tunecli validate` asks.
"""

from collections.abc import Iterator
from typing import Literal

from tunecli.errors import InvalidValueError
from tunecli.recipe import Recipe

Who = Literal["asynchronous", "compare", "stability"]
Problem = tuple[tuple[str | int, ...], str]

_NAMES: dict[Who, str] = {
    "asynchronous": "beside training.algorithm asynchronous",
    "compare": "for `tunecli compare`",
    "stability": "for `tunecli stability`",
}
_BECAUSE: dict[Who, str] = {
    "asynchronous": "only the centralized training knows it; remove one of the two",
    "compare": "the methods that are compared with do not know it; compare a recipe without it",
    "stability": "the sharpness is that of the mean cross-entropy of the samples as they are",
}


def not_known(recipe: Recipe, who: Who) -> Iterator[Problem]:
    """What an algorithm or a command does not know, each with the path of its key.

    Args:
        recipe: Valid.
        who: Everything beside the centralized training of `search` and `train`.
    """
    where, because = _NAMES[who], _BECAUSE[who]
    if recipe.command is not None:
        because = because if who != "stability" else "there is no model to look at"
        yield ("command",), f"command must be left out {where}; {because}"
        return
    loss = recipe.loss
    if loss.name != "cross_entropy" or loss.label_smoothing:
        given = loss.name if loss.name != "cross_entropy" else "label smoothing"
        yield ("loss",), f"loss must be cross_entropy, plain, {where} but got {given}; {because}"
    if recipe.augmentation is not None:
        yield ("augmentation",), f"augmentation must be left out {where}; {because}"
    if who == "stability":
        return  # a minimum is one, whatever found it
    for key in ("optimizer", "metrics"):
        if getattr(recipe, key):
            yield (key,), f"{key} must be left out {where}; {because}"
    for key in ("micro_batch_size", "evaluation_batch_size"):
        if getattr(recipe.training, key) is not None:
            sentence = f"training.{key} must be left out {where}; {because}"
            yield ("training", key), sentence


def not_handed_on(recipe: Recipe) -> Iterator[Problem]:
    """What a recipe's command is not told: it must not look as if it were heeded."""
    given = recipe.training
    for key in (
        *("weight_decay_mode", "reset_momentum", "micro_batch_size", "evaluation_batch_size"),
        *("evaluations", "cpu_threads"),
    ):
        value = getattr(given, key)
        if value != type(given).model_fields[key].default:
            shown = str(value).lower() if isinstance(value, bool) else value
            sentence = (
                f"training.{key} must be left out beside a command but got {shown}; the script is "
                "not told of it, and does as it is written"
            )
            yield ("training", key), sentence


def require_known(recipe: Recipe, who: Who) -> None:
    """Refuse a recipe with keys that would be ignored.

    Raises:
        InvalidValueError: It has one; the message has a sentence for each.
    """
    sentences = [sentence for _, sentence in not_known(recipe, who)]
    if sentences:
        raise InvalidValueError("\n".join(sentences))
