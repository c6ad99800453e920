"""Keys that not everything that trains knows are refused, never ignored."""

from typing import Any

import pytest

from tunecli.errors import InvalidValueError
from tunecli.recipe import Recipe, find_recipe, load_recipe
from tunecli.training.limits import Who, not_handed_on, not_known, require_known

OWN = {"import": "nets.py:make"}
KEYS: dict[str, Any] = {
    "loss": OWN | {"name": "import"},
    "augmentation": OWN,
    "optimizer": OWN,
    "metrics": {"f1": OWN},
    "training.micro_batch_size": 4,
    "training.evaluation_batch_size": 4,
}


def recipe(**keys: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "version": 1,
            "name": "own",
            "model": {"name": "mlp"},
            "data": {"name": "digits"},
            "schedule": {"batch_size": 8, "steps": 3},
            "search": {"grid": [0.1, 0.2]},
        }
        | keys
    )


def with_key(key: str) -> Recipe:
    section, _, name = key.partition(".")
    return recipe(**({section: {name: KEYS[key]}} if name else {key: KEYS[key]}))


@pytest.mark.parametrize("who", ["asynchronous", "compare"])
@pytest.mark.parametrize("key", KEYS)
def test_what_only_centralized_training_knows_is_refused(who: Who, key: str) -> None:
    ((path, sentence),) = not_known(with_key(key), who)
    assert ".".join(map(str, path)) == key
    assert sentence.startswith(f"{key} must be ")
    with pytest.raises(InvalidValueError, match=key):
        require_known(with_key(key), who)


def test_minimum_is_one_whatever_found_it_but_for_another_loss() -> None:
    refused = {key for key in KEYS if list(not_known(with_key(key), "stability"))}
    assert refused == {"loss", "augmentation"}


@pytest.mark.parametrize("who", ["asynchronous", "compare", "stability"])
@pytest.mark.parametrize(
    "loss", [{"name": "mse"}, {"name": "cross_entropy", "label_smoothing": 1e-3}]
)
def test_other_losses_are_refused_and_plain_cross_entropy_is_not(who: Who, loss: Any) -> None:
    assert [path for path, _ in not_known(recipe(loss=loss), who)] == [("loss",)]
    assert list(not_known(recipe(), who)) == []
    own_model = recipe(model={**OWN, "name": "import", "freeze": ["a.*"]})
    assert list(not_known(own_model, who)) == []


@pytest.mark.parametrize("who", ["asynchronous", "compare", "stability"])
def test_script_is_refused_as_a_whole(who: Who) -> None:
    script = recipe(model=None, data=None, command=["python", "train.py", "{learning_rate}"])
    ((path, sentence),) = not_known(script, who)
    assert path == ("command",)
    assert sentence.startswith("command must be left out ")


@pytest.mark.parametrize("name", ["digits-cnn", "digits-mlp", "digits-asynchronous"])
def test_shipped_recipes_are_known(name: str) -> None:
    require_known(load_recipe(find_recipe(name)), "compare")
    require_known(load_recipe(find_recipe(name)), "stability")


@pytest.mark.parametrize(
    "keys",
    [{"micro_batch_size": 4}, {"evaluation_batch_size": 4}, {"evaluations": 3}, {"cpu_threads": 2},
     {"reset_momentum": True}, {"weight_decay_mode": "decoupled"}],
)  # fmt: skip
def test_what_a_script_is_not_told_is_refused_beside_it(keys: dict[str, Any]) -> None:
    script = recipe(model=None, data=None, command=["train"], training=keys)
    ((path, sentence),) = not_handed_on(script)
    assert path == ("training", *keys)
    assert "the script is not told of it" in sentence
    heeded = {"weight_decay": 0.1, "divergence_factor": 3.0, "checkpoint_every_s": 1.0}
    assert not list(
        not_handed_on(recipe(model=None, data=None, command=["train"], training=heeded))
    )
