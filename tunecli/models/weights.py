"""Weights that a model starts from, and parameters that are not trained."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

from tunecli.errors import InvalidValueError, RunError


def load_checkpoint(model: nn.Module, path: Path, skip: Sequence[str] = ()) -> None:
    """Replace a model's weights by a file's, by name.

    Every weight of the model must be in the file, and every one of the file in the model, in the
    same shape, but for those that a pattern of `skip` matches.

    Args:
        model: Built; what the file does not give keeps its initialization.
        path: A `.safetensors` file, or what `torch.save` wrote of a `state_dict`; nothing else is
            unpickled.
        skip: Name patterns (`fnmatch`) of weights to leave as they are.

    Raises:
        RunError: The file cannot be read.
        InvalidValueError: Names or shapes do not fit, or a pattern matches nothing.
    """
    found = _read(path)
    own = model.state_dict()
    for pattern in skip:
        _require_match("model.skip", pattern, [*own, *found])
    kept = {name for name in (*own, *found) if _matches(name, skip)}
    missing = [name for name in own if name not in found and name not in kept]
    unknown = [name for name in found if name not in own and name not in kept]
    misfits = [
        f"{name} ({tuple(found[name].shape)} in the file, {tuple(own[name].shape)} in the model)"
        for name in own
        if name in found and name not in kept and found[name].shape != own[name].shape
    ]
    for what, names in (
        ("has no", missing),
        ("has unknown", unknown),
        ("has another shape of", misfits),
    ):
        if names:
            raise InvalidValueError(
                f"model.checkpoint must fit the model but {path} {what} {_listed(names)}; name "
                "what is to be left out in model.skip"
            )
    model.load_state_dict({name: found[name] for name in own if name not in kept}, strict=False)


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Exclude parameters from training.

    Args:
        model: Its parameters are frozen in place.
        patterns: Name patterns (`fnmatch`), each of which must match a parameter.

    Raises:
        InvalidValueError: A pattern matches nothing, or nothing is left to train.
    """
    if not patterns:
        return
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        _require_match("model.freeze", pattern, names)
    for name, parameter in model.named_parameters():
        if _matches(name, patterns):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InvalidValueError(
            "model.freeze must leave something to train but freezes every parameter; remove a "
            "pattern"
        )


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights: dict[str, Tensor] = load_file(path)
            return weights
        content = torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        raise RunError(
            f"model.checkpoint: {path} cannot be read: {error.strerror or error}; check the path"
        ) from error
    except Exception as error:  # a damaged file makes torch and safetensors raise almost anything
        raise RunError(
            f"model.checkpoint: {path} is no file of weights ({type(error).__name__}); save a "
            "state_dict, `torch.save(model.state_dict(), path)`, or safetensors"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise InvalidValueError(
            f"model.checkpoint must hold a state_dict, tensors by name, but {path} holds something "
            "else; save `model.state_dict()` alone"
        )
    return content


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _require_match(key: str, pattern: str, names: Sequence[str]) -> None:
    if not any(fnmatchcase(name, pattern) for name in names):
        raise InvalidValueError(
            f"{key} must match names of the model but {pattern} matches none; there are "
            f"{_listed(list(names))}"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
