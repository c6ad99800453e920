"""A child process with a pipe: it leaves with its parent, and signals to the group pass it by.

Why not `multiprocessing.Process`: its children execute the parent's main module again, cannot have
their output redirected, and can be hit by Ctrl-C while they start. So a child is a `python -c` with
one end of a pipe:

- the pipe's end tells it that the parent is gone, however that happened, and it leaves at once,
  before a resumed run can find it still writing;
- SIGINT and SIGTERM, which a terminal or a batch system sends to the whole group, never reach it;
  the parent decides.
"""

import contextlib
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from tunecli.errors import RunError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BOOT = (
    "import sys; from multiprocessing.connection import Connection; "
    "pipe = Connection(int(sys.argv[1])); sys.path[:] = pipe.recv(); "
    "from tunecli.child import _live; _live(pipe)"
)


@dataclass(eq=False)
class Child:
    """One process and the parent's end of its pipe."""

    process: "subprocess.Popen[bytes]"
    connection: Connection

    def end(self, grace_s: float = 1.0) -> int:
        """Close the pipe, which it takes for its end, and see it out; a second call only asks.

        Args:
            grace_s: Seconds after which it is killed.

        Returns:
            Its exit status, negative for a signal.
        """
        self.connection.close()
        try:
            return self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def start_child(
    function: Callable[..., object],
    *arguments: object,
    log: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> Child:
    """Start a process that calls `function(connection, *arguments)` and ends when that returns.

    Args:
        function: Found by its name in a module that can be imported; not the main program's.
        *arguments: Pickled, and small: the call does not return before a child that is still
            starting has room for them.
        log: File to which the process appends what it prints, warnings included; without one it is
            dropped.
        pass_fds: File descriptors that it inherits, under the same numbers.

    Raises:
        RunError: The process or its log cannot be made.
    """
    call = pickle.dumps((function, arguments))
    command = [sys.executable, "-P", "-u", "-X", "faulthandler", "-c", _BOOT]
    ours, theirs = Pipe()
    try:
        with theirs, Path(log or os.devnull).open("ab") as output, _signals_blocked():
            process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno(), *pass_fds],
            )
    except OSError as error:
        ours.close()
        raise RunError(f"a worker process cannot be started: {error}") from error
    with contextlib.suppress(OSError):  # it died at once; the end of its pipe will say so
        ours.send(sys.path)
        ours.send_bytes(call)
    return Child(process, ours)


def describe_end(status: int) -> str:
    """How a process ended, as the middle of a sentence.

    >>> describe_end(-9), describe_end(3)
    ('was killed by SIGKILL', 'ended with exit status 3')
    """
    if status < 0:
        with contextlib.suppress(ValueError):  # a real-time signal has no name
            return f"was killed by {signal.Signals(-status).name}"
    return f"ended with exit status {status}"


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Blocked in this thread and in what it starts, until that has taken its own measures."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _live(connection: Connection) -> None:
    """A child's life: one call, cut short when the parent closes the pipe."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    threading.Thread(target=_leave_with_parent, args=(connection.fileno(),), daemon=True).start()
    function, arguments = pickle.loads(connection.recv_bytes())
    function(connection, *arguments)


def _leave_with_parent(pipe: int) -> None:
    """Wait for the other end to close, then go: nothing that the main thread does keeps us."""
    hang_up = select.poll()
    hang_up.register(pipe, 0)  # no event but the hang-up, which is always told
    hang_up.poll()
    os._exit(0)
