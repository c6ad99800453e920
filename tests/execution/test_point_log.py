import json
from pathlib import Path

import pytest

from tunecli.errors import RunError
from tunecli.execution.point_log import PointLog


def test_point_log_drops_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "measured.jsonl"
    PointLog(path).append({"delay": 1, "momentum": 0.5})
    with path.open("a", encoding="utf-8") as file:
        file.write('{"delay": 2, "mom')
    log = PointLog(path)
    assert set(log.points) == {(1, 0.5)}
    log.append({"delay": 2, "momentum": 0.0})
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["delay"] for line in lines] == [1, 2]


def test_point_log_with_a_damaged_line_says_so(tmp_path: Path) -> None:
    (tmp_path / "measured.jsonl").write_text("nonsense\n", encoding="utf-8")
    with pytest.raises(RunError, match="remove the damaged line"):
        PointLog(tmp_path / "measured.jsonl")
