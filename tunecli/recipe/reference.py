"""The keys of a recipe as Markdown, from the schema: `docs/recipes.md`.

    python -m tunecli.recipe.reference > docs/recipes.md

What stands above the keys is written by hand, in reference.md beside this file.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tunecli.recipe.messages import _condition
from tunecli.recipe.schema import shared_schema
from tunecli.recipe.script import PLACEHOLDERS
from tunecli.recipe.section import MAX_SEED

Node = Mapping[str, Any]
Keys = tuple[str, ...]


def recipe_reference() -> str:
    """The page about recipes: the introduction, and a table for every section of the schema.

    >>> "| `patience` | a whole number ≥ 1 | `1` |" in recipe_reference()
    True
    """
    schema = shared_schema()
    introduction = Path(__file__).with_suffix(".md").read_text(encoding="utf-8")
    blocks = [introduction.rstrip(), _table((), schema)]
    for key, node in schema["properties"].items():
        blocks += _section((key,), node)
    return "\n\n".join(blocks) + "\n"


def _section(path: Keys, node: Node) -> Iterator[str]:
    """What is to be said about a key with keys of its own, and about those in it."""
    if path == ("command",):
        yield from (_heading(path), _text(node["description"]), _placeholders())
        return
    inner = _resolved(node)
    entries = inner.get("additionalProperties")
    if not isinstance(entries, Mapping) and not {"properties", "oneOf"} & inner.keys():
        return
    yield _heading(path)
    yield _text(inner["description"])
    if isinstance(entries, Mapping):
        yield f"Each entry, `{'.'.join(path)}.NAME`, has these keys:"
        yield _table(path, _resolved(entries))
    elif "properties" in inner:
        yield _table(path, inner)
        for key, within in inner["properties"].items():
            yield from _section((*path, key), within)
    elif "discriminator" in inner:
        yield from _kinds(path, inner)
    else:
        yield from _forms(path, inner)


def _kinds(path: Keys, union: Node) -> Iterator[str]:
    """The members of a union that a name selects."""
    selector = union["discriminator"]["propertyName"]
    members = {
        name: _resolved({"$ref": reference})
        for name, reference in union["discriminator"]["mapping"].items()
    }
    titles = {name: f"{path[-1]}: {{{selector}: {name}}}" for name in members}
    links = ", ".join(f"[`{name}`](#{_anchor(titles[name])})" for name in members)
    yield f"`{selector}` is one of {links}."
    first, *others = members.values()
    common = [
        key
        for key, node in first["properties"].items()
        if all(other["properties"].get(key) == node for other in others)
    ]
    if common:
        yield "Whichever it is, it has these keys beside its own:"
        yield _table(path, first, common)
    for name, member in members.items():
        yield f"{'#' * (len(path) + 2)} `{titles[name]}`"
        yield _text(member["description"])
        yield _table(path, member, [key for key in member["properties"] if key not in common])


def _forms(path: Keys, union: Node) -> Iterator[str]:
    """The members of a union that is told by what stands there: a key, or a list."""
    for form in union["oneOf"]:
        if form.get("type") == "array":
            yield f"{'#' * (len(path) + 2)} `{'.'.join(path)}` as a list"
            kind = _kind(path, form)
            yield f"{kind[0].upper()}{kind[1:]}.{_example(form)}"
        else:
            for key, node in _resolved(form)["properties"].items():
                yield from _section((*path, key), node)


def _table(path: Keys, section: Node, keys: Iterable[str] | None = None) -> str:
    """The keys of a section, a row for each."""
    rows = []
    for key in section["properties"] if keys is None else keys:
        node = section["properties"][key]
        meaning = _meaning(_resolved(node))
        default = "**required**" if key in section.get("required", ()) else _default(node)
        if not default.startswith("`") or node.get("default") is None:
            meaning += _example(node)
        rows.append((f"`{key}`", _kind((*path, key), node), default, meaning))
    return _rows(("key", "type and range", "default", "meaning"), rows)


def _placeholders() -> str:
    meanings = [(f"`{{{name}}}`", meaning) for name, meaning in PLACEHOLDERS.items()]
    return _rows(("placeholder", "stands for"), meanings)


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    cells = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _kind(path: Keys, node: Node) -> str:
    """What may stand at a key, in words."""
    if "anyOf" in node:
        return f"{_kind(path, node['anyOf'][0])}, or null"
    if path == ("command",) or _is_section(node):
        kinds = ["a section"] if _is_section(node) else []
        if "array" in (node.get("type"), *(one.get("type") for one in node.get("oneOf", ()))):
            kinds.append("a list")
        return f"[{' or '.join(kinds)}](#{_anchor('.'.join(path))})"
    if "const" in node:
        return f"`{_written(node['const'])}`"
    if "enum" in node:
        *before, last = (f"`{_written(option)}`" for option in node["enum"])
        return f"{', '.join(before)} or {last}" if before else last
    if node.get("type") == "array":
        few, many = node.get("minItems", 0), node.get("maxItems")
        count = f"{few} to {many}" if many else f"{few} or more" if few else ""
        entries = f" of {count} entries, each" if count else ", each entry"
        return f"a list{entries} {_kind(path, node['items'])}"
    plain = {word: value for word, value in node.items() if word != "minLength"}
    return _condition(plain).replace(f"≤ {MAX_SEED}", "< 2³²")


def _is_section(node: Node) -> bool:
    return (
        "$ref" in node or "oneOf" in node or isinstance(node.get("additionalProperties"), Mapping)
    )


def _default(node: Node) -> str:
    """What holds where the key is left out."""
    if "default" not in node:
        return "its defaults"
    if node["default"] is None and "anyOf" not in node:  # it cannot be written
        return "none"
    return f"`{_written(node['default'])}`"


def _example(node: Node) -> str:
    """A sentence with a value, where the choices do not tell all of them already."""
    inner = _resolved(node)
    if "examples" not in inner or {"const", "enum"} & inner.keys():
        return ""
    return f" For example `{_written(inner['examples'][0])}`."


def _resolved(node: Node) -> Node:
    """A node without the `or null` and the reference that it may be, with its own words first."""
    one = node["anyOf"][0] if "anyOf" in node else node
    own = {word: value for word, value in {**one, **node}.items() if word not in ("anyOf", "$ref")}
    if "$ref" not in one:
        return own
    return {**shared_schema()["$defs"][one["$ref"].rpartition("/")[2]], **own}


def _written(value: object) -> str:
    """A value as a recipe would write it, on one line."""
    text = yaml.safe_dump(
        _plain(value), default_flow_style=True, allow_unicode=True, sort_keys=False, width=10_000
    )
    text = text.removesuffix("...\n").strip().replace("'", '"')
    return re.sub(r'"([a-z_.]+:\w+)"', r"\1", text)  # an import path needs no quotes in YAML


def _plain(value: Any) -> Any:
    """86400 for 86400.0, inside lists and mappings, too."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _meaning(node: Node) -> str:
    """A key's description, in which `word:` begins what that choice means."""
    options = "|".join(map(str, node.get("enum") or [node.get("const")]))
    return re.sub(rf"(?<![\w-])({options}):(?= )", r"`\1`:", _text(node["description"]))


def _text(description: str) -> str:
    """A description in one paragraph, with links to the pages that it names."""
    return re.sub(r"\bdocs/([\w-]+\.md)", r"[\1](\1)", " ".join(description.split()))


def _heading(path: Keys) -> str:
    return f"{'#' * (len(path) + 1)} `{'.'.join(path)}`"


def _anchor(heading: str) -> str:
    """A heading's address on its page, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # whatever the locale
    sys.stdout.write(recipe_reference())
