from pathlib import Path

import pytest

from tunecli.training.script.log import BoundedLog


def used(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def test_log_that_fits_is_kept_whole(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "log", 1000)
    for number in range(90):
        log.write(b"line %3d\n" % number)
    log.close()
    log.close()
    assert (tmp_path / "log").read_bytes() == b"".join(b"line %3d\n" % n for n in range(90))
    assert [file.name for file in tmp_path.iterdir()] == ["log"]


@pytest.mark.parametrize("piece", [1, 7, 100, 10_000])
def test_log_that_is_too_long_keeps_its_beginning_and_its_end(tmp_path: Path, piece: int) -> None:
    data = b"".join(b"%06d\n" % number for number in range(3000))
    log = BoundedLog(tmp_path / "log", 1000)
    for start in range(0, len(data), piece):
        log.write(data[start : start + piece])
        assert used(tmp_path) <= 1000
    log.close()
    kept = (tmp_path / "log").read_bytes()
    head, _, rest = kept.partition(b"\n[")
    note, _, tail = rest.partition(b"]\n")
    assert data.startswith(head)
    assert len(head) >= 499
    assert data.endswith(tail)
    assert len(tail) >= 250
    assert f"{log.dropped:,} bytes are not kept" in note.decode()
    assert log.dropped + 500 + len(tail) == len(data)


def test_log_goes_on_after_a_resume_and_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "log"
    first = BoundedLog(path, 1000)
    first.write(b"a" * 600 + b"b" * 300)
    for file in (first._head, first._tail):  # all that a kill does
        assert file is not None
        file.close()
    second = BoundedLog(path, 1000)
    assert path.read_bytes() == b"a" * 500
    second.write(b"c" * 100)
    second.close()
    assert path.read_bytes() == b"a" * 600 + b"b" * 300 + b"c" * 100
    for _ in range(10):
        again = BoundedLog(path, 1000)
        again.write(b"d" * 200)
        again.close()
        assert used(tmp_path) <= 1100
    assert path.read_bytes().startswith(b"a" * 500)
    assert path.read_bytes().endswith(b"d" * 200)


def test_log_that_cannot_be_written_drops(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "missing" / "log", 1000)
    log.write(b"x" * 3000)
    log.close()
    assert log.last_lines(1)[0].endswith("…")


def test_last_lines_are_fit_for_a_terminal(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "log", 1000)
    log.write(
        b"one\r\n\n  5%\r 100%\n\x1b[31mred\x1b[0m \x07\xff\x00 \xc3\xa9\n\x1b]0;title\x07t\n"
    )
    log.write(b"y" * 1000)
    lines = log.last_lines(5)
    assert lines[:4] == ["one", " 100%", "red  \ufffd  é", "t"]
    assert lines[4] == "y" * 199 + "…"
    assert all(line.isprintable() for line in lines)
    log.close()


def test_line_of_ours_begins_on_a_line_of_its_own(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "log", 1000)
    log.line("first")
    log.write(b"no end")
    log.line("second")
    assert (tmp_path / "log").read_text() == "first\nno end\nsecond\n"
    log.close()
