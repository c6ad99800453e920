"""What `import tunecli` offers: light, lazy, callable, documented; and docs/library.md runs."""

import copy
import importlib
import inspect
import pickle
import pydoc
import re
import runpy
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import optuna
import pytest

import tunecli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LIBRARY = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", LIBRARY, flags=re.MULTILINE | re.DOTALL)
(DIFF,) = re.findall(r"^```diff\n(.*?)^```$", LIBRARY, flags=re.MULTILINE | re.DOTALL)


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light_and_lists_every_name() -> None:
    python(
        "import sys, tunecli\n"
        "assert set(tunecli.__all__) <= set(dir(tunecli))\n"
        "assert 'search' in dir(tunecli)\n"
        "heavy = {'torch', 'numpy', 'optuna', 'pydantic', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from tunecli import Schedule, MonotoneRule, TunecliError\n"
        "heavy = {'torch', 'numpy', 'optuna'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )


def test_every_name_is_its_homes() -> None:
    from tunecli.data.stage_batches import StageBatchSampler
    from tunecli.optim.micro_batches import backward_in_micro_batches
    from tunecli.optim.stagewise import StagewiseScheduler
    from tunecli.search.rule import MonotoneRule

    assert tunecli.StageBatchSampler is StageBatchSampler
    assert tunecli.backward_in_micro_batches is backward_in_micro_batches
    assert tunecli.StagewiseScheduler is StagewiseScheduler
    assert tunecli.MonotoneRule is MonotoneRule
    for name in tunecli.__all__:
        assert callable(getattr(tunecli, name))
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        tunecli.serach  # type: ignore[attr-defined]  # noqa: B018


SEARCH = "found = search(lambda rate: -abs(rate - 0.2), [0.1, 0.2, 0.4])"


@pytest.mark.parametrize(
    "code",
    [
        f"from tunecli import search\n{SEARCH}\nfrom tunecli.search import MonotoneRule",
        f"from tunecli.search import MonotoneRule\nfrom tunecli import search\n{SEARCH}",
        f"import tunecli.search as search\n{SEARCH}\nsearch.MonotoneRule",
        f"import tunecli\nsearch = tunecli.search\n{SEARCH}\nfrom tunecli.search.rule import Stop",
        f"from tunecli.search import search\n{SEARCH}\nfrom tunecli import search\n{SEARCH}",
        f"from tunecli import *\n{SEARCH}\nimport tunecli.search.rule",
    ],
    ids=lambda code: code.split("\n")[0],
)
def test_search_is_a_function_and_a_package_in_any_order(code: str) -> None:
    after = (
        "\nassert found.learning_rate == 0.2\n"
        "import tunecli, tunecli.search, types\n"
        "assert isinstance(tunecli.search, types.ModuleType)\n"
        "assert tunecli.search.decide and tunecli.search.__path__\n"
        "assert callable(tunecli.search)\n"
    )
    python(code + after)


def test_search_is_described_as_the_function_it_is() -> None:
    from tunecli.search.objective import search as function

    package: Any = importlib.import_module("tunecli.search")
    assert inspect.signature(package) == inspect.signature(function)
    lines = str(inspect.getdoc(package)).splitlines()
    assert lines[0] == str(inspect.getdoc(function)).splitlines()[0]
    assert any(line.startswith("The package: The search for α₁") for line in lines)
    text = pydoc.plain(pydoc.render_doc(package))
    assert "search(objective: " in text  # among the functions, with its arguments
    assert "study_name: Of the study in the storage" in text
    assert "MonotoneRule" in text
    assert set(package.__all__) <= set(dir(package))


def test_description_of_search_costs_nothing_before_it_is_asked_for() -> None:
    python(
        "import sys, tunecli.search\n"
        "assert 'search' in dir(tunecli.search) and callable(tunecli.search)\n"
        "assert not {'torch', 'numpy', 'optuna'} & set(sys.modules)\n"
    )


def test_search_goes_by_its_name_to_other_processes_and_a_copy_is_itself() -> None:
    package: Any = importlib.import_module("tunecli.search")
    assert pickle.loads(pickle.dumps(package)) is package
    assert copy.copy(package) is copy.deepcopy(package) is package


def test_type_checkers_know_search_as_the_function() -> None:
    """Checked where mypy runs: an ignored error that it does not see is an error to it."""
    from tunecli import search

    rate: float = search(lambda rate: rate, [0.1, 0.2]).learning_rate
    assert rate == 0.2
    with pytest.raises(TypeError, match="sedes"):
        search(lambda rate: rate, [0.1, 0.2], sedes=(1, 2))  # type: ignore[call-arg]


def test_every_public_name_has_a_section_and_an_example() -> None:
    headings = re.findall(r"^## `(\w+)`$", LIBRARY, flags=re.MULTILINE)
    assert sorted(headings) == sorted(tunecli.__all__)
    for name in tunecli.__all__:
        section = LIBRARY.split(f"## `{name}`\n")[1].split("\n## ")[0]
        assert re.search(rf"^from tunecli import .*\b{name}\b", section, flags=re.MULTILINE), name


def test_every_argument_of_search_is_described() -> None:
    from tunecli.search.objective import search

    section = LIBRARY.split("## `search`\n")[1].split("\n## ")[0]
    for name in inspect.signature(search).parameters:
        assert f"`{name}" in section or f"({name}" in section or f" {name})" in section, name


@pytest.mark.parametrize(
    "block", BLOCKS, ids=lambda block: re.findall(r"import ([^#\n]*)", block)[-1]
)
def test_example_runs(block: str, tmp_path: Path) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        file = tmp_path / "example.py"
        file.write_text(block, encoding="utf-8")
        runpy.run_path(str(file), run_name="__main__")
    finally:
        optuna.logging.set_verbosity(before)


def test_first_example_adds_five_lines() -> None:
    first = BLOCKS[0].splitlines()
    assert sum(line.endswith("# added") for line in first) == 5
    assert sum(line.endswith("# changed") for line in first) == 2
    assert "five more lines in a plain PyTorch script" in README
    ours = re.compile(r"\b(" + "|".join(tunecli.__all__) + r"|schedule|scheduler|found|tunecli)\b")
    assert not [x for x in first if ours.search(x) and not re.search("# (added|changed)$", x)]


def test_script_of_the_diff_takes_as_many_lines_as_it_says() -> None:
    lines = [line for line in DIFF.splitlines() if line[1:].strip()]
    hunks = [list(hunk) for ours, hunk in groupby(lines, lambda x: x[0] in "+-") if ours]
    counts = [[sum(x[0] == sign for x in hunk) for sign in "+-"] for hunk in hunks]
    replaced = sum(min(hunk) for hunk in counts)
    added, removed = (sum(column) - replaced for column in zip(*counts, strict=True))
    assert (added, replaced, removed) == (5, 7, 6)
    assert "five lines are added, seven replaced, and six removed" in LIBRARY
    assert "It becomes one line shorter" in LIBRARY


def test_script_of_the_diff_runs_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = DIFF.splitlines()
    for kept, name in ((" -", "before.py"), (" +", "after.py")):
        text = "\n".join(line[1:] for line in lines if line[:1] in kept) + "\n"
        (tmp_path / name).write_text(text, encoding="utf-8")

    monkeypatch.setattr(sys, "argv", ["before.py", "--epochs", "2"])
    runpy.run_path(str(tmp_path / "before.py"), run_name="__main__")
    rows = re.findall(r"accuracy \d+/(\d+)", capsys.readouterr().out)
    assert rows == ["360", "360", "179"]  # the validation set every epoch, then the test set

    monkeypatch.setattr(sys, "argv", ["after.py", "--epochs", "4"])
    done = runpy.run_path(str(tmp_path / "after.py"), run_name="__main__")
    out, err = capsys.readouterr()
    found = done["found"]
    trials, last = out.split(f"{found}\n")
    assert err.startswith(f"search: best learning rate {found.learning_rate:g}, value ")
    assert 2 <= len(found.trials) <= 7
    measured = re.findall(r"accuracy (\d+)/(\d+)", trials)
    assert {rows for _, rows in measured} == {"360"}  # the test set has no part in the choice
    assert [int(right) / 360 for right, _ in measured] == [trial.value for trial in found.trials]
    ((right, rows),) = re.findall(r"accuracy (\d+)/(\d+)", last)  # and is read once
    assert rows == "179"
    assert int(right) / 179 > 0.85
    assert done["main"](0.4) > 0.85  # the function is as useful without the search
