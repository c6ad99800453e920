"""`--download`, and that without it no command reaches the network."""

import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

HUB = ("data={name: huggingface, dataset: nobody/no-such-data, inputs: [image], target: label}",)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the network, all of which is refused; sockets of this machine work."""
    tried: list[str] = []
    connect = socket.socket.connect

    def refuse_connect(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX:
            return connect(self, address)
        tried.append(str(address))
        raise OSError("the network is refused")

    def refuse_name(host: Any, *_: object, **__: object) -> Any:
        tried.append(str(host))
        raise socket.gaierror("the network is refused")

    monkeypatch.setattr(socket.socket, "connect", refuse_connect)
    monkeypatch.setattr(socket, "getaddrinfo", refuse_name)
    return tried


@pytest.mark.parametrize("command", ["search", "train"])
def test_named_data_are_not_fetched_unless_asked(
    run: Run, quick: Path, asked: list[str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", quick.parent / "cache")
    keys = ["schedule.epochs=null", "schedule.steps=5", "learning_rate=0.05"]
    done = run(command, quick, *HUB, *keys)
    assert done.exit_code == 2, done.output
    assert "cannot be loaded" in done.stderr
    assert "fetch it once with --download" in done.stderr
    assert asked == []


def test_named_data_are_asked_for_with_the_option(
    run: Run, quick: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the test above could not tell that nothing was asked."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", quick.parent / "cache")
    monkeypatch.setattr(time, "sleep", lambda _: None)  # between the package's attempts
    done = run("train", quick, "learning_rate=0.05", *HUB, "--download")
    assert done.exit_code == 1, done.output
    assert "'nobody/no-such-data' cannot be fetched" in done.stderr
    assert asked
    assert not Path("runs").exists()


@pytest.mark.parametrize("option", [(), ("--download",)])
def test_training_on_the_digits_asks_nothing_of_the_network(
    run: Run, quick: Path, asked: list[str], option: tuple[str, ...]
) -> None:
    done = run("train", quick, "learning_rate=0.05", *option)
    assert done.exit_code == 0, done.output
    note = "nothing to download: the data (digits) are on this machine"
    assert (note in done.stderr) == bool(option)
    assert asked == []


@pytest.mark.parametrize(
    ("data", "package", "extra"),
    [
        (HUB[0], "datasets", "hf"),
        ("data={name: torchvision, dataset: MNIST, path: mnist}", "torchvision", "vision"),
    ],
)
def test_package_that_would_fetch_and_is_missing_is_named(
    run: Run,
    quick: Path,
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    data: str,
    package: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    done = run("search", quick, data, "--download")
    assert done.exit_code == 2, done.output
    assert f"needs the package {package}, which is not installed" in done.stderr
    assert f'pip install "tunecli[{extra}]"' in done.stderr
    assert asked == []
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", ["search", "train"])
def test_download_is_refused_beside_a_command(
    run: Run, tmp_path: Path, asked: list[str], command: str
) -> None:
    recipe = tmp_path / "script.yaml"
    recipe.write_text(
        "version: 1\n"
        "name: script\n"
        "learning_rate: 0.1\n"
        'command: ["{python}", "-c", "pass"]\n'
        "schedule: {batch_size: 8, steps: 5}\n"
        "search: {grid: [0.1, 1.0]}\n",
        encoding="utf-8",
    )
    done = run(command, recipe, "--trust", "--download")
    assert done.exit_code == 2, done.output
    assert "--download must stand beside data that tunecli loads" in done.stderr
    assert asked == []
    assert not Path("runs").exists()


def test_download_is_refused_beside_a_run_that_goes_on(run: Run) -> None:
    done = run("search", "--resume", "r", "--download")
    assert done.exit_code == 2, done.output
    assert "--resume" in done.stderr
