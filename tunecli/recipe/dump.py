"""A `Recipe` → YAML that loads back to an equal one."""

from typing import Any

import yaml

from tunecli.recipe.document import CORE_SCHEMA
from tunecli.recipe.model import Recipe
from tunecli.recipe.section import Section


class _Dumper(yaml.SafeDumper):
    """Quotes the text that our reader, not PyYAML's, would take for something else: `1e-3`."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_list(dumper: yaml.SafeDumper, items: list[object]) -> yaml.SequenceNode:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Left to choose, PyYAML single-quotes "\x85", a line break, which reading folds to a space.
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.yaml_implicit_resolvers = {
    None: [(f"tag:yaml.org,2002:{kind}", form) for kind, form in CORE_SCHEMA.items()]
}
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(str, _represent_text)


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML: every key with its value, defaults included.

    Keys without a value (`learning_rate`, `max_trials`, the one of `epochs` and `steps` that is
    not given) are left out, unless no value means something else than leaving them out does.
    """
    data = recipe_data(recipe)
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def recipe_data(recipe: Recipe) -> dict[str, Any]:
    """The resolved recipe as plain JSON values, with the keys that `dump_recipe` writes."""
    # warnings: a recipe with a command has no model, which pydantic calls unexpected
    return _without_empty_keys(
        recipe, recipe.model_dump(mode="json", by_alias=True, warnings=False)
    )


def _without_empty_keys(section: Section, data: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for attribute, field in type(section).model_fields.items():
        name = field.alias or attribute
        inner, value = getattr(section, attribute), data[name]
        if isinstance(inner, Section):
            kept[name] = _without_empty_keys(inner, value)
        elif value is not None or field.default is not None:
            kept[name] = value
    return kept
