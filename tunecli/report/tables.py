"""Tables of a schedule and its conditions, and the summary at the end of a search."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tunecli.report.delays import delay_lines
from tunecli.report.plain import mapping
from tunecli.report.text import count, duration
from tunecli.schedule import Condition, Schedule, binding


def schedule_table(schedule: Schedule, *, training_samples: int | None = None) -> Table:
    """One row per stage, and the totals; epochs where the training set's size is known."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column("stage", justify="right", footer="all")
    for name in ("learning_rate", "momentum", "discount", "batch_size"):
        table.add_column(name, justify="right")
    table.add_column("steps", justify="right", footer=f"{schedule.total_steps:,}")
    if training_samples is None:
        table.add_column("samples", justify="right", footer=f"{schedule.samples:,}")
    else:
        epochs = schedule.epochs(training_samples)
        table.add_column("epochs", justify="right", footer=f"{epochs:.2f}")
    for number, stage in enumerate(schedule.stages, 1):
        table.add_row(
            str(number),
            f"{stage.learning_rate:.6g}",
            f"{stage.momentum:.6g}",
            f"{stage.discount:g}",
            str(stage.batch_size),
            f"{stage.steps:,}",
            f"{stage.samples:,}"
            if training_samples is None
            else f"{stage.samples / training_samples:.2f}",
        )
    return table


def condition_lines(conditions: Sequence[Condition], covered: float) -> list[Text]:
    """One line per condition of the papers, the binding one marked, with what to change."""
    tightest = binding(tuple(conditions))
    lines = []
    for condition in conditions:
        mark = ("✓", "green") if condition.holds else ("✗", "red")
        line = Text.assemble(mark, f" {condition.name}: {condition.formula}")
        if condition is tightest:
            line.append(" (binding: the least to spare)", style="bold")
        line.append(f"\n  {condition.detail}", style="dim")
        if condition.remedy:
            line.append(f"\n  {condition.remedy}", style="yellow")
        lines.append(line)
    if covered != float("inf"):
        lines.append(
            Text(f"  Theorem 4 covers losses of smoothness L ≤ {covered:.4g} at this rate", "dim")
        )
    return lines


def bound_line(deterministic: float, stochastic: float) -> Text:
    """Theorem 4's bound and its two terms."""
    return Text(
        f"  mean squared gradient ≤ ε_d + ε_s = {deterministic:.4g} + {stochastic:.4g} = "
        f"{deterministic + stochastic:.4g} (Theorem 4)",
        "dim",
    )


def search_summary(result: dict[str, Any], samples: int | None) -> Group:
    """What a person reads at the end of a search; `result` is result.json's content.

    Args:
        result: See `docs/result.md`.
        samples: Size of the training set; None: not known.
    """
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    rate, test, spent = result["learning_rate"], result["test"], result["spent"]
    if rate is None:
        grid.add_row("Found", Text("no usable learning rate", style="red"))
    else:
        found = Text(f"learning_rate {rate:g}", style="bold green")
        late = mapping(result.get("asynchronous")).get("learning_rate")
        if late is not None:
            found.append(f" without delay, {late:.6g} under it", style="bold")
        grid.add_row("Found", found)
    because = "" if rate is None else f"at {rate:g} because "
    grid.add_row("Stopped", Text(f"{because}{result['stop']['explanation']}"))
    for name, line in _certificate_lines(result):
        grid.add_row(name, Text(line))
    for name, line in delay_lines(mapping(result.get("asynchronous"))):
        grid.add_row(name, Text(line))
    if test is not None:
        spread = "" if test["std"] is None else f" ± {test['std']:.4f}"
        seeds = count(test["n"], "fresh seed")
        tested = test.get("split", "test") == "test"
        grid.add_row(
            "Test" if tested else "Final",
            f"{test['metric']} {test['mean']:.4f}{spread} "
            f"(mean{' ± std' if spread else ''}, n = {seeds}; "
            f"{'test set read once' if tested else 'on the validation set'})",
        )
    cancelled = spent["cancelled"]["samples"]
    ahead = f", {count(cancelled, 'sample')} of it ahead and not needed" if cancelled else ""
    grid.add_row(
        "Spent",
        f"{count(len(result['trials']), 'trial')} and "
        f"{count(len(result['final']), 'final training')}: {bill_line(spent, 0)}{ahead}",
    )
    parts: list[RenderableType] = [Text(), grid]
    if result["schedule"]:
        schedule = Schedule.from_list(result["schedule"])
        if result.get("schedule_is_advice"):
            advice = "Advice: what follows from this rate; nobody has trained with it"
            parts += [Text(), Text(advice, style="bold")]
        # the table begins with an empty line of its own
        parts.append(schedule_table(schedule, training_samples=samples))
    parts += warning_lines(result["warnings"])
    return Group(*parts)


def bill_line(spent: Mapping[str, Any], digits: int) -> str:
    """What was spent, without what nobody knows: a script may tell neither updates nor samples.

    Args:
        spent: A bill of result.json.
        digits: Of the epochs.

    >>> bill_line({"updates": 20, "samples": 640, "epochs": 0.6, "seconds": 2.5}, 1)
    '20 updates, 640 samples (0.6 epochs), 2.5 s'
    >>> bill_line({"updates": 0, "samples": 0, "epochs": None, "seconds": 2.5}, 1)
    '2.5 s'
    """
    parts = [duration(spent["seconds"])]
    if spent["samples"]:
        epochs = "" if spent["epochs"] is None else f" ({spent['epochs']:.{digits}f} epochs)"
        parts.insert(0, count(spent["samples"], "sample") + epochs)
    if spent["updates"]:
        parts.insert(0, count(spent["updates"], "update"))
    return ", ".join(parts)


def _certificate_lines(result: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What the decision rests on, a line each: rule, noise, the last close call, what is beyond."""
    certificate = result["certificate"]
    if certificate is None:
        return
    bracket, noise = certificate["bracket"], certificate["noise"]
    low, high = (_rate(bracket[side]) for side in ("low", "high"))
    tries = count(certificate["patience"], "rate")
    rule = f"{certificate['strategy']}, patience {tries}; the best lies between {low} and {high}"
    yield "Rule", rule
    if noise is not None and noise["std"] is not None:
        share = f"{noise['error_rate'] * 100:g}"
        line = f"± {noise['std']:.4f} over {count(noise['seeds'], 'seed')} at the best rate; "
        line += f"a rate as good is called worse in at most {share} % of comparisons"
        yield "Noise", line
    contested = [each for each in certificate["comparisons"] if each["low"] is not None]
    if contested:
        last = contested[-1]
        line = f"{last['learning_rate']:g} against {last['than']:g}: {last['difference']:+.4f} "
        line += f"({last['low']:+.4f} to {last['high']:+.4f}), {last['verdict']}"
        yield "Last call", line
    verify = certificate["verify"]
    if verify is not None:
        found = ", ".join(
            f"{'divergence' if point['value'] is None else format(point['value'], '.4f')} "
            f"at {point['learning_rate']:g}"
            for point in verify["points"]
        )
        yield "Beyond", f"{found}; regret {verify['regret']:.4f}"


def _rate(rate: float | None) -> str:
    return "the edge" if rate is None else f"{rate:g}"


def warning_lines(warnings: Iterable[str]) -> list[Text]:
    """Warnings as a person sees them."""
    return [Text.assemble(("warning: ", "yellow"), warning) for warning in warnings]
