"""`tunecli stability`: how large a learning rate a minimum bears under delay."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tunecli.cli.delays import (
    delay_histogram_option,
    delay_list,
    momentum_kind_option,
)
from tunecli.cli.shared import (
    device_option,
    json_option,
    resume_option,
    show,
    translated,
    trust_option,
)
from tunecli.errors import InvalidValueError, require

_DELAYS, _TOLERANCE, _MAX_ITERATIONS = "0,1,2,4,8,16,32", 1e-3, 500
_UPDATES_PER_DELAY, _NUDGE = 300, 0.01
_NEEDS = {
    "--trust": {"--checkpoint", "--resume"},
    "--empirical": {"--checkpoint"},
    "--tolerance": {"--checkpoint"},
    "--max-iterations": {"--checkpoint"},
    "--device": {"--checkpoint", "--resume"},
    "--updates-per-delay": {"--empirical"},
    "--nudge": {"--empirical"},
    "--hold": {"--empirical"},
    "--run": {"--empirical"},
}
_EXCLUDES = (
    ("--delay", "--delay-histogram", "give one of them"),
    ("--plot", "--delay-histogram", "a histogram has one threshold, which makes no line"),
    ("--empirical", "--delay-histogram", "name whole delays with --delay"),
    ("--empirical", "--plot", "the run's folder gets a stability.png"),
)


@translated
def stability(
    delay: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DELAYS",
            help="Delays τ in updates: 16, or 0,1,4, or 0-32, or 0-64:8; may be given several "
            f"times. [default: {_DELAYS}]",
        ),
    ] = None,
    delay_histogram: delay_histogram_option = None,
    momentum: Annotated[
        list[float] | None,
        typer.Option(help="m, in [0, 1); may be given several times. [default: 0]"),
    ] = None,
    momentum_kind: momentum_kind_option = None,
    discount: Annotated[
        float | None, typer.Option(help="ν, in [0, 1]: QHM's. [default: 1, the heavy ball]")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw 1/(aη) over τ, as .png or .svg."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Folder of a `tunecli train`, or its model.pt: measure the sharpness a of the "
            "training loss there, and print the rates that the thresholds allow.",
        ),
    ] = None,
    empirical: Annotated[
        bool,
        typer.Option(
            "--empirical",
            help="Train from the checkpoint at rising rates until it leaves the minimum, at every "
            "delay, and hold the rates against the theory's.",
        ),
    ] = False,
    tolerance: Annotated[
        float | None, typer.Option(help=f"Of the sharpness, relative. [default: {_TOLERANCE:g}]")
    ] = None,
    max_iterations: Annotated[
        int | None,
        typer.Option(help=f"Hessian products for the sharpness. [default: {_MAX_ITERATIONS}]"),
    ] = None,
    updates_per_delay: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Updates of one training of --empirical, divided by τ + 1. More of them see a "
            "slower departure, which momentum makes slow. [default: "
            f"{_UPDATES_PER_DELAY}]",
        ),
    ] = None,
    nudge: Annotated[
        float | None,
        typer.Option(
            help="Loss that --empirical's step off the minimum adds, as a share of the minimum's. "
            f"[default: {_NUDGE:g}]"
        ),
    ] = None,
    hold: Annotated[
        bool,
        typer.Option(
            "--hold",
            help="Let the checkpoint rest, by subtracting its own gradient: with a small --nudge, "
            "--empirical then sees the threshold of its Hessian and nothing else.",
        ),
    ] = False,
    resume: resume_option = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="DIR",
            help="Folder of --empirical. [default: runs/stability-<recipe>-<time>]",
        ),
    ] = None,
    device: device_option = None,
    trust: trust_option = False,
    as_json: json_option = False,
) -> None:
    """Print which learning rates are stable at a delay.

    That is how large aη may be, a being the sharpness of the minimum, η the rate. With --checkpoint
    the sharpness is measured, and with --empirical the rates as well: that takes minutes, keeps
    every finished point in a folder, and goes on with --resume.

    Exit code: 0 done, 1 failed, 2 usage, 130 or 143 interrupted.
    """
    given = {
        "--delay": delay or None,
        "--delay-histogram": delay_histogram,
        "--momentum": momentum or None,
        "--momentum-kind": momentum_kind,
        "--discount": discount,
        "--plot": plot,
        "--checkpoint": checkpoint,
        "--empirical": empirical or None,
        "--tolerance": tolerance,
        "--max-iterations": max_iterations,
        "--updates-per-delay": updates_per_delay,
        "--nudge": nudge,
        "--hold": hold or None,
        "--run": run,
        "--resume": resume,
        "--device": device,
        "--trust": trust or None,
    }
    _require_consistent({option for option, value in given.items() if value is not None})
    if resume is not None:
        raise typer.Exit(_go_on(resume, device, trusted=trust, as_json=as_json))
    require(tolerance is None or 0 < tolerance < 1, "tolerance", "in (0, 1)", tolerance)
    require(nudge is None or 0 < nudge < 1, "nudge", "in (0, 1)", nudge)
    require(max_iterations is None or max_iterations >= 2, "max-iterations", "≥ 2", max_iterations)
    from tunecli.cli.thresholds import asked_momenta, draw, require_drawable, threshold_rows

    kind, momenta = asked_momenta(momentum, momentum_kind, discount)
    nu = 1.0 if discount is None else discount
    delays = delay_list(delay or [_DELAYS])
    tolerance = _TOLERANCE if tolerance is None else tolerance
    max_iterations = _MAX_ITERATIONS if max_iterations is None else max_iterations
    if empirical:
        assert checkpoint is not None
        question = {
            "delays": delays,
            "momenta": momenta,
            "momentum_kind": kind,
            "discount": nu,
            "tolerance": tolerance,
            "max_iterations": max_iterations,
            "updates_per_delay": updates_per_delay or _UPDATES_PER_DELAY,
            "nudge": _NUDGE if nudge is None else nudge,
            "hold": hold,
        }
        code = _measure(checkpoint, run, device, {**question, "trusted": trust}, as_json=as_json)
        raise typer.Exit(code)
    if plot is not None:
        require_drawable(plot)
    rows = threshold_rows(delays, delay_histogram, momenta, kind, nu)
    if checkpoint is not None:
        from tunecli.cli import measuring

        weights = measuring.weights_of(checkpoint)
        measuring.show_rates(
            weights,
            rows,
            device=device,
            tolerance=tolerance,
            max_iterations=max_iterations,
            trusted=trust,
            as_json=as_json,
        )
    elif as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        from tunecli.report.stability_table import threshold_table

        show(threshold_table(rows))
    if plot is not None:
        draw(plot, rows)


def _require_consistent(given: set[str]) -> None:
    """Refuse options that say nothing, or contradict each other, together."""
    if "--resume" in given and given - {"--resume", "--device", "--trust"}:
        raise InvalidValueError(
            "--resume must stand alone but got more; a resumed measurement keeps what it was "
            "started with (--device, --trust and --json may be given)"
        )
    for option, needed in _NEEDS.items():
        if option in given and not given & needed:
            raise InvalidValueError(
                f"{option} needs {sorted(needed)[0]}; add it, or leave {option} out"
            )
    for one, other, remedy in _EXCLUDES:
        if {one, other} <= given:
            raise InvalidValueError(f"{one} and {other} exclude each other; {remedy}")


def _measure(
    checkpoint: Path,
    run: Path | None,
    device: str | None,
    question: dict[str, Any],
    *,
    as_json: bool,
) -> int:
    # importing torch takes a second: only now that the question is valid
    from tunecli.cli import measuring
    from tunecli.execution import Interrupt

    with Interrupt() as interrupt:
        weights = measuring.weights_of(checkpoint)
        folder, recipe, target = measuring.start(weights, run, device, **question)
        return measuring.measure_to_result(folder, recipe, target, interrupt, as_json=as_json)


def _go_on(run: Path, device: str | None, *, trusted: bool, as_json: bool) -> int:
    from tunecli.cli import measuring
    from tunecli.execution import Interrupt

    with Interrupt() as interrupt:
        folder, recipe, target = measuring.reopen(run, device, trusted=trusted)
        return measuring.measure_to_result(folder, recipe, target, interrupt, as_json=as_json)
