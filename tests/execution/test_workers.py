"""Each worker imports torch (see the package), so most tests share one pool of two."""

import contextlib
import fcntl
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunecli.errors import InterruptedRunError, InvalidValueError, RecipeError, RunError
from tunecli.execution.workers import (
    Context,
    Failed,
    Finished,
    Message,
    Progress,
    TaskBugError,
    Workers,
)

LIMIT_S = 60.0  # nothing here takes a tenth of it; it only keeps a broken pool from hanging
# Workers find the function by its module's name, and this file has none outside pytest.
TASKS = '''
import fcntl, os, signal, sys, time, warnings
from pathlib import Path
from tunecli.errors import InterruptedRunError, RecipeError

def run(task, context):
    return globals()[task[0]](context, *task[1:])

def where(context, *_):
    return os.getpid(), context.device

def until(context, path):
    """Reports, then waits for a file or for being cancelled."""
    context.report((os.getpid(), context.device))
    while not Path(path).exists() and not context.cancelled:
        time.sleep(0.005)
    return "cancelled" if context.cancelled else "file"

def trial(context):
    context.report("started")
    while not context.requested:
        time.sleep(0.005)
    raise InterruptedRunError("stopped on request", context.signal_number)

def count(context, last):
    for number in range(last):
        context.report(number)
    return last

def recipe(context):
    raise RecipeError("digits.yaml:3: steps must be positive")

def bug(context):
    return 1 / 0

def leave(context):
    sys.exit(5)

def write_only(context):
    return InterruptedRunError("cannot be read again", 15)

def loud(context):
    print("printed", flush=True)
    os.write(2, b"written\\n")
    warnings.warn("warned")

def die(context, how):
    context.report("dying")
    os.kill(os.getpid(), how)
    time.sleep(60)

def end(context, status):
    os._exit(status)

def stubborn(context, path):
    """Holds a lock, which goes with the process, and listens to nobody."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        context.report("locked")
        time.sleep(600)
'''
NOWHERE = "/nonexistent"


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the path of this process, and so of its workers, with the module of tasks."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "tasks_of_test_workers.py").write_text(TASKS)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def run(tasks: Path) -> Callable[[Any, Context], Any]:
    function: Callable[[Any, Context], Any] = importlib.import_module("tasks_of_test_workers").run
    return function


@pytest.fixture(scope="module")
def log(tasks: Path) -> Path:
    return tasks / "workers.log"


@pytest.fixture(scope="module")
def shared(run: Callable[[Any, Context], Any], log: Path) -> Iterator[Workers]:
    with Workers(run, 2, devices=("one", "two"), log=log, grace_s=0) as workers:
        yield workers


@pytest.fixture
def workers(shared: Workers) -> Iterator[Workers]:
    """The shared pool, with nothing left in it by the test before."""
    yield shared
    for key in (*shared.pending, *shared.running):
        shared.cancel(key)
    collect(shared, lambda _: not shared.running)


def collect(workers: Workers, enough: Callable[[list[Message]], bool]) -> list[Message]:
    messages: list[Message] = []
    deadline = time.monotonic() + LIMIT_S
    while not enough(messages):
        assert time.monotonic() < deadline, f"only {messages}"
        messages += workers.wait(0.5)
    return messages


def drain(workers: Workers) -> list[Message]:
    return collect(workers, lambda _: not workers.running)


def error_of(workers: Workers, *task: Any) -> Exception:
    workers.submit("task", task)
    failed = drain(workers)[-1]
    assert isinstance(failed, Failed)
    assert failed.key == "task"
    return failed.error


def can_be_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_tasks_start_in_order_on_processes_that_stay(workers: Workers, tmp_path: Path) -> None:
    door = tmp_path / "door"
    workers.submit("long", ("until", door))
    for key in range(5):
        workers.submit(key, ("where",))
    assert (workers.free, workers.running, workers.pending) == (0, ("long", 0), (1, 2, 3, 4))
    messages = collect(workers, lambda some: len(some) == 6)
    [started] = [each for each in messages if isinstance(each, Progress)]
    others = [each for each in messages if isinstance(each, Finished)]
    assert [each.key for each in others] == [0, 1, 2, 3, 4]
    assert len({each.result for each in others}) == 1  # while the other process was busy
    pids, devices = zip(started.payload, others[0].result, strict=True)
    assert len(set(pids)) == 2
    assert sorted(devices) == ["one", "two"]
    assert workers.free == 1
    door.touch()
    assert drain(workers) == [Finished("long", "file")]
    assert (workers.free, workers.wait(LIMIT_S)) == (2, [])  # nothing runs: it does not wait


def test_progress_comes_whole_and_before_the_result(workers: Workers) -> None:
    last = 2500  # more than is read at once
    workers.submit("task", ("count", last))
    progress = [Progress("task", number) for number in range(last)]
    assert drain(workers) == [*progress, Finished("task", last)]


def test_cancelled_while_pending_is_never_started(workers: Workers, tmp_path: Path) -> None:
    for key in ("first", "second", "third", "fourth"):
        workers.submit(key, ("until", tmp_path / "door"))
    assert not workers.cancel("third")
    assert workers.pending == ("fourth",)
    (tmp_path / "door").touch()
    finished = [each.key for each in drain(workers) if isinstance(each, Finished)]
    assert sorted(map(str, finished)) == ["first", "fourth", "second"]
    assert not workers.cancel("first")  # long over


def test_cancelled_while_running_still_brings_its_bill(workers: Workers) -> None:
    workers.submit("task", ("until", NOWHERE))
    collect(workers, lambda some: len(some) == 1)
    assert workers.cancel("task")
    assert drain(workers) == [Finished("task", "cancelled")]
    workers.submit("next", ("until", NOWHERE))
    collect(workers, lambda some: len(some) == 1)  # the cancellation was the other task's
    assert workers.wait(0.05) == []


def test_context_serves_as_the_interrupt_of_a_trial(workers: Workers) -> None:
    workers.submit("task", ("trial",))
    collect(workers, lambda some: some == [Progress("task", "started")])
    workers.cancel("task")
    [failed] = drain(workers)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, InterruptedRunError)  # which pickle alone cannot read
    assert (str(failed.error), failed.error.exit_code) == ("stopped on request", 143)


def test_error_of_a_user_comes_back_as_it_was(workers: Workers) -> None:
    error = error_of(workers, "recipe")
    assert type(error) is RecipeError
    assert (str(error), error.exit_code) == ("digits.yaml:3: steps must be positive", 3)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("bug", "in bug\n    return 1 / 0"),
        ("leave", "SystemExit: 5"),
        ("write_only", "signal_number"),
        ("no such task", "KeyError: 'no such task'"),
    ],
)
def test_bug_comes_back_with_its_traceback(workers: Workers, task: str, said: str) -> None:
    error = error_of(workers, task)
    assert type(error) is TaskBugError
    assert str(error).startswith("Traceback")
    assert said in str(error)


def test_killed_worker_fails_its_task_and_is_replaced(workers: Workers, log: Path) -> None:
    error = error_of(workers, "die", signal.SIGKILL)
    assert type(error) is RunError
    assert "was killed by SIGKILL before its task was done; the machine's memory" in str(error)
    assert str(log) in str(error)
    workers.submit("first", ("until", NOWHERE))
    workers.submit("second", ("until", NOWHERE))
    started = collect(workers, lambda some: len(some) == 2)
    pids, devices = zip(
        *(each.payload for each in started if isinstance(each, Progress)), strict=True
    )
    assert len(set(pids)) == 2
    assert sorted(devices) == ["one", "two"]  # the new one has the device of the old one


def test_worker_that_ends_by_itself_fails_its_task(workers: Workers) -> None:
    assert "ended with exit status 7 before" in str(error_of(workers, "end", 7))


def test_worker_that_died_idle_costs_no_task(workers: Workers) -> None:
    workers.submit("task", ("where",))
    [finished] = drain(workers)
    assert isinstance(finished, Finished)
    os.kill(finished.result[0], signal.SIGKILL)
    os.waitid(os.P_PID, finished.result[0], os.WEXITED | os.WNOWAIT)
    workers.submit("task", ("where",))
    [after] = drain(workers)
    assert isinstance(after, Finished)
    assert after.result[0] != finished.result[0]


def test_output_goes_to_the_log(
    workers: Workers, log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workers.submit("task", ("loud",))
    assert drain(workers) == [Finished("task", None)]
    text = log.read_text()
    assert "printed\n" in text
    assert "written\n" in text
    assert "UserWarning: warned" in text
    assert capfd.readouterr() == ("", "")


def test_close_kills_what_does_not_listen(
    run: Callable[[Any, Context], Any], tmp_path: Path
) -> None:
    with Workers(run, 2, grace_s=0.2) as workers:
        workers.submit("deaf", ("stubborn", tmp_path / "lock"))
        workers.submit("good", ("until", NOWHERE))
        workers.submit("late", ("where",))
        collect(workers, lambda some: len(some) == 2)
        assert Finished("good", "cancelled") in workers.close()
        assert can_be_locked(tmp_path / "lock")
        assert (workers.running, workers.pending, workers.close()) == ((), (), [])
        with pytest.raises(InvalidValueError, match="before close"):
            workers.submit("more", ("where",))


def test_submit_refuses_what_is_there_or_cannot_be_sent(workers: Workers) -> None:
    workers.submit("task", ("until", NOWHERE))
    with pytest.raises(InvalidValueError, match="key must be new but got task"):
        workers.submit("task", ("where",))
    with pytest.raises(TypeError, match="pickle"):
        workers.submit("lock", ("where", threading.Lock()))
    assert workers.pending == ()


@pytest.mark.parametrize(
    ("options", "name"),
    [({"count": 0}, "count"), ({"devices": ()}, "devices"), ({"grace_s": -1.0}, "grace_s")],
)
def test_pool_refuses_senseless_options(options: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidValueError, match=f"{name} must be"):
        Workers(print, **{"count": 1, **options})


def test_pool_refuses_a_log_that_cannot_be_written(
    run: Callable[[Any, Context], Any], tmp_path: Path
) -> None:
    with (
        Workers(run, 1, log=tmp_path / "missing" / "log") as workers,
        pytest.raises(RunError, match="missing/log"),
    ):
        workers.submit("task", ("where",))


# Neither program guards its main module: a worker that executed it again would start a pool.
ORPHANS = """
import sys, time
from tasks_of_test_workers import run
from tunecli.execution.workers import Workers
with Workers(run, 1, devices=("cpu",)) as workers:
    workers.submit("busy", ("stubborn", sys.argv[1]))
    print(workers.wait(60), flush=True)
    time.sleep(60)
"""
GROUP = """
import os, signal, sys
from tasks_of_test_workers import run
from tunecli.execution.workers import Workers

def show(number, frame):
    os.write(1, f"{signal.Signals(number).name}\\n".encode())

signal.signal(signal.SIGINT, show)
signal.signal(signal.SIGTERM, show)
with Workers(run, 1) as workers:
    workers.submit("task", ("until", sys.argv[1]))
    os.write(1, b"starts\\n")  # the worker has not set up its signals
    while workers.running:
        for message in workers.wait(60):
            os.write(1, f"{type(message).__name__}\\n".encode())
"""


@contextlib.contextmanager
def program(text: str, tasks: Path, *arguments: Path) -> Iterator[subprocess.Popen[str]]:
    """A program in a process group of its own, and its output to read from."""
    with subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(tasks)},
    ) as process:
        timer = threading.Timer(LIMIT_S, process.kill)  # then what is read from it ends
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_workers_end_with_a_parent_that_is_killed(tasks: Path, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with program(ORPHANS, tasks, lock) as parent:
        assert line_of(parent) == "[Progress(key='busy', payload='locked')]"
        assert not can_be_locked(lock)
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + LIMIT_S
        while not can_be_locked(lock):
            assert time.monotonic() < deadline, "the worker lives on"
            time.sleep(0.01)


def test_signals_to_the_group_reach_the_parent_alone(tasks: Path, tmp_path: Path) -> None:
    with program(GROUP, tasks, tmp_path / "door") as parent:
        assert line_of(parent) == "starts"
        for number in (signal.SIGINT, signal.SIGTERM):
            os.killpg(parent.pid, number)
            assert line_of(parent) == number.name
        assert line_of(parent) == "Progress"
        for number in (signal.SIGINT, signal.SIGTERM):
            os.killpg(parent.pid, number)
            assert line_of(parent) == number.name
        (tmp_path / "door").touch()
        assert line_of(parent) == "Finished"
        assert parent.wait(LIMIT_S) == 0
