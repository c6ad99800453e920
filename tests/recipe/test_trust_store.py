import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tunecli.recipe.trust import is_trusted
from tunecli.recipe.trust_store import (
    TrustStoreError,
    forget,
    remember,
    sha256,
    store_path,
    trusted_recipes,
)

TEXT = b"version: 1\n"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of trusted recipes, not there yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return store_path()


def test_trust_is_of_the_text_in_its_folder(store: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "a" / "recipe.yaml", tmp_path / "b" / "recipe.yaml"
    assert not is_trusted(TEXT, here)
    assert remember(TEXT, here) == sha256(TEXT)
    assert is_trusted(TEXT, here)
    assert is_trusted(TEXT, here.with_name("renamed.yaml"))
    assert not is_trusted(TEXT + b"\n", here)
    assert not is_trusted(TEXT, there)  # its imports are other files


def test_trust_of_a_link_is_not_of_what_it_points_to(store: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "r.yaml").write_bytes(TEXT)
    (tmp_path / "r.yaml").symlink_to("a/r.yaml")
    (tmp_path / "same").symlink_to("a")
    remember(TEXT, tmp_path / "a" / "r.yaml")
    assert is_trusted(TEXT, tmp_path / "same" / "r.yaml")
    assert not is_trusted(TEXT, tmp_path / "r.yaml")  # there its imports are other files


def test_store_is_private_and_holds_a_line_for_each(store: Path, tmp_path: Path) -> None:
    for _ in range(2):
        remember(TEXT, tmp_path / "r.yaml")
    remember(TEXT, tmp_path / "b" / "r.yaml")
    first, second = store.read_text("utf-8").splitlines()
    assert first.split(" ")[::2] == [sha256(TEXT), str(tmp_path / "r.yaml")]
    assert second.endswith("b/r.yaml")
    assert store.stat().st_mode & 0o777 == 0o600
    assert store.parent.stat().st_mode & 0o777 == 0o700


def test_damaged_lines_count_for_nothing(store: Path, tmp_path: Path) -> None:
    remember(TEXT, tmp_path / "r.yaml")
    whole = store.read_bytes()
    store.write_bytes(b"garbage\n\x00\xff\n\n" + b"0" * 63 + b" now /x\n" + whole + whole[:70])
    assert is_trusted(TEXT, tmp_path / "r.yaml")
    assert len(trusted_recipes()) == 1
    remember(b"more", tmp_path / "more.yaml")  # does not grow onto the line that was cut off
    assert [each.path.name for each in trusted_recipes()] == ["r.yaml", "more.yaml"]


def test_many_at_once_lose_nothing(store: Path, tmp_path: Path) -> None:
    def work(worker: int) -> None:
        for number in range(20):
            path = tmp_path / f"{worker}-{number}.yaml"
            remember(str(path).encode(), path)
            if number % 4 == 0:
                forget(path)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert len(trusted_recipes()) == 4 * 15
    assert len(store.read_bytes().splitlines()) == 4 * 15


def test_forget_removes_all_versions_of_one_file(store: Path, tmp_path: Path) -> None:
    for text in (b"1", b"2"):
        remember(text, tmp_path / "r.yaml")
    remember(b"1", tmp_path / "other" / "r.yaml")
    assert forget(tmp_path / "r.yaml") == 2
    assert forget(tmp_path / "r.yaml") == 0
    assert not is_trusted(b"2", tmp_path / "r.yaml")
    assert is_trusted(b"1", tmp_path / "other" / "r.yaml")
    assert store.stat().st_mode & 0o777 == 0o600
    assert {file.name for file in store.parent.iterdir()} == {"trusted", "lock"}


def test_names_that_are_not_utf8_are_kept(store: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff r.yaml")
    remember(TEXT, path)
    assert trusted_recipes()[0].path == path
    with pytest.raises(TrustStoreError, match="line break"):
        remember(TEXT, tmp_path / "a\nb.yaml")


def test_store_that_others_may_write_is_refused(store: Path, tmp_path: Path) -> None:
    remember(TEXT, tmp_path / "r.yaml")
    store.chmod(0o620)
    with pytest.raises(TrustStoreError, match=r"writable by you alone.*chmod 600"):
        is_trusted(TEXT, tmp_path / "r.yaml")


def test_store_that_cannot_be_written_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(TrustStoreError, match="cannot be read: Not a directory"):
        remember(TEXT, tmp_path / "r.yaml")
    (tmp_path / "state" / "tunecli" / "trusted").mkdir(parents=True)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with pytest.raises(TrustStoreError, match=r"Is a directory.*--trust"):
        is_trusted(TEXT, tmp_path / "r.yaml")


def test_full_disk_is_a_sentence(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(TEXT, tmp_path / "r.yaml")
    monkeypatch.setattr(os, "write", lambda descriptor, line: 10)
    with pytest.raises(TrustStoreError, match="cannot be written: No space left"):
        remember(b"more", tmp_path / "r.yaml")


def test_relative_state_folder_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store_path() == tmp_path / ".local" / "state" / "tunecli" / "trusted"
