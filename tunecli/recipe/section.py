"""What all sections of a recipe have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

MAX_SEED = 2**32 - 1  # what every generator (numpy's and scikit-learn's older ones, too) accepts
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


class Section(BaseModel):
    """A mapping of a recipe: frozen, strict, no unknown keys, no infinities."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, defer_build=True
    )

    def __hash__(self) -> int:  # of what it says: a mapping inside has no hash of its own
        return hash((type(self), self.model_dump_json()))


def broken_rule(condition: str, remedy: str, *, item: int | None = None) -> PydanticCustomError:
    """A value that breaks a rule pydantic has no name for; `item` is the list item at fault."""
    context = {"condition": condition, "remedy": remedy, "item": item}
    return PydanticCustomError("recipe_rule", "must {condition}; {remedy}", context)
