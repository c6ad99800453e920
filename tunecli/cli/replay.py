"""`tunecli replay`: judge a strategy on tables that others measured."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunecli.cli.shared import json_option, messages, show, translated
from tunecli.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tunecli.search.tables import MeasuredTable

MANY = 5000  # tables from which on progress is shown: a few seconds


@translated
def replay(
    tables: Annotated[
        str, typer.Argument(metavar="TABLES", help="JSON file with a list of tables; - is stdin.")
    ],
    strategy: Annotated[
        str, typer.Option(help="What the search goes by: geometric or paper.")
    ] = "geometric",
    patience: Annotated[
        int, typer.Option(help="Successive rates without improvement that end the walk, ≥ 1.")
    ] = 1,
    as_json: json_option = False,
) -> None:
    """Search tables of measured values, without training.

    Tells how close, how soon and at what cost. A table has a name, learning_rates (ascending),
    values (one per rate, null if diverged) and maximize (true or false), and may have curves (a
    list of values per rate, one per epoch), samples (cost of one full trial) and baseline (value of
    a model that has learned nothing). A trial that diverges or is given up early costs the share of
    its epochs that ran; without curves every trial costs a full one.
    """
    from tunecli.search.replay import replay_table, summary
    from tunecli.search.tables import read_tables

    source = "stdin" if tables == "-" else tables
    measured = read_tables(_text(tables), source)
    replays = [
        replay_table(table, strategy=strategy, patience=patience) for table in _watched(measured)
    ]
    result = {
        "format": 1,
        "kind": "replay",
        "strategy": strategy,
        "patience": patience,
        "tables": [each.to_dict() for each in replays],
        "overall": summary(replays),
    }
    if as_json:
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
        return
    from tunecli.report.replay_table import replay_report

    show(replay_report(result))


def _text(tables: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if tables == "-" else Path(tables).read_bytes()
    except OSError as error:
        raise InvalidValueError(
            f"TABLES must be a readable file but got {tables}: {error.strerror}; - reads stdin"
        ) from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValueError(
            f"TABLES must be JSON in UTF-8 but {tables} is not: {error.reason} at byte "
            f"{error.start}"
        ) from None


def _watched(tables: "list[MeasuredTable]") -> "Iterable[MeasuredTable]":
    """The tables, with a bar on the terminal where it takes long enough to wonder."""
    console = messages()
    if len(tables) < MANY or not console.is_terminal:
        return tables
    return _with_bar(tables)


def _with_bar(tables: "list[MeasuredTable]") -> "Iterator[MeasuredTable]":
    from rich.progress import track

    yield from track(tables, "Replaying", console=messages(), transient=True)
