"""What the answers of a script have come to: its curve, and whether its losses fly apart."""

import statistics
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tunecli.training.protocol import CurvePoint

_WINDOW_STEPS, _WINDOW_ANSWERS = 25, 3
_POINTS = 1000
_MOST_POINTS = 10_000


@dataclass
class Record:
    """Plain values, so that it can be saved as it is.

    Args:
        metric: What a value is: `accuracy`, `loss`, or a metric of the recipe's own.
        curve: The values that have a place, but for those that follow each other too closely.
        last: The last value, where it is not on the curve, with its steps and samples; those are
            None where the script did not tell them.
        steps: Where the training was at the last answer.
        samples: Likewise.
        untrained: Whether the curve begins with step 0.
        test: The objective on the test set.
        first_loss: The first train_loss that was reported.
        recent: The last ones, with their steps.
        loss_sum: Of the train_losses since the last point of the curve.
        loss_count: Their number.
        checkpoint: The path that was reported last.
    """

    metric: str
    curve: list[CurvePoint] = field(default_factory=list)
    last: tuple[float, int | None, int | None] | None = None
    steps: int = 0
    samples: int = 0
    untrained: bool = False
    test: float | None = None
    first_loss: float | None = None
    recent: list[tuple[int, float]] = field(default_factory=list)
    loss_sum: float = 0.0
    loss_count: int = 0
    checkpoint: str = ""

    def take_value(self, value: float, steps: int, samples: int, *, total_steps: int) -> bool:
        """Put a value on the curve if there is room; whether it is there.

        A script may answer after every update: then it is about a thousand of them that are kept,
        and the last one.

        Args:
            value: Of the objective.
            steps: Updates made.
            samples: Samples drawn.
            total_steps: Of the schedule.
        """
        self.last = (value, steps, samples)
        if self.curve:
            far = (steps - self.curve[-1].steps) * _POINTS >= total_steps
            at_the_end = self.curve[-1].steps < total_steps <= steps
            if not (far or at_the_end) or len(self.curve) >= _MOST_POINTS:
                return False
        self.append(value, steps, samples)
        return True

    def append(self, value: float, steps: int, samples: int) -> None:
        """Put a value on the curve."""
        self.curve.append(
            CurvePoint(
                steps=steps,
                samples=samples,
                train_loss=self.loss_sum / self.loss_count if self.loss_count else None,
                loss=value if self.metric == "loss" else None,
                accuracy=value if self.metric == "accuracy" else None,
                metrics={} if self.metric in ("loss", "accuracy") else {self.metric: value},
            )
        )
        self.last, self.loss_sum, self.loss_count = None, 0.0, 0

    def take_loss(self, loss: float, steps: int, factor: float) -> float | None:
        """Note a train_loss; the median of the last ones if it is too large, see `ScriptTrial`.

        Args:
            loss: Finite.
            steps: Updates made.
            factor: How many times the first one is too large.
        """
        if self.first_loss is None:
            self.first_loss = loss
        self.loss_sum += loss
        self.loss_count += 1
        self.recent = [*self.recent, (steps, loss)][-_WINDOW_STEPS:]
        window = [
            each
            for age, (step, each) in enumerate(reversed(self.recent))
            if age < _WINDOW_ANSWERS or step > steps - _WINDOW_STEPS
        ]
        median = statistics.median_low(window)
        return median if self.first_loss > 0 and median > factor * self.first_loss else None

    def frozen(self) -> "Record":
        """As it is now: nothing in it is changed in place but the curve, to which one appends."""
        return replace(self, curve=self.curve.copy())

    def state(self) -> dict[str, Any]:
        """All of it, as plain values."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Record":
        """The inverse of `state`."""
        return cls(**{**state, "curve": [CurvePoint(**point) for point in state["curve"]]})
