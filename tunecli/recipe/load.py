"""A recipe file and the command line's overrides → a valid `Recipe`, or all of their mistakes."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from tunecli.errors import RecipeError
from tunecli.recipe.document import MAX_BYTES, Document, KeyPath, Position, read_yaml
from tunecli.recipe.model import Recipe
from tunecli.recipe.overrides import apply_overrides
from tunecli.recipe.paths import resolve_paths


def load_recipe(
    path: str | Path,
    overrides: Sequence[str] = (),
    problems: Callable[[Recipe], Iterable[tuple[KeyPath, str]]] = lambda _: (),
    *,
    content: bytes | None = None,
) -> Recipe:
    """Read, override and validate a recipe.

    Args:
        path: The YAML file.
        overrides: `key.path=value`, the value in YAML's flow style; see `apply_overrides`.
        problems: What else keeps a valid recipe from being used, each with its key's path.
        content: The file's bytes, where they have been read already (`read_bytes`).

    Returns:
        The resolved recipe: every key that the file leaves out has its default.

    Raises:
        RecipeError: The file cannot be read or the recipe is not valid. The message has a line
            for each mistake, with file (or override), line, key, what is allowed and what to do,
            in the order of the lines.
    """
    document = read_document(path, content)
    apply_overrides(document, overrides)
    resolve_paths(document, Path(path).parent)
    try:
        metrics = document.data.get("metrics")
        names = list(metrics) if isinstance(metrics, dict) else []
        recipe = Recipe.model_validate(document.data, context={"metrics": names})
    except ValidationError as error:
        # Only a mistake pays for this import: difflib and the JSON Schema.
        from tunecli.recipe.messages import findings

        found = findings(error, document)
    else:
        found = sorted((document.locate(key), sentence) for key, sentence in problems(recipe))
        if not found:
            return recipe
    raise RecipeError("\n".join(f"{where.text}: {sentence}" for where, sentence in found))


def read_document(path: str | Path, content: bytes | None = None) -> Document:
    """Read a recipe file, or its bytes, as plain data, without validation.

    Raises:
        RecipeError: The file cannot be read, or is not a mapping in plain YAML.
    """
    text = _decode(path, read_bytes(path) if content is None else content)
    data, lines = read_yaml(text, lambda line, column: f"{path}:{line}:{column}")
    if data is None:
        raise RecipeError(
            f"{path}: the recipe is empty; start from one that `tunecli recipes` lists"
        )
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else "a single value"
        raise RecipeError(
            f"{path}:{lines[()]}: a recipe must be a mapping (`version: 1`, `name: …`) "
            f"but got {kind}; start from one that `tunecli recipes` lists"
        )
    positions = {key: Position(0, line, f"{path}:{line}") for key, line in lines.items()}
    return Document(data, positions)


def read_bytes(path: str | Path) -> bytes:
    """A recipe file as it is.

    Raises:
        RecipeError: The file cannot be read, or is far too long for a recipe.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise RecipeError(
            f"{path}: there is no such file; `tunecli recipes` lists the recipes that are shipped"
        ) from None
    except IsADirectoryError:
        raise RecipeError(f"{path}: this is a folder; name a recipe file in it") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RecipeError(f"{path}: cannot be read ({reason}); check the path") from None
    if len(content) > MAX_BYTES:
        raise RecipeError(f"{path}: a recipe must be at most 1 MiB; is this another file?")
    return content


def _decode(path: str | Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        raise RecipeError(
            f"{path}:{line}:{column}: not UTF-8 (byte 0x{content[error.start]:02x}); "
            "save the file as UTF-8"
        ) from None
