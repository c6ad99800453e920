"""A comparison as it runs, and its summary."""

from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from tunecli.report.opened import LiveTable
from tunecli.report.tables import warning_lines
from tunecli.report.text import count, duration
from tunecli.search.compare.run import CompareStarted, Event, StudyFinished
from tunecli.search.compare.study import StudyProgress

_BAR = 24


class CompareView(LiveTable):
    """Shows a comparison; call it with every event.

    Args:
        console: Where to; a terminal gets a live table, anything else a line per study.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._plan: CompareStarted | None = None
        self._running: dict[tuple[str, int], StudyProgress] = {}
        self._done: dict[str, list[dict[str, Any]]] = {}

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case CompareStarted():
                self._start(event)
            case StudyProgress():
                self._running[event.method, event.seed] = event
            case StudyFinished():
                self._running.pop((event.method, event.study["seed"]), None)
                self._done.setdefault(event.method, []).append(event.study)
                self._say(event)

    def _start(self, plan: CompareStarted) -> None:
        self._plan = plan
        studies = len(plan.methods) * plan.studies
        self._print(
            f"{plan.recipe} on {plan.device}: {studies} studies "
            f"({count(len(plan.methods), 'method')}, {plan.studies} each) of at most "
            f"{count(plan.budget, 'sample')}, {plan.workers} at once"
        )
        for name, reason in plan.skipped:
            self._print(f"{name} is left out: {reason}")
        if plan.finished:
            self._print(f"resumed: {plan.finished} of {studies} studies already finished")
        self._open()

    def _say(self, event: StudyFinished) -> None:
        assert self._plan is not None
        done = sum(len(studies) for studies in self._done.values())
        if self._live is not None or done <= self._plan.finished:
            return
        study = event.study
        value = "none" if study["validation"] is None else f"{study['validation']:.4f}"
        self._print(
            f"{event.method} study={study['seed']} trials={study['trials']} "
            f"samples={study['samples']} validation={value} seconds={study['seconds']:.1f} "
            f"finished={done}/{len(self._plan.methods) * self._plan.studies}"
        )

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _table(self) -> RenderableType:
        plan = self._plan
        if plan is None:
            return Text()
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("method")
        table.add_column("studies", justify="right")
        table.add_column("progress", min_width=_BAR)
        table.add_column("best val.", justify="right")
        for method in plan.methods:
            done = self._done.get(method.name, [])
            now = [each for each in self._running.values() if each.method == method.name]
            part = sum(min(each.samples / plan.budget, 1.0) for each in now)
            values = [study["validation"] for study in done if study["validation"] is not None]
            values += [each.best for each in now if each.best is not None]
            table.add_row(
                method.label,
                f"{len(done)}/{plan.studies}",
                _bar((len(done) + part) / plan.studies),
                f"{sum(values) / len(values):.4f}" if values else "",
                style="" if now else "dim",
            )
        return Group(table, Text("Ctrl-C stops, --resume goes on", "dim"))


def comparison_summary(result: dict[str, Any]) -> Group:
    """What a person reads at the end of a comparison; `result` is result.json's content."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("method", no_wrap=True)
    for name in (result["metric"], "tunecli minus it", "spent", "target", "even"):
        table.add_column(name, justify="right", no_wrap=True)
    trial = result["budget"]["samples_per_trial"]
    for method in result["methods"]:
        style = "bold" if method["group"] == "tunecli" else ""
        table.add_row(*_cells(method, trial), style=style)
    parts: list[RenderableType] = [Text(), table]
    target, budget = result["target"], result["budget"]
    if target is not None:
        parts.append(
            Text(
                f"Target: validation {result['metric']} {target['value']:.4f}, from "
                f"{target['from']}. {target['definition']}",
                "dim",
            )
        )
    parts.append(
        Text(
            f"Budget: {budget['samples']:,} samples = {budget['trials']} full trials. Mean test "
            f"{result['metric']} over studies (n = {len(result['seeds'])}), 95 % bootstrap "
            "intervals. Spent, and drawn until the target was reached (by how many studies): "
            "medians, in full trials. Even: the budget at which a method has what tunecli had at "
            "its stop, over what tunecli drew.",
            "dim",
        )
    )
    parts += [Text(), *(Text(sentence) for sentence in result["verdict"])]
    parts += [Text(f"Left out: {each['name']}, {each['reason']}") for each in result["skipped"]]
    spent = result["spent"]
    parts.append(
        Text(
            f"Spent: {count(spent['trials'], 'trial')}, {count(spent['samples'], 'sample')}, "
            f"{duration(spent['seconds'])} of computing.",
            "dim",
        )
    )
    return Group(*parts, *warning_lines(result["warnings"]))


def _cells(method: dict[str, Any], trial: int) -> list[str]:
    final, apart, reached = method["final"], method["difference"], method["target"]
    caught = method["catch_up"]
    return [
        method["name"],
        "none" if final is None else f"{final['mean']:.4f}",
        "" if apart is None else _interval(apart),
        f"{method['spent']['samples'] / trial:.1f}",
        "" if reached is None else _reached(reached, trial),
        "" if caught is None else "no" if caught["ratio"] is None else f"{caught['ratio']:.2g}×",
    ]


def _reached(target: dict[str, Any], trial: int) -> str:
    share = f"{target['reached']}/{target['n']}"
    return share if target["samples"] is None else f"{target['samples'] / trial:.1f} ({share})"


def _interval(estimate: dict[str, Any]) -> str:
    if estimate["low"] is None:
        return f"{estimate['mean']:+.4f}"
    return f"{estimate['low']:+.4f} … {estimate['high']:+.4f}"


def _bar(share: float) -> Text:
    full = round(min(max(share, 0.0), 1.0) * _BAR)
    return Text.assemble(("━" * full, "cyan"), ("─" * (_BAR - full), "dim"))
