"""A schedule beside what a delay makes of it: the rates, the reason, and the other rules."""

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from tunecli.report.stability_table import percent
from tunecli.report.tables import warning_lines
from tunecli.schedule import Schedule

_RULES = {
    "exact": "exact",
    "mean": "mean: STAB Eq. 19",
    "eq8": "eq8: π/(4(τ+½))",
    "inverse": "inverse: 1/τ",
    "inverse-plus-one": "inverse-plus-one: 1/(τ+1)",
}
_EQUATIONS = {
    "none": "aη = 2 sin(π/(4τ+2)), STAB Eq. 6",
    "standard": "STAB Eq. 26",
    "shifted": "STAB Eq. 11",
}


def scaled_view(result: dict[str, Any], *, training_samples: int | None = None) -> Group:
    """The scaled rate, why it is that, the stages, and what the other rules would say.

    Args:
        result: What `tunecli schedule --asynchronous --json` prints.
        training_samples: Size of the training set, where it is known, to count in epochs.
    """
    before, scaling, delay = result["schedule"][0], result["scaling"], result["delay"]
    where = f"{'' if delay['kind'] == 'constant' else 'mean '}delay {delay['mean']:.6g}"
    if scaling.get("staleness_aware"):
        headline = Text(f"learning_rate {before['learning_rate']:g}, less at every update: {where}")
    else:
        headline = Text.assemble(
            "learning_rate ",
            (f"{result['learning_rate']:.6g}", "bold green"),
            f" = {before['learning_rate']:g} × {scaling['factor']:.6g} at {where}",
        )
    reasons = [Text(sentence) for sentence in _reasons(result)]
    stages = _stages_table(result, training_samples)
    warnings = warning_lines(result.get("warnings", []))
    return Group(headline, *reasons, Text(), stages, _rules_table(result), *warnings)


def _reasons(result: dict[str, Any]) -> Iterator[str]:
    scaling, delay, before = result["scaling"], result["delay"], result["schedule"][0]
    workers, kind = delay.get("num_workers"), scaling["momentum_kind"]
    constant = delay["kind"] == "constant"
    if workers is not None:
        yield (
            f"{workers} workers served in turn: every gradient is {workers} − 1 = "
            f"{delay['mean']:g} updates late."
        )
    if scaling.get("staleness_aware"):
        yield (
            "Staleness-aware: every update is scaled by its own delay (rule "
            f"{_RULES[scaling['rule']]}), so the stages keep their rates."
        )
    elif scaling["rule"] == "none":
        yield "The rates are left as they are (scaling none)."
    elif scaling["rule"] != "exact":
        yield (
            f"The factor is the rule {_RULES[scaling['rule']]}, "
            f"{percent(scaling['error'])} off the exact one."
        )
    elif constant:
        yield (
            f"The factor is the largest stable rate under this delay ({_EQUATIONS[kind]}) over "
            "that of plain SGD without delay (aη = 2): minima stay as stable as they are for it."
        )
    else:
        yield (
            "The delay is random, so the factor keeps mean-square stability: the iterates' spread "
            "stays bounded, not their mean alone."
        )
        mean = _approximation(scaling, "mean")
        yield (
            f"Stability of the mean (STAB Eq. 19) would have said {mean['learning_rate']:.6g}, "
            f"{percent(mean['error'])}."
        )
    if kind != "none":
        where = "at the server" if kind == "standard" else "per worker (shifted)"
        yield (
            f"Momentum {before['momentum']:g}, discount {before['discount']:g}, one buffer {where}."
        )
    elif before["momentum"] > 0 and before["discount"] > 0:
        yield (
            f"Momentum {before['momentum']:g} is dropped (--momentum-kind none), as STAB advises "
            "under delay."
        )


def _approximation(scaling: dict[str, Any], rule: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in scaling["approximations"] if each["rule"] == rule)
    return found


def _stages_table(result: dict[str, Any], training_samples: int | None) -> Table:
    """One row per stage: the rate without delay, the one under it, and what goes with it."""
    stagewise = Schedule.from_list(result["schedule"])
    scaled = Schedule.from_list(result["scaled_schedule"])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True, padding=(0, 1, 0, 0))
    table.add_column("stage", justify="right", footer="all")
    table.add_column("no delay", justify="right")
    table.add_column(f"delay {result['delay']['mean']:.4g}", justify="right", style="bold")
    for name in ("momentum", "discount", "batch_size"):
        table.add_column(name, justify="right")
    table.add_column("steps", justify="right", footer=f"{scaled.total_steps:,}")
    in_all = f"{scaled.samples:,}"
    if training_samples is not None:
        in_all = f"{scaled.epochs(training_samples):.2f}"
    unit = "samples" if training_samples is None else "epochs"
    table.add_column(unit, justify="right", footer=in_all)
    pairs = zip(stagewise.stages, scaled.stages, strict=True)
    for number, (before, after) in enumerate(pairs, 1):
        table.add_row(
            str(number),
            f"{before.learning_rate:.6g}",
            f"{after.learning_rate:.6g}",
            f"{after.momentum:.6g}",
            f"{after.discount:g}",
            str(after.batch_size),
            f"{after.steps:,}",
            f"{after.samples:,}"
            if training_samples is None
            else f"{after.samples / training_samples:.2f}",
        )
    return table


def _rules_table(result: dict[str, Any]) -> Table:
    """What each other rule makes of α₁, and how far it is from the exact one."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("other rules", no_wrap=True)
    for name in ("factor", "learning_rate", "error"):
        table.add_column(name, justify="right")
    for each in result["scaling"]["approximations"]:
        table.add_row(
            _RULES[each["rule"]],
            f"{each['factor']:.6g}",
            f"{each['learning_rate']:.6g}",
            percent(each["error"]),
        )
    return table
