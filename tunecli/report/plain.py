"""Reading plain data that may lack keys or hold something else, as older results do."""

import math
import re
from collections.abc import Mapping
from typing import Any

# What XML 1.0 forbids, C1 controls, and halves of surrogate pairs (undecodable bytes of a path).
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_LINE_ENDS = re.compile("\r\n?")
_LARGEST = 1e150  # so that differences and their squares stay finite


def number(value: object) -> float | None:
    """A finite number, or None for anything else.

    >>> number(3), number(0.5), number(True), number("3"), number(float("nan")), number(None)
    (3.0, 0.5, None, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -_LARGEST < value < _LARGEST else None


def positive(value: object) -> float | None:
    """A finite number above 0, or None: what a logarithmic axis can show.

    >>> positive(0.1), positive(0), positive(None)
    (0.1, None, None)
    """
    found = number(value)
    return found if found is not None and found > 0 else None


def numbers(values: object) -> list[float]:
    """The finite numbers of a list; empty for anything that is none.

    >>> numbers([1, None, 2.5, "x"]), numbers(None)
    ([1.0, 2.5], [])
    """
    if not isinstance(values, list | tuple):
        return []
    return [found for value in values if (found := number(value)) is not None]


def mapping(value: object) -> dict[str, Any]:
    """A dictionary as it is; empty for anything else.

    >>> mapping({"a": 1}), mapping(None)
    ({'a': 1}, {})
    """
    return dict(value) if isinstance(value, Mapping) else {}


def rows(value: object) -> list[dict[str, Any]]:
    """The dictionaries of a list; empty for anything that is none.

    >>> rows([{"a": 1}, None]), rows(None)
    ([{'a': 1}], [])
    """
    if not isinstance(value, list | tuple):
        return []
    return [dict(entry) for entry in value if isinstance(entry, Mapping)]


def curve(value: object) -> list[tuple[float, float]]:
    """The points of a curve as pairs of their first two numbers.

    >>> curve([[0, 0.1], [32, None], [64, 0.5, 7]]), curve(None)
    ([(0.0, 0.1), (64.0, 0.5)], [])
    """
    if not isinstance(value, list | tuple):
        return []
    pairs = [numbers(point[:2]) for point in value if isinstance(point, list | tuple)]
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]


def printable(value: object) -> str:
    r"""Text that HTML and XML can both hold: what they cannot becomes U+FFFD; None is empty.

    >>> printable("a\r\nb"), printable("a\x00b") == "a\ufffdb", printable(None), printable(3)
    ('a\nb', True, '', '3')
    """
    if value is None:
        return ""
    return _UNPRINTABLE.sub("\ufffd", _LINE_ENDS.sub("\n", str(value)))


def mean(values: list[float]) -> float | None:
    """The mean, None of nothing.

    >>> mean([1.0, 2.0]), mean([])
    (1.5, None)
    """
    return math.fsum(values) / len(values) if values else None
