"""`tunecli recipes` and `tunecli validate`: what there is, and whether a file is one."""

import json
from typing import Annotated

import typer

from tunecli.cli.shared import (
    json_option,
    load_fit,
    overrides_argument,
    recipe_argument,
    tell_of_missing_rate,
    translated,
)


@translated
def recipes(
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of recipes instead.")
    ] = False,
    as_json: json_option = False,
) -> None:
    """List the shipped recipes: copy one and change it."""
    from tunecli.recipe import load_recipe, recipe_schema, shipped_recipes

    if schema:
        typer.echo(json.dumps(recipe_schema(), indent=2, ensure_ascii=False))
        return
    found = [(path, load_recipe(path)) for path in shipped_recipes()]
    if as_json:
        listed = [
            {"name": recipe.name, "path": str(path), "description": recipe.description}
            for path, recipe in found
        ]
        typer.echo(json.dumps(listed, indent=2, ensure_ascii=False))
        return
    for path, recipe in found:
        typer.echo(f"{recipe.name}: {recipe.description}\n    {path}")


@translated
def validate(
    recipe: recipe_argument, overrides: overrides_argument = None, as_json: json_option = False
) -> None:
    """Check a recipe without running anything.

    Exit code: 0 it is valid, 3 it is not.
    """
    from tunecli.data.sizes import require_samples, samples_of
    from tunecli.recipe import derive_schedule, find_recipe

    path = find_recipe(recipe)
    settings = load_fit(recipe, overrides)
    tell_of_missing_rate(settings)
    rates, section = settings.search.learning_rates, settings.search
    samples = samples_of(settings)
    derived = None
    if samples is not None or settings.schedule.epochs is None:
        derived = derive_schedule(settings.schedule, rates[0], require_samples(settings, samples))
    epochs = derived.epochs(samples) if derived and samples else settings.schedule.epochs
    if as_json:
        answer = {
            "recipe": settings.name,
            "path": str(path),
            "learning_rates": rates,
            "usual_trials": section.usual_trials,
            "most_trials": section.most_trials,
            "epochs_per_trial": epochs,
            "steps_per_trial": derived.total_steps if derived else None,
        }
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    trials = f"at most {section.most_trials} trials"
    if section.usual_trials < section.most_trials:
        trials = f"usually about {section.usual_trials} trials, {trials}"
    if settings.schedule_is_advice:
        length = "the script"
    elif epochs is not None:
        length = f"{epochs:.1f} epochs"
    else:
        assert derived is not None  # a budget that is not in epochs is in steps
        length = f"{derived.total_steps:,} updates"
    typer.echo(
        f"{path} is valid: {settings.name}, {len(rates)} learning rates from {rates[0]:g} to "
        f"{rates[-1]:g}, {trials} of {length}"
    )
