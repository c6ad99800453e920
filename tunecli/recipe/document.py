"""A recipe's YAML text → plain data, and for every key the line on which it stands.

A recipe is data (decision 6), so this reads less than YAML allows and never constructs an object:
it walks the parser's events, and refuses tags, anchors, aliases, duplicate keys and a second
document. Plain scalars follow the core schema of YAML 1.2.2 (section 10.3.2), not PyYAML's
YAML 1.1, in which `1e-4` is text, `yes` is true, `017` is 15 and `1:30` is 90.
"""

import re
from collections.abc import Callable, Container
from typing import Any, NamedTuple

import yaml

from tunecli.errors import RecipeError

KeyPath = tuple[str | int, ...]
Locate = Callable[[int, int], str]

MAX_DEPTH = 16  # the grammar needs 4; a limit keeps hostile nesting from the interpreter's stack
MAX_BYTES = 1 << 20
MAX_DIGITS = 40  # `int` refuses more than 4300 digits with an error of its own; no key needs 20

# Order matters to the reader only: no text matches two of them but an integer, which is also a
# float. The writer (dump.py) quotes what would match one of these.
CORE_SCHEMA: dict[str, re.Pattern[str]] = {
    "null": re.compile(r"(?:null|Null|NULL|~|)\Z"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    "int": re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
    "float": re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
}


class Position(NamedTuple):
    """Where a value was written; positions sort as a reader meets them: file, then command line."""

    rank: int  # 0: the file, 1: the command line
    line: int  # in the file, or the override's place among the overrides
    text: str  # how a message names it: `recipes/foo.yaml:12`


class Document:
    """Plain data (mappings, lists, scalars) and the position of each of its keys and items."""

    def __init__(self, data: dict[str, object], positions: dict[KeyPath, Position]) -> None:
        self.data = data
        self.positions = positions

    def locate(self, path: KeyPath) -> Position:
        """The position of `path`, or of the innermost section that holds it."""
        while path not in self.positions:
            path = path[:-1]
        return self.positions[path]

    def holds(self, path: KeyPath) -> bool:
        """Whether somebody wrote `path`, in the file or on the command line."""
        node: object = self.data
        for part in path:
            known: Container[object] = ()
            if isinstance(node, dict | list):
                known = node if isinstance(node, dict) else range(len(node))
            if part not in known:
                return False
            node = node[part]  # type: ignore[index]
        return True

    def move(self, path: KeyPath, position: Position) -> None:
        """Say that everything at and under `path` was written at `position`."""
        self.forget(path)
        self.positions[path] = position

    def forget(self, path: KeyPath) -> None:
        """Drop the positions at and under `path`."""
        depth = len(path)
        for known in [known for known in self.positions if known[:depth] == path]:
            del self.positions[known]


def dotted(path: KeyPath) -> str:
    """A path as messages and overrides write it: `search.seeds.0`."""
    return ".".join(str(part) for part in path)


def read_scalar(text: str) -> str | int | float | bool | None:
    """What a plain (unquoted) scalar means in YAML 1.2's core schema.

    Raises:
        ValueError: An integer has more digits than any key of a recipe could need.

    >>> [read_scalar(text) for text in ("1e-4", "017", "0o17", "yes", "1:30", "~")]
    [0.0001, 17, 15, 'yes', '1:30', None]
    """
    if CORE_SCHEMA["null"].match(text):
        return None
    if CORE_SCHEMA["bool"].match(text):
        return text.lower() == "true"
    if CORE_SCHEMA["int"].match(text):
        if len(text) > MAX_DIGITS:
            raise ValueError(f"a whole number may have at most {MAX_DIGITS} digits; shorten it")
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base)
    if CORE_SCHEMA["float"].match(text):
        # Python writes infinity and not-a-number without YAML's leading dot.
        special = text.lower().endswith(("inf", "nan"))
        return float(text.replace(".", "") if special else text)
    return text


def read_yaml(text: str, locate: Locate) -> tuple[object, dict[KeyPath, int]]:
    """Read one YAML document as plain data.

    Args:
        text: The document.
        locate: Names a place, given line and column (both from 1), for the errors.

    Returns:
        The data, and the line of each key and list item by its path; the root's path is ().

    Raises:
        RecipeError: The text is not YAML, or is YAML that a recipe does not need.
    """
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1
        raise RecipeError(
            f"{locate(line, column)}: the character U+{error.character:04X} is not allowed in "
            "YAML; remove it"
        ) from None
    reader = _Reader(loader, locate)
    try:
        return reader.document(), reader.lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark or loader.get_mark()
        problem = " ".join(str(error.problem or error.context).split())
        remedy = "check the indentation, the quotes and the colons there"
        if "'\\t'" in problem:
            remedy = "indent with spaces, not with tabs"
        elif "alphabetic or numeric character" in problem:  # it was read as an alias or an anchor
            remedy = "put a text that begins with * or & in quotes"
        raise RecipeError(f"{reader.at(mark)}: not valid YAML: {problem}; {remedy}") from None
    except (ValueError, OverflowError):
        # PyYAML's own conversions: an escape above \U0010FFFF, a %YAML version of 5000 digits.
        raise RecipeError(
            f"{reader.at(loader.get_mark())}: not valid YAML: a number in an escape or a directive "
            "is out of range; correct it"
        ) from None
    finally:
        loader.dispose()


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


class _Reader:
    """The events of one document → plain data. Recursion ends at `MAX_DEPTH`."""

    def __init__(self, loader: yaml.SafeLoader, locate: Locate) -> None:
        self.loader = loader
        self.locate = locate
        self.lines: dict[KeyPath, int] = {(): 1}

    def at(self, mark: Any) -> str:  # of PyYAML or of libyaml; the two share no type
        return self.locate(mark.line + 1, mark.column + 1) if mark else self.locate(1, 1)

    def refuse(self, event: yaml.Event, what: str) -> RecipeError:
        return RecipeError(f"{self.at(event.start_mark)}: {what}")

    def next_event(self) -> yaml.Event:
        event: yaml.Event = self.loader.get_event()  # type: ignore[no-untyped-call]
        return event

    def document(self) -> object:
        self.next_event()  # the stream's start
        event = self.next_event()
        if isinstance(event, yaml.StreamEndEvent):
            return None
        event = self.next_event()
        self.lines[()] = _line(event)
        data = self.node(event, ())
        self.next_event()  # the document's end
        event = self.next_event()
        if not isinstance(event, yaml.StreamEndEvent):
            raise self.refuse(event, "a second YAML document starts; keep one per file")
        return data

    def node(self, event: yaml.Event, path: KeyPath) -> object:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise self.refuse(
                event, "anchors (&name) and aliases (*name) are not allowed; write the value out"
            )
        tag = getattr(event, "tag", None)
        if tag is not None:
            short = tag.replace("tag:yaml.org,2002:", "!!")
            raise self.refuse(
                event, f"the tag {short} is not allowed, a recipe is plain data; remove the tag"
            )
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event)
        if len(path) == MAX_DEPTH:
            raise self.refuse(
                event, f"values are nested more than {MAX_DEPTH} deep; a recipe needs at most 4"
            )
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(path)
        return self.sequence(path)

    def scalar(self, event: yaml.ScalarEvent) -> str | int | float | bool | None:
        text: str = event.value
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise self.refuse(
                event, "half of a surrogate pair is not text; write the character itself"
            )
        if not event.implicit[0]:  # quoted, or a block scalar: always text
            return text
        try:
            return read_scalar(text)
        except ValueError as error:
            raise self.refuse(event, str(error)) from None

    def mapping(self, path: KeyPath) -> dict[str, object]:
        data: dict[str, object] = {}
        while not isinstance(event := self.next_event(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent | yaml.AliasEvent):
                raise self.refuse(event, "a key must be text but got a list or a mapping; name it")
            key = self.node(event, path)
            if not isinstance(key, str):
                shown = getattr(event, "value", "") or "nothing"
                raise self.refuse(event, f"a key must be text but got {shown}; write a key's name")
            inner = (*path, key)
            line = _line(event)
            if key in data:
                first = self.lines[inner]
                lines = f"lines {first} and {line}" if line != first else f"line {line}"
                raise self.refuse(event, f"{dotted(inner)} is given twice, on {lines}; keep one")
            self.lines[inner] = line
            data[key] = self.node(self.next_event(), inner)
        return data

    def sequence(self, path: KeyPath) -> list[object]:
        data: list[object] = []
        while not isinstance(event := self.next_event(), yaml.SequenceEndEvent):
            inner = (*path, len(data))
            self.lines[inner] = _line(event)
            data.append(self.node(event, inner))
        return data
