import math
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunecli.errors import RecipeError
from tunecli.recipe.document import read_scalar, read_yaml


def read(text: str) -> object:
    return read_yaml(text, lambda line, column: f"f:{line}:{column}")[0]


def refusal(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        read(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.e5", 1e5),
        (".5", 0.5),
        ("5e+3", 5000.0),
        ("-1E2", -100.0),
        ("+.5e1", 5.0),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("-3", -3),
        ("+3", 3),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("True", True),
        ("FALSE", False),
        ("~", None),
        ("Null", None),
        ("", None),
    ],
)
def test_scalar_follows_the_core_schema(text: str, value: object) -> None:
    result = read_scalar(text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    "text",
    ["yes", "No", "on", "OFF", "y", "1:30", "2024-01-31", "1_000", "0b11", "tRUE", "inf", "nan",
     "1e", ".", "-", "0o8", "-0o7", "1.2.3", "=", "<<", "１"],
)  # fmt: skip
def test_scalar_of_yaml_1_1_is_text(text: str) -> None:
    assert read_scalar(text) == text


def test_scalar_nan_is_a_float() -> None:
    result = read_scalar(".nan")
    assert isinstance(result, float)
    assert math.isnan(result)


def test_scalar_quoted_is_text() -> None:
    assert read("[\"1\", '1e-3', 'null', \"\"]") == ["1", "1e-3", "null", ""]


def test_block_scalar_is_text() -> None:
    assert read("a: |\n  1\nb: >-\n  2\n") == {"a": "1\n", "b": "2"}


def test_lines_are_those_of_keys_and_items() -> None:
    _, lines = read_yaml(
        "# c\na:\n  b: 1\n  c:\n    - 2\n    - 3\nd: {e: [4,\n 5]}\n", "{}{}".format
    )
    assert lines == {
        (): 2,
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "c"): 4,
        ("a", "c", 0): 5,
        ("a", "c", 1): 6,
        ("d",): 7,
        ("d", "e"): 7,
        ("d", "e", 0): 7,
        ("d", "e", 1): 8,
    }


def test_duplicate_key_names_both_lines() -> None:
    assert refusal("a:\n  b: 1\n  c: 2\n  b: 3\n") == (
        "f:4:3: a.b is given twice, on lines 2 and 4; keep one"
    )
    assert "on line 1; keep one" in refusal("{a: 1, 'a': 2}")


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a: !!python/object/apply:os.system [x]", "f:1:4", "tag !!python/object/apply:os.system"),
        ("a: !foo 1", "f:1:4", "tag !foo"),
        ("a: !!str 1", "f:1:4", "tag !!str"),
        ("a: ! 1", "f:1:4", "tag !"),
        ("!!map {a: 1}", "f:1:1", "tag !!map"),
        ("!!str a: 1", "f:1:1", "tag !!str"),
        ("a: &x 1", "f:1:4", "anchors"),
        ("a: &x [1]", "f:1:4", "anchors"),
        ("a: 1\nb: *x", "f:2:4", "aliases"),
        ("*x : 1", "f:1:1", "aliases"),
        ("a: 1\n---\nb: 2", "f:2:1", "second YAML document"),
        ("1: 2", "f:1:1", "a key must be text but got 1"),
        ("a:\n  true: 2", "f:2:3", "a key must be text but got true"),
        ("? \n: 2", "f:1:2", "a key must be text but got nothing"),
        ("? [a]\n: 1", "f:1:3", "a key must be text but got a list or a mapping"),
        ("{{a: 1}: 2}", "f:1:2", "a key must be text but got a list or a mapping"),
        ("a: b: c", "f:1:5", "not valid YAML: mapping values are not allowed here"),
        ("a:\n\t- b", "f:2:1", "indent with spaces"),
        ("a: [1", "f:1:6", "not valid YAML"),
        ("a: [*]", "f:1:6", "put a text that begins with * or & in quotes"),
        ("a: 'x", "f:1:6", "not valid YAML"),
        ("a: 1\n  b: 2", "f:2:4", "not valid YAML"),
        ("a: %", "f:1:4", "not valid YAML"),
        ("b: 1\na: \x07", "f:2:4", "the character U+0007"),
        ('a: "\\U00110000"', "f:1:7", "out of range"),
        ('a: "\\ud800"', "f:1:4", "surrogate"),
        ("%YAML 2.0\n---\na: 1", "f:1:1", "not valid YAML"),
        ("%YAML 1." + "9" * 5000 + "\n---\na: 1", "f:1:", "out of range"),
        ("a: " + "9" * 5000, "f:1:4", "at most 40 digits"),
    ],
)
def test_refusal_says_where_and_what(text: str, where: str, what: str) -> None:
    message = refusal(text)
    assert message.startswith(where)
    assert what in message
    assert "\n" not in message


@pytest.mark.parametrize("bit", ["[", "{a: ", "- ", "? ", "[[]", "a:\n", "- [", "{", "? - "])
def test_deep_nesting_ends_soon(bit: str) -> None:
    started = time.perf_counter()
    with suppress(RecipeError):
        read(bit * 50_000)
    assert time.perf_counter() - started < 5


def test_alias_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = "a: &a [x]\n" + "".join(
        f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
    )
    assert refusal(bomb).startswith("f:1:4: anchors")


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(RecipeError):
        read(text)


@given(st.text(alphabet="ab:-?[]{},'\"|>&*!%#\\ \n\t01.~", max_size=40))
def test_any_punctuation_is_read_or_refused(text: str) -> None:
    with suppress(RecipeError):
        read(text)
