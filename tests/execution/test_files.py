import errno
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO, NoReturn

import pytest

from tunecli.errors import RunError
from tunecli.execution import files as files_module
from tunecli.execution import read_json, write_aside, write_json, write_text


def full_disk(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_write_aside_makes_the_new_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"first", b"second, longer", b""):
        write_aside(path, lambda file, content=content: file.write(content))  # type: ignore[misc]
        assert path.read_bytes() == content
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("existed", [True, False])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_exception_in_the_middle_leaves_the_old_file_alone(
    tmp_path: Path, error: type[BaseException], existed: bool
) -> None:
    path = tmp_path / "file"
    if existed:
        path.write_text("old")

    def write(file: BinaryIO) -> None:
        file.write(b"half of the ne")
        raise error

    with pytest.raises(error):
        write_aside(path, write)
    assert [p.read_text() for p in tmp_path.iterdir()] == (["old"] if existed else [])


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(os if call == "fsync" else Path, call, full_disk)
    with pytest.raises(RunError, match=r"file cannot be written: No space left on device; free"):
        write_text(path, "new")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_file_is_on_the_disk_before_it_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, bytes]] = []
    fsync, replace, path = os.fsync, Path.replace, tmp_path / "file"

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        events.append(("fsync", Path(f"/proc/self/fd/{descriptor}").read_bytes()))

    def moved(aside: Path, target: Path) -> Path:
        events.append(("replace", aside.read_bytes()))
        return replace(aside, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", moved)
    write_aside(path, lambda file: file.write(b"new"))
    assert events == [("fsync", b"new"), ("replace", b"new")]


def test_kill_in_the_middle_leaves_the_old_file_and_a_remain_that_the_next_write_replaces(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    program = (
        "import os, pathlib, signal; from tunecli.execution.files import write_aside\n"
        "def write(file):\n"
        "    file.write(b'half of it'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"write_aside(pathlib.Path({str(path)!r}), write)"
    )
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", program], check=False)
        assert done.returncode == -signal.SIGKILL
        assert path.read_text() == "old"
        assert {p.name for p in tmp_path.iterdir()} == {"file", ".file.part"}
    write_text(path, "new")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["new"]


def test_folder_that_is_missing_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"file cannot be written: No such file or directory; free"):
        write_text(tmp_path / "missing" / "file", "text")


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [1.0, -math.inf]}])
def test_json_without_finite_numbers_is_refused_before_anything_is_written(
    tmp_path: Path, value: object
) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, value)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_json_is_read_back_as_it_was(tmp_path: Path) -> None:
    value = {"α₁": 0.1, "values": [1, 2.5e-300, None, True], "name": "ü"}
    write_json(tmp_path / "file.json", value)
    assert read_json(tmp_path / "file.json") == value
    assert "α₁" in (tmp_path / "file.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"file\.json cannot be read: No such file or directory"),
        (b"{", r"file\.json is not valid JSON \(.*\); was it edited\?"),
        (b"\xff\xfe", r"file\.json is not valid JSON \(.*\); was it edited\?"),
    ],
)
def test_json_that_cannot_be_read_is_a_sentence(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(RunError, match=message):
        read_json(tmp_path / "file.json")


def test_file_aside_lies_in_the_same_folder() -> None:
    """A move between file systems would not be atomic."""
    path = Path("runs/a/result.json")
    assert files_module.aside_of(path).parent == path.parent
    assert files_module.aside_of(path).name.startswith(".")


def test_what_is_no_file_is_written_to_and_stays_what_it_is(tmp_path: Path) -> None:
    """As root, moving a file over /dev/null would take it from everybody."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_aside(pipe, lambda file: file.write(b"through"))
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert pipe.is_fifo()
