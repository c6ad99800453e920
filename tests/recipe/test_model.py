from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from tunecli.recipe import Recipe, ScheduleSection, SearchSection
from tunecli.recipe.asynchronous import AsynchronousSection
from tunecli.recipe.model import ALTERNATIVES, UNIONS
from tunecli.recipe.networks import MlpModel

SMALL: dict[str, Any] = {
    "version": 1,
    "name": "tiny",
    "model": {"name": "logistic"},
    "data": {"name": "digits"},
    "schedule": {"batch_size": 64, "steps": 500},
    "search": {"grid": [0.1, 0.2]},
}


def test_defaults_are_the_documented_ones() -> None:
    recipe = Recipe.model_validate(SMALL)
    assert recipe.model_dump(mode="json") == {
        "version": 1,
        "name": "tiny",
        "description": "",
        "learning_rate": None,
        "command": None,
        "script": None,
        "model": {"name": "logistic", "checkpoint": None, "skip": [], "freeze": []},
        "data": {"name": "digits", "validation": 0.2, "test": 0.2, "split_seed": 0},
        "loss": {"name": "cross_entropy", "label_smoothing": 0.0},
        "augmentation": None,
        "optimizer": None,
        "metrics": {},
        "training": {
            "algorithm": "centralized",
            "weight_decay": 0.0,
            "weight_decay_mode": "coupled",
            "reset_momentum": False,
            "micro_batch_size": None,
            "evaluation_batch_size": None,
            "evaluations": 10,
            "divergence_factor": 10.0,
            "cpu_threads": 1,
            "checkpoint_every_s": 30.0,
            "asynchronous": None,
        },
        "schedule": {
            "stages": 3,
            "decay": 0.5,
            "batch_decay": None,
            "momentum": 0.9,
            "discount": 0.5,
            "batch_size": 64,
            "epochs": None,
            "steps": 500,
        },
        "search": {
            "grid": [0.1, 0.2],
            "strategy": "geometric",
            "patience": 1,
            "seeds": [0],
            "error_rate": 0.05,
            "early_abort": True,
            "extend": 3,
            "resolution": 1.5,
            "test_seeds": [100, 101, 102, 103, 104],
            "metric": "accuracy",
            "learned_share": 0.1,
            "max_trials": None,
        },
    }


def test_recipe_is_frozen_and_hashable() -> None:
    recipe = Recipe.model_validate(SMALL)
    with pytest.raises(ValidationError):
        recipe.name = "other"
    assert hash(recipe) == hash(Recipe.model_validate(SMALL))


def _search(**keys: Any) -> SearchSection:
    return SearchSection.model_validate({"grid": [0.1, 0.2, 0.4, 0.8], **keys})


def test_most_trials_counts_what_a_search_may_add_to_the_grid() -> None:
    """The grid, its extension at both edges, and halving both gaps beside the best."""
    assert _search(strategy="paper").most_trials == 4
    assert _search(extend=0, resolution=None).most_trials == 4
    assert _search(extend=3, resolution=None).most_trials == 4 + 2 * 3
    # factor 2 → √2 ≤ 1.5 after one halving of each gap; → 2^¼ ≤ 1.2 after two
    assert _search(extend=0, resolution=1.5).most_trials == 4 + 2
    assert _search(extend=0, resolution=1.2).most_trials == 4 + 4
    assert _search(extend=0, resolution=2.0).most_trials == 4
    assert _search(seeds=[0, 1, 2]).most_trials == 3 * _search().most_trials
    assert _search(seeds=[0, 1], max_trials=5).most_trials == 5


def test_usual_trials_are_never_more_than_the_most() -> None:
    assert _search(strategy="paper").usual_trials == 4
    for keys in ({}, {"max_trials": 2}, {"extend": 0, "resolution": None}, {"seeds": [0, 1]}):
        section = _search(**keys)
        assert 1 <= section.usual_trials <= section.most_trials


def test_model_name_selects_the_class() -> None:
    recipe = Recipe.model_validate({**SMALL, "model": {"name": "mlp", "hidden": [8]}})
    assert recipe.model == MlpModel(name="mlp", hidden=(8,))


@pytest.mark.parametrize("version", [True, 1.0, "1", 2, None])
def test_version_is_the_whole_number_one(version: object) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate({**SMALL, "version": version})


def test_batch_decay_equal_to_decay_is_allowed() -> None:
    section = ScheduleSection.model_validate(
        {"batch_size": 1, "epochs": 1, "decay": 0.3, "batch_decay": 0.3}
    )
    assert section.batch_decay == section.decay


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (0.9, 0.2), (0.2, 0.8)])
def test_shares_that_leave_no_training_data_are_refused(validation: float, test: float) -> None:
    data = {"name": "digits", "validation": validation, "test": test}
    with pytest.raises(ValidationError, match="leave training data"):
        Recipe.model_validate({**SMALL, "data": data})


def test_every_key_has_a_description() -> None:
    def sections(model: type[BaseModel]) -> set[type[BaseModel]]:
        found = {model}
        stack = [field.annotation for field in model.model_fields.values()]
        while stack:
            kind = stack.pop()
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found |= sections(kind)
            stack.extend(get_args(kind))
        return found

    found = sections(Recipe)
    assert len(found) == 36
    for section in found:
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"


def test_unions_table_names_the_members_of_each_union() -> None:
    for key in ("model", "data", "loss"):
        members = UNIONS[(key,)]
        assert set(members.values()) == set(get_args(Recipe.model_fields[key].annotation))
        for name, member in members.items():
            assert get_args(member.model_fields["name"].annotation) == (name,)
    for name, form in UNIONS[("search", "grid")].items():
        assert list(form.model_fields) == [name]
    delays = UNIONS[("training", "asynchronous", "delay")]
    assert set(delays.values()) == set(
        get_args(AsynchronousSection.model_fields["delay"].annotation)
    )
    for name, member in delays.items():
        assert get_args(member.model_fields["name"].annotation) == (name,)


def test_alternatives_go_both_ways() -> None:
    assert all(ALTERNATIVES[other] == one for one, other in ALTERNATIVES.items())
