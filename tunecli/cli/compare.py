"""`tunecli compare`: our search beside Optuna's and what a person would pick, at one budget."""

import shlex
from typing import Annotated

import typer

from tunecli.cli.shared import (
    device_option,
    download_option,
    json_option,
    load_for_a_run,
    overrides_argument,
    recipe_or_resume_argument,
    resume_option,
    run_option,
    translated,
    trust_option,
)
from tunecli.errors import InvalidValueError

_STUDIES, _SEED, _BUDGET = 10, 0, 30


@translated
def compare(
    recipe: recipe_or_resume_argument = None,
    overrides: overrides_argument = None,
    studies: Annotated[
        int | None, typer.Option(min=1, help=f"Studies per method. [default: {_STUDIES}]")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help=f"Of the first study; the others follow, one by one. [default: {_SEED}]"
        ),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Budget of a study: the samples of this many full trials of the recipe. "
            f"[default: {_BUDGET}]",
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="Names, separated by commas: tunecli (always there), tpe, random, grid, gp, "
            "tpe-hyperband, tpe-median (over the learning rate alone; with -joint over momentum, "
            "discount, batch size and decay as well), cosine, one-cycle, adam, rmsprop, nadamw, "
            "schedule-free, prodigy. [default: all]",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes. [default: one per core, or one on a GPU]"),
    ] = None,
    resume: resume_option = None,
    run: run_option = None,
    device: device_option = None,
    trust: trust_option = False,
    download: download_option = False,
    as_json: json_option = False,
) -> None:
    """Compare our search with Optuna's and other optimizers.

    At the same budget: every method gets as many studies, and every study as many training samples.
    The result is a table, result.json, a plot and report.html, with a verdict in words.

    Exit code: 0 compared, 1 failed, 2 usage, 3 recipe invalid, 130 or 143 interrupted (go on with
    --resume).
    """
    if resume is None:
        settings = load_for_a_run(recipe, overrides, trusted=trust, download=download)
    elif (
        recipe is not None
        or overrides
        or download
        or (run, studies, seed, budget, methods) != (None,) * 5
    ):
        raise InvalidValueError(
            "--resume must stand alone but got more; a resumed comparison keeps the recipe and the "
            "plan that are in its folder (--workers and --device may be given)"
        )
    # importing torch takes a second: only now that the recipe is valid
    from tunecli.cli import comparing
    from tunecli.execution import Interrupt
    from tunecli.search.compare.methods import choose_methods
    from tunecli.search.compare.run import Plan

    with Interrupt() as interrupt:
        if resume is None:
            names = None if methods is None else [name.strip() for name in methods.split(",")]
            plan = Plan(
                methods=tuple(method.name for method in choose_methods(names)),
                studies=_STUDIES if studies is None else studies,
                seed=_SEED if seed is None else seed,
                budget=_BUDGET if budget is None else budget,
            )
            typed = ["tunecli", "compare", recipe or "", *(overrides or [])]
            typed += ["--studies", str(plan.studies), "--seed", str(plan.seed)]
            typed += ["--budget", str(plan.budget)]
            typed += [] if methods is None else ["--methods", methods]
            folder, target = comparing.start(settings, plan, run, device, shlex.join(typed))
        else:
            folder, settings, target = comparing.reopen(resume, device, trusted=trust)
        code = comparing.compare_to_result(
            folder, settings, target, interrupt, workers=workers, as_json=as_json
        )
    raise typer.Exit(code)
