"""A program of its own that starts a script and sees to it that all its processes end.

It is run by its path with `python -I -S`, so it imports nothing of ours and starts in a few
hundredths of a second. Its standard input is one end of a socket to tunecli; the other two streams
are the script's, and are closed here once that runs.

Why a process between the two: tunecli can be killed at any time, and what it has started must not
go on. The socket's end tells the guardian, however that came about. On Linux it also adopts what
the script orphans (a "subreaper"), so that a process that left the script's group and session
with `setsid` is found and ended as well; elsewhere such a process gets away.

tunecli sends a line of JSON, `{"command": […], "folder": "…", "grace_s": 10}`, and later anything
else, or its end of the socket, to have the script ended. It is told, in lines of JSON:

    {"started": pid} or {"failed": [errno, what the system calls it, file]}
    {"exited": status}     the script itself has ended
    {"gone": left}         so has everything it started, but for `left` processes: over
"""

import contextlib
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

_LINUX = sys.platform == "linux"
_SET_PARENT_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36  # from <linux/prctl.h>
_POLL_S = 0.02
_KILL_S = 5.0  # a process that SIGKILL has not ended by then hangs in the kernel


class Guardian:
    """The script's processes, from their start to the end of the last one."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._script = 0  # its pid, which is its group's as well
        self._reaped = False
        self._adopts = False
        self._woken, wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def run(self) -> None:
        """Start the script, wait for its end or ours, and end what is left of it."""
        order = json.loads(self._read_line())
        if not self._start(order["command"], order["folder"]):
            return
        while not self._reap() and not self._reaped:
            if self._wait(None):
                break
        self._end(order["grace_s"])

    def _read_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            more = b""
            with contextlib.suppress(OSError):
                more = self._control.recv(65_536)
            if not more:
                os._exit(0)  # tunecli is gone already
            line += more
        return line

    def _start(self, command: list[str], folder: str) -> bool:
        self._adopts = _prctl(_SET_CHILD_SUBREAPER, 1)
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                # should somebody kill the guardian: safe here, where there is no other thread
                preexec_fn=_die_with_parent,
            )
        except (OSError, ValueError) as error:
            number = getattr(error, "errno", None) or errno.EINVAL
            file = getattr(error, "filename", None)
            self._tell({"failed": [number, os.strerror(number), file]})
            return False
        self._script = process.pid
        process.returncode = 0  # it is waited for here, not by its object
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.close(null)
        self._tell({"started": self._script})
        return True

    def _end(self, grace_s: float) -> None:
        """SIGTERM, and after the grace SIGKILL, to whatever is left."""
        if not self._reap():
            self._signal(signal.SIGTERM)
            self._wait_for_all(grace_s, None)
            self._wait_for_all(_KILL_S, signal.SIGKILL)
        left = 0 if self._reap() else len(list(_descendants())) or 1
        self._tell({"gone": left})

    def _wait_for_all(self, seconds: float, number: signal.Signals | None) -> None:
        until = time.monotonic() + seconds
        while not self._reap() and time.monotonic() < until:
            if number is not None:
                self._signal(number)  # again and again: what is killed may just have forked
            self._wait(_POLL_S, control=False)

    def _reap(self) -> bool:
        """Take the status of what has ended; whether nothing is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                # Where orphans become our children, there is nothing left without a child.
                return self._script == 0 or self._adopts or not self._group_is_there()
            if pid == 0:
                return False
            if pid == self._script:
                self._reaped = True
                self._tell({"exited": os.waitstatus_to_exitcode(status)})

    def _group_is_there(self) -> bool:
        try:
            os.killpg(self._script, 0)
        except OSError:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        group = self._script
        # the group's number can belong to somebody else only once its leader was waited for
        if not self._reaped or not self._adopts:
            with contextlib.suppress(OSError):
                os.killpg(group, number)
        for pid in _descendants():
            with contextlib.suppress(OSError):
                if self._reaped or os.getpgid(pid) != group:
                    os.kill(pid, number)

    def _wait(self, seconds: float | None, *, control: bool = True) -> bool:
        """Until a process has ended, tunecli says something (then true), or the time is up."""
        told = self._control.fileno()
        ready = select.select([self._woken, *([told] if control else [])], [], [], seconds)[0]
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 4096)
        return told in ready

    def _tell(self, message: dict[str, object]) -> None:
        with contextlib.suppress(OSError):  # tunecli is gone
            self._control.sendall(json.dumps(message).encode() + b"\n")


def _descendants() -> Iterator[int]:
    """Every process below this one, found by its parent's number; none but on Linux."""
    parents: dict[int, int] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):  # noqa: PTH208  # pathlib would double the start-up
            if name.isdigit():
                with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    # "pid (name) state parent …", and the name may have anything in it
                    parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    known: set[int] = set()
    found = {os.getpid()}
    while found:
        known |= found
        found = {pid for pid, parent in parents.items() if parent in known} - known
        yield from found


def _prctl(option: int, value: int) -> bool:
    """Whether the kernel has it and did it."""
    if not _LINUX:
        return False
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    return False


def _die_with_parent() -> None:
    _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def main() -> None:
    """The program; tunecli has blocked the signals that it is deaf to."""
    deaf = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in (*deaf, signal.SIGCHLD):
        # a handler that does nothing: unlike SIG_IGN it is not handed on to the script
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, deaf)
    Guardian(socket.socket(fileno=0)).run()
    os._exit(0)


if __name__ == "__main__":
    main()
