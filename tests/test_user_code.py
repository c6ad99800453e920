"""A person's own code: where it is found, and what is said when it fails."""

import itertools
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunecli.errors import InvalidValueError
from tunecli.user_code import UserCodeError, blamed, build_from, repeatable

_numbers = itertools.count()


@dataclass(frozen=True)
class Section:
    import_: str
    folder: str | None = None
    args: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(autouse=True)
def _path_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a module under a name that no other test has, and returns the name."""

    def write(text: str, folder: str = ".") -> str:
        name = f"own_code_{next(_numbers)}"
        file = tmp_path / folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return name

    return write


def build(path: str, folder: Path | None, *positional: Any, **args: Any) -> Any:
    section = Section(path, None if folder is None else str(folder), args)
    return build_from("model", section, *positional)


def refusal(kind: type[Exception], path: str, folder: Path, **args: Any) -> str:
    with pytest.raises(kind) as caught:
        build(path, folder, **args)
    return str(caught.value)


def test_module_in_a_folder_is_called_with_positional_and_named_arguments(
    tmp_path: Path, write: Write
) -> None:
    name = write("def make(*given, **args): return given, args")
    assert build(f"{name}:make", tmp_path, 1, width=3) == ((1,), {"width": 3})


def test_file_is_found_by_its_path_and_can_import_its_neighbours(
    tmp_path: Path, write: Write
) -> None:
    neighbour = write("VALUE = 7", "sub")
    name = write(f"import {neighbour}\ndef make(): return {neighbour}.VALUE", "sub")
    assert build(f"sub/{name}.py:make", tmp_path) == 7


def test_module_of_a_package_is_found(tmp_path: Path) -> None:
    package = tmp_path / "own_package_a"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text("from .sizes import SIZE\ndef make(): return SIZE")
    (package / "sizes.py").write_text("SIZE = 5")
    assert build("own_package_a.nets:make", tmp_path) == 5


def test_folder_without_init_is_a_package_too(tmp_path: Path) -> None:
    (tmp_path / "own_package_b").mkdir()
    (tmp_path / "own_package_b" / "nets.py").write_text("def make(): return 5")
    assert build("own_package_b.nets:make", tmp_path) == 5


def test_attribute_of_an_attribute_is_found(tmp_path: Path, write: Write) -> None:
    name = write("class Nets:\n    @staticmethod\n    def small(): return 's'")
    assert build(f"{name}:Nets.small", tmp_path) == "s"


def test_installed_module_needs_no_folder(tmp_path: Path) -> None:
    assert build("collections:OrderedDict", tmp_path, a=1) == {"a": 1}


def test_current_folder_is_the_place_where_none_is_said(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (write("def make(): return 1") for _ in range(2))
    monkeypatch.chdir(tmp_path)
    assert build(f"{first}.py:make", None) == build(f"{second}:make", None) == 1


def test_what_a_module_defines_can_be_pickled(tmp_path: Path, write: Write) -> None:
    name = write("class Net:\n    size = 4")
    assert pickle.loads(pickle.dumps(build(f"{name}.py:Net", tmp_path))).size == 4


def test_module_that_is_not_there_is_told_with_the_folder(tmp_path: Path) -> None:
    for name in ("no_such_module", "no_such_module.nets", "collections.nets"):
        said = refusal(InvalidValueError, f"{name}:make", tmp_path)
        assert f"got {name}, which is neither installed nor in {tmp_path}" in said
        assert "model.folder" in said


def test_file_that_is_not_there_is_told_with_its_path(tmp_path: Path) -> None:
    assert str(tmp_path / "nets.py") in refusal(InvalidValueError, "nets.py:make", tmp_path)


def test_file_with_a_name_that_is_no_module_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my-nets.py").touch()
    assert "rename it" in refusal(InvalidValueError, "my-nets.py:make", tmp_path)


def test_attribute_that_is_not_there_is_told_with_those_that_are(
    tmp_path: Path, write: Write
) -> None:
    name = write("import math\ndef make(): pass\nlist_of = [1]\n_hidden = 1")
    said = refusal(InvalidValueError, f"{name}:mkae", tmp_path)
    assert "got mkae; it has: list_of, make, math" in said
    many = write("\n".join(f"name_{n:02} = {n}" for n in range(30)))
    said = refusal(InvalidValueError, f"{many}:make", tmp_path)
    assert "name_09, …" in said
    assert "name_10" not in said
    assert "it has" in refusal(InvalidValueError, f"{name}:list_of.size", tmp_path)


def test_what_cannot_be_called_is_refused(tmp_path: Path, write: Write) -> None:
    name = write("NET = [1, 2]")
    assert f"{name}:NET, a list" in refusal(InvalidValueError, f"{name}:NET", tmp_path)


def test_error_of_a_factory_names_their_file_and_line(tmp_path: Path, write: Write) -> None:
    name = write("import json\ndef make(text):\n    return json.loads(text)\n")
    said = refusal(UserCodeError, f"{name}:make", tmp_path, text="{")
    # json's own frames come after theirs; a person looks for theirs
    assert said.startswith("model raised JSONDecodeError: ")
    assert f" at {tmp_path / name}.py:3; mend it" in said


def test_wrong_arguments_are_told(tmp_path: Path, write: Write) -> None:
    name = write("def make(width): pass")
    said = refusal(UserCodeError, f"{name}:make", tmp_path, widht=1)
    assert "TypeError: make() got an unexpected keyword argument 'widht'" in said


def test_error_without_a_text_is_told_by_its_name(tmp_path: Path, write: Write) -> None:
    name = write("def make(): assert 1 > 2")
    said = refusal(UserCodeError, f"{name}:make", tmp_path)
    assert said == f"model raised AssertionError at {tmp_path / name}.py:1; mend it, and run again"


@pytest.mark.parametrize(
    ("text", "error", "line"),
    [
        ("\n1 / 0", "ZeroDivisionError: division by zero", 2),
        ("\n\ndef make(:", "SyntaxError: invalid syntax", 3),
        ("import no_such_dependency", "ModuleNotFoundError", 1),
        ("from math import no_such_name", "ImportError", 1),
    ],
)
def test_error_while_a_module_is_imported_names_its_line(
    tmp_path: Path, write: Write, text: str, error: str, line: int
) -> None:
    name = write(text)
    said = refusal(UserCodeError, f"{name}:make", tmp_path)
    assert said.startswith(f"model.import raised {error}")
    assert f" at {tmp_path / name}.py:{line};" in said


def test_module_can_be_imported_once_it_is_mended(tmp_path: Path, write: Write) -> None:
    name = write("1 / 0")
    refusal(UserCodeError, f"{name}:make", tmp_path)
    (tmp_path / f"{name}.py").write_text("def make(): return 'mended, and longer'")
    assert build(f"{name}:make", tmp_path) == "mended, and longer"


def test_script_that_ends_the_program_does_not_end_ours(tmp_path: Path, write: Write) -> None:
    name = write("import sys\nsys.exit(2)")
    said = refusal(UserCodeError, f"{name}.py:make", tmp_path)
    assert "SystemExit: 2" in said
    assert '__name__ == "__main__"' in said


@pytest.mark.parametrize("other", ["json", "math", "sys"])
@pytest.mark.parametrize("path", ["{}.py:make", "{}:make"])
def test_file_that_is_called_as_another_module_is_refused(
    tmp_path: Path, other: str, path: str
) -> None:
    (tmp_path / f"{other}.py").write_text("def make(): return 1")
    said = refusal(InvalidValueError, path.format(other), tmp_path)
    assert f"{tmp_path / other}.py cannot be imported because another module is called" in said
    assert "rename" in said


@pytest.mark.parametrize("path", ["{}.py:make", "{}:make"])
def test_same_name_in_a_second_folder_is_refused_and_never_mistaken(
    tmp_path: Path, write: Write, path: str
) -> None:
    name = write("def make(): return 'first'", "first")
    second = tmp_path / "second"
    second.mkdir()
    (second / f"{name}.py").write_text("def make(): return 'second'")
    assert build(path.format(name), tmp_path / "first") == "first"
    assert str(tmp_path / "first") in refusal(InvalidValueError, path.format(name), second)
    assert build(path.format(name), tmp_path / "first") == "first"


def test_folder_that_is_called_as_an_installed_package_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "email").mkdir()
    assert build("email.message:Message", tmp_path).items() == []


def test_out_of_memory_is_no_error_of_the_code(tmp_path: Path, write: Write) -> None:
    name = write("import torch\ndef make(): raise torch.OutOfMemoryError('full')")
    assert refusal(RuntimeError, f"{name}:make", tmp_path) == "full"


def test_generators_are_seeded_and_put_back() -> None:
    def draw() -> tuple[float, float]:
        return random.random(), float(np.random.rand())  # noqa: NPY002  # as a person's code may

    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = [draw(), draw()]
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    found = [draw()]
    with repeatable(7):
        first = draw()
    with pytest.raises(ZeroDivisionError), repeatable(7):
        _ = draw()[0] / 0
    assert [*found, draw()] == expected
    with repeatable(2**40 + 7):  # a seed that numpy does not take
        assert draw() != first


def test_only_where_own_code_runs_it_is_blamed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), blamed("the recipe's code", own_code=False):
        _ = 1 / 0
    said = "the recipe's code raised ZeroDivisionError"
    with pytest.raises(UserCodeError, match=said), blamed("the recipe's code", own_code=True):
        _ = 1 / 0
    with pytest.raises(InvalidValueError), blamed("the recipe's code", own_code=True):
        build("no_such_module:make", tmp_path)


def test_folder_does_not_hide_the_standard_library(tmp_path: Path) -> None:
    """torch imports cProfile, and that profile, long after a recipe's code was imported."""
    (tmp_path / "nets.py").write_text("def build():\n    return 3\n", encoding="utf-8")
    (tmp_path / "profile.py").write_text("raise RuntimeError('mine')\n", encoding="utf-8")
    code = (
        "from types import SimpleNamespace as S; from tunecli.user_code import build_from\n"
        f"assert build_from('model', S(import_='nets:build', folder={str(tmp_path)!r}, args={{}}))"
        " == 3\n"
        "import profile, cProfile\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
