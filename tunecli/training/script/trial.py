"""One trial of a script: started, listened to, judged, and ended."""

import math
import time
from pathlib import Path
from typing import Any

from tunecli.child import describe_end
from tunecli.errors import require
from tunecli.recipe.script import ScriptSection
from tunecli.schedule import Schedule
from tunecli.training.protocol import CurvePoint, TrialOutcome
from tunecli.training.script.answers import Answer, BadAnswerError
from tunecli.training.script.command import ScriptCall
from tunecli.training.script.failure import crash, failure, late, no_value, out_of_range
from tunecli.training.script.record import Record
from tunecli.training.script.training import ScriptTraining
from tunecli.training.trial import GivesUp

_YIELD_S = 0.25


class ScriptTrial:
    """A trial that a script trains, with the face of `tunecli.training.Trial`.

    It is **complete** when the script has ended with exit status 0 and has answered with a value;
    the last value counts. It has **diverged**, and the script is ended, when

    - a value or a train_loss is NaN or infinite, or the answer says `"diverged": true`;
    - the median of the last train_losses is above `divergence_factor` times the first one that was
      reported, if that is positive. The last ones are those of the last 25 updates, and at least
      the last three answers: of two medians the lower one, so one bad answer is not divergence;
    - `section.failure` is `diverged`, and the script's exit status is neither 0 nor a signal.

    At step 0 the learning rate has done nothing yet, so a value that is not finite is an error
    there. Everything else that can happen ends the run with a `RunError` that tells what it was:
    no value at exit status 0, a bad answer, none for `section.answer_timeout_s`, another exit
    status, a signal, a program that cannot be started.

    Args:
        command: The recipe's, with placeholders.
        section: How the script is run.
        schedule: Derived from the trial's learning rate.
        folder: The trial's folder, for the log, the schedule and the answers.
        seed: The trial's.
        phase: `search` or `final`; only in the latter `test` counts.
        device: Such as `cpu` or `cuda:1`.
        metric: What a value is: `accuracy`, `loss`, or a name of the recipe's `metrics`.
        weight_decay: Handed on to the script.
        divergence_factor: > 1.
        gives_up: Asked with the curve after every point of it before the end, where the script
            takes the schedule: why to give up the trial there, or None. The curve begins with the
            untrained model only if the script has answered for step 0.
    """

    def __init__(
        self,
        command: tuple[str, ...],
        section: ScriptSection,
        schedule: Schedule,
        *,
        folder: Path,
        seed: int,
        phase: str = "search",
        device: str = "cpu",
        metric: str = "accuracy",
        weight_decay: float = 0.0,
        divergence_factor: float = 10.0,
        gives_up: GivesUp | None = None,
    ) -> None:
        require(divergence_factor > 1, "divergence_factor", "> 1", divergence_factor)
        call = ScriptCall(
            command,
            schedule,
            folder.absolute(),
            seed,
            phase,
            device,
            weight_decay=weight_decay,
            undamped=section.undamped,
        )
        self.training = ScriptTraining(call, section)
        self.seconds = 0.0
        self.diverged_because = ""
        self.given_up_because = ""
        self._complete = False
        self._factor = divergence_factor
        self._gives_up = gives_up
        self._record = Record(metric)
        self._saved: Record | None = None  # at the last checkpoint
        self._restored = False

    @property
    def curve(self) -> list[CurvePoint]:
        """The values, but for those that follow each other too closely, or have no step."""
        return self._record.curve

    @property
    def test(self) -> float | None:
        """The objective on the test set, as far as the script has told; only in phase final."""
        return self._record.test

    @property
    def finished(self) -> bool:
        """Whether the verdict is known, and nothing of the script is left."""
        return self._decided and (self._restored or self.training.over)

    @property
    def _decided(self) -> bool:
        return bool(self._complete or self.diverged_because or self.given_up_because)

    def advance(self) -> None:
        """Listen to the script for about a quarter of a second, or until the trial is finished.

        Raises:
            RunError: The script failed; see the class.
        """
        started = time.perf_counter()
        try:
            while not self.finished and (left_s := started + _YIELD_S - time.perf_counter()) > 0:
                self._listen(left_s)
        finally:
            self.seconds += time.perf_counter() - started

    def run(self) -> TrialOutcome:
        """Advance to the end."""
        try:
            while not self.finished:
                self.advance()
        finally:
            self.close()
        return self.outcome()

    def close(self) -> None:
        """End the script, if it still runs, and wait until nothing of it is left."""
        self.training.close()

    def outcome(self) -> TrialOutcome:
        """What the finished trial came to."""
        curve, diverged = self.curve, bool(self.diverged_because)
        return TrialOutcome(
            diverged=diverged,
            reason=self.diverged_because or self.given_up_because,
            untrained=curve[0].evaluation if self._record.untrained else None,
            final=None if diverged else curve[-1].evaluation,
            steps=self.training.steps,
            samples=self.training.samples,
            seconds=self.seconds,
            batch_sizes=self.training.batch_sizes,
            curve=tuple(curve),
            given_up=bool(self.given_up_because),
            measured=self.training.measurements(),
        )

    def state_dict(self) -> dict[str, Any]:
        """What a resumed trial needs: the script's last checkpoint, and the answers up to it.

        Of a finished trial everything; plain values only.
        """
        self._note_place()
        record = self._record if self._decided else self._saved
        return {
            "record": None if record is None else record.state(),
            "seconds": self.seconds,
            "diverged_because": self.diverged_because,
            "given_up_because": self.given_up_because,
            "complete": self._complete,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the script go on from its checkpoint; from the beginning if there is none."""
        self.seconds = state["seconds"]
        self.diverged_because = state["diverged_because"]
        self.given_up_because = state["given_up_because"]
        self._complete = state["complete"]
        self._restored = self._decided
        record = state["record"]
        if record is None:
            self.training.note("the script has reported no checkpoint: from the beginning")
            return
        path = self.training.call.folder / record["checkpoint"]
        if not self._decided and not path.exists():
            self.training.note(f"the checkpoint {path} is gone: from the beginning")
            return
        self._record = Record.from_state(record)
        self._saved = self._record.frozen()
        self.training.steps, self.training.samples = self._record.steps, self._record.samples
        self.training.checkpoint = str(path)

    def _listen(self, timeout_s: float) -> None:
        training = self.training
        try:
            for answer in training.listen(timeout_s):
                self._take(answer)
                if self._decided:
                    break
        except BadAnswerError as error:
            if not self._decided:  # else it is on its way out, and nobody listens
                raise failure(training, f"{error}") from None
        if self._decided:
            training.end()
        elif training.over:
            self._judge_end()
        elif training.status is None and training.silent_s() > training.section.answer_timeout_s:
            raise late(training)

    def _take(self, answer: Answer) -> None:
        record, training = self._record, self.training
        if self._decided:
            return
        placed = training.place(answer)
        self._check_range(answer)
        self._check_divergence(answer)
        if self.diverged_because:
            return
        if answer.test is not None and training.call.phase == "final":
            record.test = answer.test if math.isfinite(answer.test) else None
        if answer.value is not None:
            self._take_value(answer.value, placed, untrained=answer.step == 0)
        if answer.checkpoint is not None:
            self._check_checkpoint(answer)
            record.checkpoint = answer.checkpoint
            self._note_place()
            self._saved = record.frozen()

    def _check_checkpoint(self, answer: Answer) -> None:
        """It must be there now, or a resumed trial would begin anew without a word."""
        assert answer.checkpoint is not None
        path = self.training.call.folder / answer.checkpoint
        if not path.exists():
            raise BadAnswerError(
                f"the script's answer {answer.text} is bad: checkpoint must be a file that is "
                f"there, absolute or in the trial's folder, but got {answer.checkpoint}; save it "
                "to {folder} (TUNECLI_FOLDER), and answer after that"
            )

    def _take_value(self, value: float, placed: bool, *, untrained: bool) -> None:
        record, training = self._record, self.training
        if not placed:
            record.last = (value, None, None)
            return
        first, total = not record.curve, training.call.schedule.total_steps
        if not record.take_value(value, training.steps, training.samples, total_steps=total):
            return
        record.untrained = record.untrained or (first and untrained)
        share = training.samples / training.total_samples if training.total_samples else 0.0
        if 0 < share < 1 and self._gives_up is not None:
            self.given_up_because = self._gives_up(self.curve) or ""

    def _check_range(self, answer: Answer) -> None:
        if self._record.metric != "accuracy":
            return
        for name, value in (("value", answer.value), ("test", answer.test)):
            if value is not None and math.isfinite(value) and not 0 <= value <= 1:
                raise out_of_range(self.training, answer, name, value)

    def _check_divergence(self, answer: Answer) -> None:
        where = f"at step {self.training.steps}" if self.training.steps else "by its last answer"
        for name, value in (("value", answer.value), ("train_loss", answer.train_loss)):
            if value is None or math.isfinite(value):
                continue
            if answer.step == 0:
                raise BadAnswerError(
                    f"the untrained model's {name} must be finite but got {value}; no learning "
                    "rate mends that: look at the model and the data"
                )
            self.diverged_because = f"{name} not finite {where}"
            return
        if answer.diverged:
            self.diverged_because = f"the script said so {where}"
        elif answer.train_loss is not None:
            record = self._record
            median = record.take_loss(answer.train_loss, self.training.steps, self._factor)
            if median is not None:
                self.diverged_because = (
                    f"train_loss {median:.3g} {where}, above {self._factor:g} × "
                    f"{record.first_loss:.3g} at the start"
                )

    def _judge_end(self) -> None:
        """The script has ended by itself: what that means."""
        training, record, status = self.training, self._record, self.training.status
        if status is None:
            raise failure(training, "the script could not be ended")
        if status > 0 and training.section.failure == "diverged":
            last = "".join(training.last_lines(1))
            self.diverged_because = f"the script {describe_end(status)}: {last}"
            return
        if status != 0:
            raise crash(training, status)
        if record.last is not None:
            value, steps, samples = record.last
            if steps is None and training.takes_schedule:
                training.steps, training.samples = training.total_steps, training.total_samples
            record.append(
                value,
                training.steps if steps is None else steps,
                training.samples if samples is None else samples,
            )
        if not record.curve:
            raise no_value(training, record.metric)
        if training.takes_schedule and training.steps != training.total_steps:
            training.note(
                f"the script ended at step {training.steps} of {training.total_steps}: does its "
                "step count updates?"
            )
        self._complete = True

    def _note_place(self) -> None:
        self._record.steps, self._record.samples = self.training.steps, self.training.samples
