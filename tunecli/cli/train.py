"""`tunecli train`: train once at a given initial learning rate."""

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


@translated
def train(
    recipe: recipe_or_resume_argument = None,
    overrides: overrides_argument = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of the weights and of the batches.")
    ] = 0,
    test: Annotated[
        bool, typer.Option("--test", help="Read the test set, once, after the last update.")
    ] = False,
    resume: resume_option = None,
    run: run_option = None,
    device: device_option = None,
    trust: trust_option = False,
    download: download_option = False,
    as_json: json_option = False,
) -> None:
    """Train once, at one initial learning rate.

    The schedule follows from it. The learning rate comes from the recipe or from the command line:
    `tunecli train digits-cnn learning_rate=0.4`.

    Exit code: 0 trained, 1 failed, 2 usage, 3 recipe invalid, 5 diverged, 130 or 143 interrupted.
    """
    if resume is None:
        settings = load_for_a_run(recipe, overrides, trusted=trust, download=download)
        from tunecli.recipe import require_learning_rate

        require_learning_rate(settings.learning_rate)
    elif recipe is not None or overrides or download or run is not None or seed or test:
        raise InvalidValueError(
            "--resume must stand alone but got more; a resumed training keeps the recipe, the seed "
            "and --test that it was started with"
        )
    # importing torch takes a second: only now that the recipe is valid
    from tunecli.cli import running
    from tunecli.execution import Interrupt

    with Interrupt() as interrupt:
        if resume is None:
            folder, target = running.start("train", settings, run, device, seed=seed, test=test)
        else:
            folder, settings, target = running.reopen("train", resume, device, trusted=trust)
        code = running.train_to_result(folder, settings, target, interrupt, as_json=as_json)
    raise typer.Exit(code)
