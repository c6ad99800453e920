"""Which files of a folder are text: those without NUL bytes near their beginning."""

from collections import Counter
from itertools import islice
from pathlib import Path

from tunecli.errors import InvalidValueError

_FIRST_BYTES = 8192
_MOST_FILES = 2000  # of a folder are opened; beyond that it takes too long for a question


def binary_files(where: Path, pattern: str | None = None) -> list[Path]:
    """Files with a NUL byte in their first block.

    Args:
        where: A file, or a folder of which the first 2000 files are opened.
        pattern: Which files of the folder, as a glob pattern; None for all.

    Raises:
        InvalidValueError: A file cannot be read.
    """
    return [file for file in _files(where, pattern) if _is_binary(file)]


def usual_pattern(folder: Path) -> str | None:
    """A pattern for the most common suffix of which all files are text; None without one."""
    counts: Counter[str] = Counter()
    binary: set[str] = set()
    for file in _files(folder, None):
        counts[file.suffix] += 1
        if _is_binary(file):
            binary.add(file.suffix)
    suited = [suffix for suffix, _ in counts.most_common() if suffix and suffix not in binary]
    return f"**/*{suited[0]}" if suited else None


def _files(where: Path, pattern: str | None) -> list[Path]:
    if not where.is_dir():
        return [where]
    try:
        found = (file for file in where.glob(pattern or "**/*") if file.is_file())
        return sorted(islice(found, _MOST_FILES))
    except (ValueError, NotImplementedError):  # no glob pattern: the recipe's rules say so
        return []


def _is_binary(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return b"\0" in stream.read(_FIRST_BYTES)
    except OSError as error:
        raise InvalidValueError(
            f"{file} must be a file that can be read but is not: {error.strerror}"
        ) from None
