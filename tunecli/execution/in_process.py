"""Run one trial in this process, in its folder: checkpoints, metrics, log, outcome."""

import contextlib
import errno
import json
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch

from tunecli.errors import InterruptedRunError, RunError, TunecliError
from tunecli.execution.files import aside_of, read_json, write_aside, write_json
from tunecli.execution.interrupt import StopRequest
from tunecli.training import CurvePoint, Evaluation, TrialOutcome
from tunecli.training.protocol import RunnableTrial
from tunecli.user_code import failed

T = TypeVar("T", bound=RunnableTrial)


class TrialFolder:
    """The files of one trial.

    `outcome.json` is there once the trial is finished, `checkpoint.pt` while it is not,
    `metrics.jsonl` has a line per evaluation, `log.txt` what happened when.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcome = path / "outcome.json"
        self.checkpoint = path / "checkpoint.pt"
        self.metrics = path / "metrics.jsonl"
        self._recorded = 0
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{path} cannot be made: {error.strerror}") from error

    def log(self, line: str) -> None:
        """Append a line with the time; a log that cannot be written does not stop a trial."""
        try:
            with (self.path / "log.txt").open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        except OSError:
            pass

    def log_error(self, error: BaseException) -> None:
        """Append an error's whole traceback."""
        self.log("failed\n" + "".join(traceback.format_exception(error)).rstrip())

    def drop_checkpoint(self) -> None:
        """Remove the checkpoint, and what a kill left of the next one."""
        for file in (self.checkpoint, aside_of(self.checkpoint)):
            with contextlib.suppress(OSError):  # it costs its space and nothing else
                file.unlink()

    def start_record(self, curve: list[CurvePoint]) -> None:
        """Let `metrics.jsonl` hold just the points of a curve: none, or a checkpoint's."""
        with contextlib.suppress(OSError):
            self.metrics.unlink()
        self._recorded = 0
        self.record(curve)

    def record(self, curve: list[CurvePoint]) -> None:
        """Append the points that are new; the outcome holds them all, so a failure is let pass."""
        new = curve[self._recorded :]
        if not new:
            return
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(asdict(point)) + "\n" for point in new)
        except OSError as error:
            self.log(f"metrics not written: {error}")
        self._recorded = len(curve)


def execute(
    make_trial: Callable[[], T],
    path: Path,
    *,
    interrupt: StopRequest,
    checkpoint_every_s: float,
    on_progress: Callable[[T], None],
    finish: Callable[[T], dict[str, Any]] | None = None,
    own_code: bool = False,
) -> tuple[TrialOutcome, dict[str, Any]]:
    """Run a trial to its end, or go on with one that was stopped.

    A finished trial is read back and not run again. An unfinished one goes on from its last
    checkpoint, and then takes the very steps that it would have taken uninterrupted.

    Args:
        make_trial: Builds the trial, not yet started.
        path: Its folder.
        interrupt: Asked after every piece of training.
        checkpoint_every_s: Seconds between checkpoints.
        on_progress: Called after every piece of training.
        finish: Called once with the finished trial; what it returns is stored with the outcome
            (the final training evaluates the test set here).
        own_code: Whether the trial runs code that a recipe names: an error that is none of ours is
            then that code's, a wrong shape in its model for example.

    Returns:
        The outcome, and what `finish` returned.

    Raises:
        InterruptedRunError: A stop was requested; a checkpoint was written first.
        RunError: A result cannot be written, or the device's memory does not suffice.
        UserCodeError: The recipe's own code raised an error; the trial's log has the traceback.
    """
    folder = TrialFolder(path)
    if folder.outcome.exists():
        stored = read_json(folder.outcome)
        folder.drop_checkpoint()  # still there after a kill between the two files
        return _outcome_from(stored["outcome"]), stored["extra"]
    try:
        with _restored(make_trial, folder) as trial:
            _advance_to_end(trial, folder, interrupt, checkpoint_every_s, on_progress)
            extra = finish(trial) if finish is not None else {}
            outcome = trial.outcome()
    except torch.OutOfMemoryError as error:  # says nothing of the learning rate
        folder.log(f"out of memory: {error}")
        raise RunError(
            f"the device's memory did not suffice for {path}; free it, then go on with --resume, "
            "or start again with training.micro_batch_size, which keeps the batch, or a smaller "
            "model"
        ) from error
    except Exception as error:
        if isinstance(error, TunecliError) and error.__cause__ is None:
            raise  # a sentence of ours, and nobody's traceback
        folder.log_error(error)
        if isinstance(error, TunecliError) or not own_code:
            raise
        raise failed(f"the recipe's code, in {path},", error) from error
    write_json(folder.outcome, {"outcome": asdict(outcome), "extra": extra})
    folder.drop_checkpoint()
    how = "diverged: " if outcome.diverged else "given up: " if outcome.given_up else "finished"
    folder.log(how + outcome.reason)
    return outcome, extra


def spent_in(path: Path) -> tuple[int, int, float]:
    """Updates, samples and seconds of a trial that nobody will go on with, as its files tell.

    An unfinished trial is known up to its last evaluation, and its seconds not at all.
    """
    folder = TrialFolder(path)
    if folder.outcome.exists():
        outcome = _outcome_from(read_json(folder.outcome)["outcome"])
        return outcome.steps, outcome.samples, outcome.seconds
    with contextlib.suppress(OSError):
        for line in reversed(folder.metrics.read_text(encoding="utf-8").splitlines()):
            with contextlib.suppress(ValueError):  # a kill may have cut off the last one
                point = json.loads(line)
                return point["steps"], point["samples"], 0.0
    return 0, 0, 0.0


def _advance_to_end(
    trial: T,
    folder: TrialFolder,
    interrupt: StopRequest,
    checkpoint_every_s: float,
    on_progress: Callable[[T], None],
) -> None:
    saved_at = time.monotonic()
    while not trial.finished:
        if interrupt.requested:
            _save(trial, folder)
            folder.log(f"stopped after update {trial.training.steps}")
            assert interrupt.signal_number is not None
            raise InterruptedRunError("stopped on request", interrupt.signal_number)
        try:
            trial.advance()
        finally:  # what led to a failure belongs into the log, too
            for note in trial.training.take_notes():
                folder.log(note)
        folder.record(trial.curve)
        on_progress(trial)
        if time.monotonic() - saved_at >= checkpoint_every_s and not trial.finished:
            _save(trial, folder)
            saved_at = time.monotonic()


@contextlib.contextmanager
def _restored(make_trial: Callable[[], T], folder: TrialFolder) -> Iterator[T]:
    """The trial at its checkpoint; a fresh one where there is none, or none that can be read.

    What runs beside it ends with the context.
    """
    with contextlib.ExitStack() as stack:

        def fresh() -> T:
            trial = make_trial()
            stack.callback(trial.training.close)
            return trial

        yield _at_checkpoint(fresh, folder)


def _at_checkpoint(make_trial: Callable[[], T], folder: TrialFolder) -> T:
    trial, how = make_trial(), "started"
    if folder.checkpoint.exists():
        try:
            # map_location: a checkpoint from one device can be loaded on another
            state = torch.load(folder.checkpoint, weights_only=True, map_location="cpu")
            trial.load_state_dict(state)
            how = f"went on from update {trial.training.steps}"
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a damaged file makes torch raise almost anything
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                # not damaged (EINVAL: an offset that makes no sense), and maybe there again soon
                raise RunError(
                    f"{folder.checkpoint} cannot be read: {error.strerror}; go on with --resume "
                    "when it can"
                ) from error
            how = f"started again, the checkpoint is damaged: {error}"
            folder.checkpoint.replace(folder.path / "damaged-checkpoint.pt")
            trial.training.close()
            trial = make_trial()  # the first one may have been restored in part
    folder.log(how)
    folder.start_record(trial.curve)
    return trial


def _save(trial: RunnableTrial, folder: TrialFolder) -> None:
    """Write a checkpoint; where that fails the older one stays, and the trial goes on."""
    state = trial.state_dict()
    try:
        write_aside(folder.checkpoint, lambda file: torch.save(state, file))
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        folder.log(f"checkpoint not written: {error}")


def _outcome_from(stored: dict[str, Any]) -> TrialOutcome:
    untrained, final = stored["untrained"], stored["final"]
    return TrialOutcome(
        **{
            **stored,
            "untrained": None if untrained is None else Evaluation(**untrained),
            "final": None if final is None else Evaluation(**final),
            "batch_sizes": tuple((size, count) for size, count in stored["batch_sizes"]),
            "curve": tuple(CurvePoint(**point) for point in stored["curve"]),
        }
    )
