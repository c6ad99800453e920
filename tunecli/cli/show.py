"""`tunecli show`: a recipe as it is understood."""

import json

import typer

from tunecli.cli.shared import json_option, overrides_argument, recipe_argument, translated


@translated
def show(
    recipe: recipe_argument, overrides: overrides_argument = None, as_json: json_option = False
) -> None:
    """Print a recipe with every default written out.

    Overrides are applied. The output is a recipe that means the same. Code that it names does not
    run; what would run, and whether it is trusted, is told on stderr.
    """
    from tunecli.recipe import dump_recipe, find_recipe, load_recipe
    from tunecli.recipe.dump import recipe_data
    from tunecli.recipe.trust import code_of, standing
    from tunecli.recipe.trust_store import TrustStoreError

    path = find_recipe(recipe)
    settings = load_recipe(path, overrides or [])
    if as_json:
        typer.echo(json.dumps(recipe_data(settings), indent=2, ensure_ascii=False))
    else:
        typer.echo(dump_recipe(settings), nl=False)
    if code := code_of(settings):
        try:
            _, sentence = standing(settings, path)
        except TrustStoreError as error:
            sentence = f"Whether it is trusted is not known: {error}"
        listed = "\n".join(f"    {line}" for line in code)
        typer.echo(f"{path} runs, where it is trusted:\n{listed}\n{sentence}", err=True)
