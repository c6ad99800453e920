from pathlib import Path

import pytest

from tunecli.errors import RunError
from tunecli.search.compare.log import StudyLog, TrialLine


def line(number: int) -> TrialLine:
    return TrialLine(
        number=number,
        parameters={"learning_rate": 0.1 + number / 3},
        repeat=0,
        seed=0,
        state="complete",
        reason="",
        value=0.9,
        baseline=0.1,
        test=0.8,
        updates=10,
        samples=640,
        seconds=0.1,
        curve=((0.5, 0.7), (1.0, 0.9)),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tpe" / "0" / "trials.jsonl"


def test_log_gives_back_what_was_appended(path: Path) -> None:
    log = StudyLog(path)
    assert log.lines == []
    for number in range(3):
        log.append(line(number))
    assert log.lines == StudyLog(path).lines == [line(0), line(1), line(2)]


@pytest.mark.parametrize("kept", [1, 20, -2, -1])
def test_log_drops_a_torn_last_line(path: Path, kept: int) -> None:
    log = StudyLog(path)
    log.append(line(0))
    whole = path.read_bytes()
    log.append(line(1))
    second = path.read_bytes()[len(whole) :]
    path.write_bytes(whole + second[:kept])
    again = StudyLog(path)
    assert again.lines == [line(0)]
    again.append(line(1))
    assert StudyLog(path).lines == [line(0), line(1)]
    assert path.read_bytes() == whole + second


@pytest.mark.parametrize(
    "damage", [b"\0" * 40 + b"\n", b"{}\n", b"null\n", b'{"number": 1}\n', b"\xff\n"]
)
def test_log_ends_at_the_first_line_that_is_none(path: Path, damage: bytes) -> None:
    log = StudyLog(path)
    log.append(line(0))
    whole = path.read_bytes()
    log.append(line(1))
    path.write_bytes(whole + damage + path.read_bytes()[len(whole) :])
    assert StudyLog(path).lines == [line(0)]
    assert path.read_bytes() == whole


def test_log_that_starts_again_sets_the_old_one_aside(path: Path) -> None:
    log = StudyLog(path)
    log.append(line(0))
    old = path.read_bytes()
    log.start_again()
    log.append(line(0))
    assert StudyLog(path).lines == [line(0)]
    assert path.with_name("trials.jsonl.set-aside").read_bytes() == old


def test_log_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be read or written"):
        StudyLog(tmp_path / "file" / "trials.jsonl")
