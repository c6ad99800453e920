"""A file of measured delays → their distribution.

Read are a JSON list of counts, whose index is the delay; a JSON object `{"delay": count}`; the
`result.json` of an asynchronous training, which has such an object under `asynchronous.delays`; a
run's `delay.json`, which has such a list under `counts`, and what `tunecli schedule --json` prints,
which has it under `delay.counts`; and lines of `delay,count`, with a header or without. A delay is
counted in updates that were applied between the reading of the parameters and the use of the
gradient.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tunecli.errors import InvalidValueError
from tunecli.theory.delay import HistogramDelay

LARGEST_DELAY = 1_000_000
_LARGEST_COUNT = 2**53  # exact as a float
_MOST_BYTES = 1 << 26
_MOST_BYTES_TO_LOCATE = 1 << 18  # finding an entry's line takes a second of a file of this size
_WHOLE = re.compile(r"[-+]?[0-9]{1,40}\Z")  # int() would take 1_000 and ٣ as well
_FORMS = (
    'a list of counts, an object {"delay": count}, a result.json or delay.json, or lines of '
    "delay,count"
)

Row = tuple[Callable[[], str], object, object]  # how to name its place, delay, count


def read_delays(path: str | Path) -> HistogramDelay:
    """The distribution of the delays that a file has counted.

    Args:
        path: JSON or CSV, see the module; at most 64 MiB.

    Returns:
        P(τ = k) proportional to the count of delay k.

    Raises:
        InvalidValueError: The file cannot be read, is none of the forms, or has a delay or a count
            that is no whole number ≥ 0, or no count above 0; the message names file and line.
    """
    text = _read_text(path)
    if not text.strip():
        raise InvalidValueError(f"{path}: the file is empty; give {_FORMS}")
    rows = _json_rows(path, text) if text.lstrip()[0] in "[{" else _csv_rows(path, text)
    counts: dict[int, float] = {}
    for where, raw_delay, raw_count in rows:
        delay = _whole(raw_delay, LARGEST_DELAY)
        if delay is None:
            raise InvalidValueError(
                f"{where()}: a delay must be a whole number in [0, {LARGEST_DELAY:,}] but got "
                f"{_shown(raw_delay)}; count it in updates"
            )
        count = _whole(raw_count, _LARGEST_COUNT)
        if count is None:
            raise InvalidValueError(
                f"{where()}: the count of delay {delay} must be a whole number in [0, 2^53] but "
                f"got {_shown(raw_count)}; give the number of updates that had this delay"
            )
        if delay in counts:
            raise InvalidValueError(f"{where()}: delay {delay} stands there twice; keep one")
        counts[delay] = count
    if not any(counts.values()):
        raise InvalidValueError(f"{path}: no update is counted; at least one count must be above 0")
    return HistogramDelay.from_counts(counts)


def _csv_rows(path: str | Path, text: str) -> Iterator[Row]:
    first = True
    for line, content in enumerate(text.splitlines(), 1):
        if not content.strip():
            continue
        where = f"{path}:{line}"
        fields = [field.strip() for field in content.split(",")]
        if len(fields) != 2:
            raise InvalidValueError(
                f"{where}: a line must be delay,count but got {_shown(content)}; give {_FORMS}"
            )
        header, first = first and not any(map(_begins_a_number, fields)), False
        if not header:
            yield lambda where=where: where, *fields  # type: ignore[misc]  # bound at once


def _json_rows(path: str | Path, text: str) -> Iterator[Row]:
    def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twin = next(key for key in keys if keys.count(key) > 1)
            raise InvalidValueError(f"{path}: {twin} stands there twice; keep one")
        return found

    try:
        content = json.loads(text, object_pairs_hook=without_twins)
    except json.JSONDecodeError as error:
        raise InvalidValueError(
            f"{path}:{error.lineno}:{error.colno}: not valid JSON ({error.msg}); give {_FORMS}"
        ) from None
    except InvalidValueError:  # it is a ValueError, too
        raise
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets
        raise InvalidValueError(f"{path}: not valid JSON ({error}); give {_FORMS}") from None
    content, inside = _counted(path, content)
    for key, count in content.items() if isinstance(content, dict) else enumerate(content):
        yield lambda key=key: _located(path, text, (*inside, key)), key, count  # type: ignore[misc]


def _counted(path: str | Path, content: Any) -> tuple[Any, tuple[str | int, ...]]:
    """The part of a JSON file that counts the delays, and the keys that lead there."""
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        found, inside = _counted(path, content[0])  # of `tunecli stability --json`
        return found, (0, *inside)
    if not isinstance(content, dict):
        return content, ()
    if content.keys() & {"asynchronous", "format"}:  # a result.json
        measured = content.get("asynchronous")
        found = measured.get("delays") if isinstance(measured, dict) else None
        if not isinstance(found, dict):
            raise InvalidValueError(
                f"{path}: it has no asynchronous.delays; name the result.json of an asynchronous "
                "training"
            )
        return found, ("asynchronous", "delays")
    if "counts" in content:
        found, inside = content["counts"], ("counts",)
    elif isinstance(content.get("delay"), dict):
        found, inside = content["delay"].get("counts"), ("delay", "counts")
    else:
        return content, ()
    if not isinstance(found, list):
        got = "nothing" if found is None else _shown(found)
        raise InvalidValueError(
            f"{path}: {'.'.join(inside)} must be a list of counts, whose index is the delay, but "
            f"got {got}; only a histogram has counts"
        )
    return found, inside


def _located(path: str | Path, text: str, key: tuple[str | int, ...]) -> str:
    """The file and, where that can be told, the line of an entry; only a mistake pays for it."""
    from tunecli.errors import RecipeError
    from tunecli.recipe.document import read_yaml

    try:
        if len(text) > _MOST_BYTES_TO_LOCATE:
            return str(path)
        _, lines = read_yaml(text, lambda line, column: "")  # JSON is YAML, but for its tabs
    except RecipeError:
        return str(path)
    return f"{path}:{lines[key]}"


def _begins_a_number(field: str) -> bool:
    return field[:1] in set("+-.0123456789") or field.lower() in {"nan", "inf", "infinity"}


def _whole(value: object, largest: int) -> int | None:
    """A whole number in [0, largest], also as text or as 3.0; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and _WHOLE.match(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= largest else None


def _shown(value: object, most: int = 60) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return (text if len(text) <= most else text[: most - 1] + "…") or "nothing"


def _read_text(path: str | Path) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise InvalidValueError(f"{path}: there is no such file; give {_FORMS}") from None
    except IsADirectoryError:
        raise InvalidValueError(f"{path}: this is a folder; name the result.json in it") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidValueError(f"{path}: cannot be read ({reason}); check the path") from None
    if len(content) > _MOST_BYTES:
        raise InvalidValueError(f"{path}: the file must be at most 64 MiB; is this another file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidValueError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None
