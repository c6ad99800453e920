"""The part of `stability` that is arithmetic: no torch, and matplotlib only for a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import typer

from tunecli.errors import InvalidValueError, RunError, require
from tunecli.recipe.delays import read_delays
from tunecli.theory.delay import ConstantDelay, DelayDistribution
from tunecli.theory.delay_scaling import compare_rules
from tunecli.theory.mean_square import mean_square_threshold
from tunecli.theory.stability import MomentumKind, stability_threshold

_PICTURES: dict[str, Literal["png", "svg"]] = {".png": "png", ".svg": "svg"}


def asked_momenta(
    momenta: list[float] | None, kind: MomentumKind | None, discount: float | None
) -> tuple[MomentumKind, tuple[float, ...]]:
    """The momentum kind, and the momenta, each once, ascending.

    Raises:
        InvalidValueError: A number is outside its range, or one of the two lacks the other.
    """
    found = tuple(sorted(set(momenta or [])))
    for each in found:
        require(0 <= each < 1, "momentum", "in [0, 1)", each, "0.9 is a common choice")
    if discount is not None:
        require(0 <= discount <= 1, "discount", "in [0, 1]", discount, "1 is the heavy ball")
    if kind is None or kind == "none":
        given = "--momentum" if any(found) else "--discount" if discount is not None else None
        if given is not None:
            raise InvalidValueError(
                f"{given} needs --momentum-kind standard or shifted; their thresholds differ"
            )
        return "none", (0.0,)
    if not found:
        raise InvalidValueError(
            f"--momentum-kind {kind} needs a momentum; give --momentum 0.9, say"
        )
    return kind, found


def threshold_rows(
    delays: Sequence[int],
    histogram: Path | None,
    momenta: Sequence[float],
    kind: MomentumKind,
    discount: float,
) -> list[dict[str, Any]]:
    """The entries of `tunecli stability --json`: of whole delays, or of one measured histogram."""
    found: list[DelayDistribution] = [ConstantDelay(delay) for delay in delays]
    if histogram is not None:
        found = [read_delays(histogram)]
    return [_row(delay, momentum, kind, discount) for momentum in momenta for delay in found]


def _row(
    delay: DelayDistribution, momentum: float, kind: MomentumKind, discount: float
) -> dict[str, Any]:
    how: dict[str, Any] = {"momentum": momentum, "momentum_kind": kind, "discount": discount}
    constant = isinstance(delay, ConstantDelay)
    rules = {each.rule: each for each in compare_rules(delay, **how)}
    row = {
        "delay": delay.delay if isinstance(delay, ConstantDelay) else delay.to_dict(),
        "threshold": mean_square_threshold(delay, **how),
        **how,
        "factor": rules["exact"].factor,
        # Eq. 8 knows no momentum: against the factor at the same one it would err by any amount
        "eq8_error": rules["eq8"].error if momentum == 0 else None,
    }
    if not constant:
        row["mean_threshold"] = stability_threshold(delay, **how)
    return row


def require_drawable(plot: Path) -> None:
    """Refuse a picture that could not be drawn, before anything long is begun.

    Raises:
        InvalidValueError: The name says neither PNG nor SVG.
        RunError: Its folder is not there.
    """
    suffixes = " or ".join(_PICTURES)
    require(plot.suffix in _PICTURES, "--plot", f"a file that ends in {suffixes}", plot)
    if not plot.absolute().parent.is_dir():
        raise RunError(f"{plot} cannot be written: its folder does not exist; make it first")


def draw(plot: Path, rows: list[dict[str, Any]]) -> None:
    """Draw 1/(aη) over τ in a file.

    Raises:
        RunError: It cannot be written.
    """
    from tunecli.execution.files import write_aside
    from tunecli.report.stability_plot import threshold_plot

    picture = threshold_plot(rows, _PICTURES[plot.suffix])
    try:
        write_aside(plot, lambda file: file.write(picture))
    except OSError as error:
        raise RunError(f"{plot} cannot be written: {error.strerror}") from error
    typer.echo(f"drawn in {plot}", err=True)
