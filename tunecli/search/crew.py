"""Who runs the trials: this process, one by one, or workers, some of them ahead."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Self

import torch

from tunecli.data.load import Splits
from tunecli.errors import InterruptedRunError
from tunecli.execution.interrupt import Interrupt
from tunecli.execution.workers import Failed, Finished, Workers
from tunecli.search.trials import TrialProgress, TrialResult, TrialTask, run_task, run_trial

_WAIT_S = 0.2

OnProgress = Callable[[int, TrialProgress], None]
OnEnd = Callable[[int, TrialResult | TrialProgress], None]
OnFailure = Callable[[int, Exception], None]


class Crew(Protocol):
    """Runs tasks, named by a number."""

    @property
    def count(self) -> int:
        """How many run side by side."""

    @property
    def running(self) -> tuple[int, ...]:
        """The tasks that have not ended."""

    def submit(self, key: int, task: TrialTask) -> None:
        """Take on a task."""

    def cancel(self, key: int) -> None:
        """Ask a task to end soon; its bill comes back."""

    def collect(self, on_progress: OnProgress, on_end: OnEnd, on_failure: OnFailure) -> None:
        """Wait a moment, and hand over what came back: a result, or a cancelled task's bill.

        What failed is handed over last, so that nothing that came with it is lost.

        Raises:
            InterruptedRunError: A stop was requested; what ran is saved, to be gone on with.
        """

    def __enter__(self) -> Self:
        """Be ready."""

    def __exit__(self, *exception: object) -> None:
        """End what still runs."""


class Alone:
    """This process: a task that was taken on is run to its end by `collect`.

    Args:
        splits: What the trials train and are evaluated on; None where a script does.
        device: Where.
        interrupt: Looked at several times a second.
    """

    count = 1

    def __init__(self, splits: Splits | None, device: torch.device, interrupt: Interrupt) -> None:
        self._splits = splits
        self._device = device
        self._interrupt = interrupt
        self._tasks: dict[int, TrialTask] = {}

    @property
    def running(self) -> tuple[int, ...]:
        """The task that waits for `collect`."""
        return tuple(self._tasks)

    def submit(self, key: int, task: TrialTask) -> None:
        """Take on a task."""
        self._tasks[key] = task

    def cancel(self, key: int) -> None:
        """Nothing runs between two calls."""
        self._tasks.pop(key, None)

    def collect(self, on_progress: OnProgress, on_end: OnEnd, on_failure: OnFailure) -> None:
        """Run the tasks that were taken on."""
        for key, task in list(self._tasks.items()):
            result = run_trial(
                task,
                self._splits,
                device=self._device,
                interrupt=self._interrupt,
                on_progress=lambda progress, key=key: on_progress(key, progress),  # type: ignore[misc]
            )
            del self._tasks[key]
            on_end(key, result)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._tasks.clear()


class Together:
    """Worker processes.

    Args:
        count: How many.
        devices: Where they compute, handed out in turn.
        log: File for what they print.
        interrupt: Looked at several times a second.
    """

    def __init__(self, count: int, devices: Sequence[str], log: Path, interrupt: Interrupt) -> None:
        self.count = count
        self._workers = Workers(run_task, count, devices=devices, log=log)
        self._interrupt = interrupt

    @property
    def running(self) -> tuple[int, ...]:
        """The tasks that were submitted and have not come back."""
        keys = (*self._workers.running, *self._workers.pending)
        return tuple(key for key in keys if isinstance(key, int))

    def submit(self, key: int, task: TrialTask) -> None:
        """Run a task as soon as a worker is free."""
        self._workers.submit(key, task)

    def cancel(self, key: int) -> None:
        """Ask a task to end soon."""
        self._workers.cancel(key)

    def collect(self, on_progress: OnProgress, on_end: OnEnd, on_failure: OnFailure) -> None:
        """Wait a moment, and hand over what came back."""
        stopping = self._interrupt.requested
        messages = self._workers.close() if stopping else self._workers.wait(_WAIT_S)
        for message in sorted(messages, key=lambda each: isinstance(each, Failed)):
            key = message.key
            assert isinstance(key, int)
            if isinstance(message, Failed):
                on_failure(key, message.error)
            elif not isinstance(message, Finished):
                on_progress(key, message.payload)
            # at a stop what was broken off is gone on with: it has no bill yet
            elif isinstance(message.result, TrialResult) or not stopping:
                on_end(key, message.result)
        if stopping:
            assert self._interrupt.signal_number is not None
            raise InterruptedRunError("stopped on request", self._interrupt.signal_number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._workers.close()
