import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tunecli.child import start_child
from tunecli.errors import RunError

LIMIT_S = 60.0  # nothing here takes a tenth of it
# A child finds its function by the name of a module, and this file has none outside pytest.
LIVES = """
import os, sys, time

def echo(connection, *arguments):
    connection.send((os.getpid(), arguments))
    print("printed")
    sys.exit(7)

def busy(connection):
    connection.send("busy")
    time.sleep(600)

def read(connection, descriptor):
    connection.send(os.read(descriptor, 100))

def fail(connection):
    raise ValueError("last words")
"""


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("lives")
    (folder / "lives_of_test_child.py").write_text(LIVES)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("lives_of_test_child")
    sys.path.remove(str(folder))


def test_child_calls_the_function_and_ends_with_it(lives: ModuleType, tmp_path: Path) -> None:
    child = start_child(lives.echo, 1, "two", log=tmp_path / "log")
    assert child.connection.recv() == (child.process.pid, (1, "two"))
    with pytest.raises(EOFError):  # it has ended
        child.connection.recv()
    assert (child.end(), child.end()) == (7, 7)
    assert (tmp_path / "log").read_text() == "printed\n"


def test_busy_child_leaves_when_the_pipe_is_closed(lives: ModuleType) -> None:
    child = start_child(lives.busy)
    assert child.connection.recv() == "busy"
    assert child.end(LIMIT_S) == 0


def test_signals_of_a_terminal_do_not_reach_it(lives: ModuleType) -> None:
    child = start_child(lives.busy)
    for number in (signal.SIGINT, signal.SIGTERM):  # while it starts
        child.process.send_signal(number)
    assert child.connection.recv() == "busy"
    for number in (signal.SIGINT, signal.SIGTERM):
        child.process.send_signal(number)
    time.sleep(0.05)
    assert child.process.poll() is None
    assert child.end(LIMIT_S) == 0


def test_end_kills_a_child_that_cannot_leave(lives: ModuleType) -> None:
    child = start_child(lives.busy)
    child.connection.recv()
    child.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.process.pid, os.WSTOPPED | os.WNOWAIT)
    assert child.end(grace_s=0.1) == -signal.SIGKILL


def test_child_inherits_the_descriptors_it_is_given(lives: ModuleType) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"content")
    child = start_child(lives.read, reading, pass_fds=[reading])
    os.close(reading)
    os.close(writing)
    assert child.connection.recv() == b"content"
    assert child.end(LIMIT_S) == 0


def test_error_of_a_child_is_in_its_log(lives: ModuleType, tmp_path: Path) -> None:
    child = start_child(lives.fail, log=tmp_path / "log")
    with pytest.raises(EOFError):
        child.connection.recv()
    assert child.end() == 1
    assert "ValueError: last words" in (tmp_path / "log").read_text()


def test_child_that_dies_at_once_is_seen_at_its_pipe(
    lives: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "false")  # a program that ends at once
    child = start_child(lives.echo, "x" * 10_000_000)  # more than fits into a pipe
    with pytest.raises((EOFError, ConnectionError)):
        child.connection.recv()
    assert child.end() == 1


def test_what_cannot_be_sent_fails_before_anything_starts(
    lives: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("started"))
    with pytest.raises((TypeError, AttributeError), match="pickle"):
        start_child(lives.echo, lambda: None)


def test_log_that_cannot_be_made_is_named(lives: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="missing/log"):
        start_child(lives.echo, log=tmp_path / "missing" / "log")
