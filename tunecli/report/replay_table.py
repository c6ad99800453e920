"""What a replay on measured tables found, for people."""

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

MOST_ROWS = 30


def replay_report(result: dict[str, Any]) -> Group:
    """One row per table, where there are few, and the summary.

    Args:
        result: What `tunecli replay --json` prints, see `docs/replay.md`.
    """
    tables, overall = result["tables"], result["overall"]
    parts: list[RenderableType] = []
    if len(tables) <= MOST_ROWS:
        parts.append(_rows(tables))
    else:
        parts.append(
            Text(f"{len(tables):,} tables, too many for a row each; --json has them all\n", "dim")
        )
    parts.append(_summary(overall, result["strategy"]))
    return Group(*parts)


def _rows(tables: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("table", overflow="fold", min_width=12)
    for name in ("rate", "value", "best rate", "best value", "regret", "trials", "cost", "within"):
        table.add_column(name, justify="right")
    for each in tables:
        best = each["best"] or {"learning_rate": None, "value": None}
        table.add_row(
            Text(_printable(each["name"])),
            _number(each["learning_rate"]),
            _number(each["value"]),
            _number(best["learning_rate"]),
            _number(best["value"]),
            _number(each["regret"]),
            str(each["trials"]),
            f"{each['cost']:.2f}",
            _verdict(each["within_1_percent"]),
        )
    return table


def _summary(overall: dict[str, Any], strategy: str) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    tables = "table" if overall["n"] == 1 else "tables"
    grid.add_row("Replayed", f"{overall['n']:,} {tables}, strategy {strategy}")
    if overall["all_diverged"]:
        grid.add_row("Diverged", f"at every rate on {overall['all_diverged']:,} of them")
    if overall["within_1_percent"] is not None:
        grid.add_row("Within 1 %", f"of the grid's best on {_percent(overall['within_1_percent'])}")
    if overall["within_one_point"] is not None:
        grid.add_row(
            "Within 0.01",
            f"of the grid's best, for shares, on {_percent(overall['within_one_point'])}",
        )
    for key, label, unit in (
        ("trials", "Trials", ""),
        ("cost", "Cost", " full trials"),
        ("samples", "Samples", ""),
    ):
        spread = overall[key]
        if key == "samples" and spread == overall["cost"]:
            continue  # no table says what a full trial costs
        grid.add_row(
            label,
            f"median {_amount(spread['median'])}, 90th percentile {_amount(spread['p90'])}, "
            f"mean {_amount(spread['mean'])}{unit}",
        )
    return grid


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _verdict(within: bool | None) -> Text:
    if within is None:
        return Text("–", "dim")
    return Text("yes", "green") if within else Text("no", "yellow")


def _printable(name: str) -> str:
    """A name from somebody's file, with nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() else "�" for c in name)
