"""The random state that a model draws from (dropout), to be kept in a checkpoint."""

from typing import Any

import torch


def random_state(device: torch.device) -> dict[str, Any]:
    """The states of the generators that a model on `device` uses."""
    state: dict[str, Any] = {"rng": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda_rng"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """The inverse of `random_state`; a state of another kind of device has its CPU part alone."""
    torch.set_rng_state(state["rng"])
    if device.type == "cuda" and "cuda_rng" in state:
        torch.cuda.set_rng_state(state["cuda_rng"], device)
