from typing import Any

import pytest
from pydantic import ValidationError

from tunecli.errors import InvalidValueError
from tunecli.recipe import Recipe, derive_schedule
from tunecli.recipe.derive import advised_schedule
from tunecli.recipe.script import (
    PLACEHOLDERS,
    Command,
    ScriptSection,
    fill,
    no_rate_note,
    placeholders,
    require_command,
    what_it_takes,
    where_it_answers,
)
from tunecli.recipe.section import Section


class Holder(Section):
    command: Command


def rule(command: object) -> dict[str, Any]:
    with pytest.raises(ValidationError) as caught:
        Holder.model_validate({"command": command})
    (error,) = caught.value.errors()
    assert error["type"] == "recipe_rule", error
    return error["ctx"]


def test_command_is_kept_as_it_is_written() -> None:
    items = ["python", "train.py", "--lr", "{learning_rate}", "--json={{x}}", "a b;c", ""]
    assert Holder.model_validate({"command": items}).command == tuple(items)


def test_every_placeholder_is_known() -> None:
    command = tuple(f"{{{name}}}" for name in PLACEHOLDERS)
    assert Holder.model_validate({"command": ("x", *command)}).command[1:] == command
    assert placeholders(command) == set(PLACEHOLDERS)


def test_text_instead_of_a_list_is_answered_with_the_list() -> None:
    context = rule("python 'my train.py' --lr {learning_rate}")
    assert context["remedy"] == (
        'it is never run by a shell; write ["python", "my train.py", "--lr", "{learning_rate}"]'
    )
    assert '["python", "it\'s"]' in rule("python it's")["remedy"]
    assert "train.py" in rule("")["remedy"]


def test_unknown_placeholder_names_its_item_and_the_nearest_one() -> None:
    context = rule(["python", "--lr", "{learning_rat}"])
    assert context["item"] == 2
    assert "{learning_rat}" in context["condition"]
    assert context["remedy"] == "did you mean {learning_rate}?"
    far = rule(["python", "{0}"])
    assert "{checkpoint}" in far["remedy"]
    assert "{{" in far["remedy"]
    assert "{}" in rule(["python", "{}"])["condition"]
    assert "{learning_rate!r}" in rule(["python", "{learning_rate!r}"])["condition"]


@pytest.mark.parametrize("item", ["{", "}", "a{b", "{seed}}", "{{seed}", "{a{seed}}"])
def test_brace_that_stands_alone_names_its_item(item: str) -> None:
    context = rule(["python", "x", item])
    assert context["item"] == 2
    assert "plain brace" in context["remedy"] or "did you mean" in context["remedy"]


@pytest.mark.parametrize("first", ["", "  "])
def test_program_must_be_named(first: str) -> None:
    assert rule([first, "x"])["item"] == 0


def test_nul_character_is_refused() -> None:
    assert rule(["python", "a\0b"])["item"] == 1


@pytest.mark.parametrize("command", [[], ["python", 3], ["python", None], {"a": 1}, None, 3])
def test_command_of_another_kind_is_refused(command: object) -> None:
    with pytest.raises(ValidationError):
        Holder.model_validate({"command": command})


def test_fill_replaces_only_placeholders() -> None:
    values = {"seed": "{steps}", "steps": "7"}
    assert fill("{seed} {steps} {{seed}} $HOME `x`", values.__getitem__) == (
        "{steps} 7 {seed} $HOME `x`"
    )


@pytest.mark.parametrize(
    ("command", "takes", "expected"),
    [
        (("x", "{learning_rate}", "{seed}", "{folder}"), None, "learning_rate"),
        (("x",), None, "learning_rate"),
        (("x", "{{batch_size}}"), None, "learning_rate"),
        (("x", "--bs={batch_size}", "{momentum}", "{steps}"), None, "learning_rate"),
        (("x", "--bs={batch_sizes}"), None, "schedule"),
        (("x", "{learning_rates}"), None, "schedule"),
        (("x", "{schedule}"), None, "schedule"),
        (("x", "{schedule}"), "learning_rate", "learning_rate"),
        (("x",), "schedule", "schedule"),
    ],
)
def test_what_a_script_takes_follows_from_its_command(
    command: tuple[str, ...], takes: Any, expected: str
) -> None:
    assert what_it_takes(command, ScriptSection(takes=takes)) == expected


def test_where_a_script_answers_follows_from_its_command() -> None:
    assert where_it_answers(("x",), ScriptSection()) == "stdout"
    assert where_it_answers(("x", "{answers}"), ScriptSection()) == "file"
    assert where_it_answers(("x", "{answers}"), ScriptSection(answers="stdout")) == "stdout"
    assert where_it_answers(("x",), ScriptSection(answers="file")) == "file"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("folder", ""),
        ("answers", "stderr"),
        ("takes", "all"),
        ("answer_timeout_s", 0),
        ("grace_s", -1),
        ("log_mb", 0),
        ("failure", "ignore"),
        ("undamped", "yes"),
        ("timeout", 3),
    ],
)
def test_section_refuses_what_makes_no_sense(key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        ScriptSection.model_validate({key: value})


def test_command_of_an_option_is_refused_by_the_options_name() -> None:
    assert require_command(("x", "{learning_rate}"), "--command") == ("x", "{learning_rate}")
    with pytest.raises(
        InvalidValueError, match=r"--command must use .* but got \{learning_rat\}; did"
    ):
        require_command(("x", "{learning_rat}"), "--command")


@pytest.mark.parametrize("word", ["{learning_rate}", "--lr={learning_rates}", "{schedule}"])
def test_command_that_hands_over_a_rate_needs_no_note(word: str) -> None:
    assert no_rate_note(("x", word)) is None
    assert "TUNECLI_LEARNING_RATE" in (no_rate_note(("x", "{seed}", "{{learning_rate}}")) or "")


def recipe(*command: str, **script: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "version": 1,
            "name": "x",
            "command": ["x", *command],
            "script": script,
            "schedule": {"batch_size": 8, "steps": 10, "momentum": 0.75},
            "search": {"grid": [0.1, 0.2]},
        }
    )


def test_advice_for_an_undamped_momentum_is_in_damped_rates() -> None:
    for undamped, factor in ((False, 1), (True, 4)):
        one = recipe("{learning_rate}", undamped=undamped)
        derived = derive_schedule(one.schedule, 0.125, None)
        advice = advised_schedule(one, derived)
        assert [s.learning_rate for s in advice.stages] == [
            factor * stage.learning_rate for stage in derived.stages
        ]
        assert [s.momentum for s in advice.stages] == [s.momentum for s in derived.stages]


@pytest.mark.parametrize(
    ("word", "script"), [("{schedule}", {}), ("x", {"takes": "schedule"}), ("{momenta}", {})]
)
def test_undamped_makes_no_sense_for_a_script_that_takes_the_schedule(
    word: str, script: dict[str, Any]
) -> None:
    recipe(word, **script)
    with pytest.raises(ValidationError, match="not have undamped beside"):
        recipe(word, undamped=True, **script)
    assert recipe("{schedule}", takes="learning_rate", undamped=True).schedule_is_advice
