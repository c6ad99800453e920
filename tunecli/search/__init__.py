"""The search for α₁: the stop rule, its Optuna sampler, and the main job around them.

Names are imported when they are first used: the rule itself needs neither torch nor Optuna.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
]

_HOMES = {
    "MonotoneSampler": "sampler",
    "MonotoneStop": "optuna_users",
    "SearchResult": "result",
    "ahead": "stop_rule",
    "decide": "stop_rule",
    "optimize": "optuna_users",
    "run_search": "run",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'rule')}"), name)
    globals()[name] = value
    return value
