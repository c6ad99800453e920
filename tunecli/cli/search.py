"""`tunecli search`: find the initial learning rate, derive the schedule, train and test with it."""

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
    workers_option,
)
from tunecli.errors import InvalidValueError

verify_option = Annotated[
    int | None,
    typer.Option(
        "--verify",
        metavar="N",
        min=0,
        max=100,
        help="Train N rates beyond the stop as well, and report the regret.",
    ),
]


@translated
def search(
    recipe: recipe_or_resume_argument = None,
    overrides: overrides_argument = None,
    resume: resume_option = None,
    run: run_option = None,
    device: device_option = None,
    workers: workers_option = 1,
    verify: verify_option = None,
    trust: trust_option = False,
    download: download_option = False,
    as_json: json_option = False,
) -> None:
    """Search the initial learning rate, then train with it.

    The schedule follows from the rate. The search begins inside the recipe's grid, walks up, stops
    when a larger rate does not improve, and narrows down (search.strategy says otherwise). The best
    rate's schedule is then trained with fresh seeds, and the test set is read once.

    Exit code: 0 found, 1 failed or nothing learned, 2 usage, 3 recipe invalid, 4 the best rate
    lies at the grid's edge, 5 every rate, or every final training, diverged, 130 or
    143 interrupted (go on with --resume).
    """
    if resume is None:
        settings = load_for_a_run(recipe, overrides, trusted=trust, download=download)
    elif recipe is not None or overrides or download or run is not None or verify is not None:
        raise InvalidValueError(
            "--resume must stand alone but got a recipe, an override, --run or --verify as well; a "
            "resumed search keeps what is in its folder"
        )
    # importing torch takes a second: only now that the recipe is valid
    from tunecli.cli import running
    from tunecli.execution import Interrupt

    with Interrupt() as interrupt:
        if resume is None:
            folder, target = running.start("search", settings, run, device, verify=verify or 0)
        else:
            folder, settings, target = running.reopen("search", resume, device, trusted=trust)
        places = running.places(folder, target, device, workers)
        code = running.search_to_result(
            folder, settings, target, interrupt, places, as_json=as_json
        )
    raise typer.Exit(code)
