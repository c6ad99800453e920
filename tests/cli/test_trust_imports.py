"""Every place of a recipe that can import, by its side effect: without trust there is none."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run

# the import leaves one mark, the call another
MINE = """\
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).parent
(HERE / "imported").touch()


def model():
    (HERE / "called").touch()
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def data():
    (HERE / "called").touch()
    pair = torch.randn(64, 8), torch.arange(64) % 2
    return {"train": pair, "validation": pair, "test": pair}


def loss():
    (HERE / "called").touch()
    return nn.CrossEntropyLoss()


def augmentation():
    (HERE / "called").touch()
    return lambda inputs: inputs


def optimizer(parameters, lr):
    (HERE / "called").touch()
    return torch.optim.SGD(parameters, lr=lr)


def metric():
    (HERE / "called").touch()
    return lambda outputs, targets: float((outputs.argmax(1) == targets).float().mean())
"""
PLACES = {
    "model": "model: {import: 'mine:model'}",
    "model by file": "model: {import: 'mine.py:model'}",
    "data": "data: {import: 'mine:data', samples: 64, num_classes: 2}",
    "data of unknown size": "data: {import: 'mine:data'}",
    "loss": "loss: {import: 'mine:loss'}",
    "augmentation": "augmentation: {import: 'mine:augmentation'}",
    "optimizer": "optimizer: {import: 'mine:optimizer'}",
    "metrics.f1": "metrics: {f1: {import: 'mine:metric'}}",
}
COMMANDS = {
    "validate": (),
    "show": (),
    "schedule": ("--learning-rate", 0.1),
    "search": (),
    "train": ("learning_rate=0.05",),
}


@pytest.fixture(params=PLACES)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Path]]:
    """The key that names code, and the recipe."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    lines = {
        "model": "model: {name: logistic}",
        "data": "data: {name: digits}",
        request.param.split()[0]: PLACES[request.param],
    }
    path = tmp_path / "project" / "own.yaml"
    path.parent.mkdir()
    path.with_name("mine.py").write_text(MINE, "utf-8")
    metric = "f1" if "f1" in PLACES[request.param] else "accuracy"
    path.write_text(
        "version: 1\nname: own\n" + "\n".join(lines.values()) + "\n"
        "training: {evaluations: 1}\n"
        "schedule: {stages: 1, batch_size: 32, steps: 4}\n"
        f"search: {{grid: [0.05, 0.1], test_seeds: [7], metric: {metric}}}\n",
        "utf-8",
    )
    yield request.param.split()[0], path
    sys.modules.pop("mine", None)


def marks(path: Path) -> set[str]:
    return {mark for mark in ("imported", "called", "__pycache__") if path.with_name(mark).exists()}


def test_nothing_is_imported_without_trust(
    run: Run, place: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, path = place
    for command, options in COMMANDS.items():
        done = run(command, path, *options)
        if command in ("search", "train"):
            assert done.exit_code == 3, done.output
            assert f"{key}: mine" in done.stderr
        else:
            assert done.exit_code == 0, done.output
    monkeypatch.setattr("tunecli.recipe.catalog._CHECKOUT", path.parent)
    monkeypatch.setattr("tunecli.recipe.catalog._PACKAGED", path.parent)
    (listed,) = json.loads(run("recipes", "--json").stdout)
    assert listed["name"] == "own"
    assert not marks(path)
    assert "mine" not in sys.modules
    assert str(path.parent) not in sys.path


def test_it_is_imported_with_trust(run: Run, place: tuple[str, Path]) -> None:
    _, path = place
    done = run("train", path, "learning_rate=0.05", "--trust")
    assert done.exit_code == 0, done.output
    assert {"imported", "called"} <= marks(path)
