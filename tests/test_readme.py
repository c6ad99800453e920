"""What README.md shows runs as it stands there."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_python_example_runs_and_finds_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    rate, reason, trials = capsys.readouterr().out.split()
    assert (rate, reason) == ("0.4", "no_improvement")
    assert int(trials) <= 4
