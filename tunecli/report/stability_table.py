"""Tables of stability thresholds, and of the rates that they allow at a measured minimum."""

import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tunecli.report.tables import warning_lines
from tunecli.report.text import count, duration

_KINDS = {
    "none": ("no momentum", "STAB Eq. 6"),
    "standard": ("standard momentum, one buffer at the server", "STAB Eq. 26"),
    "shifted": ("shifted momentum, one buffer per worker", "STAB Eq. 11"),
}


def percent(error: float) -> str:
    """A relative error as a person reads it.

    >>> percent(0.5708), percent(-0.00041), percent(18.2), percent(0.0)
    ('+57.1 %', '-0.041 %', '+1820 %', '0 %')
    """
    if error == 0:
        return "0 %"
    digits = f"{100 * error:+.3g}"
    return f"{float(digits):+.0f} %" if "e" in digits else f"{digits} %"


def threshold_table(rows: Sequence[dict[str, Any]]) -> Group:
    """Thresholds by delay; `rows` are those of `tunecli stability --json`.

    Rows with a `learning_rate` are of a measured minimum, and get columns for it.
    """
    first = rows[0]
    several = len({row["momentum"] for row in rows}) > 1
    drawn, measured = "mean_threshold" in first, "learning_rate" in first
    names = ["momentum"] if several else []
    names += ["delay", "threshold aη"]
    names += ["of the mean (Eq. 19)"] if drawn else []
    compared = not measured and any(row["eq8_error"] is not None for row in rows)
    names += ["largest rate", "±"] if measured else ["1/(aη)", "of delay 0"]
    names += ["Eq. 8's error"] if compared else []
    table = _table()
    for name in names:
        table.add_column(name, justify="right", style="bold" if name == "largest rate" else "")
    for row in rows:
        cells = [f"{row['momentum']:g}"] if several else []
        cells += [_delay(row["delay"]), f"{row['threshold']:.6g}"]
        cells += [f"{row['mean_threshold']:.6g}"] if drawn else []
        if measured:
            cells += [f"{row['learning_rate']:.5g}", f"{row['error']:.2g}"]
        else:
            cells += [f"{1 / row['threshold']:.6g}", f"{row['factor']:.6g}"]
        if compared:
            cells += ["–" if row["eq8_error"] is None else percent(row["eq8_error"])]
        table.add_row(*cells)
    lines: list[RenderableType] = [Text(_heading(first, several=several)), table]
    if drawn:
        lines.append(
            Text(
                "Delays that are drawn: up to the threshold the iterates' spread stays bounded; "
                "between it and that of the mean they spread ever further around a mean that "
                "settles.",
                "dim",
            )
        )
    return Group(*lines)


def _heading(row: dict[str, Any], *, several: bool) -> str:
    name, equation = _KINDS[row["momentum_kind"]]
    heading = f"Largest stable aη, {name}"
    if row["momentum_kind"] != "none":
        momentum = "" if several else f"momentum {row['momentum']:g}, "
        heading += f", {momentum}discount {row['discount']:g}"
    return heading if "mean_threshold" in row else f"{heading} ({equation})"


def _delay(delay: int | dict[str, Any]) -> str:
    return str(delay) if isinstance(delay, int) else f"mean {delay['mean']:.4g}"


def minimum_lines(minimum: dict[str, Any]) -> Table:
    """What was measured at a checkpoint."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    sharpness = minimum["sharpness"]
    grid.add_row("Minimum", Text(minimum["checkpoint"]))
    grid.add_row(
        "Sharpness",
        f"a = λ_max = {sharpness['value']:.6g} ± {sharpness['residual']:.2g} "
        f"({count(sharpness['iterations'], 'Hessian product')}, "
        f"{count(minimum['training_samples'], 'training sample')})",
    )
    grid.add_row(
        "Training loss",
        f"{minimum['loss']:.4g}, gradient norm {minimum['gradient_norm']:.2g}",
    )
    return grid


def checkpoint_summary(result: dict[str, Any]) -> Group:
    """What `stability --checkpoint` prints; `result` is what it gives as JSON."""
    parts: list[RenderableType] = [
        minimum_lines(result["minimum"]),
        Text(),
        threshold_table(result["rates"]),
    ]
    return Group(*parts, *warning_lines(result["warnings"]))


def measured_summary(result: dict[str, Any]) -> Group:
    """What a person reads at the end of `stability --empirical`; `result` is result.json's."""
    table = _table()
    for name in ("momentum", "delay", "predicted", "measured", "measured/predicted", "updates"):
        table.add_column(name, justify="right")
    for point in result["points"]:
        table.add_row(
            f"{point['momentum']:g}",
            str(point["delay"]),
            f"{point['predicted']:.5g}",
            f"{point['measured']:.5g}",
            f"{point['ratio']:.3f}",
            f"{point['updates']:,}",
        )
    spent = result["spent"]
    parts: list[RenderableType] = [
        minimum_lines(result["minimum"]),
        Text(),
        Text(f"Largest rate at which training stays, {_KINDS[result['momentum_kind']][0]}"),
        Text(_how(result), "dim"),
        table,
        *(Text(_fit_line(fit)) for fit in result["fits"]),
        *_asymptote(result),
        Text(
            f"Spent: {count(spent['updates'], 'full-batch update')} in "
            f"{count(spent['runs'], 'training')}, {duration(spent['seconds'])}.",
            "dim",
        ),
    ]
    return Group(Text(), *parts, *warning_lines(result["warnings"]))


def _how(result: dict[str, Any]) -> str:
    length = f"{result['updates_per_delay']:,} · (τ + 1) updates"
    start = f"off the minimum by {100 * result['nudge']:g} % of its loss"
    rest = ", the minimum held at rest" if result["hold"] else ""
    return f"Trainings of {length}, {start}{rest}"


def _fit_line(fit: dict[str, Any]) -> str:
    measured, predicted = fit["measured"], fit["predicted"]
    name = f"momentum {fit['momentum']:g}: " if fit["momentum"] else ""
    return (
        f"{name}1/η = {_line(measured)} measured (R² = {measured['r_squared']:.5f}), "
        f"{_line(predicted)} predicted: slope {percent(fit['slope_error'])}"
    )


def _asymptote(result: dict[str, Any]) -> list[Text]:
    if result["momentum_kind"] != "none":
        return []
    a = result["minimum"]["sharpness"]["value"]
    line = _line({"slope": 2 * a / math.pi, "intercept": a / math.pi})
    return [Text(f"At large delays 1/η = (2a/π) τ + a/π = {line} (STAB Eq. 7).", "dim")]


def _line(fit: dict[str, float]) -> str:
    sign = "+" if fit["intercept"] >= 0 else "−"
    return f"{fit['slope']:.4g} τ {sign} {abs(fit['intercept']):.3g}"


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
