"""What is known of each alternative to multistage QHM without torch: its rates and its grid.

An alternative is what a person would pick instead, with its learning rate searched the same way:
the off-the-shelf schedulers and optimizers of the QHM paper's Figures 8 and 9, AlgoPerf's NAdamW,
and two that promise to need no schedule.
"""

import math
from importlib.util import find_spec
from typing import Literal, NamedTuple, get_args

from tunecli.errors import InvalidValueError
from tunecli.recipe import Recipe

Alternative = Literal[
    "cosine", "one-cycle", "adam", "rmsprop", "nadamw", "schedule-free", "prodigy"
]
ALTERNATIVES: tuple[Alternative, ...] = get_args(Alternative)

# OneCycleLR's defaults; its momentum is lowest where the rate is highest.
_RISE, _START_DIVISOR, _END_DIVISOR = 0.3, 25.0, 1e4
_LOW_MOMENTUM, _HIGH_MOMENTUM = 0.85, 0.95

# AlgoPerf's NAdamW baselines warm up for 2, 5 or 10 % of the updates.
_WARM_UP = 0.05

_PACKAGES: dict[Alternative, str] = {"schedule-free": "schedulefree", "prodigy": "prodigyopt"}
_COUPLED_ONLY: tuple[Alternative, ...] = ("cosine", "one-cycle", "rmsprop")


class Settings(NamedTuple):
    """What one update runs with; `momentum` is None where it does not change."""

    learning_rate: float
    momentum: float | None = None


def settings_at(name: Alternative, peak: float, step: int, steps: int) -> Settings:
    """The learning rate (and momentum) of update `step` of `steps`.

    Args:
        name: The alternative.
        peak: The searched rate, > 0; no update has a larger one.
        step: From 0 to steps − 1.
        steps: Updates of the whole run, ≥ 1.

    >>> [settings_at("cosine", 0.2, step, 100).learning_rate for step in (0, 50)]
    [0.2, 0.1]
    >>> settings_at("one-cycle", 0.2, 29, 100)
    Settings(learning_rate=0.2, momentum=0.85)
    """
    match name:
        case "cosine" | "prodigy":
            return Settings(cosine(peak, step, steps))
        case "one-cycle":
            return one_cycle(peak, step, steps)
        case "nadamw":
            return Settings(warm_up_then_cosine(peak, step, steps))
        case _:  # constant; schedule-free has its warm-up inside
            return Settings(peak)


def cosine(peak: float, step: int, steps: int) -> float:
    """Cosine annealing from `peak` to 0, per update: (α/2) (1 + cos(πt/T)).

    `torch.optim.lr_scheduler.CosineAnnealingLR` with T_max = `steps`: 0 would be reached at the
    update after the last one, so every update trains.
    """
    return peak * (1 + math.cos(math.pi * step / steps)) / 2


def warm_up_then_cosine(peak: float, step: int, steps: int) -> float:
    """Linear up to `peak` in the first 5 % of the updates, then cosine annealing to 0.

    Differs from AlgoPerf's baselines, whose first update has the rate 0 and trains nothing: here
    it has the W-th part of `peak`, and update W, the last of the warm-up, has all of it.
    """
    warm_up = warm_up_steps(steps)
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return cosine(peak, step - warm_up, steps - warm_up)


def warm_up_steps(steps: int) -> int:
    """W, updates of the warm-up: 5 % of all, rounded down."""
    return math.floor(_WARM_UP * steps)


def one_cycle(peak: float, step: int, steps: int) -> Settings:
    """`torch.optim.lr_scheduler.OneCycleLR` with its defaults and max_lr = `peak`.

    In the first 30 % of the updates the rate rises from `peak` / 25 to `peak` while the momentum
    falls from 0.95 to 0.85; then the rate falls to `peak` / 250 000 and the momentum rises back.
    Each is a half wave of a cosine. A function of the update, so there is nothing to restore.
    """
    start = peak / _START_DIVISOR
    top, end = _RISE * steps - 1, steps - 1
    if step <= top:
        share = step / top if top else 1.0
        return Settings(
            _half_wave(start, peak, share), _half_wave(_HIGH_MOMENTUM, _LOW_MOMENTUM, share)
        )
    share = (step - top) / (end - top)
    return Settings(
        _half_wave(peak, start / _END_DIVISOR, share),
        _half_wave(_LOW_MOMENTUM, _HIGH_MOMENTUM, share),
    )


def default_rates(name: Alternative, recipe: Recipe) -> tuple[float, ...]:
    """Rates to search for an alternative, ascending, in the form that its optimizer takes.

    The recipe's grid is in QHM's damped form: a gradient moves the weights by α in all, however it
    is spread over time. In `torch.optim.SGD`'s undamped form it moves them by lr/(1−β) in all, so

    - cosine: lr = α (1 − β) with the recipe's β₁, for each α of the recipe's grid;
    - one-cycle: lr = α (1 − 0.85), 0.85 being the momentum where the rate is highest;
    - schedule-free: lr = 2 α: it takes plain gradient steps. Its authors advise 10 to 50 times
      SGD's usual rate, which at β = 0.9 is α to 5 α, so the whole grid is doubled;
    - adam, rmsprop, nadamw: 10⁻⁵ to 10⁻¹, two rates a decade, whatever the recipe says;
    - prodigy: 2⁻⁴ to 2⁴: a multiplier of the rate that it estimates itself, 1 by default.

    Raises:
        InvalidValueError: There is no alternative of that name.
    """
    grid = recipe.search.learning_rates
    match require_alternative(name):
        case "cosine":
            factor = 1 - recipe.schedule.momentum
        case "one-cycle":
            factor = 1 - _LOW_MOMENTUM
        case "schedule-free":
            factor = 2.0
        case "prodigy":
            return tuple(2.0**power for power in range(-4, 5))
        case _:
            return tuple(float(f"{10 ** (half / 2):.3g}") for half in range(-10, -1))
    return tuple(float(f"{rate * factor:.12g}") for rate in grid)


def unavailable(recipe: Recipe | None = None) -> dict[Alternative, str]:
    """The alternatives that cannot be used here, each with the reason; all others can.

    Args:
        recipe: Also tell which of them cannot train this recipe.
    """
    reasons: dict[Alternative, str] = {
        name: f"{package} is not installed; pip install 'tunecli[compare]'"
        for name, package in _PACKAGES.items()
        if find_spec(package) is None
    }
    training = recipe.training if recipe else None
    if training and training.weight_decay > 0 and training.weight_decay_mode == "decoupled":
        for name in _COUPLED_ONLY:
            reasons[name] = (
                "torch's optimizer has no decoupled weight decay; "
                "set training.weight_decay_mode to coupled"
            )
    return reasons


def require_alternative(name: str) -> Alternative:
    """The name, if it is one.

    Raises:
        InvalidValueError: It is none; the message lists them.
    """
    for known in ALTERNATIVES:
        if name == known:
            return known
    raise InvalidValueError(
        f"alternative must be one of {', '.join(ALTERNATIVES)} but got {name}; choose one of them"
    )


def _half_wave(start: float, end: float, share: float) -> float:
    """From `start` to `end` as `share` goes from 0 to 1, level at both ends."""
    return end + (start - end) / 2 * (math.cos(math.pi * share) + 1)
