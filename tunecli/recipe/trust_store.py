"""What a person has allowed to run: two files of hashes that belong to that person alone.

A line is `<sha256 of the recipe file> <time> <path>`. `trusted` holds the recipes that were
trusted: the text counts, and the folder that it lies in, since `import: nets:build` means another
file in another folder. `runs` holds the recipes of unfinished runs (`execution.run_trust`), apart
from those because one of them allows no more than to go on with that run.
"""

import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tunecli.errors import TunecliError

Store = Literal["trusted", "runs"]

_LINE = re.compile(rb"([0-9a-f]{64}) (\S+) (/.*)")


class TrustStoreError(TunecliError):
    """The file of trusted recipes cannot be read or written."""


@dataclass(frozen=True)
class TrustedRecipe:
    """One recipe file that was trusted.

    Args:
        sha256: Hash of the file's bytes.
        time: When, UTC, as in 2024-01-31T12:00:00Z.
        path: Where the file lay.
    """

    sha256: str
    time: str
    path: Path


def store_path(store: Store = "trusted") -> Path:
    """Where trust is remembered: `$XDG_STATE_HOME/tunecli/trusted`, or below `~/.local/state`."""
    given = os.environ.get("XDG_STATE_HOME", "")
    # a relative path is to be ignored, says the XDG base directory specification
    state = Path(given) if given.startswith("/") else _home() / ".local" / "state"
    return state / "tunecli" / store


def trusted_recipes(store: Store = "trusted") -> tuple[TrustedRecipe, ...]:
    """All that is remembered, oldest first; a damaged line counts for nothing.

    Raises:
        TrustStoreError: The file cannot be read, or somebody else may write it.
    """
    path = store_path(store)
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o022:
                raise TrustStoreError(
                    f"{path} must be writable by you alone, but others may write it; look at what "
                    f"it holds, then `chmod 600 {path}`"
                )
            content = file.read()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise TrustStoreError(
            f"{path} cannot be read: {error.strerror}; mend its permissions, or allow a recipe's "
            "code once with --trust"
        ) from None
    found = (_LINE.fullmatch(line) for line in content.split(b"\n"))
    return tuple(
        TrustedRecipe(match[1].decode(), match[2].decode(errors="replace"), _path(match[3]))
        for match in found
        if match is not None
    )


def sha256(text: bytes) -> str:
    """The hash by which a recipe file is remembered."""
    return hashlib.sha256(text).hexdigest()


def in_its_folder(path: Path) -> Path:
    """An absolute path, its folder without links; a link to a recipe stays where it is itself."""
    return path.parent.resolve() / path.name


def remember(text: bytes, path: Path, store: Store = "trusted") -> str:
    """Trust a recipe with this text in this folder, from now on.

    Args:
        text: The bytes of the file, as they were shown to the person.
        path: Where the file lies.
        store: Which of the two files remembers it.

    Returns:
        The hash that is remembered.

    Raises:
        TrustStoreError: The file of trusted recipes cannot be written.
    """
    found, place = sha256(text), in_its_folder(path)
    encoded = os.fsencode(place)
    if b"\n" in encoded:
        raise TrustStoreError(
            f"{str(place)!r} cannot be remembered: its name has a line break; rename it, or allow "
            "it once with --trust"
        )
    if any(each.sha256 == found and each.path == place for each in trusted_recipes(store)):
        return found
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = b"%s %s %s\n" % (found.encode(), now.encode(), encoded)
    with _locked(store) as file:
        descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end = os.lseek(descriptor, 0, os.SEEK_END)
            if end and os.pread(descriptor, 1, end - 1) != b"\n":
                line = b"\n" + line  # a kill or a full disk cut the last line off
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return found


def forget(path: Path, store: Store = "trusted") -> int:
    """Trust no version of the recipe at this path any more.

    Returns:
        How many entries were removed.

    Raises:
        TrustStoreError: The file of trusted recipes cannot be read or written.
    """
    place = in_its_folder(path)
    return drop(lambda each: each.path == place, store)


def drop(unwanted: Callable[[TrustedRecipe], bool], store: Store) -> int:
    """Remove the entries that are `unwanted`; where there is none, nothing is written.

    Returns:
        How many entries were removed.

    Raises:
        TrustStoreError: The file cannot be read or written.
    """
    if not any(map(unwanted, trusted_recipes(store))):
        return 0
    with _locked(store) as path:
        entries = trusted_recipes(store)
        kept = [each for each in entries if not unwanted(each)]
        lines = (
            b"%s %s %s\n" % (each.sha256.encode(), each.time.encode(), os.fsencode(each.path))
            for each in kept
        )
        aside = path.with_name(f".{path.name}.part")
        aside.unlink(missing_ok=True)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    return len(entries) - len(kept)


@contextmanager
def _locked(store: Store) -> Iterator[Path]:
    """The file's path, while no other tunecli writes it; a failure in here is a sentence."""
    path = store_path(store)
    try:
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        # a file of its own: the one with the hashes is replaced by `drop`
        lock = os.open(path.with_name("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield path
        finally:
            os.close(lock)
    except OSError as error:
        raise TrustStoreError(
            f"{path} cannot be written: {error.strerror}; mend its permissions, point "
            "XDG_STATE_HOME elsewhere, or allow a recipe's code once with --trust"
        ) from None


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # no HOME, and no entry of this user
        raise TrustStoreError(
            "HOME must be set to know which recipes you trust; set it, or allow a recipe's code "
            "once with --trust"
        ) from None


def _path(encoded: bytes) -> Path:
    return Path(os.fsdecode(encoded))
