"""The picture in docs/architecture.md, held against the imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tunecli"
# from left to right; a room may import the rooms left of it and itself
ROOMS = [
    {"errors"},
    {"child"},
    {"user_code"},
    {"theory"},
    {"schedule"},
    {"recipe"},
    {"optim", "models", "data"},
    {"training"},
    {"execution"},
    {"search"},
    {"report"},
    {"cli"},
]
RANK = {room: rank for rank, group in enumerate(ROOMS) for room in group}
FILES = sorted(PACKAGE.rglob("*.py"))
ALONE = {"errors", "child", "user_code"}  # rooms of one file
INNER = [path for path in FILES if path.parent != PACKAGE or path.stem in ALONE]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, inside functions and for type checking as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_room_has_a_place() -> None:
    assert {room_of(path) for path in INNER} == set(RANK)


@pytest.mark.parametrize("path", INNER, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_left(path: Path) -> None:
    own = room_of(path)
    for module in imports(path):
        parts = module.split(".")
        if parts[0] != "tunecli" or len(parts) == 1 or parts[1] not in RANK:
            continue
        imported = parts[1]
        assert imported == own or RANK[imported] < RANK[own], f"{own} imports {module}"


@pytest.mark.parametrize("path", INNER, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_screen_libraries_stay_in_their_rooms(path: Path) -> None:
    own, modules = room_of(path), {module.split(".")[0] for module in imports(path)}
    if own != "cli":
        assert "typer" not in modules
    if own not in {"cli", "report"}:
        assert "rich" not in modules
    if own in {"errors", "child", "user_code", "theory", "schedule", "recipe", "report"}:
        assert not {"torch", "optuna"} & modules
    if own == "report":  # it shows results as plain data
        assert not any(module.startswith("tunecli.training") for module in imports(path))
    if own in {"errors", "child", "user_code", "theory", "schedule"}:
        assert "pydantic" not in modules


def test_only_the_recipe_room_uses_pydantic() -> None:
    users = {room_of(path) for path in INNER for module in imports(path) if "pydantic" in module}
    assert users == {"recipe"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["search", "--help"],
        ["schedule", "--learning-rate", "0.3", "--batch-size", "256", "--steps", "1000"],
        ["schedule", "digits-cnn", "--learning-rate", "0.3", "--format", "json"],
        ["compare", "--help"],
        ["replay", "tests/search/tables.json", "--json"],
        ["schedule", "digits-asynchronous", "--learning-rate", "0.3", "--format", "json"],
        [
            *("schedule", "--learning-rate", "0.3", "--batch-size", "256", "--steps", "1000"),
            *("--asynchronous", "--workers", "32", "--json"),
        ],
        ["stability", "--delay", "16", "--momentum", "0.9", "--momentum-kind", "shifted", "--json"],
        ["validate", "digits-cnn"],
        ["validate", "digits-asynchronous"],
        ["validate", "python-text"],
        ["show", "digits-cnn"],
        ["show", "script-pytorch", "--json"],
        ["trust", "--list"],
        ["recipes"],
    ],
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from tunecli.cli.app import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'optuna', 'numpy', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=PACKAGE.parent,
    )
    assert done.returncode == 0, done.stderr
