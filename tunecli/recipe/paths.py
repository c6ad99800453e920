"""What a recipe's folder means to it: paths in it, and where its own code is found.

A relative path is relative to the recipe file, and on the command line to the current folder. Here
each becomes absolute, so that a run's copy of the recipe means the same wherever it lies.
"""

from collections.abc import Iterator
from pathlib import Path

from tunecli.recipe.document import Document, KeyPath

STDLIB = "{stdlib}"  # at the start of a path: Python's own library, on whatever machine

_NAMED = ("model", "data", "loss")  # sections that a name selects
_IMPORTS = (*_NAMED, "augmentation", "optimizer")
_PATHS: tuple[KeyPath, ...] = (("model", "checkpoint"), ("data", "path"), ("script", "folder"))


def resolve_paths(document: Document, folder: Path) -> None:
    """Make the paths of a recipe absolute, and say of its imports what may be left out.

    Args:
        document: What was read, overrides included; what is not of the right type is left for the
            validation to refuse.
        folder: The recipe file's.
    """
    for path in _import_sections(document):
        section = _mapping(document, path)
        if section is None or "import" not in section:
            continue
        if path[0] in _NAMED:
            section.setdefault("name", "import")
        if section.get("folder") is None:
            section["folder"] = str(folder.absolute())
        else:
            _make_absolute(document, (*path, "folder"), folder)
    loss = _mapping(document, ("loss",))
    if loss and "name" not in loss:  # one of its keys alone: `loss: {label_smoothing: 0.1}`
        loss["name"] = "cross_entropy"
    if document.data.get("command") is not None:
        script = document.data.get("script")
        if script is None:
            script = document.data["script"] = {}
        if isinstance(script, dict) and script.get("folder") is None:
            script["folder"] = str(folder.absolute())
    for path in _PATHS:
        _make_absolute(document, path, folder)


def _import_sections(document: Document) -> Iterator[KeyPath]:
    for key in _IMPORTS:
        yield (key,)
    metrics = document.data.get("metrics")
    if isinstance(metrics, dict):
        for name in metrics:
            yield "metrics", name


def _mapping(document: Document, path: KeyPath) -> dict[str, object] | None:
    node: object = document.data
    for part in path:
        node = node.get(part) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else None


def _make_absolute(document: Document, path: KeyPath, folder: Path) -> None:
    section = _mapping(document, path[:-1])
    key = str(path[-1])
    value = None if section is None else section.get(key)
    if section is None or not isinstance(value, str) or not value or value.startswith(STDLIB):
        return
    typed = document.locate(path).rank == 1
    start = Path.cwd() if typed else folder.absolute()
    section[key] = str(start / Path(value).expanduser())
