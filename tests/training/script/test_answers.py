import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunecli.errors import RunError
from tunecli.training.script.answers import (
    MAX_LINE_BYTES,
    AnswerFile,
    AnswerLines,
    BadAnswerError,
    read_answer,
)


def problem(line: str) -> str:
    with pytest.raises(BadAnswerError) as caught:
        read_answer(line.encode())
    return str(caught.value)


def test_answer_has_what_the_line_says() -> None:
    answer = read_answer(
        b' {"step": 3, "samples": 12, "value": 1, "train_loss": 2.5, "test": 0.5, '
        b'"checkpoint": "last.pt", "diverged": false, "epoch": null}\r'
    )
    assert answer is not None
    assert (answer.step, answer.samples, answer.value, answer.train_loss) == (3, 12, 1.0, 2.5)
    assert (answer.test, answer.checkpoint, answer.diverged) == (0.5, "last.pt", False)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"{}",
        b'{"epoch": 1}',
        b"[1]",
        b"epoch 1",
        b"{'value': 0.5}",
        b'{"value": 0.5',
        b'{"value": 0.5} done',
        b'{"a": ' + b"[" * 60_000,
        b"\xff\xfe{\x00",
        b'{"nested": {"value": "x"}}',
    ],
)
def test_other_lines_are_log(line: bytes) -> None:
    assert read_answer(line) is None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"value": "0.5"}', 'value must be a number but got "0.5"; print it without quotes'),
        ('{"value": null}', "value must be a number but got null; print NaN"),
        ('{"value": true}', "value must be a number but got true"),
        ('{"value": [0.5]}', "value must be a number but got [0.5]"),
        ('{"train_loss": "nan"}', 'train_loss must be a number but got "nan"'),
        ('{"step": 1.0}', "step must be a whole number ≥ 0 but got 1.0"),
        ('{"step": -1}', "step must be a whole number ≥ 0 but got -1"),
        ('{"step": NaN}', "step must be a whole number ≥ 0 but got NaN"),
        ('{"samples": 1' + "0" * 30 + "}", "samples must be a whole number"),
        ('{"checkpoint": ""}', "checkpoint must be a path"),
        ('{"checkpoint": 3}', "checkpoint must be a path"),
        ('{"diverged": "yes"}', "diverged must be true or false"),
    ],
)
def test_bad_answer_tells_the_line_and_what_is_wrong(line: str, says: str) -> None:
    text = problem(line)
    assert says in text
    assert line[:30] in text


def test_bad_answer_is_shown_short_and_printable() -> None:
    text = problem('{"value": "' + "\u200b\x7f[31m" * 1000 + '"}')
    assert len(text) < 500
    assert text.isprintable()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("NaN", math.nan),
        ("Infinity", math.inf),
        ("-Infinity", -math.inf),
        ("1e999", math.inf),
        ("1" + "0" * 400, math.inf),
    ],
)
def test_value_may_be_what_json_forbids(number: str, expected: float) -> None:
    answer = read_answer(f'{{"value": {number}}}'.encode())
    assert answer is not None
    assert answer.value == pytest.approx(expected, nan_ok=True)


LINES = st.lists(
    st.sampled_from(
        [
            *(b'{"value": 1}', b' {"step": 2}', b"log", b"", b'x {"value": 3}', b"{}", b"\xff{"),
            b'{"value": 1' + b" " * MAX_LINE_BYTES + b"}",
        ]
    ),
    max_size=8,
)


@given(LINES, st.lists(st.integers(1, 40), min_size=1, max_size=6), st.booleans())
def test_answers_do_not_depend_on_where_the_stream_is_cut(
    lines: list[bytes], cuts: list[int], ended: bool
) -> None:
    data = b"\n".join(lines) + (b"\n" if ended else b"")
    reader, found = AnswerLines(), []
    while data:
        size = cuts[0] if len(data) < 5000 else 4000
        cuts = [*cuts[1:], cuts[0]]
        found += reader.feed(data[:size])
        data = data[size:]
    found += reader.finish()
    expected = [x for x in lines if x.strip()[:1] == b"{" and len(x) <= MAX_LINE_BYTES]
    answers = [x for x in map(read_answer, found) if x is not None]
    assert answers == [x for x in map(read_answer, expected) if x is not None]


def test_endless_line_is_not_kept() -> None:
    lines = AnswerLines()
    for _ in range(100):
        assert lines.feed(b'{"value": 1, "x": "' + b"x" * 100_000) == []
        assert len(lines._kept) <= MAX_LINE_BYTES
    assert lines.feed(b'\n{"value": 2}\n') == [b'{"value": 2}']


def test_file_of_answers_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    follower = AnswerFile(path)
    assert follower.poll() == []
    with path.open("w") as file:
        file.write('{"value": 1}\n{"val')
        file.flush()
        assert follower.poll() == [b'{"value": 1}']
        file.write('ue": 2}\nlog\n{"value": 3}')
        file.flush()
        assert follower.poll() == [b'{"value": 2}']
        assert follower.poll() == []
    assert follower.poll(final=True) == [b'{"value": 3}']
    assert follower.poll(final=True) == []


@pytest.mark.parametrize("end", ["\n", ""])
def test_file_that_is_written_anew_is_read_anew(tmp_path: Path, end: str) -> None:
    path = tmp_path / "answers"
    follower, found = AnswerFile(path), []
    for value in (1, 2, 33, 4):
        path.write_text(json.dumps({"value": value}) + end)
        found += follower.poll()
    found += follower.poll(final=True)
    assert found == [b'{"value": %d}' % value for value in ((1, 2, 33, 4) if end else (4,))]


def test_file_that_is_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "answers").mkdir()
    with pytest.raises(RunError, match="cannot be read"):
        AnswerFile(tmp_path / "answers").poll()
