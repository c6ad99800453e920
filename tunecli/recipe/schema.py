"""The recipe's grammar as JSON Schema: for editors, for the documentation, for our own messages."""

from copy import deepcopy
from functools import cache
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema

from tunecli.recipe.model import Recipe


class _LeanSchema(GenerateJsonSchema):
    """Without the titles that only repeat a key's name; keys in the grammar's order."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:
        return value

    def generate(self, schema: CoreSchema, mode: Any = "validation") -> JsonSchemaValue:
        header = {"$schema": self.schema_dialect, "$id": "urn:tunecli:recipe:1"}
        return {**header, **super().generate(schema, mode), "title": "tunecli recipe, version 1"}


@cache
def shared_schema() -> dict[str, Any]:
    """`recipe_schema`, one copy for all: to be read only."""
    return Recipe.model_json_schema(schema_generator=_LeanSchema)


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a recipe, version 1.

    Rules that compare two keys (`batch_decay` ≤ `decay`, `test_seeds` apart from `seeds`, shares
    that leave training data, an ascending grid) are in the descriptions: JSON Schema has no word
    for them.

    Returns:
        A fresh dictionary of plain JSON values; `docs/recipe.schema.json` is its published copy.

    >>> recipe_schema()["required"]
    ['version', 'name', 'schedule', 'search']
    """
    return deepcopy(shared_schema())
