import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Run
from tunecli.data.load import load_splits
from tunecli.models.build import build_model
from tunecli.recipe import load_recipe

ASYNCHRONOUS = "training.algorithm=asynchronous"


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        (ASYNCHRONOUS, "training.asynchronous={num_workers: 3}"),
        (ASYNCHRONOUS, "training.asynchronous={engine: processes, num_workers: 2}"),
    ],
    ids=["centralized", "simulated", "processes"],
)
def test_train_keeps_weights_that_give_the_reported_test_result(
    run: Run, quick: Path, overrides: tuple[str, ...]
) -> None:
    options = ("--seed", 3, "--test", "--run", "r", "--json")
    done = run("train", quick, "learning_rate=0.05", *overrides, *options)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    recipe = load_recipe(quick)
    test = load_splits(recipe.data, ("test",))
    split = test.in_memory("test")
    model = build_model(recipe.model, input_shape=test.input_shape, num_classes=10, seed=0)
    model.load_state_dict(torch.load("r/model.pt", weights_only=True))
    right = model(split.inputs).argmax(dim=1) == split.targets
    assert right.double().mean().item() == result["test"]["accuracy"]
    assert result["seed"] == 3
    stages = [[stage["batch_size"], stage["steps"]] for stage in result["schedule"]]
    if overrides and "processes" in overrides[-1]:  # the first of a stage may be of the one before
        assert sum(count for _, count in result["batch_sizes"]) == sum(n for _, n in stages)
    else:
        assert result["batch_sizes"] == stages


def test_asynchronous_training_says_what_it_measured(run: Run, quick: Path) -> None:
    keys = ("learning_rate=0.05", ASYNCHRONOUS, "training.asynchronous={num_workers: 3}")
    done = run("train", quick, *keys, "--run", "r", "--json")
    result = json.loads(done.stdout)
    facts = result["asynchronous"]
    assert sum(facts["delays"].values()) == result["spent"]["updates"]
    assert max(map(int, facts["delays"])) == 2
    assert facts["learning_rate"] == result["schedule"][0]["learning_rate"] < 0.05
    again = run("train", "--resume", "r")
    assert "2 at most, measured over" in again.stdout


def test_train_leaves_the_test_set_alone_unless_asked(run: Run, quick: Path) -> None:
    done = run("train", quick, "learning_rate=0.05", "--json")
    assert json.loads(done.stdout)["test"] is None


def test_train_without_a_rate_makes_no_folder(run: Run, quick: Path) -> None:
    done = run("train", quick)
    assert done.exit_code == 2
    assert "learning_rate is missing; add learning_rate=" in done.stderr
    assert not Path("runs").exists()


def test_train_that_diverges_says_so(run: Run, quick: Path) -> None:
    done = run("train", quick, "learning_rate=1e9", "--test")
    assert done.exit_code == 5
    assert "Diverged" in done.stdout


def test_finished_training_is_shown_again(run: Run, quick: Path) -> None:
    first = run("train", quick, "learning_rate=0.05", "--run", "r", "--json")
    again = run("train", "--resume", "r", "--json")
    assert again.exit_code == 0
    assert json.loads(again.stdout) == json.loads(first.stdout)


def test_killed_server_of_real_workers_goes_on_where_its_checkpoint_is(run: Run) -> None:
    section = "training.asynchronous={engine: processes, num_workers: 2, delay: {name: constant, "
    keys = [section + "delay: 1}}", "model.hidden=[8]", "schedule.epochs=30"]
    command = ["train", "digits-asynchronous", "learning_rate=0.4", *keys, "--run", "r"]
    server = subprocess.Popen(
        [sys.executable, "-m", "tunecli", *command, "training.checkpoint_every_s=0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    checkpoint, end = Path("r/training/checkpoint.pt"), time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < end:
        time.sleep(0.02)
    server.send_signal(signal.SIGKILL)
    server.wait()
    assert not Path("r/result.json").exists()
    done = run("train", "--resume", "r", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert sum(result["asynchronous"]["delays"].values()) == result["spent"]["updates"] == 4711
    assert "went on from update" in Path("r/training/log.txt").read_text(encoding="utf-8")


def test_what_own_code_prints_does_not_get_into_the_result(run: Run, quick: Path) -> None:
    Path("nets.py").write_text(
        "from torch import nn\nprint('imported')\n\n\ndef build():\n    print('built')\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n",
        encoding="utf-8",
    )
    own = "model={import: 'nets.py:build'}"
    done = run("train", quick, own, "learning_rate=0.05", "--trust", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["state"] == "complete"
    assert "built" in done.stderr
