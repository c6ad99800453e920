"""`tunecli export`: a run's schedule as a file that needs no tunecli."""

from pathlib import Path
from typing import Annotated

import typer

from tunecli.cli.shared import translated
from tunecli.errors import InvalidValueError, RunError


@translated
def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a finished search or training.")
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="TARGET",
            help="pytorch: optimizer, stages and batch sampler in one file; lightning: with a "
            "Callback; transformers: with a TrainerCallback; deepspeed: with a config fragment; "
            "json: plain data.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write it there. [default: stdout]"),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Replace FILE if it exists; export a schedule that is advice, which nobody has "
            "trained with.",
        ),
    ] = False,
) -> None:
    """Write the schedule of a run as code or data.

    The file needs no tunecli. It names the run and tests itself: run it, and it trains a toy model
    through the whole schedule and compares (α, β, ν, b) at every update with what the run had.

    Exit code: 0 written, 1 no such run, nothing to export or FILE cannot be written, 2 usage, 3
    the run's recipe is not valid.
    """
    from tunecli import __version__
    from tunecli.execution.files import write_aside
    from tunecli.report.export import TARGETS, export_text
    from tunecli.report.export_run import read_run

    if to not in TARGETS:
        import difflib

        near = difflib.get_close_matches(to.lower(), TARGETS, n=1)
        raise InvalidValueError(
            f"--to must be {', '.join(TARGETS[:-1])} or {TARGETS[-1]} but got {to!r}"
            + (f"; did you mean {near[0]}?" if near else "")
        )
    if output is not None and output.exists() and not force:
        raise RunError(f"{output} exists already; name another file, or replace it with --force")
    found = read_run(run, __version__)
    if found.advice and not force:
        raise RunError(
            f"{run} has advice to export and no schedule that was trained: its script took the "
            "learning rate alone, and whether the rate means the same in another optimizer is not "
            "known; export it with --force if you know, and train with it before you trust it"
        )
    text = export_text(found, to).encode()
    if output is None:
        typer.echo(text, nl=False)  # bytes: UTF-8 whatever the terminal's encoding is
        return
    try:
        write_aside(output, lambda file: file.write(text))
    except OSError as error:
        raise RunError(
            f"{output} cannot be written: {error.strerror}; name another file with --output"
        ) from error
    typer.echo(f"wrote {output}; test it: {_self_test(to, output)}", err=True)


def _self_test(to: str, output: Path) -> str:
    import shlex

    name = shlex.quote(str(output))
    if to != "json":
        return f"python {name}"
    code = "import json, sys; exec(json.load(open(sys.argv[1]))['self_test'])"
    return f'python -c "{code}" {name}'
