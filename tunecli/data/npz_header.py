"""Names, shapes and types of the arrays in a `.npz` file, without numpy and without their values.

Such a file is a zip of `.npy` files: a magic string, a version, the length of a header, the header
(a Python literal), then the values. See *numpy.lib.format*.
"""

import ast
import struct
import sys
import zipfile
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO

from tunecli.errors import InvalidValueError

_MAGIC = b"\x93NUMPY"
_CODES = {"b1": "B", "u1": "B", "i1": "b", "u2": "H", "i2": "h", "u4": "I", "i4": "i"} | {
    "u8": "Q",
    "i8": "q",
}


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """What stands before an array's values.

    Args:
        dtype: numpy's name of the type without the byte order, as `f4`, `u1`, `O`; `V` of records.
        shape: As numpy's.
        swapped: Whether its bytes are in the other order than this machine's.
    """

    dtype: str
    shape: tuple[int, ...]
    swapped: bool

    @property
    def is_integer(self) -> bool:
        """Whether the values are integers or booleans."""
        return self.dtype in _CODES

    @property
    def is_number(self) -> bool:
        """Whether the values are integers, booleans or real numbers."""
        return self.is_integer or self.dtype in {"f2", "f4", "f8"}


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What is raised by a file that is missing or damaged, as a sentence that names it."""
    try:
        yield
    except FileNotFoundError:
        raise InvalidValueError(
            f"data.path must be a .npz file but there is no {path}; "
            "a path in a recipe is relative to the recipe"
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InvalidValueError(
            f"data.path must be a .npz file, as numpy.savez writes it, but {path} cannot be read: "
            f"{error or 'it ends too early'}"
        ) from error
    except IsADirectoryError:
        raise InvalidValueError(
            f"data.path must be a .npz file but {path} is a folder; name a file in it"
        ) from None
    except OSError as error:
        reason = error.strerror or error
        raise InvalidValueError(
            f"data.path must be a file that can be read but {path} is not: {reason}"
        ) from error


def read_headers(path: Path) -> dict[str, ArrayHeader]:
    """The header of every array in the file, by the array's name.

    Raises:
        InvalidValueError: The file is missing or damaged.
    """
    with readable(path), zipfile.ZipFile(path) as file:
        names = [name for name in file.namelist() if name.endswith(".npy")]
        headers = {}
        for name in names:
            with file.open(name) as stream:
                headers[name.removesuffix(".npy")] = _header(stream, f"{name} in {path}")
        return headers


def label_range(path: Path, name: str) -> tuple[int, int]:
    """Smallest and largest of an array of integers.

    Args:
        path: The `.npz` file.
        name: An array of integers with at least one value.
    """
    with readable(path), zipfile.ZipFile(path) as file, file.open(f"{name}.npy") as stream:
        header = _header(stream, name)
        values = array(_CODES[header.dtype])
        values.frombytes(_exactly(stream, prod(header.shape) * values.itemsize))
        if header.swapped:
            values.byteswap()
        return min(values), max(values)


def _header(stream: IO[bytes], name: str) -> ArrayHeader:
    start = _exactly(stream, 8)
    if start[:6] != _MAGIC:
        raise zipfile.BadZipFile(f"{name} is no array")
    form = "<H" if start[6] == 1 else "<I"
    (length,) = struct.unpack(form, _exactly(stream, struct.calcsize(form)))
    text = _exactly(stream, min(length, 1 << 20)).decode("utf-8" if start[6] >= 3 else "latin-1")
    try:
        fields = ast.literal_eval(text.strip())
        descr, shape = fields["descr"], tuple(int(size) for size in fields["shape"])
    except (SyntaxError, ValueError, KeyError, TypeError) as error:
        raise zipfile.BadZipFile(f"the header of {name} is damaged") from error
    if not isinstance(descr, str):
        return ArrayHeader("V", shape, swapped=False)  # records
    little = sys.byteorder == "little"
    return ArrayHeader(descr[1:], shape, descr[0] == (">" if little else "<"))


def _exactly(stream: IO[bytes], size: int) -> bytes:
    read = stream.read(size)
    if len(read) < size:
        raise EOFError
    return read
