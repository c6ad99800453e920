"""What a recipe file may say, validated, with a line number in every error.

Names are imported when they are first used: pydantic takes most of a short command's time, and
`find_recipe` does not need it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunecli.recipe.asynchronous import AsynchronousSection
    from tunecli.recipe.catalog import find_recipe, shipped_recipes
    from tunecli.recipe.derive import (
        declared_delay,
        delay_scaling,
        derive_schedule,
        require_learning_rate,
        trial_schedule,
    )
    from tunecli.recipe.dump import dump_recipe
    from tunecli.recipe.grid import GeometricForm, GeometricGrid, LinearForm, LinearGrid
    from tunecli.recipe.load import load_recipe
    from tunecli.recipe.model import Recipe
    from tunecli.recipe.schema import recipe_schema
    from tunecli.recipe.search import SearchSection
    from tunecli.recipe.stages import ScheduleSection
    from tunecli.recipe.training import TrainingSection

__all__ = [
    "AsynchronousSection",
    "GeometricForm",
    "GeometricGrid",
    "LinearForm",
    "LinearGrid",
    "Recipe",
    "ScheduleSection",
    "SearchSection",
    "TrainingSection",
    "declared_delay",
    "delay_scaling",
    "derive_schedule",
    "dump_recipe",
    "find_recipe",
    "load_recipe",
    "recipe_schema",
    "require_learning_rate",
    "shipped_recipes",
    "trial_schedule",
]

_HOMES = {
    "AsynchronousSection": "asynchronous",
    "declared_delay": "derive",
    "delay_scaling": "derive",
    "derive_schedule": "derive",
    "dump_recipe": "dump",
    "find_recipe": "catalog",
    "GeometricForm": "grid",
    "GeometricGrid": "grid",
    "LinearForm": "grid",
    "LinearGrid": "grid",
    "load_recipe": "load",
    "recipe_schema": "schema",
    "require_learning_rate": "derive",
    "shipped_recipes": "catalog",
    "Recipe": "model",
    "ScheduleSection": "stages",
    "SearchSection": "search",
    "TrainingSection": "training",
    "trial_schedule": "derive",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
