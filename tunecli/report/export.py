"""A run's schedule as code or data that needs no tunecli, with a test of itself."""

import json
import textwrap
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from tunecli.errors import RunError
from tunecli.report.export_run import ExportedRun
from tunecli.schedule import Schedule

if TYPE_CHECKING:
    from jinja2 import Environment

TARGETS = ("pytorch", "lightning", "transformers", "deepspeed", "json")
MOST_UPDATES = 20_000  # that a self-test trains; it takes seconds, a minute with a real Trainer


def export_text(run: ExportedRun, target: str) -> str:
    """A run's schedule as a file.

    Args:
        run: What to export.
        target: One of `TARGETS`.

    Returns:
        Python, or JSON for `json`.

    Raises:
        RunError: The run trained with an optimizer of the recipe's own, which we cannot write.
    """
    if target == "json":
        return _plain_data(run)
    if run.optimizer is not None:
        raise RunError(
            f"{run.identity['run']} trained with the recipe's own optimizer, and --to {target} "
            "writes QHM; take --to json, which has the stages alone"
        )
    return (
        _templates()
        .get_template(f"export/{target}.py.jinja")
        .render(
            run=run.identity,
            stages=run.schedule.stages,
            weight_decay=run.weight_decay,
            weight_decay_mode=run.weight_decay_mode,
            reset_momentum=run.reset_momentum,
            expected=_expected_rows(run.schedule),
            updates=run.schedule.total_steps,
            sha256=_expected_hash(run.schedule),
            notes=[textwrap.fill(note, 100) for note in run.notes],
            most_updates=MOST_UPDATES,
            # its fit loop does; see the template
            counts_from_the_start=target == "lightning",
        )
    )


def _plain_data(run: ExportedRun) -> str:
    schedule = run.schedule
    data = {
        "format": 1,
        "kind": "export",
        "run": run.identity,
        "notes": list(run.notes),
        "optimizer": run.optimizer
        or {
            "name": "QHM",
            "weight_decay": run.weight_decay,
            "weight_decay_mode": run.weight_decay_mode,
            "reset_momentum": run.reset_momentum,
        },
        "stages": schedule.to_list(),
        "total_updates": schedule.total_steps,
        "total_samples": schedule.samples,
        "batch_sizes": [[stage.batch_size, stage.steps] for stage in schedule.stages],
        "expected": {
            "columns": ["first_update", "learning_rate", "momentum", "discount", "batch_size"],
            "rows": _expected_rows(schedule),
            "updates": schedule.total_steps,
            "sha256": _expected_hash(schedule),
        },
        "self_test": _templates()
        .get_template("export/self_test.py.jinja")
        .render(most_updates=MOST_UPDATES),
    }
    return json.dumps(data, indent=2, allow_nan=False) + "\n"


def updates_to_check(schedule: Schedule) -> list[int]:
    """The updates that a self-test compares.

    All of them; of more than `MOST_UPDATES`, those beside the start and the end of each stage.

    >>> from tunecli.schedule import Stage
    >>> updates_to_check(Schedule((Stage(0.2, 0.9, 0.5, 64, 10**6), Stage(0.1, 0.9, 0.5, 32, 9))))
    [0, 1, 999999, 1000000, 1000001, 1000008]
    """
    total = schedule.total_steps
    if total <= MOST_UPDATES:
        return list(range(total))
    near = {edge + by for edge in (0, *schedule.ends) for by in (-1, 0, 1)}
    return sorted(update for update in near if 0 <= update < total)


def _expected_rows(schedule: Schedule) -> list[tuple[int, float, float, float, int]]:
    """(first update, α, β, ν, b) of each stage, asked of the schedule update by update."""
    return [(first, *_values(schedule, first)) for first in (0, *schedule.ends[:-1])]


def _expected_hash(schedule: Schedule) -> str:
    digest = sha256()
    for update in updates_to_check(schedule):
        digest.update(" ".join(map(repr, (update, *_values(schedule, update)))).encode() + b"\n")
    return digest.hexdigest()


def _values(schedule: Schedule, update: int) -> tuple[float, float, float, int]:
    stage = schedule.stage_at(update)
    return stage.learning_rate, stage.momentum, stage.discount, stage.batch_size


def _literal(value: Any) -> str:
    """A value as Python source, in ASCII: a folder's name may hold anything."""
    source = ascii(value)
    plain = isinstance(value, str) and not {"'", '"', "\\"} & set(source[1:-1])
    return f'"{source[1:-1]}"' if plain else source


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("tunecli.report"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["py"] = _literal
    return templates
