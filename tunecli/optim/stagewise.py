"""A stagewise schedule as a torch scheduler: α, β and ν at every update."""

import warnings
from bisect import bisect_right
from typing import Any

from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer

from tunecli.errors import InvalidValueError, require
from tunecli.schedule import Schedule, Stage

_SAVED = ("schedule", "last_epoch", "_step_count", "_last_lr")


class StagewiseScheduler(LRScheduler):
    """Sets α_i, β_i and ν_i of the stage that the next update belongs to.

    Call `step()` after every `optimizer.step()`: once an update, not once an epoch. All three
    switch at the same update. They are written into the optimizer's groups as `lr`, `momentum` and
    `discount`; a group with a number `lr_scale` of its own gets α times that. After the last
    update the last stage stays.

    An optimizer whose groups have no `discount` gets the learning rates only, and a warning says
    so. That is every optimizer but `QHM`: a `momentum` without a discount means another method.

    Torch's `last_epoch` counts updates here: the number of those that were made. To resume, build
    the scheduler with the same schedule and load its state, before or after the optimizer's.

    Args:
        optimizer: The optimizer; `QHM`, unless only the learning rate is to follow the schedule.
        schedule: The stages.
        last_epoch: As in torch: −1 begins, n − 1 goes on after n updates.

    Raises:
        InvalidValueError: `schedule` is none, or `last_epoch` is below −1.

    >>> import torch
    >>> from tunecli import QHM, multistage_schedule
    >>> schedule = multistage_schedule(learning_rate=0.4, batch_size=64, steps=2, stages=2)
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = QHM([weight], learning_rate=0.4)
    >>> scheduler = StagewiseScheduler(optimizer, schedule)
    >>> for _ in range(3):
    ...     (group,) = optimizer.param_groups
    ...     print(group["lr"], round(group["momentum"], 4))
    ...     (weight**2).sum().backward()
    ...     optimizer.step()
    ...     scheduler.step()
    0.4 0.9
    0.4 0.9
    0.2 0.9474
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule, last_epoch: int = -1) -> None:
        require(
            isinstance(schedule, Schedule),
            "schedule",
            "a Schedule",
            type(schedule).__name__,
            "multistage_schedule makes one",
        )
        require(last_epoch >= -1, "last_epoch", "≥ -1", last_epoch, "-1 begins at the first update")
        self.schedule = schedule
        if isinstance(optimizer, Optimizer):  # what is none, torch refuses below
            _warn_of_what_stays(optimizer)
            for group in optimizer.param_groups:
                # torch asks for it where last_epoch is given; no rate of ours depends on it
                group.setdefault("initial_lr", _number(group["lr"]))
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """α_i of every group for the next update, times the group's `lr_scale`."""
        rate = self._stage().learning_rate
        return [rate * group.get("lr_scale", 1.0) for group in self.optimizer.param_groups]

    def step(self, epoch: int | None = None) -> None:
        """Count one update, and set what the next one is made with.

        Args:
            epoch: Torch's, deprecated there.
        """
        super().step(epoch)
        self._set_momentum()
        if self.last_epoch == self.schedule.total_steps + 1:
            warnings.warn(
                f"the schedule has {self.schedule.total_steps} updates and more were made: its "
                "last stage goes on. A loader with StageBatchSampler is the whole schedule, with "
                "no loop over epochs around it",
                UserWarning,
                stacklevel=2,
            )

    def state_dict(self) -> dict[str, Any]:
        """The number of updates, and the schedule that they followed, as plain data."""
        saved = {name: getattr(self, name) for name in _SAVED}
        return saved | {"schedule": self.schedule.to_list()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; the optimizer's groups are set accordingly.

        Args:
            state_dict: What a scheduler with the same schedule saved.

        Raises:
            InvalidValueError: The state has another schedule, or is another scheduler's; nothing
                has changed then.
        """
        missing = [name for name in _SAVED if name not in state_dict]
        if missing:
            raise InvalidValueError(
                f"state_dict must have {', '.join(_SAVED)} but got {', '.join(state_dict)}; load "
                "a state that a StagewiseScheduler saved"
            )
        _require_same(state_dict["schedule"], self.schedule.to_list())
        super().load_state_dict({name: state_dict[name] for name in _SAVED if name != "schedule"})
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self._set_momentum()

    def _stage(self) -> Stage:
        """The stage of the next update; past the end the last one."""
        stages = self.schedule.stages
        index = bisect_right(self.schedule.ends, self.last_epoch)
        return stages[min(index, len(stages) - 1)]

    def _set_momentum(self) -> None:
        stage = self._stage()
        for group in self.optimizer.param_groups:
            if "momentum" in group and "discount" in group:
                group["momentum"], group["discount"] = stage.momentum, stage.discount


def _warn_of_what_stays(optimizer: Optimizer) -> None:
    if all("momentum" in group and "discount" in group for group in optimizer.param_groups):
        return
    warnings.warn(
        f"only the learning rate of {type(optimizer).__name__} follows the schedule: it has no "
        "`discount`, so momentum β and discount ν stay as they are; use tunecli.QHM for the whole "
        "schedule",
        UserWarning,
        stacklevel=3,
    )


def _number(rate: float | Tensor) -> float:
    return rate.item() if isinstance(rate, Tensor) else rate


def _require_same(saved: list[dict[str, Any]], own: list[dict[str, Any]]) -> None:
    if saved == own:
        return
    pairs = zip(saved, own, strict=False)
    first = next((i for i, (there, here) in enumerate(pairs) if there != here), None)
    if first is None:
        was, named = f"{len(saved)} stages", f"{len(own)} stages"
    else:
        was, named = f"{saved[first]} as stage {first + 1}", str(own[first])
    raise InvalidValueError(
        f"the state's schedule must be the scheduler's ({named}) but got {was}; build the "
        "scheduler with the schedule that was trained with, or begin a new training"
    )
