"""A few worker processes that run tasks ahead: cancellable, reporting, and gone when we are.

Why not one of the pools that exist: `concurrent.futures`, `loky` and `joblib` cannot cancel what
already runs, have no way back for progress, and break as a whole (or only start again as a whole)
when the kernel kills one worker. So a worker is a child as in `tunecli.child`, and what goes into
its pipe is pickled, and read once, by its sender: what cannot be sent fails there.
"""

import contextlib
import pickle
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self

from tunecli.child import Child, describe_end, start_child
from tunecli.errors import RunError, TunecliError, require

_CANCEL = b""  # no task is an empty message
_READ_AT_ONCE = 1000  # messages: a worker that never pauses must not hold up the others


class TaskBugError(Exception):
    """A task failed with an error that is no `TunecliError`; the text is its traceback."""


@dataclass(frozen=True)
class Progress:
    """What a task that still runs passed to `Context.report`."""

    key: Hashable
    payload: Any


@dataclass(frozen=True)
class Finished:
    """What a task returned; the last message about it."""

    key: Hashable
    result: Any


@dataclass(frozen=True)
class Failed:
    """Why a task has no result; the last message about it.

    The error is the `TunecliError` that the task raised, exit code included; a `RunError` if its
    process died; a `TaskBugError` for everything else.
    """

    key: Hashable
    error: TunecliError | TaskBugError


Message = Progress | Finished | Failed


class Context:
    """What a task is given beside itself.

    `requested` and `signal_number` are those of `Interrupt`, so that a trial can be run with a
    context for its interrupt: a cancelled one saves a checkpoint and raises `InterruptedRunError`.

    Args:
        device: Where the task is to compute, such as `cuda:1`.
        send: Takes the payload of a report.
    """

    def __init__(self, device: str, send: Callable[[Any], None]) -> None:
        self.device = device
        self.signal_number: int | None = None
        self._send = send

    @property
    def cancelled(self) -> bool:
        """Whether the result is no longer needed; what was spent still is, so return soon."""
        return self.signal_number is not None

    requested = cancelled  # the name that it has in `Interrupt`

    def report(self, payload: Any) -> None:
        """Send what can be pickled; a few times a second, from the task's own thread."""
        self._send(payload)


class Workers:
    """Runs tasks in processes that live as long as the pool, at most `count` at once.

    A process is started when the first task needs it and replaced when a task comes after its
    death. Use it from one thread, as a context manager; the function's module must not be the
    main program, which workers do not execute again.

    >>> with Workers(function=print, count=2, devices=("cuda:0", "cuda:1")) as workers:
    ...     workers.free, workers.wait(timeout_s=60)  # nothing runs: nothing to wait for
    (2, [])

    Args:
        function: `function(task, context)`, found by its name in an importable module. What it
            returns is pickled.
        count: Processes, at least 1.
        devices: Handed out round robin: the i-th process computes on `devices[i % len(devices)]`.
        log: File to which the processes append what they print, warnings included; without one
            it is dropped, because it would break the parent's view.
        grace_s: Seconds that `close` gives to tasks that run, at least 0.

    Raises:
        InvalidValueError: An argument outside its range.
        RunError: Later, when a process or its log cannot be made.
    """

    def __init__(
        self,
        function: Callable[[Any, Context], Any],
        count: int,
        *,
        devices: Sequence[str] = ("cpu",),
        log: Path | None = None,
        grace_s: float = 10.0,
    ) -> None:
        require(count >= 1, "count", "at least 1", count)
        require(len(devices) >= 1, "devices", "at least one name", devices)
        require(grace_s >= 0, "grace_s", "at least 0", grace_s)
        module = getattr(function, "__module__", None)
        require(module != "__main__", "function", "in a module that can be imported", function)
        self._function = function
        self._devices = tuple(devices)
        self._log = log
        self._grace_s = grace_s
        self._slots: list[Child | None] = [None] * count
        self._pending: dict[Hashable, bytes] = {}
        self._running: dict[Child, Hashable] = {}
        self._closed = False

    @property
    def free(self) -> int:
        """How many tasks more would start at once."""
        return len(self._slots) - len(self._running)

    @property
    def running(self) -> tuple[Hashable, ...]:
        """Keys of the tasks that were given to a process and have not come back."""
        return tuple(self._running.values())

    @property
    def pending(self) -> tuple[Hashable, ...]:
        """Keys of the tasks that wait for a process, first in line first."""
        return tuple(self._pending)

    def submit(self, key: Hashable, task: Any) -> None:
        """Run a task as soon as a process is free; first come, first served.

        Args:
            key: Names the task in messages; free again after its last message.
            task: Handed to the function; pickled now, so later changes do not reach it.

        Raises:
            InvalidValueError: The pool is closed, or a task with this key is not over.
        """
        require(not self._closed, "submit", "called before close", "a closed pool")
        taken = key in self._pending or key in self.running
        require(not taken, "key", "new", key, "wait for its last message")
        self._pending[key] = _checked((self._function, task))
        self._dispatch()

    def cancel(self, key: Hashable) -> bool:
        """Take a task back: one that waits is dropped, one that runs sees `Context.cancelled`.

        Returns:
            Whether a last message about the task is still to come: it runs, or its result is on
            its way. An unknown key is one whose last message was read.
        """
        self._pending.pop(key, None)
        for worker in [each for each, running in self._running.items() if running == key]:
            with contextlib.suppress(OSError):  # it died; `wait` will say so
                worker.connection.send_bytes(_CANCEL)
            return True
        return False

    def wait(self, timeout_s: float) -> list[Message]:
        """What came from the workers, each task's messages in their order.

        Args:
            timeout_s: Seconds to wait for a first message, at least 0. A signal handler runs
                while it waits and does not end it, so a person's Ctrl-C is seen after this long.

        Returns:
            Empty when the time is up, and at once when nothing runs.
        """
        if self._running:  # the library's `wait` for nothing sleeps
            wait([worker.connection for worker in self._running], timeout_s)
        messages = [message for each in list(self._running) for message in self._read(each)]
        self._dispatch()
        return messages

    def close(self) -> list[Message]:
        """Cancel everything, give what runs its grace, then kill; a second call does nothing.

        Returns:
            The messages that still came; there is none from a task that had to be killed.
        """
        self._closed = True
        self._pending.clear()
        for key in self.running:
            self.cancel(key)
        messages: list[Message] = []
        deadline = time.monotonic() + self._grace_s
        while self._running and (left_s := deadline - time.monotonic()) > 0:
            messages += self.wait(min(left_s, 1.0))
        alive = [worker for worker in self._slots if worker]
        for worker in alive:
            worker.process.kill()
        for worker in alive:
            self._retire(worker)
        self._running.clear()
        return messages

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _dispatch(self) -> None:
        """Give tasks to free processes, those that are already there first."""
        while self._pending and self.free:
            for worker in filter(None, self._slots):
                if worker not in self._running and worker.process.poll() is not None:
                    self._retire(worker)
            idle = [each for each in self._slots if each and each not in self._running]
            worker = idle[0] if idle else self._start(self._slots.index(None))
            key = next(iter(self._pending))
            self._running[worker] = key
            with contextlib.suppress(OSError):  # it died just now; `wait` will say so
                worker.connection.send_bytes(self._pending.pop(key))

    def _start(self, slot: int) -> Child:
        device = self._devices[slot % len(self._devices)]
        worker = self._slots[slot] = start_child(_serve, device, log=self._log)
        return worker

    def _read(self, worker: Child) -> Iterator[Message]:
        """What is there from one busy worker, ending with a `Failed` if it died over its task."""
        dead = worker.process.poll() is not None  # before reading: then what it sent is all there
        try:
            for _ in range(_READ_AT_ONCE):
                if worker not in self._running or not worker.connection.poll():
                    break
                yield self._message(worker, *pickle.loads(worker.connection.recv_bytes()))
            else:
                return  # there is more; the next `wait` goes on
        except (EOFError, OSError):
            dead = True
        if dead:
            status = self._retire(worker)
            if worker in self._running:
                yield Failed(self._running.pop(worker), self._death(worker, status))

    def _message(self, worker: Child, kind: str, payload: Any) -> Message:
        if kind == "progress":
            return Progress(self._running[worker], payload)
        key = self._running.pop(worker)
        if kind == "finished":
            return Finished(key, payload)
        if kind == "bug":
            return Failed(key, TaskBugError(payload))
        error_type, arguments, state = payload
        error = error_type.__new__(error_type, *arguments)  # __init__ may want others than `args`
        error.__dict__.update(state)
        return Failed(key, error)

    def _retire(self, worker: Child) -> int:
        """See the process to its end; its exit status, negative for a signal."""
        self._slots[self._slots.index(worker)] = None
        return worker.end()  # it leaves by itself, or has closed its end of the pipe

    def _death(self, worker: Child, status: int) -> RunError:
        hint = ""
        if status == -signal.SIGKILL:
            hint = "; the machine's memory may not suffice for so many workers"
        if self._log:
            hint += f"; its last words are in {self._log}"
        return RunError(
            f"the worker process {worker.process.pid} {describe_end(status)} before its task was "
            f"done{hint}"
        )


def _checked(content: Any) -> bytes:
    """The pickle of something that can be read again: some errors can be written only."""
    data = pickle.dumps(content)
    pickle.loads(data)
    return data


def _serve(connection: Connection, device: str) -> None:
    """A worker's life: one task after the other, until the pipe ends."""
    tasks: queue.SimpleQueue[tuple[Context, bytes]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, device, tasks), daemon=True).start()
    while True:
        context, data = tasks.get()
        connection.send_bytes(_answer(context, data))


def _listen(
    connection: Connection, device: str, tasks: queue.SimpleQueue[tuple[Context, bytes]]
) -> None:
    """Take tasks and cancellations; a cancellation means the task that came last."""

    def send(payload: Any) -> None:
        connection.send_bytes(_checked(("progress", payload)))

    context = Context(device, send)
    with contextlib.suppress(EOFError, OSError):  # closed: the process is about to leave
        while True:
            data = connection.recv_bytes()
            if data == _CANCEL:
                context.signal_number = signal.SIGTERM
            else:
                context = Context(device, send)
                tasks.put((context, data))


def _answer(context: Context, data: bytes) -> bytes:
    """Run one task; its last message."""
    bug: BaseException
    try:
        function, task = pickle.loads(data)
        return _checked(("finished", function(task, context)))
    except TunecliError as error:
        with contextlib.suppress(Exception):
            return _checked(("failed", (type(error), error.args, vars(error))))
        bug = error
    except BaseException as error:  # SystemExit as well: the worker goes on
        bug = error
    return pickle.dumps(("bug", "".join(traceback.format_exception(bug))))
