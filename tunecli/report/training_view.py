"""One training as it runs, and its summary."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from tunecli.report.delays import delay_lines, measuring_line
from tunecli.report.opened import ProgressView
from tunecli.report.plain import mapping
from tunecli.report.tables import bill_line, schedule_table, warning_lines
from tunecli.report.text import measured, sparkline
from tunecli.schedule import Schedule


class TrainingView(ProgressView):
    """A progress bar in a terminal, a line per evaluation elsewhere; call it with the trial."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            console,
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%"),
            TimeRemainingColumn(),
            TextColumn("[blue]{task.fields[curve]}"),
        )
        self._lines = 0

    def measuring(self, num_workers: int) -> None:
        """Say that real workers are watched for their delay first."""
        self._console.print(measuring_line(num_workers), highlight=False)

    def __call__(self, *, steps: int, total_steps: int, curve: Sequence[dict[str, Any]]) -> None:
        """Show how far the training has come; `curve` is the one of result.json so far."""
        if not self._progress.disable:
            if self._task is None:
                self._task = self._progress.add_task("training", total=total_steps, curve="")
            drawn = _drawn(curve)
            self._progress.update(self._task, completed=steps, curve=drawn)
            return
        for point in curve[self._lines :]:
            self._console.print(
                f"update={point['steps']} samples={point['samples']} validation {measured(point)}",
                highlight=False,
                soft_wrap=True,
            )
        self._lines = len(curve)


def _drawn(curve: Sequence[Mapping[str, Any]]) -> str:
    """The curve of the accuracy, or of the loss where there is none, or of a script's value."""
    if not curve:
        return ""
    named = [name for name in ("accuracy", "loss") if curve[-1][name] is not None]
    if named == [] or named[0] == "loss":
        values = [p["loss"] if named else next(iter(p["metrics"].values())) for p in curve]
        return sparkline(values)
    return sparkline([point["accuracy"] for point in curve], low=0.0, high=1.0)


def training_summary(result: dict[str, Any], samples: int | None) -> Group:
    """What a person reads at the end of a training; `result` is result.json's content."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    rate = Text(f"learning_rate {result['learning_rate']:g}, seed {result['seed']}")
    grid.add_row("Trained", rate)
    for name, line in delay_lines(mapping(result.get("asynchronous"))):
        grid.add_row(name, Text(line))
    if result["state"] == "diverged":
        grid.add_row("Diverged", Text(result["reason"], style="red"))
    for split in ("validation", "test"):
        found = result[split]
        if found is not None:
            grid.add_row(split.capitalize(), measured(found))
    grid.add_row("Spent", bill_line(result["spent"], 1))
    table = schedule_table(Schedule.from_list(result["schedule"]), training_samples=samples)
    if result.get("schedule_is_advice"):
        grid.add_row("Advice", "what follows from this rate; the script was not given it")
    return Group(Text(), grid, Text(), table, *warning_lines(result["warnings"]))
