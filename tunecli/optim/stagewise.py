"""A stagewise schedule as a torch scheduler: α, β and ν at every update."""

from bisect import bisect_right
from collections.abc import Callable
from typing import Any
from weakref import ReferenceType, ref

from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer

from tunecli.errors import InvalidValueError, require, warn_once
from tunecli.optim.group_rates import GroupRates
from tunecli.schedule import Schedule, Stage
from tunecli.schedule.progress import FORGOTTEN, Progress, begin

_OF_TORCH = ("last_epoch", "_step_count", "_last_lr")
_SAVED = ("schedule", "shares", *_OF_TORCH)
_IN_HOOK = (
    5  # a hook's distance from the line that calls `optimizer.step()`, torch's wrappers between
)


class StagewiseScheduler(LRScheduler):
    """Sets α_i, β_i and ν_i of the stage that the next update belongs to.

    With `automatic=True` that is all: the optimizer steps it after every update, and need not be
    told again. Without, call `step()` after every `optimizer.step()`: once an update, not once an
    epoch; where that is forgotten, a warning says so. All three switch at the same update. They
    are written into the optimizer's groups as `lr`, `momentum` and `discount`. After the last
    update the last stage stays.

    A group's rate is α times its share: its rate at construction over α₁, so one that was made with
    α₁/10 keeps to a tenth of α; a number `lr_scale` in the group says the share instead. Where the
    optimizer was not made with α₁, neither itself nor a group of it, the schedule wins: the groups
    with the largest rate get α, the others keep their proportion, and a warning says so if there
    are others.

    An optimizer whose groups have no `discount` gets the learning rates only, and a warning says
    so. That is every optimizer but `QHM`: a `momentum` without a discount means another method.

    Torch's `last_epoch` counts updates here: the number of those that were made. To resume, build
    the scheduler with the same schedule and load its state, before or after the optimizer's.

    An automatic scheduler counts what the optimizer really did: `step(closure)` is one update, and
    a step that a gradient scaler skips is none. It lives as long as its optimizer, which holds it,
    and it is in no copy of that.

    Args:
        optimizer: The optimizer; `QHM`, unless only the learning rate is to follow the schedule.
        schedule: The stages.
        last_epoch: As in torch: −1 begins, n − 1 goes on after n updates.
        automatic: Whether every `optimizer.step()` steps the scheduler; `step()` refuses then.

    Raises:
        InvalidValueError: `schedule` is none, or `last_epoch` is below −1.

    >>> import torch
    >>> from tunecli import QHM, multistage_schedule
    >>> schedule = multistage_schedule(learning_rate=0.4, batch_size=64, steps=2, stages=2)
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = QHM([weight], learning_rate=0.4)
    >>> scheduler = StagewiseScheduler(optimizer, schedule, automatic=True)
    >>> for _ in range(3):
    ...     (group,) = optimizer.param_groups
    ...     print(group["lr"], round(group["momentum"], 4))
    ...     (weight**2).sum().backward()
    ...     optimizer.step()
    0.4 0.9
    0.4 0.9
    0.2 0.9474
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: Schedule,
        last_epoch: int = -1,
        *,
        automatic: bool = False,
    ) -> None:
        require(
            isinstance(schedule, Schedule),
            "schedule",
            "a Schedule",
            type(schedule).__name__,
            "multistage_schedule makes one",
        )
        require(last_epoch >= -1, "last_epoch", "≥ -1", last_epoch, "-1 begins at the first update")
        self.schedule = schedule
        self._automatic = automatic
        self._in_hook = True  # torch's constructor makes a step of its own
        self._progress = begin(schedule.total_steps)
        if isinstance(optimizer, Optimizer):  # what is none, torch refuses below
            _warn_of_what_stays(optimizer)
            self._rates = GroupRates(optimizer, schedule.stages[0].learning_rate)
        super().__init__(optimizer, last_epoch)
        self._in_hook = False
        hook = self._follow if automatic else _watch(self._progress)
        optimizer.register_step_post_hook(hook)

    # The optimizer holds an automatic scheduler, which must not hold it in turn: such a circle
    # keeps a model on the device until Python's collector comes by, trial after trial.
    @property
    def optimizer(self) -> Optimizer:
        """The optimizer whose groups are set."""
        optimizer = self._held() if isinstance(self._held, ReferenceType) else self._held
        if optimizer is None:
            raise InvalidValueError(
                "optimizer must be alive while its automatic scheduler is used but got one that "
                "is gone; keep it in a variable"
            )
        return optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer) -> None:
        self._held: Optimizer | ReferenceType[Optimizer]
        self._held = ref(optimizer) if self._automatic else optimizer

    def get_lr(self) -> list[float | Tensor]:
        """α_i of every group for the next update, times the group's share of α."""
        return self._rates.at(self._stage().learning_rate, self.optimizer)

    def step(self, epoch: int | None = None) -> None:
        """Count one update, and set what the next one is made with.

        Args:
            epoch: Torch's, deprecated there.

        Raises:
            InvalidValueError: The scheduler is automatic, and the update was counted.
        """
        if self._automatic and not self._in_hook:
            raise InvalidValueError(
                "automatic must be False where scheduler.step() is called but got True; leave out "
                "one of them, or every update counts twice"
            )
        super().step(epoch)
        self._set_momentum()
        self._progress.count(self.last_epoch)
        if self.last_epoch == self.schedule.total_steps + 1:
            warn_once(
                "beyond the schedule",
                f"the schedule has {self.schedule.total_steps} updates and more were made: its "
                "last stage goes on. A loader with StageBatchSampler is the whole schedule, with "
                "no loop over epochs around it",
                stacklevel=_IN_HOOK if self._in_hook else 2,
            )

    def state_dict(self) -> dict[str, Any]:
        """The number of updates, the groups' shares and the schedule followed, as plain data."""
        saved = {name: getattr(self, name) for name in _OF_TORCH}
        return saved | {"schedule": self.schedule.to_list(), "shares": list(self._rates.shares)}

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
        super().load_state_dict({name: state_dict[name] for name in _OF_TORCH})
        self._rates.shares = list(state_dict["shares"])
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self._set_momentum()
        self._progress.count(self.last_epoch)

    def _follow(self, *_: Any) -> None:
        """After an update of the optimizer."""
        self._in_hook = True
        try:
            self.step()
        finally:
            self._in_hook = False

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
    warn_once(
        "only the learning rate",
        f"only the learning rate of {type(optimizer).__name__} follows the schedule: it has no "
        "`discount`, so momentum β and discount ν stay as they are; use tunecli.QHM for the whole "
        "schedule",
        stacklevel=3,
    )


def _watch(progress: Progress) -> Callable[..., None]:
    """A hook that notices that nobody steps the scheduler; it holds neither that nor the model."""

    def after_update(*_: Any) -> None:
        progress.missed += 1
        if progress.missed == FORGOTTEN and progress.made < progress.total:
            warn_once(
                "scheduler not stepped",
                f"the optimizer has made {FORGOTTEN} updates without the scheduler, so learning "
                "rate and momentum stay: call scheduler.step() after every optimizer.step() (each "
                "update, not each epoch), or make it StagewiseScheduler(optimizer, schedule, "
                "automatic=True)",
                stacklevel=_IN_HOOK - 1,
            )

    return after_update


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
