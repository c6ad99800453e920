"""A stability measurement as it runs."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tunecli.report.opened import ProgressView

# How many trainings to the end one rate takes, which those that leave early add little to. It is a
# guess at the first point; at the others as many as at the one before.
_USUAL_TRAININGS = 2.5
_MANY_UPDATES = 1_000_000


class StabilityView(ProgressView):
    """A progress bar in a terminal, a line per finished point elsewhere.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(  # what changes its length comes last, so that nothing jumps
            console,
            BarColumn(bar_width=12),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            transient=True,
        )
        self._done = 0
        self._finished = 0
        self._points = 0
        self._trainings = _USUAL_TRAININGS

    def sharpness(self, products: int, value: float, residual: float) -> None:
        """One more Hessian-vector product."""
        if self._progress.disable:
            return
        if self._task is None:
            self._task = self._progress.add_task("", total=None)
        self._progress.update(
            self._task, description=f"sharpness {value:.5g} ± {residual:.2g}, product {products}"
        )

    def start(self, *, points: int, finished: int, work: int, done: int) -> None:
        """The sharpness is known; `work` and `done` count updates, one training a point."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._points, self._finished, self._done = points, finished, done
        if finished:
            self._print(f"resumed: {finished} of {points} points already finished")
        expected = _USUAL_TRAININGS * (work - done)
        if expected >= _MANY_UPDATES:
            self._print(
                f"about {expected / 1e6:,.1f} million full-batch updates to come; Ctrl-C keeps "
                "what is finished"
            )
        self._task = self._progress.add_task("", total=work, completed=done)

    def training(
        self, *, delay: int, momentum: float, rate: float, updates: int, work: int
    ) -> None:
        """A training goes on at `rate`; `updates` counts those of all trainings at this point."""
        assert self._task is not None
        through = min(updates / (self._trainings * work), 0.95)
        self._progress.update(
            self._task,
            description=f"{self._finished}/{self._points} delay {delay}"
            + (f" momentum {momentum:g}" if momentum else "")
            + f" rate {rate:.4g}",
            completed=self._done + through * work,
        )

    def point(self, point: dict[str, Any], *, work: int) -> None:
        """A point is finished; `point` is its entry in result.json."""
        assert self._task is not None
        self._done += work
        self._finished += 1
        self._trainings = max(point["updates"] / work, 1)
        self._progress.update(self._task, completed=self._done)
        momentum = f" momentum={point['momentum']:g}" if point["momentum"] else ""
        self._print(
            f"delay={point['delay']}{momentum} measured={point['measured']:.5g} "
            f"predicted={point['predicted']:.5g} ratio={point['ratio']:.3f} "
            f"finished={self._finished}/{self._points}"
        )

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
