"""The search for α₁: the stop rule, its Optuna sampler, and the main job around them.

Names are imported when they are first used: the rule itself needs neither torch nor Optuna.

The package can be called, which is how `from tunecli import search` is both: `search(objective,
learning_rates)` is `tunecli.search.objective.search`.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunecli.search.objective import FinishedTrial, Found, search
    from tunecli.search.optuna_users import MonotoneStop, optimize
    from tunecli.search.result import SearchResult
    from tunecli.search.rule import (
        Continue,
        Decision,
        MonotoneRule,
        Observation,
        Stop,
        StopReason,
    )
    from tunecli.search.run import run_search
    from tunecli.search.sampler import MonotoneSampler
    from tunecli.search.stop_rule import ahead, decide

__all__ = [
    "Continue",
    "Decision",
    "FinishedTrial",
    "Found",
    "MonotoneRule",
    "MonotoneSampler",
    "MonotoneStop",
    "Observation",
    "SearchResult",
    "Stop",
    "StopReason",
    "ahead",
    "decide",
    "optimize",
    "run_search",
    "search",
]

_HOMES = {
    "FinishedTrial": "objective",
    "Found": "objective",
    "MonotoneSampler": "sampler",
    "MonotoneStop": "optuna_users",
    "SearchResult": "result",
    "ahead": "stop_rule",
    "decide": "stop_rule",
    "optimize": "optuna_users",
    "run_search": "run",
    "search": "objective",
}


if not TYPE_CHECKING:  # a type checker would take every name for one of ours

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'rule')}"), name)
        globals()[name] = value
        return value


class _Callable(ModuleType):
    """A module that is called like the function it is named after."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from tunecli.search.objective import search

        return search(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
