from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tunecli.cli.app import app

# rates of which the middle one is best, trained in a fraction of a second each
QUICK = (
    "version: 1\n"
    "name: quick\n"
    "model: {name: logistic}\n"
    "data: {name: digits}\n"
    "training: {evaluations: 2}\n"
    "schedule: {stages: 2, batch_size: 32, epochs: 2}\n"
    "search:\n"
    "  strategy: paper\n"
    "  grid: [0.001, 0.05, 1.0, 1.0e+9]\n"
    "  test_seeds: [7, 8]\n"
)
Run = Callable[..., Result]


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    path = tmp_path / "quick.yaml"
    path.write_text(QUICK, encoding="utf-8")
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke
