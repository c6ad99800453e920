"""Columns of a table (a `datasets.Dataset`) as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunecli.data.arrays import to_targets
from tunecli.errors import InvalidValueError, require

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Labels:
    """How a column becomes targets.

    Args:
        column: Its name.
        classes: Number of classes; None where targets are numbers.
        names: The class of each number, where the column has words.
    """

    column: str
    classes: int | None
    names: tuple[str, ...] | None = None

    @classmethod
    def of(cls, table: Any, column: str) -> "Labels":
        """Read off the training data's column what its values mean.

        Words are numbered in alphabetical order, integers are classes counted from 0, floats are
        numbers to be predicted.
        """
        kind = table.features[column]
        if hasattr(kind, "names"):  # ClassLabel
            return cls(column, len(kind.names))
        dtype = getattr(kind, "dtype", "")
        if dtype in {"string", "large_string"}:
            names = tuple(sorted(set(_column(table, column))))
            return cls(column, len(names), names)
        values = read_numbers(table, [column])
        if values.dtype.kind in "iub" and values.ndim == 1:
            low, high = int(values.min()), int(values.max())
            require(
                low >= 0 and high < len(values),
                f"classes in the column {column!r}",
                "counted from 0, fewer than the samples,",
                low if low < 0 else high,
                "for a regression, store the targets as floats",
            )
            return cls(column, high + 1)
        require(
            values.dtype.kind == "f" and values.ndim <= 2,
            f"the column {column!r}",
            "words, classes or numbers, one or a list of them for each sample,",
            f"{values.dtype} of shape {values.shape}",
        )
        return cls(column, None)

    def read(self, table: Any) -> "NDArray[Any]":
        """Class labels as int64 of shape (n,), or numbers as float32 of shape (n, k)."""
        import numpy as np

        name = f"the column {self.column!r}"
        if self.names is None:
            return to_targets(read_numbers(table, [self.column]), name, self.classes)
        numbers = {word: number for number, word in enumerate(self.names)}
        words = _column(table, self.column)
        for word in words:
            require(word in numbers, name, "of the training data's classes", repr(word))
        return np.array([numbers[word] for word in words], dtype=np.int64)


def read_numbers(table: Any, columns: Sequence[str]) -> "NDArray[Any]":
    """One column of numbers or of lists of one shape, or several of numbers, side by side.

    Raises:
        InvalidValueError: A value is missing, is no number, or the lists differ in length.
    """
    import numpy as np

    rows = table.select_columns(list(columns))[:]
    arrays = []
    for column in columns:
        values = _whole(rows[column], column)
        try:
            array = np.array(values)
        except ValueError:  # lists of different lengths
            array = np.empty(0, dtype=object)
        if array.dtype.kind not in "iubf":
            raise InvalidValueError(
                f"the column {column!r} must hold numbers, or lists of numbers of one length, "
                f"but holds {str(values[0])[:60]!r}"
            )
        arrays.append(array)
    if len(columns) == 1:
        return arrays[0]
    for column, array in zip(columns, arrays, strict=True):
        require(
            array.ndim == 1,
            f"the column {column!r}",
            "one number for each sample, as one of several input columns,",
            f"an array of shape {array.shape}",
        )
    return np.stack(arrays, axis=1)


def read_text(table: Any, column: str) -> bytearray:
    """The rows of a text column as UTF-8, with a line feed between them."""
    rows = _column(table, column)
    for row in rows[:1]:
        require(isinstance(row, str), f"the column {column!r}", "text", type(row).__name__)
    return bytearray("\n".join(rows).encode())


def _column(table: Any, column: str) -> list[Any]:
    """A column without gaps; the others, which may be pictures to decode, are not read."""
    return _whole(table.select_columns([column])[:][column], column)


def _whole(values: Any, column: str) -> list[Any]:
    """A column as a list without gaps."""
    listed = list(values)
    require(len(listed) > 0, f"the column {column!r}", "of at least one row", 0)
    gaps = sum(value is None for value in listed)
    require(
        gaps == 0,
        f"the column {column!r}",
        "filled in every row",
        f"nothing in {gaps} of {len(listed)}",
        "drop such rows, or fill them in",
    )
    return listed
