"""Tables that others measured: one value per learning rate, read from JSON and checked.

A file is a list of tables. Each has `name`, `learning_rates` (positive, ascending), `values` (one
per rate, null where training diverged) and `maximize`; it may have `curves` (one list per rate,
the value after each epoch), `samples` (cost of one full trial) and `baseline` (what a model that
has learned nothing gets). Other keys are ignored: tables come from others, with keys of their own.

Python writes NaN and Infinity into JSON where training diverged; in `values` and `curves` they
mean what null means. A null in a curve says that the trial diverged in that epoch, whatever its
entry in `values`; a curve that is shorter than the longest, whose value is a number, is that of a
trial that ended early of its own accord.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn

from tunecli.errors import InvalidValueError, require

REQUIRED = ("name", "learning_rates", "values", "maximize")
Curve = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class MeasuredTable:
    """What every rate of a grid was measured to give.

    Args:
        name: For people; need not be unique.
        learning_rates: The grid, > 0, finite, strictly ascending; any spacing.
        values: One per rate, of a full trial; None where it diverged, on the way or at the end.
        maximize: Whether a larger value is better.
        curves: One per rate, the value after each epoch, None where it had diverged by then. A
            curve is None where nobody kept it, and short where the trial ended before the others.
        samples: Cost of one full trial, > 0; None where it is not known.
        baseline: What a model that has learned nothing gets; None where it is not known.
    """

    name: str
    learning_rates: tuple[float, ...]
    values: tuple[float | None, ...]
    maximize: bool
    curves: tuple[Curve | None, ...] | None = None
    samples: float | None = None
    baseline: float | None = None

    @property
    def epochs(self) -> int:
        """Length of a full trial: that of the longest curve, at least 1."""
        return max((len(curve) for curve in self.curves or () if curve), default=1)

    def settled(self) -> list[tuple[float, float]]:
        """Rate and value of every full trial that does not diverge, in ascending order of rate."""
        return [
            (rate, value)
            for rate, value in zip(self.learning_rates, self.values, strict=True)
            if value is not None
        ]

    def best(self) -> tuple[float, float] | None:
        """The smallest rate with the best value, and that value; None when all diverged."""
        sign = 1 if self.maximize else -1
        return max(self.settled(), key=lambda point: sign * point[1], default=None)

    def span(self) -> float:
        """Distance from the worst to the best value; 0 when all diverged."""
        values = [value for _, value in self.settled()]
        return max(values) - min(values) if values else 0.0


def read_tables(text: str, source: str) -> list[MeasuredTable]:
    """Tables from a file's text.

    Args:
        text: JSON, see the module.
        source: What to call the file in messages.

    Raises:
        InvalidValueError: The text is not JSON, not a non-empty list of tables, or a table lacks a
            key or has a value that is not allowed; the message names file, table and key.

    >>> text = '[{"name": "a", "learning_rates": [1, 2], "values": [0.5, null], "maximize": true}]'
    >>> read_tables(text, "tables.json")[0].best()
    (1.0, 0.5)
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(
            f"{source} must be JSON but is not: {error}; a list of tables is expected"
        ) from None
    if not isinstance(content, list):
        _refuse(source, "a list of tables", content, "put a single table in brackets")
    if not content:
        _refuse(source, "a list of at least one table", content)
    return [
        _Reader(source, number, len(content), table).read()
        for number, table in enumerate(content, 1)
    ]


@dataclass(frozen=True, slots=True)
class _Reader:
    """One table of a file, and how to name it in a message."""

    source: str
    number: int
    of: int
    content: Any

    def read(self) -> MeasuredTable:
        if not isinstance(self.content, dict):
            _refuse(self._where(), "an object with the keys of a table", self.content)
        for key in REQUIRED:
            if key not in self.content:
                raise InvalidValueError(
                    f"{self._where()}: {key} is missing; a table has {', '.join(REQUIRED)}"
                )
        name, maximize = self.content["name"], self.content["maximize"]
        if not isinstance(name, str):
            self._refuse("name", "a string", name)
        if not isinstance(maximize, bool):
            self._refuse("maximize", "true or false", maximize)
        rates = self._rates()
        values = list(self._results("values", self._list("values", len(rates))))
        curves = self._curves(len(rates))
        for i, curve in enumerate(curves or ()):
            if curve is not None and None in curve:
                values[i] = None  # it diverged on the way, whatever was noted at its end
        return MeasuredTable(
            name=name,
            learning_rates=rates,
            values=tuple(values),
            maximize=maximize,
            curves=curves,
            samples=self._samples(),
            baseline=self._baseline(),
        )

    def _rates(self) -> tuple[float, ...]:
        given = self._list("learning_rates")
        if not given:
            self._refuse("learning_rates", "a list of at least one rate", given)
        rates = []
        for i, rate in enumerate(given):
            number = _number(rate)
            if number is None or not 0 < number < math.inf:
                self._refuse(f"learning_rates[{i}]", "a positive, finite number", rate)
            rates.append(number)
        for i, (low, high) in enumerate(pairwise(rates)):
            if not low < high:
                self._refuse(
                    f"learning_rates[{i + 1}]",
                    f"above the rate before it, {low:g},",
                    given[i + 1],
                    "sort the rates, and the values with them",
                )
        return tuple(rates)

    def _list(self, key: str, length: int | None = None) -> list[Any]:
        given = self.content[key]
        if not isinstance(given, list):
            self._refuse(key, "a list", given)
        if length is not None and len(given) != length:
            entries = "1 entry" if len(given) == 1 else f"{len(given)} entries"
            raise InvalidValueError(
                f"{self._where()}: {key} must be as long as learning_rates, {length}, but got "
                f"{entries}"
            )
        return given

    def _results(self, key: str, given: Sequence[Any]) -> Iterator[float | None]:
        for i, result in enumerate(given):
            number = None if result is None else _number(result)
            if result is not None and number is None:
                self._refuse(f"{key}[{i}]", "a number, or null if it diverged", result)
            yield number if number is not None and math.isfinite(number) else None

    def _curves(self, length: int) -> tuple[Curve | None, ...] | None:
        if self.content.get("curves") is None:
            return None
        curves: list[Curve | None] = []
        for i, curve in enumerate(self._list("curves", length)):
            if curve is not None and not isinstance(curve, list):
                self._refuse(f"curves[{i}]", "a list with one value per epoch, or null", curve)
            curves.append(None if curve is None else tuple(self._results(f"curves[{i}]", curve)))
        return tuple(curves)

    def _samples(self) -> float | None:
        given = self.content.get("samples")
        number = None if given is None else _number(given)
        if given is not None and (number is None or not 0 < number < math.inf):
            self._refuse("samples", "a positive, finite number", given, "or leave it out")
        return number

    def _baseline(self) -> float | None:
        given = self.content.get("baseline")
        number = None if given is None else _number(given)
        if given is not None and (number is None or not math.isfinite(number)):
            self._refuse("baseline", "a finite number", given, "or leave it out")
        return number

    def _where(self) -> str:
        where = f"{self.source}: table {self.number} of {self.of}"
        name = self.content.get("name") if isinstance(self.content, dict) else None
        return f"{where} ({_shown(name)})" if isinstance(name, str) else where

    def _refuse(self, key: str, condition: str, value: object, remedy: str = "") -> NoReturn:
        _refuse(f"{self._where()}: {key}", condition, value, remedy)


def _number(value: object) -> float | None:
    """A JSON number as a float, infinite where it is too large; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _shown(value: object, most: int = 60) -> str:
    text = json.dumps(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def _refuse(name: str, condition: str, value: object, remedy: str = "") -> NoReturn:
    require(False, name, condition, _shown(value), remedy)
    raise AssertionError  # require has raised
