"""The training that a script does, as far as its answers tell: how far it is, and how it ended."""

import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunecli.errors import RunError
from tunecli.recipe.script import ScriptSection, what_it_takes, where_it_answers
from tunecli.training.script.answers import Answer, AnswerFile, BadAnswerError, read_answer
from tunecli.training.script.command import ScriptCall
from tunecli.training.script.log import BoundedLog
from tunecli.training.script.process import ScriptProcess, take_lock

_POLL_S = 0.05  # between two looks at a file of answers


class ScriptTraining:
    """A script in progress. It is started by the first `listen`.

    Args:
        call: What the script is told.
        section: How it is run.
    """

    def __init__(self, call: ScriptCall, section: ScriptSection) -> None:
        self.call = call
        self.section = section
        self.takes_schedule = what_it_takes(call.command, section) == "schedule"
        self.answers_in_file = where_it_answers(call.command, section) == "file"
        self.steps = 0
        self.samples = 0
        self.checkpoint = ""  # to go on from
        self._process: ScriptProcess | None = None
        self._log: BoundedLog | None = None
        self._file: AnswerFile | None = None
        self._lock: int | None = None
        self._notes: list[str] = []
        self._waits = False
        self._closed = False
        self._answered = False  # by the process that runs
        self._answered_at = 0.0

    @property
    def total_steps(self) -> int:
        """Updates of the schedule; 0 where the script takes α₁ alone, and nobody knows them."""
        return self.call.schedule.total_steps if self.takes_schedule else 0

    @property
    def total_samples(self) -> int:
        """Samples of the schedule; likewise."""
        return self.call.schedule.samples if self.takes_schedule else 0

    @property
    def batch_sizes(self) -> tuple[tuple[int, int], ...]:
        """The schedule's batches up to here, as (batch size, updates): what the script was told."""
        done, left = [], min(self.steps, self.total_steps)
        for stage in self.call.schedule.stages:
            if left > 0:
                done.append((stage.batch_size, min(stage.steps, left)))
            left -= stage.steps
        return tuple(done)

    @property
    def status(self) -> int | None:
        """How the script itself ended; None while it runs."""
        return self._process.status if self._process else None

    @property
    def over(self) -> bool:
        """Whether it was started, and nothing of it is left."""
        return self._process is not None and self._process.gone

    def listen(self, timeout_s: float) -> Iterator[Answer]:
        """The answers that come, as soon as something comes.

        Args:
            timeout_s: Seconds to wait for it.

        Raises:
            RunError: The script cannot be started.
            BadAnswerError: An answer is bad.
        """
        if self._process is None and not self._start():
            time.sleep(timeout_s)
            return
        assert self._process is not None
        if self._file is not None:
            timeout_s = min(timeout_s, _POLL_S)
        lines = self._process.read(timeout_s)
        if self._file is not None:
            lines = self._file.poll(final=self._process.gone)
        if self._process.gone:
            self._note_what_is_left(self._process.left)
        for line in lines:
            answer = read_answer(line)
            if answer is not None:
                self._answered_at = time.monotonic()
                yield answer

    def place(self, answer: Answer) -> bool:
        """Go to where an answer says that the training is; whether it says so.

        Samples are the answer's own, or else those of the schedule up to its step.

        Raises:
            BadAnswerError: That is before the answer that came last.
        """
        for name, now, before in (
            ("step", answer.step, self.steps),
            ("samples", answer.samples, self.samples),
        ):
            if now is not None and now < before and not self._answered:
                raise BadAnswerError(
                    f"the script was given the checkpoint {self.checkpoint} of {name} {before} but "
                    f"begins with {name} {now}; load it (TUNECLI_CHECKPOINT, {{checkpoint}}), or "
                    "report none, and a resumed trial begins anew"
                )
            if now is not None and now < before:
                raise BadAnswerError(
                    f"the script's answer {answer.text} is bad: {name} must be ≥ {before}, as in "
                    f"the answer before, but got {now}; count from the start of the training"
                )
        self._answered = True
        if answer.step is not None:
            self.steps = answer.step
            if answer.samples is None and self.takes_schedule:
                self.samples = max(self.samples, self._samples_until(answer.step))
        if answer.samples is not None:
            self.samples = answer.samples
        return answer.step is not None or answer.samples is not None

    def silent_s(self) -> float:
        """Seconds since the last answer, or since the start."""
        return time.monotonic() - self._answered_at if self._process else 0.0

    def last_lines(self, count: int) -> list[str]:
        """The end of the log."""
        return self._log.last_lines(count) if self._log else []

    def last_answers(self, count: int) -> list[str]:
        """The end of the file of answers, where the script answers there."""
        return [] if self._file is None else self._file.last_lines(count)

    def note(self, text: str) -> None:
        """Something for the trial's log."""
        self._notes.append(text)

    def end(self) -> None:
        """Have the script ended; it takes its grace, and `over` tells when."""
        if self._process is not None:
            self._process.end()

    def measurements(self) -> dict[str, Any]:
        """Nothing is measured beside the answers."""
        return {}

    def take_notes(self) -> list[str]:
        """What happened since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def close(self) -> None:
        """End the script and wait until nothing of it is left; a second call does nothing."""
        self._closed = True
        if self._process is not None:
            self._process.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._log is not None:
            self._log.close()

    def _start(self) -> bool:
        """Start the script, unless an earlier one of this trial has not ended yet."""
        assert not self._closed
        call, folder = self.call, self.call.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            call.answers_file.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{error.filename} cannot be written: {error.strerror}") from error
        self._lock = take_lock(folder / "script.lock")
        if self._lock is None:
            if not self._waits:
                self.note("waits for the script of a run that was killed to end")
            self._waits = True
            return False
        call.write_schedule()
        if self.answers_in_file:
            self._file = AnswerFile(call.answers_file)
        arguments = call.arguments(self.checkpoint)
        self._log = BoundedLog(call.log_file, max(4, int(self.section.log_mb * 1e6)))
        self._log.line(f"== {time.strftime('%Y-%m-%d %H:%M:%S')} {shlex.join(arguments)}")
        self._process = ScriptProcess(
            arguments,
            folder=Path(self.section.folder) if self.section.folder else Path.cwd(),
            environment=call.environment(self.checkpoint),
            grace_s=self.section.grace_s,
            log=self._log,
            lock=self._lock,
        )
        self._answered_at = time.monotonic()
        return True

    def _note_what_is_left(self, processes: int) -> None:
        if processes:
            self.note(f"{processes} processes of the script could not be ended")
        if self._log is not None and self._log.dropped:
            self.note(f"script.log: {self._log.dropped:,} bytes are not kept")

    def _samples_until(self, step: int) -> int:
        samples = 0
        for stage in self.call.schedule.stages:
            samples += min(stage.steps, max(step, 0)) * stage.batch_size
            step -= stage.steps
        return samples
