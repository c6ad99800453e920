"""Search one number, the initial learning rate; derive the rest of the schedule in closed form.

Everything that a training script of one's own needs is here, imported when it is first used.
`docs/library.md` has an example of each.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunecli.data.stage_batches import StageBatchSampler
    from tunecli.errors import TunecliError
    from tunecli.optim import QHM
    from tunecli.optim.micro_batches import backward_in_micro_batches
    from tunecli.optim.stagewise import StagewiseScheduler
    from tunecli.schedule import Schedule, Stage, multistage_schedule
    from tunecli.search.objective import search
    from tunecli.search.optuna_users import MonotoneStop, optimize
    from tunecli.search.rule import MonotoneRule
    from tunecli.search.sampler import MonotoneSampler

__version__ = "0.1.0"

__all__ = [
    "QHM",
    "MonotoneRule",
    "MonotoneSampler",
    "MonotoneStop",
    "Schedule",
    "Stage",
    "StageBatchSampler",
    "StagewiseScheduler",
    "TunecliError",
    "backward_in_micro_batches",
    "multistage_schedule",
    "optimize",
    "search",
]

_HOMES = {
    "QHM": "optim",
    "MonotoneRule": "search",
    "MonotoneSampler": "search",
    "MonotoneStop": "search",
    "Schedule": "schedule",
    "Stage": "schedule",
    "StageBatchSampler": "data.stage_batches",
    "StagewiseScheduler": "optim.stagewise",
    "TunecliError": "errors",
    "backward_in_micro_batches": "optim.micro_batches",
    "multistage_schedule": "schedule",
    "optimize": "search",
}


if not TYPE_CHECKING:  # a type checker would take every name for one of ours

    def __getattr__(name: str) -> object:
        if name == "search":  # the package itself: it can be called, and its modules be imported
            return import_module("tunecli.search")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
