import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunecli.errors import InvalidValueError
from tunecli.recipe.delays import LARGEST_DELAY, read_delays

RESULT = {
    "format": 1,
    "recipe": "digits",
    "asynchronous": {"mean_delay": 2.5, "delays": {"2": 3, "3": 3}},
}


def written(folder: Path, text: str, name: str = "delays.json") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "[0, 0, 3, 3]",
        "[0, 0, 3, 3, 0]",
        '{"2": 3, "3": 3}',
        '{"3": 3, "2": 3, "7": 0}',
        json.dumps(RESULT),
        json.dumps(RESULT, indent="\t"),
        "[0.0, 0.0, 3.0, 3.0]",
        '{"kind": "histogram", "counts": [0, 0, 3.0, 3.0], "since": {"0": 1}}',
        '{"learning_rate": 0.1, "delay": {"kind": "histogram", "counts": [0, 0, 3.0, 3.0]}}',
        '[{"delay": {"counts": [0, 0, 3.0, 3.0]}, "momentum": 0.0}]',
        "2,3\n3,3\n",
        "delay,count\n2,3\n3,3",
        "\ufeffdelay, count\r\n\r\n3 , 3\r\n2 , 3\r\n",
    ],
    ids=[
        "list",
        "padded",
        "object",
        "sparse",
        "result",
        "tabs",
        "floats",
        "delay.json",
        "schedule",
        "stability",
        "csv",
        "header",
        "windows",
    ],
)
def test_delays_read_the_same_from_every_form(tmp_path: Path, text: str) -> None:
    assert read_delays(written(tmp_path, text)).probabilities() == (0, 0, 0.5, 0.5)


@given(st.dictionaries(st.integers(0, 60), st.integers(1, 2**53), min_size=1, max_size=20))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_delays_written_as_a_list_an_object_or_lines_are_one(
    tmp_path: Path, counts: dict[int, int]
) -> None:
    dense = [counts.get(delay, 0) for delay in range(max(counts) + 1)]
    lines = "\n".join(f"{delay},{count}" for delay, count in counts.items())
    found = [
        read_delays(written(tmp_path, text))
        for text in (json.dumps(dense), json.dumps(counts), lines)
    ]
    assert found[0] == found[1] == found[2]
    assert found[0].counts == tuple(map(float, dense))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("[]", "no update is counted"),
        ("{}", "no update is counted"),
        ("[0, 0]", "no update is counted"),
        ("delay,count\n", "no update is counted"),
        ("[1,\n 2,\n -3]", "delays.json:3: the count of delay 2 must be a whole number in"),
        ("[1, 2.5]", "delays.json:1: the count of delay 1 must be a whole number"),
        ("[1, NaN]", "got NaN"),
        ("[1, Infinity]", "got Infinity"),
        ("[1, true]", "got true"),
        ("[1, null]", "got null"),
        ("[1, [2]]", "got [2]"),
        (f"[1, {10**30}]", "must be a whole number in [0, 2^53] but got 1000000"),
        ('{\n"1": 2,\n"x": 3}', "delays.json:3: a delay must be a whole number in"),
        ('{"-1": 2}', "a delay must be a whole number in [0, 1,000,000] but got -1"),
        ('{"1.5": 2}', "got 1.5"),
        (f'{{"{LARGEST_DELAY + 1}": 2}}', "got 1000001; count it in updates"),
        ('{"3": 1, "3": 2}', "3 stands there twice"),
        ('{"3": 1, "03": 2}', "delay 3 stands there twice"),
        ("[1, 2", "delays.json:1:6: not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[" + "9" * 5000 + "]", "not valid JSON"),
        ('{"recipe": "x", "format": 1}', "it has no asynchronous.delays"),
        ('{"asynchronous": {"delays": null}}', "it has no asynchronous.delays"),
        ('{"counts": {"1": 2}}', "counts must be a list of counts, whose index is the delay, but"),
        ('{"delay": {"kind": "constant"}}', "delay.counts must be a list of counts"),
        ('{"counts":\n[1,\n2.5]}', "delays.json:3: the count of delay 1 must be a whole number"),
        ('{"delay": {"counts":\n[1,\n-1]}}', "delays.json:3: the count of delay 1 must be"),
        ("1,2\n3\n", "delays.json:2: a line must be delay,count but got 3"),
        ("1,2\n2,-1\n", "delays.json:2: the count of delay 2"),
        ("1,2\n2,nan\n", "delays.json:2: the count of delay 2 must be a whole number"),
        ("1,2\nx,1\n", "delays.json:2: a delay must be"),
        ("nan,2\n", "delays.json:1: a delay must be"),
        ("1,2\n1,3\n", "delays.json:2: delay 1 stands there twice"),
        ("1,\n", "but got nothing"),
        ("1_000,2\n", "got 1_000"),
    ],
)
def test_delays_that_cannot_be_are_refused_by_file_and_line(
    tmp_path: Path, text: str, words: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InvalidValueError) as refused:
        read_delays(path)
    assert words in str(refused.value)
    assert str(refused.value).startswith(str(path))


def test_delays_of_a_file_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "none.json", "there is no such file"),
        (tmp_path, "this is a folder; name the result.json in it"),
        (tmp_path / "a\0b", "cannot be read"),
    ):
        with pytest.raises(InvalidValueError, match=words):
            read_delays(path)
    (tmp_path / "bytes").write_bytes(b"1,2\n\xff,3\n")
    with pytest.raises(InvalidValueError, match="bytes:2: not UTF-8"):
        read_delays(tmp_path / "bytes")
