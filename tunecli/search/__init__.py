"""The search for α₁: the stop rule, its Optuna sampler, and the main job around them.

Names are imported when they are first used: the rule itself needs neither torch nor Optuna.

The package can be called, which is how `from tunecli import search` is both: `search(objective,
learning_rates)` is `tunecli.search.objective.search`, and `help` tells of that first.
"""

import inspect
import sys
from collections.abc import Callable
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


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Callable(ModuleType):
    # A module that is called like the function it is named after, and that is described as it.
    # What describes it is asked for when it is needed: the function imports Optuna.

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _function()(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(_function())

    @property
    def __doc__(self) -> str:  # type: ignore[override]  # an attribute that is computed
        return f"{inspect.getdoc(_function())}\n\nThe package: {vars(self)['__doc__']}"

    def __reduce__(self) -> tuple[Callable[[str], ModuleType], tuple[str]]:
        # to other processes it goes by its name; a copy of a module is the module
        return import_module, (self.__name__,)


def _function() -> Callable[..., Any]:
    from tunecli.search.objective import search

    return search


sys.modules[__name__].__class__ = _Callable
