import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from tunecli.recipe import Recipe, load_recipe
from tunecli.recipe.document import read_yaml
from tunecli.recipe.model import UNIONS
from tunecli.recipe.networks import ImportedModel
from tunecli.recipe.reference import _anchor, recipe_reference
from tunecli.recipe.section import Section

PUBLISHED = Path(__file__).parents[2] / "docs" / "recipes.md"
PAGE = recipe_reference()
RECIPES = re.findall(r"^```yaml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
(PYTHON,) = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
HEADINGS = [
    line.lstrip("# ").replace("`", "") for line in re.findall("^#+ .*$", PAGE, re.MULTILINE)
]

BESIDE: dict[str, dict[str, object]] = {  # what an example needs beside it
    "script": {"command": ["train"]},
    "asynchronous": {"algorithm": "asynchronous"},
}


def rows_of_page() -> dict[str, dict[str, list[str]]]:
    """For each heading the rows of the tables below it, by their keys."""
    rows: dict[str, dict[str, list[str]]] = {}
    heading = ""
    for line in PAGE.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").replace("`", "")
        elif line.startswith("| `"):
            key, *cells = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            rows.setdefault(heading, {})[key.strip("`")] = cells
    return rows


def rows_under(headings: list[str]) -> list[tuple[str, list[str]]]:
    rows = rows_of_page()
    return [row for heading in headings for row in rows.get(heading, {}).items()]


def fields_of(model: type[Section]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def sections_in(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for inner in get_args(annotation):
        yield from sections_in(inner)


def grammar(
    model: type[Section], path: tuple[str, ...] = ()
) -> Iterator[tuple[list[str], type[Section]]]:
    """Every section of the models: the headings under which its keys must be, and its keys."""
    yield [".".join(path) or "All keys"], model
    for key, field in fields_of(model).items():
        here = (*path, key)
        if here not in UNIONS:
            for inner in sections_in(field.annotation):
                yield from grammar(inner, here)
            continue
        assert set(sections_in(field.annotation)) == set(UNIONS[here].values())
        for name, member in UNIONS[here].items():
            if "name" in member.model_fields:
                yield [".".join(here), f"{key}: {{name: {name}}}"], member
            else:  # a form that is told by its one key, whose section is the form's
                (inner,) = sections_in(member.model_fields[name].annotation)
                yield from grammar(inner, (*here, name))


def test_published_reference_is_up_to_date() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == PAGE


def test_every_key_of_every_section_has_a_row_and_no_other() -> None:
    told = {heading for heading in rows_of_page() if not heading.startswith("command")}
    for headings, model in grammar(Recipe):
        keys = [key for key, _ in rows_under(headings)]
        assert sorted(keys) == sorted(fields_of(model)), headings
        told -= set(headings)
    assert not told


def value_of(text: str) -> object:
    return read_yaml(text, lambda line, column: text)[0]


def test_every_key_has_its_default_and_an_example_that_is_valid() -> None:
    defaults, examples = 0, 0
    for headings, model in grammar(Recipe):
        for key, (kind, default, meaning) in rows_under(headings):
            field = fields_of(model)[key]
            assert kind
            assert len(meaning) > 10
            assert (default == "**required**") == field.is_required()
            if default.startswith("`"):
                known = TypeAdapter(Any).dump_python(field.default, mode="json", by_alias=True)
                assert value_of(default.strip("`")) == known
                defaults += 1
            for example in re.findall("For example `(.*?)`", meaning):
                assert not complaints_about(model, key, value_of(example))
                examples += 1
    assert defaults > 50
    assert examples > 50


def complaints_about(model: type[Section], key: str, value: object) -> list[object]:
    try:
        model.model_validate({key: value, **BESIDE.get(key, {})}, context={"metrics": []})
    except ValidationError as error:
        return [one for one in error.errors() if one["loc"][0] == key]
    return []


@pytest.mark.parametrize("text", RECIPES, ids=lambda text: text.split()[3])
def test_recipe_of_the_introduction_loads(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_recipe(path).search.learning_rates


def test_python_of_the_introduction_is_what_its_recipe_imports(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPES[1], encoding="utf-8")
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert isinstance(recipe.model, ImportedModel)
    assert recipe.model.import_ == "nets:build"
    nets: dict[str, Any] = {}
    exec(PYTHON, nets)
    network, splits = nets["build"](**recipe.model.args), nets["load"]()
    assert set(splits) == {"train", "validation", "test"}
    for inputs, targets in splits.values():
        assert torch.nn.functional.cross_entropy(network(inputs), targets).isfinite()
    assert len(splits["train"][0]) == getattr(recipe.data, "samples", None)


def test_links_lead_somewhere() -> None:
    anchors = {_anchor(heading) for heading in HEADINGS}
    assert len(anchors) == len(HEADINGS)
    for target in re.findall(r"\]\(([^)]*)\)", PAGE):
        if target.startswith("#"):
            assert target[1:] in anchors
        else:
            assert (PUBLISHED.parent / target).is_file()
