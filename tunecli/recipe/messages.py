"""Pydantic's verdict → our sentences: where, which key, what is allowed, what it got, what to do.

What is allowed is read from the JSON Schema, so a message and the documentation cannot disagree.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from tunecli.recipe.document import Document, KeyPath, Position, dotted, read_scalar
from tunecli.recipe.model import UNIONS
from tunecli.recipe.schema import shared_schema

Node = Mapping[str, Any]
Finding = tuple[Position, str]

_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}

_PATTERNS = {
    "^[a-z0-9][a-z0-9._-]*$": "lower-case letters, digits, '.', '_' and '-', "
    "the first a letter or digit",
    "^[^/]": "text that does not begin with '/'",
}


def show(value: object, limit: int = 60) -> str:
    """A value as a recipe would write it, shortened for a message.

    >>> show({"seeds": [1, True, None, "a b"]})
    '{seeds: [1, true, null, "a b"]}'
    """
    text = _flow(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _flow(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else (".inf" if value > 0 else "-.inf")
    if isinstance(value, str):
        # repr's quotes would need YAML's other escapes; only control characters matter here.
        inner = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in value)
        return f'"{inner}"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return str(value)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` most likely misspells, if any is near."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def findings(error: ValidationError, document: Document) -> list[Finding]:
    """All mistakes that pydantic found in `document`, in the order of their lines."""
    found = []
    for one in error.errors(include_url=False):
        # Pydantic counts a list's valid items: one bad item also makes the list too short.
        if one["type"] == "too_short" and len(one["input"]) >= one["ctx"]["min_length"]:
            continue
        found.append(describe(one, document))
    return sorted(found)


def describe(error: Mapping[str, Any], document: Document) -> Finding:
    """One of pydantic's errors as a position and a sentence.

    Args:
        error: An item of `ValidationError.errors()`.
        document: What was validated.
    """
    path, node = _resolve(error["loc"])
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "recipe_rule":
        key = dotted(path)
        if context["item"] is not None:
            path = (*path, context["item"])
            value = value[context["item"]]
            key = dotted(path)
        origin = "" if document.holds(path) else " (the default)"
        got = "" if value is None else f" but got {show(value)}{origin}"
        sentence = f"{key} must {context['condition']}{got}; {context['remedy']}"
    elif kind == "missing":
        example = _example(node)
        remedy = "add it" if example is None else f"add, for example, `{path[-1]}: {example}`"
        sentence = f"{dotted(path)} is missing; {remedy}"
    elif kind == "extra_forbidden":
        sentence = _unknown_key(path, error["loc"])
    elif kind in ("union_tag_not_found", "union_tag_invalid"):
        path, sentence = _choice(path, node, value)
    else:
        condition = _condition(node, bounds_only=kind in _OUT_OF_BOUNDS)
        remedy = _REMEDIES.get(kind, _write_example)(value, node)
        sentence = f"{dotted(path)} must be {condition} but got {show(value)}; {remedy}"
    return document.locate(path), sentence


def _resolve(location: tuple[str | int, ...]) -> tuple[KeyPath, Node]:
    """An error's location → the keys that lead there, and the schema's word on that place.

    Inside a union the location also has the member's name ("model", "cnn", "hidden"), which is
    no key of the recipe.
    """
    schema = shared_schema()
    path: KeyPath = ()
    node: Node = schema
    member_named = False
    for part in location:
        if path in UNIONS and not member_named:
            node, member_named = _member(schema, node, path, part), True
            continue
        if part == "[key]":  # of a mapping whose keys a person chooses: the key before it
            continue
        if isinstance(part, int):
            optional = node.get("anyOf", ({},))[0]
            node = node.get("items") or optional.get("items", {})
        elif isinstance(values := node.get("additionalProperties"), Mapping):
            node = values
        else:
            node = node.get("properties", {}).get(part, {})
        path, member_named = (*path, part), False
        optional = node.get("anyOf", ({},))[0]  # a section that may be left out: it, or null
        if reference := node.get("$ref") or optional.get("$ref"):
            inner = schema["$defs"][reference.rpartition("/")[2]]
            node = {**inner, **{word: node[word] for word in node if word != "anyOf"}}
        elif "discriminator" in optional:
            node = {**optional, **{word: node[word] for word in node if word != "anyOf"}}
    return path, node


def _member(schema: Node, node: Node, path: KeyPath, name: str | int) -> Node:
    if name == "list":
        branch: Node = next(one for one in node["oneOf"] if one.get("type") == "array")
        return branch
    member: Node = schema["$defs"][UNIONS[path][str(name)].__name__]  # type: ignore[index]
    return member


def _condition(node: Node, *, bounds_only: bool = False) -> str:
    """What the schema allows at a place, to follow "must be"."""
    if "anyOf" in node:  # an optional key: its own kind, or null
        first = _condition(node["anyOf"][0], bounds_only=bounds_only)
        return first if bounds_only else f"{first}, or null"
    if "const" in node:
        return str(node["const"])
    if "enum" in node:
        return " or ".join(map(str, node["enum"]))
    if "properties" in node:
        return f"a section with the keys {', '.join(node['properties'])}"
    if "oneOf" in node and "discriminator" in node:
        return "a section with the key name"
    bounds = " and ".join(f"{sign} {node[word]}" for word, sign in _BOUNDS.items() if word in node)
    if bounds_only and bounds:
        return bounds
    text = _KINDS[node["type"]] + (f" {bounds}" if bounds else "")
    if "minLength" in node:
        text += ", not empty"
    if "items" in node:
        few, many = node.get("minItems", 0), node.get("maxItems")
        count = f"{few} to {many}" if many else f"{few} or more"
        text += f" of {count} entries, each {_condition(node['items'])}"
    if "pattern" in node:
        text = _PATTERNS[node["pattern"]] + (
            f", {node['maxLength']} at most" if "maxLength" in node else ""
        )
    return text


def _example(node: Node) -> str | None:
    """A value that the schema offers for a place: its default, or else its first example."""
    if node.get("default") not in (None, ""):
        return _unquoted(node["default"])
    examples = node.get("examples")
    return _unquoted(examples[0]) if examples else None


def _unquoted(value: object) -> str:
    """A value without the quotes that YAML does not need; a placeholder in braces needs them."""
    return re.sub(r'"([\w./-][\w.*:/-]*)"', r"\1", show(value))  # a * in front is an alias's


def _unknown_key(path: KeyPath, location: tuple[str | int, ...]) -> str:
    section, key = path[:-1], str(path[-1])
    _, node = _resolve(location[:-1])
    allowed = list(node.get("properties", {}))
    owner = ""
    if section in UNIONS:
        owner = f" for the {dotted(section)} {location[len(section)]}"
    homes = [home for home in _sections() if key in _keys_of(home)]
    near = nearest(key, allowed)
    if homes and (home := homes[0]) != section:
        remedy = f"it belongs to {dotted(home)}; allowed keys here: {', '.join(allowed)}"
    else:
        remedy = f"did you mean {near}?" if near else f"allowed keys: {', '.join(allowed)}"
    return f"unknown key {dotted(path)}{owner}; {remedy}"


def _sections() -> Iterator[tuple[str, ...]]:
    """Every section that is no member of a union, by its path."""
    for name in shared_schema()["properties"]:
        yield (name,)
        for inner in _keys_of((name,)):
            if (name, inner) not in UNIONS and _keys_of((name, inner)):
                yield name, inner


def _keys_of(section: tuple[str, ...]) -> Iterable[str]:
    keys: Mapping[str, object] = _resolve(section)[1].get("properties", {})
    return keys


def _choice(path: KeyPath, node: Node, value: Any) -> tuple[KeyPath, str]:
    """A union whose member is not named, or not by a name there is."""
    names = list(UNIONS[path])  # type: ignore[index]
    if "discriminator" not in node:
        forms = ", ".join(f"{{{name}: …}}" for name in names)
        near = None
        if isinstance(value, Mapping) and len(value) == 1:
            near = nearest(str(next(iter(value))), names)
        remedy = f"did you mean {near}?" if near else f"write, for example, {_example(node)}"
        return path, (
            f"{dotted(path)} must be one of {forms} or an ascending list of rates "
            f"but got {show(value)}; {remedy}"
        )
    selector = node["discriminator"]["propertyName"]
    inner = (*path, selector)
    if selector not in value:
        return inner, f"{dotted(inner)} is missing; choose one of {', '.join(names)}"
    near = nearest(str(value[selector]), names)
    remedy = f"did you mean {near}?" if near else "choose one of them"
    return inner, (
        f"{dotted(inner)} must be one of {', '.join(names)} but got {show(value[selector])}; "
        f"{remedy}"
    )


def _write_example(value: object, node: Node) -> str:
    example = _example(node)
    if example is None:
        return f"write {_KINDS.get(node.get('type', ''), 'what it must be')}"
    return f"write, for example, {example}"


def _section_remedy(value: object, node: Node) -> str:
    if _example(node) is None:
        return "write its keys below it, or leave it out for the defaults"
    return _write_example(value, node)


def _number_remedy(value: object, node: Node) -> str:
    inner = node["anyOf"][0] if "anyOf" in node else node
    if isinstance(value, str):
        meant = read_scalar(value) if len(value) < 40 else value
        if isinstance(meant, int | float) and not isinstance(meant, bool):
            return "remove the quotes"
    if inner.get("type") == "integer" and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    return _write_example(value, node)


def _move(verb: str) -> Callable[[object, Node], str]:
    def remedy(value: object, node: Node) -> str:
        example = _example(node)
        if example is None:
            return f"{verb} it"
        if node.get("default") is not None:
            return f"{verb} it, or leave it out for the default {example}"
        return f"{verb} it, for example to {example}"

    return remedy


def _text_remedy(value: object, node: Node) -> str:
    if isinstance(value, Mapping | list) or value is None:
        return _write_example(value, node)
    return "put it in quotes"


def _switch_remedy(value: object, node: Node) -> str:
    if str(value).lower() in ("yes", "no", "on", "off", "true", "false", "1", "0"):
        truth = str(value).lower() in ("yes", "on", "true", "1")
        return f"write {show(truth)}"
    return _write_example(value, node)


def _option_remedy(value: object, node: Node) -> str:
    inner = node["anyOf"][0] if "anyOf" in node else node
    options = [str(option) for option in inner.get("enum") or [inner["const"]]]
    near = nearest(value, options) if isinstance(value, str) else None
    return f"did you mean {near}?" if near else f"write {' or '.join(options)}"


_OUT_OF_BOUNDS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}

# Every other type that a model of this room can raise (tests/recipe/test_messages.py collects
# them); the types that need more than a remedy are branches of `describe`.
_REMEDIES: dict[str, Callable[[object, Node], str]] = {
    "bool_type": _switch_remedy,
    "dict_type": _write_example,
    "finite_number": _write_example,
    "float_type": _number_remedy,
    "greater_than": _move("raise"),
    "greater_than_equal": _move("raise"),
    "int_parsing_size": _option_remedy,  # of a choice between numbers
    "int_type": _number_remedy,
    "less_than": _move("lower"),
    "less_than_equal": _move("lower"),
    "literal_error": _option_remedy,
    "model_attributes_type": _section_remedy,
    "model_type": _section_remedy,
    "string_pattern_mismatch": _write_example,
    "string_too_long": _write_example,
    "string_too_short": _write_example,
    "string_type": _text_remedy,
    "too_long": _write_example,
    "too_short": _write_example,
    "tuple_type": _write_example,
}
