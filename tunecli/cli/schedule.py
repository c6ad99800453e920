"""`tunecli schedule`: the schedule that follows from an initial learning rate."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunecli.cli.delays import (
    AskedDelay,
    ScalingRule,
    asked_delay,
    delay_histogram_option,
    momentum_kind_option,
)
from tunecli.cli.shared import json_option, overrides_argument, translated
from tunecli.errors import InvalidValueError, require
from tunecli.schedule import (
    Schedule,
    check_conditions,
    covered_smoothness,
    error_bound,
    multistage_schedule,
    unmet_conditions,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunecli.recipe import Recipe


DEFAULTS = {"momentum": 0.9, "discount": 0.5, "stages": 3, "decay": 0.5}  # a recipe's, as well


class Format(StrEnum):
    """How to print a schedule."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


@translated
def schedule(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="[RECIPE]", help="Take the numbers from this recipe."),
    ] = None,
    overrides: overrides_argument = None,
    learning_rate: Annotated[float | None, typer.Option(help="α₁, the initial rate.")] = None,
    momentum: Annotated[float | None, typer.Option(help="β₁, in [0, 1). [default: 0.9]")] = None,
    discount: Annotated[float | None, typer.Option(help="ν, in [0, 1]. [default: 0.5]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="b₁, samples per update.")] = None,
    steps: Annotated[int | None, typer.Option(help="T₁, updates of the first stage.")] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Instead of --steps: passes over the data in all.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Size of the training set, to count in epochs.")
    ] = None,
    stages: Annotated[int | None, typer.Option(help="M, number of stages. [default: 3]")] = None,
    decay: Annotated[float | None, typer.Option(help="r, of the rate. [default: 0.5]")] = None,
    batch_decay: Annotated[
        float | None, typer.Option(help="r_b, of the batch, at most r. [default: r]")
    ] = None,
    smoothness: Annotated[
        float | None, typer.Option(help="L of the loss, to check Theorem 4's step size.")
    ] = None,
    gradient_variance: Annotated[
        float | None, typer.Option(help="σ², with --smoothness and --loss-gap: Theorem 4's bound.")
    ] = None,
    loss_gap: Annotated[
        float | None, typer.Option(help="R(θ₁) − R*, the loss at the start over the least one.")
    ] = None,
    asynchronous: Annotated[
        bool,
        typer.Option(
            "--asynchronous",
            help="Scale the rates for gradients that are late, by --delay, --workers or "
            "--delay-histogram. An asynchronous recipe implies it.",
        ),
    ] = False,
    delay: Annotated[
        int | None, typer.Option(help="τ: every gradient is this many updates late.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="N workers served in turn: a delay of N − 1.")
    ] = None,
    delay_histogram: delay_histogram_option = None,
    momentum_kind: momentum_kind_option = None,
    scaling: Annotated[
        ScalingRule | None,
        typer.Option(
            help="The rule: exact, mean (stability of the mean), eq8 (π/(4(τ+½))), inverse (1/τ) "
            "or inverse-plus-one (1/(τ+1)). [default: exact]",
            show_choices=False,
        ),
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TABLE,
    as_json: json_option = False,
) -> None:
    """Print a schedule, from numbers or from a recipe.

    Options override the recipe's numbers. The conditions of the QHM paper's Theorem 4 are
    checked: with the table on stdout, otherwise on stderr where one fails. They are advice; the
    exit code is 0 all the same. Theorem 4 knows no delay, so with one they are not.

    With --asynchronous the schedule is the one without delay, and what is printed beside it is as
    stable under the delay: `tunecli schedule … --asynchronous --workers 32`.
    """
    numbers: dict[str, Any] = dict(DEFAULTS)
    section = None
    if recipe is not None:
        loaded = _load(recipe, overrides or [])
        numbers |= _numbers_of(loaded)
        section = loaded.training.asynchronous
    asked = asked_delay(
        asynchronous=asynchronous,
        delay=delay,
        workers=workers,
        histogram=delay_histogram,
        momentum_kind=momentum_kind,
        rule=scaling,
        section=section,
    )
    given: dict[str, Any] = {
        "learning_rate": learning_rate,
        "momentum": momentum,
        "discount": discount,
        "batch_size": batch_size,
        "steps": steps,
        "epochs": epochs,
        "training_samples": samples,
        "stages": stages,
        "decay": decay,
        "batch_decay": batch_decay,
    }
    if steps is not None or epochs is not None:  # one of them replaces either of the recipe's
        numbers.pop("steps", None)
        numbers.pop("epochs", None)
    numbers |= {name: value for name, value in given.items() if value is not None}
    for name, option in (("learning_rate", "--learning-rate"), ("batch_size", "--batch-size")):
        if name not in numbers:
            where = f" (or {name}: … in the recipe)" if recipe and name == "learning_rate" else ""
            raise InvalidValueError(f"{name} is missing; give {option}{where}")
    if samples is not None:
        require(samples >= 1, "samples", "≥ 1", samples, "count the training set")
    if steps is not None and epochs is not None:
        raise InvalidValueError("--steps and --epochs exclude each other; give one, not both")
    if "epochs" in numbers and "training_samples" not in numbers:
        raise InvalidValueError(
            "a budget in epochs needs the size of the training set; give --samples"
        )
    if as_json and output not in (Format.TABLE, Format.JSON):
        raise InvalidValueError(f"--json and --format {output} exclude each other; give one")
    bound = {
        "smoothness": smoothness,
        "gradient_variance": gradient_variance,
        "loss_gap": loss_gap,
    }
    for name in ("gradient_variance", "loss_gap"):
        value = bound[name]
        if value is not None:
            require(0 <= value < float("inf"), name, "a finite number ≥ 0", value)
            if None in bound.values():
                raise InvalidValueError(
                    "the bound needs --smoothness, --gradient-variance and --loss-gap; give all "
                    "three"
                )
    derived = multistage_schedule(**numbers)
    if as_json:
        output = Format.JSON
    if asked is None:
        _show(derived, output, training_samples=numbers.get("training_samples"), bound=bound)
    elif any(value is not None for value in bound.values()):
        raise InvalidValueError(
            "--smoothness, --gradient-variance and --loss-gap belong to Theorem 4, which knows no "
            "delay; leave them out, or leave the delay out"
        )
    else:
        _show_scaled(derived, asked, output, training_samples=numbers.get("training_samples"))


def _load(recipe: str, overrides: list[str]) -> "Recipe":
    from tunecli.recipe import find_recipe, load_recipe

    return load_recipe(find_recipe(recipe), overrides)


def _numbers_of(loaded: "Recipe") -> dict[str, Any]:
    from tunecli.data.sizes import samples_of

    numbers: dict[str, Any] = loaded.schedule.model_dump(exclude_none=True)
    samples = samples_of(loaded)
    if samples is not None:
        numbers["training_samples"] = samples
    if loaded.learning_rate is not None:
        numbers["learning_rate"] = loaded.learning_rate
    return numbers


def _show(
    derived: Schedule,
    output: Format,
    *,
    training_samples: int | None,
    bound: dict[str, float | None],
) -> None:
    stages, smoothness = derived.to_list(), bound["smoothness"]
    if output is Format.TABLE:
        from rich.console import Group

        from tunecli.cli.shared import show
        from tunecli.report.tables import bound_line, condition_lines, schedule_table

        parts: list[RenderableType] = [
            schedule_table(derived, training_samples=training_samples),
            *condition_lines(
                check_conditions(derived, smoothness=smoothness), covered_smoothness(derived)
            ),
        ]
        known = {name: value for name, value in bound.items() if value is not None}
        if len(known) == len(bound):
            parts.append(bound_line(*error_bound(derived, **known)))
        show(Group(*parts))
        return
    _print_data(stages, stages, output)
    for warning in unmet_conditions(derived, smoothness=smoothness):
        typer.echo(f"warning: {warning}", err=True)


def _show_scaled(
    stagewise: Schedule, asked: AskedDelay, output: Format, *, training_samples: int | None
) -> None:
    scaled = asked.scale(stagewise)
    if output is Format.TABLE:
        from tunecli.cli.shared import show
        from tunecli.report.stability_schedule import scaled_view

        show(scaled_view(asked.to_dict(stagewise, scaled), training_samples=training_samples))
    else:
        _print_data(asked.to_dict(stagewise, scaled), scaled.schedule.to_list(), output)


def _print_data(result: Any, stages: list[dict[str, Any]], output: Format) -> None:
    """A result as JSON, or the stages that it comes to as YAML or CSV."""
    if output is Format.JSON:
        import json

        typer.echo(json.dumps(result, indent=2))
    elif output is Format.YAML:
        import yaml

        typer.echo(yaml.safe_dump(stages, sort_keys=False), nl=False)
    else:
        typer.echo(",".join(stages[0]))
        for stage in stages:
            typer.echo(",".join(str(value) for value in stage.values()))
