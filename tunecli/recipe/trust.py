"""Whether a recipe may run what it names: import paths and commands are a person's own code.

A recipe is data. What it names runs with `--trust`, or after `tunecli trust RECIPE`, which
remembers the file by its hash, so that a changed file asks again. The rule covers the recipe, not
the Python files that it names: those are yours, and change while you work on them.
"""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tunecli.errors import RecipeError
from tunecli.recipe.trust_store import in_its_folder, remember, sha256, trusted_recipes

if TYPE_CHECKING:
    from tunecli.recipe.model import Recipe


class UntrustedRecipeError(RecipeError):
    """A recipe names code that the person has not allowed to run; nothing of it has run."""


@dataclass(frozen=True)
class NamedCode:
    """Code that a recipe names.

    Args:
        key: Where the recipe names it: `command`, `model`, `metrics.f1`.
        what: The import path, or the command.
        folder: Where it is looked up, or runs; None is the recipe's folder.
        args: What an import is called with.
    """

    key: str
    what: str | tuple[str, ...]
    folder: str | None
    args: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        if isinstance(self.what, tuple):
            called = shlex.join(map(_plain, self.what))
        else:
            given = (f"{_plain(name)}={json.dumps(value)}" for name, value in self.args.items())
            called = f"{_plain(self.what)}({', '.join(given)})"
        place = "" if self.folder is None else f" in {shlex.quote(_plain(self.folder))}"
        return f"{self.key}: {called}{place}"


def code_of(recipe: "Recipe") -> tuple[str, ...]:
    """Everything that would run, a line each: what is called, with what, in which folder.

    Control characters are shown as their numbers, so a terminal shows all of a line.
    """
    return tuple(map(str, _named_code(recipe)))


def is_trusted(text: bytes, path: Path) -> bool:
    """Whether a recipe file with these bytes, in this file's folder, is trusted.

    Args:
        text: The bytes of the file.
        path: Where it lies; only its folder matters, so a file may be renamed.

    Raises:
        TrustStoreError: The file of trusted recipes cannot be read.
    """
    found, folder = sha256(text), in_its_folder(path).parent
    return any(each.sha256 == found and each.path.parent == folder for each in trusted_recipes())


def trust(path: Path) -> str:
    """Remember a recipe file as it is now, without asking: for what the person has seen.

    Returns:
        The hash of its bytes.

    Raises:
        RecipeError: The file cannot be read.
        TrustStoreError: The file of trusted recipes cannot be written.
    """
    from tunecli.recipe.load import read_bytes

    return remember(read_bytes(path), path)


def require_trust(recipe: "Recipe", path: Path, trusted: bool) -> None:
    """Refuse to go on where `recipe` names code that nobody has allowed to run.

    What counts is what would run: if the file at `path` is trusted, the recipe must name the code
    that this very text names. So neither an override on the command line nor a file that changed
    after it was loaded brings in anything else.

    Args:
        recipe: As it would be run, overrides applied.
        path: The file that it came from.
        trusted: Whether the person has said `--trust`.

    Raises:
        UntrustedRecipeError: The code is not trusted; the message lists it and says how to allow
            it.
        TrustStoreError: The file of trusted recipes cannot be read.
    """
    if trusted or not (code := code_of(recipe)):
        return
    allowed, remedy = standing(recipe, path)
    if not allowed:
        listed = "\n".join(f"    {line}" for line in code)
        raise UntrustedRecipeError(
            f"{path}: nothing was run, because this recipe has code that must be allowed first:\n"
            f"{listed}\n{remedy}"
        )


def standing(recipe: "Recipe", path: Path) -> tuple[bool, str]:
    """Whether a recipe's code is allowed by the trust in its file, and a sentence about it.

    Args:
        recipe: As it would be run, overrides applied; it names code.
        path: The file that it came from.

    Returns:
        Allowed or not, and how to take it back, or what would allow it.

    Raises:
        TrustStoreError: The file of trusted recipes cannot be read.
    """
    from tunecli.recipe.load import load_recipe, read_bytes

    text, quoted = read_bytes(path), shlex.quote(str(path))
    if not is_trusted(text, path):
        before = _earlier(path)
        changed = f"The file was changed since you trusted it on {before}. " if before else ""
        return False, (
            f"{changed}Look at it, then allow it once with --trust, or until the file changes "
            f"with: tunecli trust {quoted}"
        )
    try:
        same = _fingerprint(load_recipe(path, content=text)) == _fingerprint(recipe)
    except RecipeError:  # it takes the overrides to make it valid
        same = False
    if not same:
        return False, (
            "The file is trusted, but an override on the command line changes what runs; allow it "
            "once with --trust"
        )
    return True, f"The file is trusted; take that back with: tunecli trust --forget {quoted}"


def _earlier(path: Path) -> str | None:
    """When another version of the file was trusted last, if one was."""
    place = in_its_folder(path)
    times = [each.time for each in trusted_recipes() if each.path == place]
    return times[-1] if times else None


def _named_code(recipe: "Recipe") -> list[NamedCode]:
    found = []
    if recipe.command is not None:
        folder = None if recipe.script is None else recipe.script.folder
        found.append(NamedCode("command", recipe.command, folder))
    return found + list(_imports(recipe, ""))


def _imports(value: object, key: str) -> Iterator[NamedCode]:
    """Every import in a section, wherever the grammar allows one."""
    from tunecli.recipe.section import Section

    if isinstance(value, Section):
        inside: Mapping[str, object] = dict(value)
        if isinstance(path := inside.get("import_"), str):
            yield NamedCode(key, path, value.folder, value.args)  # type: ignore[attr-defined]
    elif isinstance(value, Mapping):
        inside = value
    else:
        return
    for name, inner in inside.items():
        yield from _imports(inner, f"{key}.{name}" if key else name)


def _fingerprint(recipe: "Recipe") -> str:
    """Equal for recipes that run the same code."""
    return json.dumps([asdict(code) for code in _named_code(recipe)], sort_keys=True)


def _plain(text: str) -> str:
    """Text without what a terminal would obey instead of show."""
    return "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in text)
