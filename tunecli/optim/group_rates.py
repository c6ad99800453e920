"""How the learning rates of an optimizer's groups stand to the schedule's α."""

from math import isclose
from typing import Any

from torch import Tensor
from torch.optim.optimizer import Optimizer

from tunecli.errors import warn_once

_SAME = 1e-6  # relative: a rate may have been rounded to a float32


class GroupRates:
    """Each group's share of α: its learning rate at construction over α₁.

    An optimizer that was made with α₁, as its own rate or as a group's, is meant in units of α₁.
    In any other the schedule's α wins: it is what the groups with the largest rate get, and the
    others keep their proportion to those. Groups of different rates are warned of then. A group
    with an `lr_scale` of its own is left out of all this.

    The rate at construction is the group's `initial_lr`, where torch keeps it and an optimizer's
    state saves it; where there is none it is set.

    Args:
        optimizer: The optimizer; its groups may change later.
        first_rate: α₁.

    >>> import torch
    >>> backbone, head = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    >>> groups = [{"params": [backbone], "lr": 0.04}, {"params": [head]}]
    >>> optimizer = torch.optim.SGD(groups, lr=0.4)
    >>> GroupRates(optimizer, 0.4).at(0.2, optimizer)
    [0.02, 0.2]
    """

    def __init__(self, optimizer: Optimizer, first_rate: float) -> None:
        groups = optimizer.param_groups
        rates = [_initial(group) for group in groups]
        counted = [r for group, r in zip(groups, rates, strict=True) if "lr_scale" not in group]
        made_with = [*counted, _number(optimizer.defaults.get("lr", 0.0))]
        self._unit = first_rate
        if counted and not any(_same(rate, first_rate) for rate in made_with):
            self._unit = max(counted)
            if not all(_same(rate, self._unit) for rate in counted):
                _warn(counted, first_rate)
        self.shares = [self._share(rate) for rate in rates]

    def at(self, rate: float, optimizer: Optimizer) -> list[float | Tensor]:
        """α of every group, where the schedule's is `rate`."""
        for group in optimizer.param_groups[len(self.shares) :]:  # added since
            self.shares.append(self._share(_initial(group)))
        return [
            rate * group.get("lr_scale", share)
            for group, share in zip(optimizer.param_groups, self.shares, strict=False)
        ]

    def _share(self, rate: float) -> float:
        # some begin a warm-up of their own at 0 in every group
        return 1.0 if _same(rate, self._unit) or not self._unit else rate / self._unit


def _initial(group: dict[str, Any]) -> float:
    # torch asks for it as well, where a scheduler is given `last_epoch`
    return _number(group.setdefault("initial_lr", _number(group["lr"])))


def _number(rate: float | Tensor) -> float:
    return rate.item() if isinstance(rate, Tensor) else rate


def _same(rate: float, other: float) -> bool:
    return isclose(rate, other, rel_tol=_SAME)


def _warn(rates: list[float], first_rate: float) -> None:
    listed = ", ".join(f"{rate:g}" for rate in rates)
    warn_once(
        "rates of the groups",
        f"the optimizer's groups have the learning rates {listed}, and it was not made with the "
        f"schedule's {first_rate:g}: the largest becomes {first_rate:g}, the others keep their "
        f"proportion to it; make it with {first_rate:g}, or give each group an lr_scale",
        stacklevel=4,
    )
