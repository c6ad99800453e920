"""A script that runs: what it prints, how it ended, and that nothing of it is left."""

import contextlib
import errno
import fcntl
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunecli.errors import RunError
from tunecli.training.script import guardian
from tunecli.training.script.answers import AnswerLines
from tunecli.training.script.log import BoundedLog

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PIPE_BYTES = 1 << 20
_PIECES_AFTER_END = 64  # a process that got away may go on printing
_UNKILLABLE_S = 8.0  # beyond the grace: the guardian has given up before


class ScriptProcess:
    """A script, its log, and the guardian between us (see guardian.py).

    Args:
        command: The program and its arguments.
        folder: Where it is started.
        environment: All of it.
        grace_s: Seconds between SIGTERM and SIGKILL.
        log: Gets all that it prints, byte by byte.
        lock: A file descriptor that stays open until nothing of the script is left.

    Raises:
        RunError: The guardian cannot be started. That the script itself cannot be is told by
            `read`.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        grace_s: float,
        log: BoundedLog,
        lock: int,
    ) -> None:
        self.status: int | None = None  # of the script itself, negative for a signal
        self.gone = False
        self.left = 0  # processes that could not be ended
        self._command = command
        self._folder = folder
        self._grace_s = grace_s
        self._log = log
        self._group = 0
        self._heard = b""
        self._lines = AnswerLines()
        self._selector = selectors.DefaultSelector()
        self._control, theirs = socket.socketpair()
        with contextlib.ExitStack() as of_the_script:
            of_the_script.enter_context(theirs)
            ends = [of_the_script.enter_context(self._pipe(name)) for name in ("stdout", "stderr")]
            try:
                with _signals_blocked():
                    self._guardian = subprocess.Popen(
                        [sys.executable, "-I", "-S", guardian.__file__],
                        stdin=theirs.fileno(),
                        stdout=ends[0],
                        stderr=ends[1],
                        env=dict(environment),
                        start_new_session=True,  # Ctrl-C is ours to pass on
                        pass_fds=[lock],
                    )
            except (OSError, ValueError) as error:
                self._close_streams()
                raise RunError(f"the script cannot be started: {error}") from error
        self._selector.register(self._control, selectors.EVENT_READ, "control")
        order = {"command": list(command), "folder": str(folder), "grace_s": grace_s}
        with contextlib.suppress(OSError):  # it died at once, which `read` will find
            self._control.sendall(json.dumps(order).encode() + b"\n")

    def read(self, timeout_s: float) -> list[bytes]:
        """What came from the script, as soon as something comes.

        Args:
            timeout_s: Seconds to wait for it; 0 takes what is there.

        Returns:
            Those lines of its standard output that begin with a brace.

        Raises:
            RunError: The script could not be started, or the guardian was killed.
        """
        return [] if self.gone else self._read(timeout_s)

    def _read(self, timeout_s: float) -> list[bytes]:
        lines: list[bytes] = []
        for key, _ in self._selector.select(timeout_s):
            if key.data == "control":
                self._hear()
            else:
                lines += self._take(key.data, key.fd)
        if self.gone:
            lines += self._take_rest()
        return lines

    def end(self) -> None:
        """Ask for the end of the script and of all that it has started; it takes its grace."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End the script and wait until nothing is left; a second call does nothing."""
        self.end()
        until = time.monotonic() + self._grace_s + _UNKILLABLE_S
        with contextlib.suppress(RunError):
            while not self.gone and time.monotonic() < until:
                self.read(0.25)  # one that is held up by a full pipe could not end by itself
        if not self.gone:
            self._kill_both()
        self.gone = True
        self._guardian.wait()
        self._close_streams()

    def _pipe(self, name: str) -> Any:
        """A pipe for one of the script's streams; its writing end, as a context."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # the user may have too much of it already
                fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._selector.register(reading, selectors.EVENT_READ, name)
        return os.fdopen(writing, "wb", buffering=0)

    def _take(self, name: str, descriptor: int) -> list[bytes]:
        try:
            data = os.read(descriptor, _PIPE_BYTES)
        except BlockingIOError:
            return []
        if not data:
            self._selector.unregister(descriptor)
            os.close(descriptor)
            return []
        self._log.write(data)
        return self._lines.feed(data) if name == "stdout" else []

    def _take_rest(self) -> list[bytes]:
        """Nobody writes any more: empty the pipes, and take a last line without its end."""
        lines: list[bytes] = []
        for _ in range(_PIECES_AFTER_END):
            streams = [key for key, _ in self._selector.select(0) if key.data != "control"]
            for key in streams:
                lines += self._take(key.data, key.fd)
            if not streams:
                break
        return [*lines, *self._lines.finish()]

    def _hear(self) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = self._control.recv(4096)
        *messages, self._heard = (self._heard + data).split(b"\n")
        for message in map(json.loads, messages):
            self._group = message.get("started", self._group)
            self.status = message.get("exited", self.status)
            if "gone" in message:
                self.gone, self.left = True, message["gone"]
            if "failed" in message:
                self.gone = True
                raise RunError(self._why_not_started(*message["failed"]))
        if not data and not self.gone:
            self._kill_both()
            self.gone = True
            raise RunError(
                "the process that guards the script was killed, and the script with it; see to it "
                "that nobody kills what tunecli has started, then go on with --resume"
            )

    def _kill_both(self) -> None:
        with contextlib.suppress(OSError):
            self._guardian.kill()
        if self._group:
            with contextlib.suppress(OSError):
                os.killpg(self._group, signal.SIGKILL)

    def _close_streams(self) -> None:
        self._control.close()
        for key in list((self._selector.get_map() or {}).values()):  # None once it is closed
            if key.data != "control":
                os.close(key.fd)
        self._selector.close()

    def _why_not_started(self, number: int, reason: str, file: str | None) -> str:
        program = self._command[0]
        start, resume = f"the script's program {program} cannot be started", False
        if not self._folder.is_dir():
            return (
                f"script.folder must be a folder but got {self._folder}; make it and go on with "
                "--resume, or mend the recipe and start again"
            )
        path = self._folder / program
        if number == errno.ENOENT and "/" not in program:
            why = f"it is not on PATH; write its whole path; this Python is {sys.executable}"
        elif number == errno.ENOENT and path.exists():
            why, resume = "the interpreter that its first line names is not there; mend it", True
        elif number == errno.ENOENT:
            why = f"there is no {path}"
        elif number == errno.EACCES and path.is_dir():
            why = f"{path} is a folder; name a program"
        elif number == errno.EACCES:
            why = f"{path} may not be executed; allow it (chmod +x)"
            resume = True
        elif number == errno.ENOEXEC:
            why = "it is no program; let its first line name its interpreter, as #!/bin/sh does"
            resume = True
        else:
            why = f"{reason}{f' ({file})' if file and file != program else ''}"
        again = "mend `command` or script.folder in the recipe and start again"
        return f"{start}: {why}{', then go on with --resume, or ' if resume else '; '}{again}"


def take_lock(path: Path) -> int | None:
    """A lock on a trial's folder, held until the descriptor is closed here and by the guardian.

    Args:
        path: The file that is locked; made if it is not there.

    Returns:
        None where a script of the same trial has not ended yet: tunecli was killed, and it has its
        grace.

    Raises:
        RunError: The file cannot be made or locked.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise RunError(
            f"{path} cannot be locked: {error.strerror}; name a folder on a disk that knows flock "
            "with --run"
        ) from error
    return descriptor


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Blocked in this thread and in the guardian, until that has its handlers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
