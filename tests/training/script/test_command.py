import json
from pathlib import Path
from typing import Any

import pytest

from tunecli.errors import RunError
from tunecli.recipe.script import PLACEHOLDERS
from tunecli.schedule import Schedule, Stage
from tunecli.training.script.command import ScriptCall

SCHEDULE = Schedule((Stage(0.1, 0.9, 0.5, 64, 10), Stage(1e-05, 0.95, 0.5, 32, 20)))


def call(folder: Path = Path("/runs/trial 1"), **changes: Any) -> ScriptCall:
    given: dict[str, Any] = {"command": ("train",), "seed": 7, "phase": "search", **changes}
    return ScriptCall(schedule=SCHEDULE, folder=folder, **given)


def test_every_placeholder_has_a_value() -> None:
    values = call().placeholders("/c.pt")
    assert list(values) == list(PLACEHOLDERS)
    assert values["learning_rates"] == "0.1,1e-05"
    assert values["momenta"] == "0.9,0.95"
    assert values["discounts"] == "0.5,0.5"
    assert values["batch_sizes"] == "64,32"
    assert values["stage_steps"] == "10,20"
    assert (values["batch_size"], values["steps"], values["samples"]) == ("64", "30", "1280")
    assert (values["seed"], values["phase"], values["checkpoint"]) == ("7", "search", "/c.pt")


def test_values_stay_one_argument_each() -> None:
    given = call(command=("train", "--out={folder}", "a;b", "{checkpoint}", "{{{seed}}}"))
    assert given.arguments() == ["train", "--out=/runs/trial 1", "a;b", "", "{7}"]


def test_environment_has_every_placeholder_and_what_was_there() -> None:
    environment = call().environment(base={"HOME": "/home/x", "TUNECLI_SEED": "old"})
    assert environment["HOME"] == "/home/x"
    assert environment["PYTHONUNBUFFERED"] == "1"
    for name, value in call().placeholders().items():
        assert environment[f"TUNECLI_{name.upper()}"] == value
    assert "CUDA_VISIBLE_DEVICES" not in environment
    assert call().environment(base={"PYTHONUNBUFFERED": ""})["PYTHONUNBUFFERED"] == ""


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [("cuda:1", None, "1"), ("cuda:1", "4,6", "6"), ("cuda", "4,6", "4"), ("cuda:0", "", "0")],
)
def test_script_sees_the_device_that_it_is_given(
    device: str, visible: str | None, expected: str
) -> None:
    base = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    environment = call(device=device).environment(base=base)
    assert environment["CUDA_VISIBLE_DEVICES"] == expected
    assert environment["TUNECLI_DEVICE"] == "cuda:0"


def test_schedule_file_has_the_stages(tmp_path: Path) -> None:
    given = call(tmp_path, weight_decay=1e-4)
    given.write_schedule()
    content = json.loads(given.schedule_file.read_text())
    assert Schedule.from_list(content.pop("stages")) == SCHEDULE
    assert content == {
        "learning_rate": 0.1,
        "seed": 7,
        "phase": "search",
        "weight_decay": 1e-4,
        "steps": 30,
        "samples": 1280,
    }


def test_schedule_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"schedule\.json cannot be written"):
        call(tmp_path / "missing").write_schedule()
