"""The grammar of a training script: the command that is run for one trial, and how it answers."""

import json
import re
import shlex
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from tunecli.errors import InvalidValueError
from tunecli.recipe.section import Section, broken_rule

# What `{name}` stands for in a command; the script finds each in TUNECLI_NAME as well.
PLACEHOLDERS = {
    "python": "the Python that tunecli runs with",
    "learning_rate": "α₁, the learning rate of the first stage",
    "momentum": "β₁, the momentum of the first stage",
    "discount": "ν₁, QHM's discount of the first stage",
    "batch_size": "b₁, the batch size of the first stage",
    "steps": "updates of all stages",
    "samples": "samples of all stages",
    "learning_rates": "α of every stage, comma separated",
    "momenta": "β of every stage, comma separated",
    "discounts": "ν of every stage, comma separated",
    "batch_sizes": "b of every stage, comma separated",
    "stage_steps": "updates of every stage, comma separated",
    "seed": "the trial's seed",
    "phase": "search or final",
    "schedule": "path of a JSON file with the whole schedule",
    "answers": "path of the file to answer in",
    "checkpoint": "path of the checkpoint to go on from, or nothing",
    "folder": "the trial's folder",
    "device": "cpu or cuda:0",
}
# Whoever takes these takes all stages; {batch_size} alone is a number that any script may want.
_OF_ALL_STAGES = frozenset(
    ("schedule", "learning_rates", "momenta", "discounts", "batch_sizes", "stage_steps")
)
_WITH_A_RATE = frozenset(("schedule", "learning_rates", "learning_rate"))
_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")

Takes = Literal["schedule", "learning_rate"]


def fill(text: str, value_of: Callable[[str], str]) -> str:
    """One item of a command with its placeholders replaced; `{{` and `}}` are plain braces.

    Args:
        text: The item.
        value_of: A placeholder's value by its name.

    Raises:
        PydanticCustomError: A brace stands alone. What `value_of` raises is passed on.

    >>> fill("--lr={learning_rate} {{x}}", {"learning_rate": "0.1"}.__getitem__)
    '--lr=0.1 {x}'
    """

    def replaced(match: re.Match[str]) -> str:
        brace, name = match[0], match[1]
        if brace in ("{{", "}}"):
            return brace[0]
        if name is None:
            raise broken_rule(
                f"close every brace that it opens, but a '{brace}' stands alone,",
                f"write {brace * 2} for a plain brace",
            )
        return value_of(name)

    return _BRACES.sub(replaced, text)


def placeholders(command: tuple[str, ...]) -> frozenset[str]:
    """The placeholders that a valid command uses.

    >>> sorted(placeholders(("train", "--lr", "{learning_rate}", "{{seed}}", "{steps}")))
    ['learning_rate', 'steps']
    """
    found: set[str] = set()

    def note(name: str) -> str:
        found.add(name)
        return ""

    for item in command:
        fill(item, note)
    return frozenset(found)


def _a_list(value: object) -> object:
    if isinstance(value, str):
        try:
            items = shlex.split(value)
        except ValueError:  # a quote that is not closed
            items = value.split()
        example = json.dumps(items or ["python", "train.py"], ensure_ascii=False)
        raise broken_rule(
            "be a list, the program and each of its arguments,",
            f"it is never run by a shell; write {example}",
        )
    return value


def _can_be_run(command: tuple[str, ...]) -> tuple[str, ...]:
    if not command[0].strip():
        raise broken_rule("name a program first", 'write its name there, such as "python"', item=0)
    for index, item in enumerate(command):
        if "\0" in item:
            raise broken_rule("have no NUL character", "remove it", item=index)

        def known(name: str, index: int = index) -> str:
            if name not in PLACEHOLDERS:
                import difflib  # only a mistake needs it

                near = difflib.get_close_matches(name, PLACEHOLDERS, n=1, cutoff=0.6)
                remedy = f"did you mean {{{near[0]}}}?" if near else _ALL
                raise broken_rule(
                    f"use known placeholders, which {{{name}}} is not,", remedy, item=index
                )
            return ""

        try:
            fill(item, known)
        except ValueError as error:
            if (context := getattr(error, "context", None)) and context["item"] is None:
                raise broken_rule(context["condition"], context["remedy"], item=index) from None
            raise
    return command


_ALL = (
    f"there are {', '.join('{' + name + '}' for name in PLACEHOLDERS)}; "
    "write {{ and }} for plain braces"
)

# strict=False concerns the list alone (YAML has no tuples); its items stay strict.
Command = Annotated[
    tuple[str, ...],
    Field(strict=False, min_length=1),
    BeforeValidator(_a_list),
    AfterValidator(_can_be_run),
]


def require_command(words: tuple[str, ...], name: str) -> tuple[str, ...]:
    """A command as it is, if it can stand in a recipe.

    Args:
        words: The program and its arguments.
        name: What the message calls it.

    Raises:
        InvalidValueError: It names no program, or has an unknown placeholder.
    """
    try:
        return _can_be_run(words)
    except PydanticCustomError as error:
        broken = error.context or {}
        got = words[broken["item"]] or "nothing"
        raise InvalidValueError(
            f"{name} must {broken['condition']} but got {got}; {broken['remedy']}"
        ) from None


class ScriptSection(Section):
    """How the script that `command` starts is run, and how it answers."""

    folder: str | None = Field(
        default=None,
        min_length=1,
        examples=["training"],
        description="Folder that the script is started in; by default the recipe's.",
    )
    answers: Literal["stdout", "file"] | None = Field(
        default=None,
        examples=["stdout"],
        description="Where it answers, one JSON object a line: on its standard output, or in the "
        "file {answers}. By default in the file where the command has {answers}, else on stdout.",
    )
    takes: Takes | None = Field(
        default=None,
        examples=["schedule"],
        description="What it does with the schedule. schedule: it follows all stages, so its "
        "trials are known to be comparable, and hopeless ones are given up. learning_rate: it "
        "takes α₁ alone, and the schedule is handed over as advice. By default schedule where the "
        "command has {schedule} or a list of all stages, as {learning_rates} is.",
    )
    undamped: bool = Field(
        default=False,
        description="For a script that takes α₁ alone: the rate is that of torch.optim.SGD with "
        "momentum `schedule.momentum`, which does not damp: lr = (1 − β) α. The advised schedule "
        "then has α₁ = rate / (1 − β₁).",
    )
    samples: int | None = Field(
        default=None,
        ge=1,
        examples=[60000],
        description="Size of the training set, for `schedule.epochs` and for bills in epochs; the "
        "script's data is its own affair.",
    )
    answer_timeout_s: float = Field(
        default=86_400.0,
        gt=0,
        description="Longest time without an answer, in seconds; after it the script counts as "
        "hanging.",
    )
    grace_s: float = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="Seconds between the request to end (SIGTERM) and the end (SIGKILL) of the "
        "script and of all that it has started.",
    )
    log_mb: float = Field(
        default=10.0,
        gt=0,
        le=10_000,
        description="Largest size of a trial's script.log, in MB: its first half is kept, and of "
        "the rest the end.",
    )
    failure: Literal["stop", "diverged"] = Field(
        default="stop",
        description="What an exit status other than 0 means. stop: something is wrong, and the "
        "run stops. diverged: the learning rate was too large.",
    )


def what_it_takes(command: tuple[str, ...], section: ScriptSection) -> Takes:
    """Whether a script follows the whole schedule, or takes α₁ alone.

    >>> what_it_takes(("train", "--lr", "{learning_rate}"), ScriptSection())
    'learning_rate'
    >>> what_it_takes(("train", "--stages", "{schedule}"), ScriptSection())
    'schedule'
    """
    if section.takes is not None:
        return section.takes
    return "schedule" if placeholders(command) & _OF_ALL_STAGES else "learning_rate"


def no_rate_note(command: tuple[str, ...]) -> str | None:
    """What a person should know whose command hands over no learning rate; None where it does.

    >>> no_rate_note(("train", "--lr", "{learning_rate}")) is None
    True
    >>> no_rate_note(("train",))
    'the command hands over no learning rate: the script must read TUNECLI_LEARNING_RATE (or \
TUNECLI_SCHEDULE) from its environment'
    """
    if placeholders(command) & _WITH_A_RATE:
        return None
    return (
        "the command hands over no learning rate: the script must read TUNECLI_LEARNING_RATE (or "
        "TUNECLI_SCHEDULE) from its environment"
    )


def where_it_answers(command: tuple[str, ...], section: ScriptSection) -> Literal["stdout", "file"]:
    """On which of the two ways a script answers.

    >>> where_it_answers(("train", "--out", "{answers}"), ScriptSection())
    'file'
    """
    if section.answers is not None:
        return section.answers
    return "file" if "answers" in placeholders(command) else "stdout"
