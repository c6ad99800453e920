"""One trial: train to the end of the schedule, evaluate on the way, end early on divergence."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from tunecli.data.load import AnySplit
from tunecli.errors import InvalidValueError, require
from tunecli.training.protocol import (
    CurvePoint,
    NotYetError,
    Training,
    TrialOutcome,
    named_values,
)

_WINDOW_STEPS = 25
_YIELD_S = 0.25

GivesUp = Callable[[Sequence[CurvePoint]], str | None]


class Trial:
    """A training run that is advanced piece by piece, so that it can be watched and stopped.

    The losses stay on the device and are read once per window of 25 updates (a window also ends at
    every evaluation), so training is not held up by a synchronization at each update.

    A trial has **diverged** when a training loss or the validation loss is not finite, or when, at
    the end of a window, the median training loss of the last 25 updates is above
    `divergence_factor` times the loss of the first batch before any update. A median, and over
    25 updates however short the windows are: one bad batch is not divergence. Windows lie at fixed
    updates, so the verdict does not depend on the speed of the machine or on interruptions.
    Before any update the learning rate has done nothing: a loss that is not finite then is an
    error, not divergence.

    Args:
        training: The algorithm, not yet started.
        validation: What it is evaluated on.
        evaluations: How many evaluations, evenly spaced over the updates, the last at the end;
            the untrained model is evaluated as well.
        divergence_factor: > 1.
        gives_up: Asked after every evaluation but the last, with the curve so far: why to give up
            the trial there, or None. It must depend on the curve alone.
    """

    def __init__(
        self,
        training: Training,
        validation: AnySplit,
        *,
        evaluations: int = 10,
        divergence_factor: float = 10.0,
        gives_up: GivesUp | None = None,
    ) -> None:
        require(evaluations >= 1, "evaluations", "≥ 1", evaluations)
        require(divergence_factor > 1, "divergence_factor", "> 1", divergence_factor)
        self.training = training
        self.curve: list[CurvePoint] = []
        self.seconds = 0.0
        self.diverged_because = ""
        self.given_up_because = ""
        self._validation = validation
        self._gives_up = gives_up
        self._factor = divergence_factor
        total = training.total_steps
        self._evaluate_at = sorted(
            {-(-total * k // evaluations) for k in range(1, evaluations + 1)}
        )
        self._window: list[Tensor] = []  # losses still on the device
        self._window_read: list[float] = []  # losses of the same window from a checkpoint
        self._window_end = 0
        self._recent: list[float] = []  # the last losses before the window
        self._losses_since_evaluation: list[float] = []
        self._first_loss: float | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do: every update made, diverged, or given up."""
        ended_early = bool(self.diverged_because or self.given_up_because)
        return ended_early or (
            bool(self.curve) and self.training.steps == self.training.total_steps
        )

    def advance(self) -> None:
        """Train for about a quarter of a second, or to the end if that comes first.

        It also returns when the training has to wait for so long, without having come any further.
        """
        started = time.perf_counter()
        try:
            if not self.curve:
                self._evaluate()
                self._open_window()
            while not self.finished and time.perf_counter() < started + _YIELD_S:
                self._train(started + _YIELD_S)
        except NotYetError:
            pass  # nothing has changed: whoever advances the trial may stop it, or go on
        finally:
            self.seconds += time.perf_counter() - started

    def run(self) -> TrialOutcome:
        """Advance to the end."""
        while not self.finished:
            self.advance()
        return self.outcome()

    def outcome(self) -> TrialOutcome:
        """What the finished trial came to."""
        untrained, last = self.curve[0], self.curve[-1]
        diverged = bool(self.diverged_because)
        batch_sizes = self.training.batch_sizes
        return TrialOutcome(
            diverged=diverged,
            reason=self.diverged_because or self.given_up_because,
            untrained=untrained.evaluation,
            final=None if diverged else last.evaluation,
            steps=sum(updates for _, updates in batch_sizes),  # not those that came to nothing
            samples=self.training.samples,
            seconds=self.seconds,
            batch_sizes=batch_sizes,
            curve=tuple(self.curve),
            given_up=bool(self.given_up_because),
            measured=self.training.measurements()
            | ({"metrics": dict(last.metrics)} if last.metrics else {}),
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on exactly from here; tensors and plain values only."""
        return {
            "training": self.training.state_dict(),
            "curve": [asdict(point) for point in self.curve],
            "seconds": self.seconds,
            "diverged_because": self.diverged_because,
            "given_up_because": self.given_up_because,
            "window": self._read_window(),
            "window_end": self._window_end,
            "recent": list(self._recent),
            "losses_since_evaluation": list(self._losses_since_evaluation),
            "first_loss": self._first_loss,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken."""
        self.training.load_state_dict(state["training"])
        self.curve = [CurvePoint(**point) for point in state["curve"]]
        self.seconds = state["seconds"]
        self.diverged_because = state["diverged_because"]
        self.given_up_because = state["given_up_because"]
        self._window = []
        self._window_read = list(state["window"])
        self._window_end = state["window_end"]
        self._recent = list(state["recent"])
        self._losses_since_evaluation = list(state["losses_since_evaluation"])
        self._first_loss = state["first_loss"]

    def _train(self, until: float) -> None:
        step = self.training.step
        while self.training.steps < self._window_end:
            self._window.append(step())
            if time.perf_counter() > until:
                break
        if self.training.steps == self._window_end:
            self._close_window()

    def _open_window(self) -> None:
        steps = self.training.steps
        following = (at for at in self._evaluate_at if at > steps)
        self._window_end = min(steps + _WINDOW_STEPS, next(following, steps))

    def _close_window(self) -> None:
        losses = self._read_window()
        self._window, self._window_read = [], []
        self._losses_since_evaluation += losses
        self._recent = (self._recent + losses)[-_WINDOW_STEPS:]
        if self._first_loss is None:
            self._first_loss = losses[0]
            _require_finite(self._first_loss, "loss of the first training batch")
        self._check(losses)
        if not self.diverged_because and self.training.steps in self._evaluate_at:
            self._evaluate()
        self._open_window()

    def _read_window(self) -> list[float]:
        read = torch.stack(self._window).tolist() if self._window else []
        return self._window_read + read

    def _check(self, losses: list[float]) -> None:
        assert self._first_loss is not None
        limit = self._factor * self._first_loss
        if not all(math.isfinite(loss) for loss in losses):
            self.diverged_because = f"training loss not finite by update {self.training.steps}"
        # the lower one of two medians: after two updates, too, one bad batch is one bad batch
        elif (median := statistics.median_low(self._recent)) > limit:
            self.diverged_because = (
                f"training loss {median:.3g} at update {self.training.steps}, above "
                f"{self._factor:g} × {self._first_loss:.3g} at the start"
            )

    def _evaluate(self) -> None:
        result = self.training.evaluate(self._validation)
        losses = self._losses_since_evaluation
        for name, value in named_values(result):
            if math.isfinite(value):
                continue
            if not self.curve:
                _require_finite(value, f"validation {name}")
            self.diverged_because = (
                f"validation {name} not finite after update {self.training.steps}"
            )
            return
        self.curve.append(
            CurvePoint(
                steps=self.training.steps,
                samples=self.training.samples,
                train_loss=statistics.fmean(losses) if losses else None,
                loss=result.loss,
                accuracy=result.accuracy,
                metrics=result.metrics,
            )
        )
        losses.clear()
        unfinished = 0 < self.training.steps < self.training.total_steps
        if unfinished and self._gives_up is not None:
            self.given_up_because = self._gives_up(self.curve) or ""


def _require_finite(loss: float, name: str) -> None:
    if not math.isfinite(loss):
        raise InvalidValueError(
            f"the untrained model's {name} must be finite but got {loss}; "
            "no learning rate mends that: look at the model and the data"
        )
