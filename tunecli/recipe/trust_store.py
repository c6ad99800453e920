"""The recipes that a person has trusted: a file of hashes that belongs to that person alone.

A line is `<sha256 of the recipe file> <time> <path>`. The text counts, and the folder that it lies
in: `import: nets:build` means another file in another folder.
"""

import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tunecli.errors import TunecliError

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


def store_path() -> Path:
    """Where trust is remembered: `$XDG_STATE_HOME/tunecli/trusted`, or below `~/.local/state`."""
    given = os.environ.get("XDG_STATE_HOME", "")
    # a relative path is to be ignored, says the XDG base directory specification
    state = Path(given) if given.startswith("/") else _home() / ".local" / "state"
    return state / "tunecli" / "trusted"


def trusted_recipes() -> tuple[TrustedRecipe, ...]:
    """All that is remembered, oldest first; a damaged line counts for nothing.

    Raises:
        TrustStoreError: The file cannot be read, or somebody else may write it.
    """
    path = store_path()
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


def remember(text: bytes, path: Path) -> str:
    """Trust a recipe with this text in this folder, from now on.

    Args:
        text: The bytes of the file, as they were shown to the person.
        path: Where the file lies.

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
    if any(each.sha256 == found and each.path == place for each in trusted_recipes()):
        return found
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = b"%s %s %s\n" % (found.encode(), now.encode(), encoded)
    with _locked() as store:
        descriptor = os.open(store, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
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


def forget(path: Path) -> int:
    """Trust no version of the recipe at this path any more.

    Returns:
        How many entries were removed.

    Raises:
        TrustStoreError: The file of trusted recipes cannot be read or written.
    """
    place = in_its_folder(path)
    if not any(each.path == place for each in trusted_recipes()):
        return 0
    with _locked() as store:
        entries = trusted_recipes()
        kept = [each for each in entries if each.path != place]
        lines = (
            b"%s %s %s\n" % (each.sha256.encode(), each.time.encode(), os.fsencode(each.path))
            for each in kept
        )
        aside = store.with_name(f".{store.name}.part")
        aside.unlink(missing_ok=True)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(store)
    return len(entries) - len(kept)


@contextmanager
def _locked() -> Iterator[Path]:
    """The file's path, while no other tunecli writes it; a failure in here is a sentence."""
    store = store_path()
    try:
        store.parent.parent.mkdir(parents=True, exist_ok=True)
        store.parent.mkdir(mode=0o700, exist_ok=True)
        # a file of its own: the one with the hashes is replaced by `forget`
        lock = os.open(store.with_name("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield store
        finally:
            os.close(lock)
    except OSError as error:
        raise TrustStoreError(
            f"{store} cannot be written: {error.strerror}; mend its permissions, point "
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
