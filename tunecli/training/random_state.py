"""The random state that a model and an augmentation draw from, to be kept in a checkpoint."""

import random
from typing import Any

import numpy as np
import torch

_NUMPY_SEEDS = 2**32


def seed_all(seed: int) -> None:
    """Seed the global generators: torch's (dropout), and numpy's and Python's (a person's code)."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % _NUMPY_SEEDS)  # noqa: NPY002  # what a person's code may use


def random_state(device: torch.device) -> dict[str, Any]:
    """The states of the generators that a training on `device` uses, as tensors and plain data."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    version, words, gauss = random.getstate()
    state: dict[str, Any] = {
        "rng": torch.get_rng_state(),
        "numpy_rng": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python_rng": [version, torch.tensor(words), gauss],
    }
    if device.type == "cuda":
        state["cuda_rng"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """The inverse of `random_state`; a state of another kind of device has its CPU part alone."""
    torch.set_rng_state(state["rng"])
    kind, keys, *rest = state["numpy_rng"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, words, gauss = state["python_rng"]
    random.setstate((version, tuple(words.tolist()), gauss))
    if device.type == "cuda" and "cuda_rng" in state:
        torch.cuda.set_rng_state(state["cuda_rng"], device)
