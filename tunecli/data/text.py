"""Text as bytes: a file or a folder, cut into windows for a model that predicts the next byte."""

import stat
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunecli.data.facts import BYTES, DataFacts
from tunecli.data.splits import SplitName, SplitSizes, split_sizes
from tunecli.errors import InvalidValueError, require
from tunecli.recipe.paths import STDLIB

if TYPE_CHECKING:
    from torch import Tensor

    from tunecli.data.dataset import AnySplit, Split
    from tunecli.recipe.data import TextData

_EVERYTHING = "**/*"


@dataclass(frozen=True, slots=True)
class TextFiles:
    """The bytes of some files, laid end to end in the order of their names, and their splits.

    Args:
        files: Path and how many of its first bytes are read.
        sizes: Bytes of each split: training has the first, then comes validation, then test.
    """

    files: tuple[tuple[Path, int], ...]
    sizes: SplitSizes


def text_facts(data: "TextData") -> DataFacts:
    """Windows to train on, from the sizes of the files alone.

    Raises:
        InvalidValueError: No file is found, or a split is too short for one window.
    """
    train = window_count(list_text(data).sizes.train, data.context)
    return DataFacts(train, (data.context,), BYTES, "tokens")


def load_text(data: "TextData", names: Iterable[SplitName]) -> "dict[SplitName, AnySplit]":
    """The named splits in memory, as windows of `context` bytes; no other byte is read.

    Raises:
        InvalidValueError: See `text_facts`; or a file cannot be read, or has shrunk.
    """
    text = list_text(data)
    starts = {"train": 0, "validation": text.sizes.train}
    starts["test"] = text.sizes.train + text.sizes.validation
    return {
        name: windows(_read(text.files, starts[name], getattr(text.sizes, name)), data.context)
        for name in names
    }


def windows(text: "Tensor", context: int) -> "Split":
    """Windows that follow one another: each is `context` bytes, its targets the ones after them.

    Neighbours share one byte, the last target of the one and the first input of the other. Both
    tensors are views of `text`: nothing is copied.

    Args:
        text: uint8, shape (bytes,), at least context + 1 of them.
        context: Length of a window.

    >>> import torch
    >>> split = windows(torch.tensor([5, 6, 7, 8, 9, 10], dtype=torch.uint8), 2)
    >>> split.inputs.tolist(), split.targets.tolist()
    ([[5, 6], [7, 8]], [[6, 7], [8, 9]])
    """
    from tunecli.data.dataset import Split

    used = window_count(len(text), context) * context
    return Split(text[:used].view(-1, context), text[1 : used + 1].view(-1, context))


def window_count(size: int, context: int) -> int:
    """Windows of `context` bytes, and one to predict, in `size` bytes.

    >>> window_count(129, 64), window_count(128, 64)
    (2, 1)
    """
    return max(size - 1, 0) // context


def list_text(data: "TextData") -> TextFiles:
    """Find the files and share out their bytes, without reading one."""
    root = Path(data.path.replace(STDLIB, sysconfig.get_path("stdlib"), 1))
    left = data.max_bytes
    files: list[tuple[Path, int]] = []
    for path, size in _found(root, data.pattern):
        take = size if left is None else min(size, left)
        if take:
            files.append((path, take))
        if left is not None:
            left -= take
    total = sum(size for _, size in files)
    if not total:
        raise InvalidValueError(
            f"data.path must lead to text but no file in {root} that matches "
            f"{data.pattern or _EVERYTHING!r} has a byte in it; change data.path or data.pattern"
        )
    sizes = split_sizes(total, validation=data.validation, test=data.test)
    check_windows(sizes, data.context)
    return TextFiles(tuple(files), sizes)


def check_windows(sizes: SplitSizes, context: int) -> None:
    """Raise unless every split that has bytes has enough of them for a window."""
    for name, size in (
        ("train", sizes.train),
        ("validation", sizes.validation),
        ("test", sizes.test),
    ):
        if size and not window_count(size, context):
            raise InvalidValueError(
                f"the {name} split must have at least {context + 1} bytes, data.context and one to "
                f"predict, but has {size}; take more text, a larger share or a shorter context"
            )


def _found(root: Path, pattern: str | None) -> list[tuple[Path, int]]:
    """Regular files and their sizes, sorted by path below `root`, whatever the disk's order."""
    if root.is_file():
        condition = f"left out, because {root} is a file,"
        require(pattern is None, "data.pattern", condition, pattern)
        return [(root, root.stat().st_size)]
    found = []
    try:
        root.stat()
        for path in root.glob(pattern or _EVERYTHING):
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                found.append((path, status.st_size))
    except FileNotFoundError as error:
        raise InvalidValueError(
            f"data.path must lead to a file or a folder but there is no {error.filename}; "
            "a path in a recipe is relative to the recipe"
        ) from None
    except OSError as error:
        raise InvalidValueError(f"data.path cannot be read: {error}") from error
    except (ValueError, NotImplementedError) as error:  # what pathlib says of a pattern
        raise InvalidValueError(
            f"data.pattern must be a glob pattern, as **/*.py, but got {pattern!r}: {error}"
        ) from error
    return sorted(found, key=lambda item: item[0].relative_to(root).as_posix())


def _read(files: tuple[tuple[Path, int], ...], start: int, size: int) -> "Tensor":
    """Bytes [start, start + size) of the files laid end to end, uint8."""
    import torch

    text = bytearray()
    for path, length in files:
        begin, end = max(start, 0), min(start + size, length)
        if begin < end:
            try:
                with path.open("rb") as file:
                    file.seek(begin)
                    part = file.read(end - begin)
            except OSError as error:
                raise InvalidValueError(f"data.path cannot be read: {error}") from error
            if len(part) < end - begin:
                raise InvalidValueError(
                    f"{path} must have at least {end} bytes, as when it was found, but was cut "
                    "while it was read; start again"
                )
            text += part
        start -= length
    return torch.frombuffer(text, dtype=torch.uint8)
