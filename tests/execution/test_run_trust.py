from pathlib import Path

import pytest

from tunecli.execution import RunFolder, create_run, write_json
from tunecli.execution.run_trust import allow_run, allowed_runs, forget_run, is_run_allowed
from tunecli.recipe.trust import is_trusted
from tunecli.recipe.trust_store import TrustStoreError, store_path

TEXT = "version: 1\n"


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def started(path: Path) -> RunFolder:
    run = create_run("train", "mine", TEXT, path)
    allow_run(run, TEXT.encode())
    return run


def remembered() -> list[Path]:
    lines = store_path("runs").read_text("utf-8").splitlines()
    return [Path(line.split(" ", 2)[2]).parent for line in lines]


def test_run_may_go_on_in_its_folder_with_its_recipe(tmp_path: Path) -> None:
    run = started(tmp_path / "a")
    assert is_run_allowed(run, TEXT.encode())
    assert not is_run_allowed(run, b"version: 1 \n")
    assert not is_run_allowed(RunFolder(tmp_path / "b"), TEXT.encode())
    run.path.rename(tmp_path / "b")
    assert not is_run_allowed(RunFolder(tmp_path / "b"), TEXT.encode())


def test_run_that_may_go_on_is_no_trust_in_its_recipe(tmp_path: Path) -> None:
    run = started(tmp_path / "a")
    assert not is_trusted(TEXT.encode(), run.recipe)
    assert not store_path().exists()


def test_run_is_found_by_a_relative_path_and_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    started(Path("a"))
    Path("link").symlink_to("a")
    assert is_run_allowed(RunFolder(tmp_path / "a"), TEXT.encode())
    assert is_run_allowed(RunFolder(Path("link")), TEXT.encode())


def test_finished_run_is_forgotten(tmp_path: Path) -> None:
    first, second = started(tmp_path / "a"), started(tmp_path / "b")
    forget_run(first)
    forget_run(first)
    assert not is_run_allowed(first, TEXT.encode())
    assert is_run_allowed(second, TEXT.encode())


def test_list_of_runs_does_not_grow_with_runs_that_are_over(tmp_path: Path) -> None:
    for number in range(5):
        run = started(tmp_path / str(number))
        if number % 2:
            write_json(run.result, {})  # finished, and killed before it was forgotten
        else:
            run.path.rename(tmp_path / f"moved-{number}")
    assert allowed_runs() == ()
    last = started(tmp_path / "last")
    assert remembered() == [last.path]
    assert [entry.path for entry in allowed_runs()] == [last.recipe]


def test_list_of_runs_that_others_may_write_is_refused(tmp_path: Path) -> None:
    run = started(tmp_path / "a")
    assert store_path("runs").stat().st_mode & 0o777 == 0o600
    store_path("runs").chmod(0o602)
    with pytest.raises(TrustStoreError, match="writable by you alone"):
        is_run_allowed(run, TEXT.encode())
