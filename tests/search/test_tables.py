import json
import math
from typing import Any

import pytest

from tunecli.errors import InvalidValueError
from tunecli.search.tables import read_tables

GOOD: dict[str, Any] = {
    "name": "a",
    "learning_rates": [0.1, 0.2, 0.4],
    "values": [0.5, 0.7, None],
    "maximize": True,
}


def read(*changes: dict[str, Any]) -> Any:
    return read_tables(json.dumps([GOOD | change for change in changes]), "t.json")


def refusal(**change: Any) -> str:
    with pytest.raises(InvalidValueError) as caught:
        read({}, change)
    return str(caught.value)


def test_tables_are_read_in_the_order_of_the_file() -> None:
    tables = read({"name": "x"}, {"name": "x", "maximize": False}, {"other": "keys are ignored"})
    assert [table.name for table in tables] == ["x", "x", "a"]
    assert tables[0].values == (0.5, 0.7, None)
    assert tables[0].best() == (0.2, 0.7)
    assert tables[1].best() == (0.1, 0.5)
    assert tables[0].span() == pytest.approx(0.2)
    assert tables[0].curves is None
    assert tables[0].samples is None
    assert tables[0].epochs == 1


def test_tables_take_the_smaller_of_two_equally_good_rates() -> None:
    assert read({"values": [0.1, 0.7, 0.7]})[0].best() == (0.2, 0.7)
    assert read({"values": [0.1, 0.1, 0.7], "maximize": False})[0].best() == (0.1, 0.1)


def test_tables_take_what_is_not_finite_for_diverged() -> None:
    values = f"[0.5, NaN, -Infinity, 1e999, {10**400}, null]"
    text = json.dumps([GOOD | {"learning_rates": [1, 2, 3, 4, 5, 6], "values": "?"}])
    (table,) = read_tables(text.replace('"?"', values), "t.json")
    assert table.values == (0.5, None, None, None, None, None)
    assert table.best() == (1.0, 0.5)


def test_tables_may_have_no_rate_that_trains() -> None:
    (table,) = read({"values": [None, None, None]})
    assert table.best() is None
    assert table.span() == 0


def test_tables_have_curves_of_any_length() -> None:
    (table,) = read({"curves": [[0.4, 0.5], [0.3, 0.5, 0.7], None], "samples": 10})
    assert table.epochs == 3
    assert table.samples == 10
    assert table.values == (0.5, 0.7, None)  # the first one ended early, of its own accord
    (table,) = read({"curves": [[0.4, None, 0.5], [0.3, math.nan], []]})
    assert table.values == (None, None, None)
    assert table.curves == ((0.4, None, 0.5), (0.3, None), ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "t.json must be JSON but is not: "),
        ("", "t.json must be JSON but is not: "),
        ("[" * 100_000, "t.json must be JSON but is not: "),
        ("[1" + "0" * 5000 + "]", "t.json must be JSON but is not: "),
        ('{"name": "a"}', 't.json must be a list of tables but got {"name": "a"}; put a single'),
        ("[]", "t.json must be a list of at least one table but got []"),
        ("[7]", "t.json: table 1 of 1 must be an object with the keys of a table but got 7"),
        ('[{"name": "b"}]', 't.json: table 1 of 1 ("b"): learning_rates is missing; a table has'),
        ("[{}]", "t.json: table 1 of 1: name is missing; a table has name, learning_rates, "),
    ],
    ids=lambda value: value[:12],
)
def test_tables_that_are_none_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        read_tables(text, "t.json")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "name must be a string but got 3"),
        ({"maximize": 1}, "maximize must be true or false but got 1"),
        ({"maximize": "yes"}, 'maximize must be true or false but got "yes"'),
        ({"learning_rates": []}, "learning_rates must be a list of at least one rate but got []"),
        ({"learning_rates": 0.1}, "learning_rates must be a list but got 0.1"),
        (
            {"learning_rates": [0.1, 0.4, 0.2]},
            (
                "learning_rates[2] must be above the rate before it, 0.4, but got 0.2; sort the "
                "rates, and the values with them"
            ),
        ),
        (
            {"learning_rates": [0.1, 0.1, 0.2]},
            (
                "learning_rates[1] must be above the rate before it, 0.1, but got 0.1; sort the "
                "rates, and the values with them"
            ),
        ),
        (
            {"learning_rates": [0, 1, 2]},
            "learning_rates[0] must be a positive, finite number but got 0",
        ),
        (
            {"learning_rates": [1, 2, math.inf]},
            "learning_rates[2] must be a positive, finite number but got Infinity",
        ),
        (
            {"learning_rates": [math.nan, 2, 3]},
            "learning_rates[0] must be a positive, finite number but got NaN",
        ),
        (
            {"learning_rates": [True, 2, 3]},
            "learning_rates[0] must be a positive, finite number but got true",
        ),
        (
            {"learning_rates": [1, 2, None]},
            "learning_rates[2] must be a positive, finite number but got null",
        ),
        ({"values": [0.5]}, "values must be as long as learning_rates, 3, but got 1 entry"),
        ({"values": {}}, "values must be a list but got {}"),
        (
            {"values": [0.5, False, 0.1]},
            "values[1] must be a number, or null if it diverged but got false",
        ),
        (
            {"values": [0.5, "0.7", 0.1]},
            'values[1] must be a number, or null if it diverged but got "0.7"',
        ),
        ({"curves": [[1], [2]]}, "curves must be as long as learning_rates, 3, but got 2 entries"),
        ({"curves": "none"}, 'curves must be a list but got "none"'),
        (
            {"curves": [[1], 2, [3]]},
            "curves[1] must be a list with one value per epoch, or null but got 2",
        ),
        (
            {"curves": [[1], [2, "x"], [3]]},
            'curves[1][1] must be a number, or null if it diverged but got "x"',
        ),
        (
            {"samples": 0},
            "samples must be a positive, finite number but got 0; or leave it out",
        ),
        (
            {"samples": True},
            "samples must be a positive, finite number but got true; or leave it out",
        ),
        ({"baseline": "low"}, 'baseline must be a finite number but got "low"; or leave it out'),
    ],
    ids=str,
)
def test_tables_say_which_table_and_key_is_wrong(change: dict[str, Any], message: str) -> None:
    name = '("a"): ' if "name" not in change else ": "
    gap = " " if "name" not in change else ""
    assert refusal(**change) == f"t.json: table 2 of 2{gap}{name}{message}"


def test_tables_do_not_print_a_file_into_a_message() -> None:
    assert len(refusal(name="n" * 10_000, values="v" * 10_000)) < 300
