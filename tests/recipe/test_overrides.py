from collections.abc import Callable

import pytest

from tunecli.recipe import Recipe

Load = Callable[..., Recipe]
Complaints = Callable[..., list[str]]


def test_override_sets_scalars_lists_and_items(minimal: str, load: Load) -> None:
    recipe = load(
        minimal,
        "search.metric=loss",
        "search.max_trials=4",
        "search.max_trials=null",
        "search.seeds=[1, 2]",
        "search.seeds.0=3",
        "training.evaluations=2",
        "training.weight_decay=1e-4",
        "description=a = b",
        "search.grid={linear: {start: 0.1, stop: 0.3, step: 0.1}}",
        "search.grid.linear.stop=0.2",
    )
    assert recipe.search.metric == "loss"
    assert recipe.search.max_trials is None
    assert recipe.search.seeds == (3, 2)
    assert recipe.training.evaluations == 2
    assert recipe.training.weight_decay == 1e-4
    assert recipe.description == "a = b"
    assert recipe.search.learning_rates == (0.1, 0.2)


def test_override_fills_a_section_whose_keys_are_commented_out(minimal: str, load: Load) -> None:
    recipe = load(minimal + "training:\n  # evaluations: 3\n", "training.evaluations=2")
    assert recipe.training.evaluations == 2


def test_override_of_steps_removes_the_files_epochs(minimal: str, load: Load) -> None:
    schedule = load(minimal, "schedule.steps=500").schedule
    assert (schedule.epochs, schedule.steps) == (None, 500)
    schedule = load(minimal.replace("epochs: 3", "steps: 5"), "schedule.epochs=2").schedule
    assert (schedule.epochs, schedule.steps) == (2.0, None)


def test_override_of_steps_by_null_keeps_the_files_epochs(minimal: str, load: Load) -> None:
    assert load(minimal, "schedule.steps=null").schedule.epochs == 3.0


def test_override_of_both_steps_and_epochs_is_a_contradiction(
    minimal: str, complaints: Complaints
) -> None:
    assert complaints(minimal, "schedule.epochs=2", "schedule.steps=5") == [
        (
            "command line: schedule.steps=5: schedule.steps must not stand beside "
            "schedule.epochs (2.0) but got 5; remove one of the two"
        )
    ]


def test_override_of_the_model_name_leaves_the_old_keys_as_errors(
    minimal: str, load: Load, complaints: Complaints
) -> None:
    text = minimal.replace("{name: cnn}", "\n  name: cnn\n  channels: [8]\n  hidden: 8")
    assert complaints(text, "model.name=mlp") == [
        (
            "foo.yaml:5: unknown key model.channels for the model mlp; allowed keys: name, "
            "hidden, checkpoint, skip, freeze"
        ),
        (
            "foo.yaml:6: model.hidden must be a list of 1 or more entries, each a whole number ≥ 1 "
            "but got 8; write, for example, [128, 128, 128]"
        ),
    ]
    assert load(text, "model={name: mlp, hidden: [4]}").model.name == "mlp"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.patience", "an override must have a `=`; write `key.path=value`"),
        ("=3", "a key must be names joined by single dots"),
        ("search..patience=3", "a key must be names joined by single dots"),
        ("search.patience=", "the value is missing; write `search.patience=null` for none"),
        ("schedule.epochs.x=3", "schedule.epochs is a single value, so it has no key x"),
        ("search.grid.2=3", "must be an index from 0 to 1 but got 2; or set the whole list"),
        ("search.grid.-1=3", "must be an index from 0 to 1 but got -1"),
        ("search.grid.x.y=3", "must be an index from 0 to 1 but got x"),
        ("search.grid=[", "not valid YAML"),
        ("search.grid=!!seq [1]", "the tag !!seq is not allowed"),
        ("name={a: 1, a: 2}", "a is given twice, on line 1; keep one"),
        ("search.pateince=2", "unknown key search.pateince; did you mean patience?"),
        ("serach.patience=2", "unknown key serach; did you mean search?"),
        ("search.patience=0", "search.patience must be ≥ 1 but got 0; raise it"),
    ],
)
def test_override_with_a_mistake_is_quoted(
    minimal: str, complaints: Complaints, override: str, message: str
) -> None:
    (line,) = complaints(minimal, override)
    assert line.startswith(f"command line: {override}: ")
    assert message in line


def test_malformed_overrides_are_all_listed_on_one_line_each(
    minimal: str, complaints: Complaints
) -> None:
    assert len(complaints(minimal, "a", "b", "c=[\n1", "name=ok")) == 3
