"""Lines that somebody may have meant as an answer, and why they are none."""

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

_WORDS = ("value", "acc", "loss", "score", "metric", "result", "objective")
_PYTHON_KEY = re.compile(r"[{,]\s*'\w+'\s*:")
_EMPTY_END = re.compile(r",\s*}")
_KNOWN = ("step", "samples", "train_loss", "test")


def near_miss(lines: Sequence[str], metric: str) -> tuple[str, str] | None:
    """The last line that looks like an answer with a value, and what is wrong with it.

    Args:
        lines: What the script printed, the end of it.
        metric: The recipe's `search.metric`, which somebody may have taken for the key.

    >>> near_miss(["epoch 1", "{'value': 0.5}", "done"], "accuracy")
    ("{'value': 0.5}", 'single quotes are not JSON: print(json.dumps(...))')
    """
    for line in reversed(lines):
        why = _what_is_wrong(line.strip(), metric)
        if why is not None:
            return line.strip(), why
    return None


def _what_is_wrong(line: str, metric: str) -> str | None:
    start, end = line.find("{"), line.rfind("}") + 1
    if start < 0:
        return None
    inner = line[start:end] if end > start else line[start:]
    if not any(word in inner.lower() for word in (*_WORDS, metric)):
        return None
    try:
        found = json.loads(inner)
    except ValueError as error:
        return _not_json(inner, error)
    key = _meant(found, metric)
    if key is None:
        return None
    if key != "value":
        return f"did you mean the key value, and not {key}?"
    return None if inner == line else "an answer must be alone on its line"


def _not_json(text: str, error: ValueError) -> str | None:
    if _PYTHON_KEY.search(text) or (_is_python(text) and "'" in text):
        return "single quotes are not JSON: print(json.dumps(...))"
    if not re.search(r"[{,]\s*\"?\w+\"?\s*:", text):
        return None  # a log line with braces, and nothing that could be a key
    if _EMPTY_END.search(text):
        return "not JSON: a comma stands before the closing brace"
    what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return f"not JSON: {what[:1].lower()}{what[1:]}"


def _is_python(text: str) -> bool:
    try:
        return isinstance(ast.literal_eval(text), dict)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def _meant(found: Any, metric: str) -> str | None:
    """The key that may have been meant as `value`."""
    if not isinstance(found, dict):
        return None
    numbers = [
        key
        for key, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and key not in _KNOWN
    ]
    likely = [key for key in numbers if key.lower() == "value" or key == metric]
    likely += [key for key in numbers if any(word in key.lower() for word in _WORDS)]
    return likely[0] if likely else None
