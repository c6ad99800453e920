"""The grammar of a person's own code: what to import, from where, and how to call it."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from tunecli.recipe.section import Section, broken_rule

_NAME = r"[^\W\d]\w*"
_DOTTED = rf"{_NAME}(?:\.{_NAME})*"
_IMPORT = re.compile(rf"(?:{_DOTTED}|[^:]*[^:/]\.py):{_DOTTED}\Z")


def _module_and_attribute(path: str) -> str:
    if not _IMPORT.match(path):
        raise broken_rule(
            "be module:attribute or file.py:attribute", "write, for example, my_package.nets:build"
        )
    return path


ImportPath = Annotated[str, AfterValidator(_module_and_attribute)]


class ImportSection(Section):
    """Something of your own: a function or a class that is called, and returns what is meant."""

    import_: ImportPath = Field(
        alias="import",
        examples=["my_package.nets:build"],
        description="What to call: `package.module:attribute`, or `file.py:attribute`. It runs "
        "only where the recipe is trusted.",
    )
    folder: str | None = Field(
        default=None,
        examples=["src"],
        description="The folder in which the module or the file is found; by default the "
        "recipe's own.",
    )
    args: dict[str, Any] = Field(
        default={}, examples=[{"width": 64}], description="Keyword arguments of the call."
    )
